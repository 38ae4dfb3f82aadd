"""Files: whole or not at all, one or several."""

from __future__ import annotations

import os

import pytest

import tfmot_paoding as paoding
from tfmot_paoding.tflite.files import write_files


class TestWriteFile:
  def test_it_writes_and_replaces(self, tmp_path):
    path = tmp_path / 'x.tflite'
    paoding.write_file(str(path), b'one')
    paoding.write_file(str(path), b'two')
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
      paoding.write_file(str(path), b'new')
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['x.tflite']

  def test_a_missing_folder_is_an_error(self, tmp_path):
    with pytest.raises(OSError, match='nowhere'):
      paoding.write_file(str(tmp_path / 'nowhere' / 'x.tflite'), b'')


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
