"""C arrays: what a compiler makes of them."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite.litert import load_interpreter

_COMPILER = (
  shutil.which('g++') or shutil.which('clang++') or shutil.which('c++')
)


@pytest.fixture(scope='module')
def data():
  return paoding.convert_to_tflite(testing.mlp(), 'int8')


@pytest.mark.skipif(not _COMPILER, reason='no C++ compiler is installed')
def test_a_compiler_accepts_it_and_finds_the_model(data, tmp_path):
  source, header = paoding.write_c_array(
    data, str(tmp_path / 'net'), name='g_net', arena_bytes=4096
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
  margin = paoding.tflite.arena_margin(data)
  assert margin > 0
  assert f'constexpr std::size_t net_arena_size = {arena + margin};' in text
  assert f'{arena} measured in tflite-micro' in text
  assert f'margin of {margin} for' in text
  assert f'A TensorFlow Lite model of {len(data)} bytes.' in text
  assert 'extern const unsigned char net[];' in text


@pytest.mark.parametrize('name', ['2nd', 'a-b', '', 'class', 'x y', 'é'])
def test_names_must_be_identifiers(data, tmp_path, name):
  with pytest.raises(ValueError, match='C identifier'):
    paoding.write_c_array(
      data, str(tmp_path / 'net'), name=name, arena_bytes=100
    )
  assert not os.listdir(tmp_path)


@pytest.mark.parametrize('arena', [0, -1, True])
def test_arenas_must_be_positive(data, tmp_path, arena):
  with pytest.raises(ValueError, match='`arena_bytes` must be positive'):
    paoding.write_c_array(
      data, str(tmp_path / 'net'), name='net', arena_bytes=arena
    )


def test_other_bytes_and_folders_are_refused(data, tmp_path):
  with pytest.raises(ValueError, match='no .tflite'):
    paoding.write_c_array(
      b'model', str(tmp_path / 'net'), name='net', arena_bytes=100
    )
  with pytest.raises(OSError, match='nowhere'):
    paoding.write_c_array(
      data, str(tmp_path / 'nowhere' / 'net'), name='net', arena_bytes=100
    )
  assert not os.listdir(tmp_path)


def two_by_two():
  """Ids and real numbers; files take inputs and give outputs by name."""
  layers = keras.layers
  ids = keras.Input((10,), dtype='int32', name='zz')
  rest = keras.Input((3,), name='aa')
  x = layers.Flatten()(layers.Embedding(50, 8)(ids))
  x = layers.Concatenate()([x, rest])
  outputs = [
    layers.Dense(n, name=own)(x) for n, own in ((2, 'two'), (4, 'one'))
  ]
  return testing.fill(keras.Model([ids, rest], outputs))


@pytest.fixture(scope='module')
def mixed():
  model = two_by_two()
  ranges = {'zz': (0, 49), 'aa': (-1, 1)}
  return model, paoding.convert_to_tflite(model, 'int8', input_range=ranges)


@pytest.mark.skipif(not _COMPILER, reason='no C++ compiler is installed')
def test_a_program_finds_each_input_with_its_scale(mixed, tmp_path):
  model, data = mixed
  source, header = paoding.write_c_array(
    data, str(tmp_path / 'net'), name=None, arena_bytes=4096, model=model
  )
  interpreter = load_interpreter(data)
  runner = interpreter.get_signature_runner()
  checks = []
  for kind, order, details in (
    ('input', interpreter.get_input_details(), runner.get_input_details()),
    ('output', interpreter.get_output_details(), runner.get_output_details()),
  ):
    places = [one['index'] for one in order]
    for name, detail in details.items():
      place = places.index(detail['index'])
      own = f'net_{kind}_{place}'
      checks += [
        f'net_{kind}_{name.replace("-", "_")}_index == {place}',
        f'{own}_size == {np.prod(detail["shape"])}',
        f'sizeof({own}_shape) == {len(detail["shape"])} * sizeof(int)',
        f'{own}_shape[1] == {detail["shape"][1]}',
      ]
      scale, zero = detail['quantization']
      if scale:
        checks += [f'{own}_scale == {scale!r}f', f'{own}_zero_point == {zero}']
  assert sum('zero_point' in check for check in checks) == 3
  main = tmp_path / 'main.cc'
  lines = '\n'.join(f'static_assert({check}, "");' for check in checks)
  main.write_text(
    f'#include "{os.path.basename(header)}"\n{lines}\n'
    'int main() { return net_len == 0; }\n'
  )
  flags = [_COMPILER, '-std=c++14', '-Wall', '-Wextra', '-Werror', '-pedantic']
  program = str(tmp_path / 'program')
  subprocess.run([*flags, str(main), source, '-o', program], check=True)
  subprocess.run([program], check=True)


def test_the_models_order_is_told_where_it_is_known(mixed, tmp_path):
  model, data = mixed
  paoding.write_c_array(
    data, str(tmp_path / 'net'), name=None, arena_bytes=4096, model=model
  )
  text = (tmp_path / 'net.h').read_text()
  assert "// input(0): the model's input 1 'aa', int8 of shape [1, 3]" in text
  assert "// input(1): the model's input 0 'zz', int32 of shape" in text
  assert (
    "// output(0): the model's output 1 'one', int8 of shape [1, 4]" in text
  )
  paoding.write_c_array(
    data, str(tmp_path / 'net'), name=None, arena_bytes=4096
  )
  text = (tmp_path / 'net.h').read_text()
  assert "// input(0): 'aa', int8 of shape [1, 3]" in text
  with pytest.raises(ValueError, match='those of `model`'):
    paoding.write_c_array(
      data, str(tmp_path / 'x'), name='x', arena_bytes=4096, model=testing.mlp()
    )


@pytest.mark.skipif(not _COMPILER, reason='no C++ compiler is installed')
def test_files_of_two_models_do_not_compile(data, mixed, tmp_path):
  paoding.write_c_array(
    data, str(tmp_path / 'net'), name=None, arena_bytes=4096
  )
  old = (tmp_path / 'net.h').read_text()
  source, _ = paoding.write_c_array(
    mixed[1], str(tmp_path / 'net'), name=None, arena_bytes=4096
  )
  command = [
    _COMPILER,
    '-std=c++14',
    '-c',
    source,
    '-o',
    str(tmp_path / 'net.o'),
  ]
  subprocess.run(command, check=True)
  (tmp_path / 'net.h').write_text(old)
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode
  assert 'is of another model' in done.stderr


@pytest.mark.skipif(not _COMPILER, reason='no C++ compiler is installed')
def test_several_models_stand_in_one_file(data, tmp_path):
  small = testing.mlp((5, 8, 2))
  other = paoding.convert_to_tflite(small, 'int8')
  models = {'g_first': data, 'g_second': other}
  source, header = paoding.write_c_array(
    models,
    str(tmp_path / 'nets'),
    arena_bytes={'g_first': 4096, 'g_second': 2048},
    model={'g_second': small},
  )
  assert sorted(os.listdir(tmp_path)) == ['nets.cc', 'nets.h']
  main = tmp_path / 'main.cc'
  main.write_text(f"""
