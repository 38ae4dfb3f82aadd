"""Files: whole or not at all, one or several."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys

import pytest

import tfmot_paoding as paoding
from tfmot_paoding import files
from tfmot_paoding.files import check_writable, write_files

# The module alone, which imports nothing of the package: that takes seconds.
_LOADED = """
import os, signal, sys
files = sys.modules['files'] = type(sys)('files')
with open(sys.argv[1], encoding='utf-8') as source:
  exec(source.read(), vars(files))
"""
_PRINTING = f"""{_LOADED}
print('one')
files.write_file('/dev/stdout', b'two')
print('three')
"""
_KILLED = f"""{_LOADED}
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
files.write_file(sys.argv[2], b'new')
"""


class TestWriteFile:
  def test_it_writes_and_replaces(self, tmp_path):
    path = tmp_path / 'x.tflite'
    paoding.files.write_file(str(path), b'one')
    paoding.files.write_file(str(path), b'two')
    assert path.read_bytes() == b'two'
    assert os.listdir(tmp_path) == ['x.tflite']

  def test_a_failure_leaves_the_old_file_and_no_other(
    self, tmp_path, monkeypatch
  ):
    path = tmp_path / 'x.tflite'
    path.write_bytes(b'old')

    def full(handle):
      raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
      paoding.files.write_file(str(path), b'new')
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['x.tflite']

  def test_a_missing_folder_is_an_error(self, tmp_path):
    with pytest.raises(OSError, match='nowhere'):
      paoding.files.write_file(str(tmp_path / 'nowhere' / 'x.tflite'), b'')


class TestWriteFiles:
  def test_none_is_replaced_before_all_are_whole(self, tmp_path, monkeypatch):
    one, two = str(tmp_path / 'one'), str(tmp_path / 'two')
    write_files({one: b'1', two: b'2'})
    calls = []

    def full(handle):
      calls.append(handle)
      if len(calls) == 2:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
      write_files({one: b'3', two: b'4'})
    assert (tmp_path / 'one').read_bytes() == b'1'
    assert (tmp_path / 'two').read_bytes() == b'2'
    assert sorted(os.listdir(tmp_path)) == ['one', 'two']

  def test_a_folder_in_the_way_is_an_error(self, tmp_path):
    (tmp_path / 'two').mkdir()
    with pytest.raises(OSError, match='folder'):
      write_files({str(tmp_path / 'one'): b'', str(tmp_path / 'two'): b''})
    assert os.listdir(tmp_path) == ['two']


class TestWhatStandsThere:
  def test_a_file_keeps_its_mode(self, tmp_path):
    path = tmp_path / 'x.tflite'
    path.write_bytes(b'old')
    path.chmod(0o640)
    paoding.files.write_file(str(path), b'new')
    assert stat.S_IMODE(path.stat().st_mode) == 0o640

  def test_a_new_file_has_the_mode_of_any_other(self, tmp_path):
    plain, path = tmp_path / 'plain', tmp_path / 'x.tflite'
    plain.write_bytes(b'')
    paoding.files.write_file(str(path), b'new')
    assert path.stat().st_mode == plain.stat().st_mode

  def test_a_link_is_followed_and_stays(self, tmp_path):
    (tmp_path / 'models').mkdir()
    target, link = tmp_path / 'models' / 'x.tflite', tmp_path / 'latest'
    target.write_bytes(b'old')
    link.symlink_to(os.path.join('models', 'x.tflite'))
    paoding.files.write_file(str(link), b'new')
    assert link.is_symlink()
    assert target.read_bytes() == b'new'
    assert os.listdir(tmp_path / 'models') == ['x.tflite']

  def test_a_link_to_nothing_makes_what_it_names(self, tmp_path):
    (tmp_path / 'link').symlink_to('x.tflite')
    paoding.files.write_file(str(tmp_path / 'link'), b'new')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'x.tflite').read_bytes() == b'new'

  def test_a_read_only_file_is_refused(self, tmp_path):
    path = tmp_path / 'x.tflite'
    path.write_bytes(b'old')
    path.chmod(0o444)
    with pytest.raises(PermissionError, match='read-only'):
      paoding.files.write_file(str(path), b'new')
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['x.tflite']

  def test_a_device_is_written_to(self):
    before = os.stat('/dev/null')
    paoding.files.write_file('/dev/null', b'new')
    after = os.stat('/dev/null')
    assert stat.S_ISCHR(after.st_mode)
    assert before.st_ino == after.st_ino

  def test_a_pipe_is_written_to_when_somebody_reads(self, tmp_path):
    path = str(tmp_path / 'pipe')
    os.mkfifo(path)
    with pytest.raises(OSError, match='Nobody reads'):
      paoding.files.write_file(path, b'new')
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    paoding.files.write_file(path, b'new')
    assert os.read(reader, 10) == b'new'
    os.close(reader)
    assert stat.S_ISFIFO(os.stat(path).st_mode)

  def test_standard_output_goes_on_where_it_is(self, tmp_path):
    command = [sys.executable, '-c', _PRINTING, files.__file__]
    with open(tmp_path / 'log', 'wb') as log:
      subprocess.run(command, stdout=log, check=True)
    assert (tmp_path / 'log').read_bytes() == b'one\ntwothree\n'

  def test_sockets_are_refused(self, tmp_path):
    path = str(tmp_path / 's')
    with socket.socket(socket.AF_UNIX) as listener:
      listener.bind(path)
      with pytest.raises(OSError, match='socket'):
        paoding.files.write_file(path, b'new')
    assert stat.S_ISSOCK(os.stat(path).st_mode)

  def test_a_name_as_long_as_they_may_be(self, tmp_path):
    path = tmp_path / ('x' * 255)
    paoding.files.write_file(str(path), b'new')
    assert path.read_bytes() == b'new'

  @pytest.mark.parametrize('path', ['', 'folder/'])
  def test_a_path_ends_with_a_name(self, tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match='no path of a file'):
      paoding.files.write_file(path, b'new')
    assert not os.listdir(tmp_path)


class TestKilledRuns:
  def test_what_they_left_goes_with_the_next_write(self, tmp_path):
    path = str(tmp_path / 'x.tflite')
    command = [sys.executable, '-c', _KILLED, files.__file__, path]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = os.listdir(tmp_path)
    other = tmp_path / '.x.tflite.notes.paoding'
    other.write_bytes(b'of the user')
    paoding.files.write_file(path, b'new')
    assert left.startswith('.x.tflite.')
    assert sorted(os.listdir(tmp_path)) == [other.name, 'x.tflite']

  def test_what_another_run_has_in_hand_stays(self, tmp_path, monkeypatch):
    path = str(tmp_path / 'x.tflite')
    fsync, inner = os.fsync, []

    def writing(handle):
      if not inner:  # in the middle of this write another one happens
        inner.append(True)
        paoding.files.write_file(path, b'other')
      fsync(handle)

    monkeypatch.setattr(os, 'fsync', writing)
    paoding.files.write_file(path, b'mine')
    assert (tmp_path / 'x.tflite').read_bytes() == b'mine'
    assert os.listdir(tmp_path) == ['x.tflite']


class TestSets:
  @pytest.mark.parametrize('fails', range(4))
  def test_a_move_that_fails_restores_all(self, tmp_path, monkeypatch, fails):
    paths = [tmp_path / name for name in ('net.cc', 'net.h', 'new')]
    for path in paths[:2]:
      path.write_bytes(b'old')
    rename, replace, calls = os.rename, os.replace, []

    def failing(move):
      def moved(*args, **kwargs):
        calls.append(args)
        if len(calls) == fails + 1:
          raise KeyboardInterrupt
        move(*args, **kwargs)

      return moved

    monkeypatch.setattr(os, 'rename', failing(rename))
    monkeypatch.setattr(os, 'replace', failing(replace))
    with pytest.raises(KeyboardInterrupt):
      write_files({str(path): b'new' for path in paths})
    assert sorted(os.listdir(tmp_path)) == ['net.cc', 'net.h']
    assert {path.read_bytes() for path in paths[:2]} == {b'old'}

  def test_old_and_new_never_stand_side_by_side(self, tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ('net.cc', 'net.h')]
    write_files({str(path): b'old' for path in paths})
    seen = []

    def watched(move):
      def moved(*args, **kwargs):
        move(*args, **kwargs)
        seen.append({p.read_bytes() for p in paths if p.exists()})

      return moved

    monkeypatch.setattr(os, 'rename', watched(os.rename))
    monkeypatch.setattr(os, 'replace', watched(os.replace))
    write_files({str(path): b'new' for path in paths})
    assert seen[-1] == {b'new'}
    assert {b'old', b'new'} not in seen

  def test_two_names_of_one_file_are_refused(self, tmp_path):
    (tmp_path / 'link').symlink_to('x')
    with pytest.raises(ValueError, match='are one file'):
      write_files({str(tmp_path / 'x'): b'1', str(tmp_path / 'link'): b'2'})
    assert os.listdir(tmp_path) == ['link']


class TestCheckWritable:
  def test_it_writes_nothing(self, tmp_path):
    (tmp_path / 'old').write_bytes(b'old')
    check_writable([str(tmp_path / 'old'), str(tmp_path / 'new'), '/dev/null'])
    assert os.listdir(tmp_path) == ['old']
    assert (tmp_path / 'old').read_bytes() == b'old'

  def test_it_raises_what_writing_would(self, tmp_path):
    with pytest.raises(OSError, match='nowhere'):
      check_writable([str(tmp_path / 'nowhere' / 'x')])
    with pytest.raises(OSError, match='folder'):
      check_writable([str(tmp_path)])
