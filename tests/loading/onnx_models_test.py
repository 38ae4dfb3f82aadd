"""ONNX files as Keras models: against another runtime, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests import testing
from tfmot_paoding import robustness
from tfmot_paoding.compat import keras
from tfmot_paoding.loading import ModelFileError, read_onnx

onnx = pytest.importorskip('onnx')
H = pytest.importorskip('onnx.helper')
N = pytest.importorskip('onnx.numpy_helper')


def saved(path, nodes, constants, shape, output_shape=None, kind=1):
  """Writes a graph from x to y."""
  graph = H.make_graph(
    nodes,
    'net',
    [H.make_tensor_value_info('x', kind, shape)],
    [H.make_tensor_value_info('y', 1, output_shape)],
    [
      N.from_array(np.asarray(value, dtype), name)
      for name, value in constants.items()
      for dtype in [np.int64 if name.startswith('i') else np.float32]
    ],
  )
  model = H.make_model(
    graph, opset_imports=[H.make_opsetid('', 13)], ir_version=8
  )
  path = str(path / 'model.onnx')
  onnx.save(model, path)
  return path


def drawn(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


def check(path, shape):
  """The same outputs as another runtime gives."""
  runtime = pytest.importorskip('onnxruntime')
  session = runtime.InferenceSession(path)
  model = read_onnx(path)
  assert model.input_shape[1:] == tuple(shape)
  name = session.get_inputs()[0].name
  for seed in range(3):
    x = drawn(1, *shape, seed=seed).astype(np.float32)
    (wanted,) = session.run(None, {name: x})
    np.testing.assert_allclose(model(x).numpy(), wanted, rtol=1e-4, atol=1e-5)
  return model


def test_products_sums_and_constants(tmp_path):
  nodes = [
    H.make_node('Sub', ['x', 'mean'], ['a']),
    H.make_node('Div', ['a', 'scale'], ['b']),
    H.make_node('Flatten', ['b'], ['c'], axis=1),
    H.make_node('Gemm', ['c', 'w', 'v'], ['d'], transB=1, alpha=0.5, beta=2.0),
    H.make_node('LeakyRelu', ['d'], ['e'], alpha=0.2),
    H.make_node('MatMul', ['e', 'm'], ['f']),
    H.make_node('Add', ['bias', 'f'], ['g']),
    H.make_node('Relu', ['g'], ['h']),
    H.make_node('Add', ['h', 'f'], ['i']),
    H.make_node('Sub', ['i', 'h'], ['j']),
    H.make_node('Sub', ['bias', 'j'], ['y']),
  ]
  constants = {
    'mean': drawn(1, 1, 2, 3),
    'scale': 2.0,
    'w': drawn(4, 6),
    'v': drawn(4),
    'm': drawn(4, 5),
    'bias': drawn(5),
  }
  check(saved(tmp_path, nodes, constants, ['batch', 1, 2, 3]), (1, 2, 3))


@pytest.mark.parametrize(
  'settings',
  [
    {},
    {'strides': [2, 1], 'pads': [1, 0, 2, 1]},
    {'auto_pad': 'SAME_UPPER', 'strides': [2, 2]},
    {'dilations': [2, 1]},
    {'group': 2},
  ],
)
def test_convolutions_keep_channels_first(settings, tmp_path):
  grouped = settings.get('group', 1)
  nodes = [
    H.make_node('Conv', ['x', 'k', 'v'], ['a'], **settings),
    H.make_node('Relu', ['a'], ['b']),
    H.make_node('Conv', ['b', 'l'], ['c']),
    H.make_node('Add', ['c', 'shift'], ['d']),
    H.make_node('Reshape', ['d', 'ishape'], ['e']),
    H.make_node('Transpose', ['e'], ['f'], perm=[0, 2, 1]),
    H.make_node('Reshape', ['f', 'iflat'], ['y']),
  ]
  constants = {
    'k': drawn(4, 2 // grouped, 3, 2),
    'v': drawn(4),
    'l': drawn(3, 4, 1, 1),
    'shift': drawn(3, 1, 1),
    'ishape': [0, 3, -1],
    'iflat': [1, -1],
  }
  check(saved(tmp_path, nodes, constants, [1, 2, 6, 5]), (2, 6, 5))


def conv():
  """A network of images that is fit for verification."""
  layers = keras.layers
  return testing.fill(
    keras.Sequential(
      [
        keras.Input((6, 5, 2)),
        layers.Conv2D(3, 3, strides=2, padding='same'),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(2, 2, activation='relu'),
        layers.Flatten(),
        layers.Dense(3),
      ]
    )
  )


@pytest.mark.parametrize('kind', ['mlp', 'conv', 'softmax'])
def test_written_ones_are_read(kind, tmp_path):
  pytest.importorskip('tf2onnx')
  model = {
    'mlp': lambda: testing.mlp((5, 8, 3)),
    'conv': conv,
    'softmax': lambda: testing.mlp((5, 8, 3), activation='softmax'),
  }[kind]()
  path = str(tmp_path / 'model.onnx')
  robustness.export_onnx(model, path)
  check(path, model.input_shape[1:])


@pytest.mark.parametrize(
  ('node', 'named'),
  [
    (H.make_node('Gemm', ['x', 'w'], ['y'], transA=1), 'transA'),
    (H.make_node('MatMul', ['w', 'x'], ['y']), 'no constant'),
    (H.make_node('Sin', ['x'], ['y'], name='wave'), "Sin 'wave'.*Relu"),
    (H.make_node('Flatten', ['x'], ['y'], axis=0), 'axis 0'),
    (H.make_node('Reshape', ['x', 'imoved'], ['y']), 'batch axis'),
    (H.make_node('Transpose', ['x'], ['y'], perm=[1, 0]), 'batch axis'),
    (H.make_node('Add', ['x', 'wide'], ['y']), r'shape \(3, 4\)'),
    (H.make_node('Div', ['w', 'x'], ['y']), 'divided'),
    (H.make_node('Mul', ['x', 'x'], ['y']), 'these two'),
    (H.make_node('Relu', ['x'], ['z']), "the output 'y'"),
  ],
)
def test_what_is_not_read_is_named(node, named, tmp_path):
  constants = {'w': drawn(4, 4), 'imoved': [2, 2], 'wide': drawn(3, 4)}
  path = saved(tmp_path, [node], constants, [1, 4])
  with pytest.raises(ModelFileError, match=rf'model.onnx.*{named}'):
    read_onnx(path)


@pytest.mark.parametrize('shape', [[4], [2, 4], [1, 'n']])
def test_inputs_of_other_shapes_are_named(shape, tmp_path):
  node = H.make_node('Relu', ['x'], ['y'])
  with pytest.raises(ModelFileError, match="'x' has the shape"):
    read_onnx(saved(tmp_path, [node], {}, shape))


def test_other_types_broken_files_and_none(tmp_path):
  node = H.make_node('Relu', ['x'], ['y'])
  with pytest.raises(ModelFileError, match='float32'):
    read_onnx(saved(tmp_path, [node], {}, [1, 4], kind=11))
  (tmp_path / 'broken.onnx').write_bytes(b'garbage here')
  with pytest.raises(ModelFileError, match='no ONNX model'):
    read_onnx(str(tmp_path / 'broken.onnx'))
  with pytest.raises(FileNotFoundError):
    read_onnx(str(tmp_path / 'none.onnx'))


def test_weights_in_other_files_are_not_read(tmp_path):
  node = H.make_node('MatMul', ['x', 'w'], ['y'])
  path = saved(tmp_path, [node], {'w': drawn(64, 64)}, [1, 64])
  onnx.save(onnx.load(path), path, save_as_external_data=True, location='w.bin')
  with pytest.raises(ModelFileError, match="'w' lies in another file"):
    read_onnx(path)


def test_a_missing_reader_names_its_extra(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'onnx', None)
  with pytest.raises(ImportError, match=r'tfmot_paoding\[verify\]'):
    read_onnx(str(tmp_path / 'model.onnx'))
