"""C arrays: what a compiler makes of them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

import tfmot_paoding as paoding
from tests import testing

_COMPILER = (
  shutil.which('g++') or shutil.which('clang++') or shutil.which('c++')
)


@pytest.fixture(scope='module')
def data():
  return paoding.convert_to_tflite(testing.mlp(), 'int8')


@pytest.mark.skipif(not _COMPILER, reason='no C++ compiler is installed')
def test_a_compiler_accepts_it_and_finds_the_model(data, tmp_path):
  source, header = paoding.write_c_array(
    data, str(tmp_path / 'net'), 'g_net', arena_bytes=4096
  )
  assert sorted(os.listdir(tmp_path)) == ['net.cc', 'net.h']
  main = tmp_path / 'main.cc'
  main.write_text(f"""
#include "{os.path.basename(header)}"
#include <cstdint>
#include <cstdio>
static_assert(g_net_arena_size == 4096, "arena");
alignas(16) static unsigned char arena[g_net_arena_size];
int main() {{
  if (reinterpret_cast<std::uintptr_t>(g_net) % 16) return 1;
  arena[0] = 0;
  std::fwrite(g_net, 1, g_net_len, stdout);
  return arena[0];
}}
""")
  program = tmp_path / 'program'
  flags = [_COMPILER, '-std=c++14', '-Wall', '-Wextra', '-Werror', '-pedantic']
  subprocess.run(
    [*flags, str(main), source, '-o', str(program)],
    check=True,
  )
  done = subprocess.run([program], capture_output=True, check=True)
  assert done.stdout == data


def test_the_arena_is_measured_if_none_is_given(data, tmp_path):
  pytest.importorskip('tflite_micro', reason='tflite-micro is not installed')
  paoding.write_c_array(data, str(tmp_path / 'net.cc'))
  text = (tmp_path / 'net.h').read_text()
  arena = paoding.profile_tflite(data, latency=False).arena_bytes
  assert f'constexpr std::size_t net_arena_size = {arena};' in text
  assert f'A TensorFlow Lite model of {len(data)} bytes.' in text
  assert 'extern const unsigned char net[];' in text


@pytest.mark.parametrize('name', ['2nd', 'a-b', '', 'class', 'x y', 'é'])
def test_names_must_be_identifiers(data, tmp_path, name):
  with pytest.raises(ValueError, match='C identifier'):
    paoding.write_c_array(data, str(tmp_path / 'net'), name, 100)
  assert not os.listdir(tmp_path)


@pytest.mark.parametrize('arena', [0, -1, True])
def test_arenas_must_be_positive(data, tmp_path, arena):
  with pytest.raises(ValueError, match='`arena_bytes` must be positive'):
    paoding.write_c_array(data, str(tmp_path / 'net'), 'net', arena)


def test_other_bytes_and_folders_are_refused(data, tmp_path):
  with pytest.raises(ValueError, match='no .tflite'):
    paoding.write_c_array(b'model', str(tmp_path / 'net'), 'net', 100)
  with pytest.raises(OSError, match='nowhere'):
    paoding.write_c_array(data, str(tmp_path / 'nowhere' / 'net'), 'net', 100)
  assert not os.listdir(tmp_path)