#include "{os.path.basename(header)}"
#include <cstdio>
static_assert(g_first_arena_size == 4096, "arena");
static_assert(g_second_arena_size == 2048, "arena");
int main() {{
  std::fwrite(g_first, 1, g_first_len, stdout);
  std::fwrite(g_second, 1, g_second_len, stdout);
}}
""")
  program = tmp_path / 'program'
  flags = [_COMPILER, '-std=c++14', '-Wall', '-Wextra', '-Werror', '-pedantic']
  subprocess.run([*flags, str(main), source, '-o', str(program)], check=True)
  done = subprocess.run([program], capture_output=True, check=True)
  assert done.stdout == data + other


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ({'name': 'g_net'}, 'without `name`'),
    ({'arena_bytes': 4096}, "`arena_bytes` of several .* \\['g_first'\\]"),
    ({'arena_bytes': {'g_other': 1}}, '`arena_bytes` of several'),
  ],
)
def test_what_is_said_of_several_is_said_by_name(
  data, tmp_path, given, message
):
  with pytest.raises(ValueError, match=message):
    paoding.write_c_array({'g_first': data}, str(tmp_path / 'nets'), **given)
  for models in ({}, {'no name': data}):
    with pytest.raises(ValueError, match='C identifier|at least one'):
      paoding.write_c_array(models, str(tmp_path / 'nets'))
  assert not os.listdir(tmp_path)
