"""Convolutional networks through the whole of TFMOT's world."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from examples.figures import prune_applications
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.numerics.activations import rectifier
from tfmot_paoding.ops import Elementwise, MatMul, WeightRef
from tfmot_paoding.tflite import run_tflite

_layers = keras.layers
_SHAPE = (8, 8, 3)
X = testing.samples(_SHAPE, 32).astype(np.float32)


def block(x, name, filters):
  """Depthwise separable with a gate and a residual, as on phones."""
  y = _layers.Conv2D(filters, 1, use_bias=False, name=f'{name}_expand')(x)
  y = _layers.BatchNormalization(name=f'{name}_norm_1')(y)
  y = _layers.PReLU(shared_axes=[1, 2], name=f'{name}_slope')(y)
  y = _layers.DepthwiseConv2D(
    3, padding='same', use_bias=False, name=f'{name}_depth'
  )(y)
  y = _layers.BatchNormalization(name=f'{name}_norm_2')(y)
  y = _layers.ReLU(6.0)(y)
  gate = _layers.GlobalAveragePooling2D(keepdims=True)(y)
  gate = _layers.Dense(filters, 'sigmoid', name=f'{name}_gate')(gate)
  y = _layers.Multiply()([y, gate])
  y = _layers.Conv2D(x.shape[-1], 1, name=f'{name}_project')(y)
  return _layers.Add()([x, y])


def network(names='ab'):
  inputs = keras.Input(_SHAPE)
  x = _layers.Conv2D(8, 3, 2, 'same', activation='relu', name='stem')(inputs)
  for name in names:
    x = block(x, name, {'a': 12, 'b': 16}[name])
  x = _layers.SeparableConv2D(10, 3, name='separable')(x)
  x = _layers.Flatten()(_layers.MaxPooling2D()(x))
  return testing.fill(keras.Model(inputs, _layers.Dense(4, name='end')(x)))


def plain_network():
  """Of layers that TFMOT's quantisation knows."""
  inputs = keras.Input(_SHAPE)
  x = _layers.Conv2D(8, 3, padding='same', name='one')(inputs)
  x = _layers.ReLU()(_layers.BatchNormalization(name='norm')(x))
  y = _layers.Conv2D(6, 3, padding='same', activation='relu', name='two')(x)
  y = _layers.Conv2D(8, 3, padding='same', name='three')(y)
  x = _layers.ReLU()(_layers.Add()([x, y]))
  x = _layers.GlobalAveragePooling2D()(x)
  return testing.fill(keras.Model(inputs, _layers.Dense(4, name='end')(x)))


def wrap(model, method='saliency'):
  return paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5, 0.25), method, (-1.0, 1.0)
  )


def finish(wrapped):
  paoding.run_schedule(wrapped, verbose=0)
  stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  return stripped, paoding.compact(stripped)


@pytest.mark.parametrize('method', paoding.methods.method_names())
def test_all_forms_agree_and_the_bound_holds(method):
  model = network('a')
  before = [weight.numpy() for weight in model.weights]
  wrapped = wrap(model, method)
  np.testing.assert_array_equal(wrapped(X), model(X))
  stripped, small = finish(wrapped)
  np.testing.assert_allclose(stripped(X), wrapped(X), rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(small(X), stripped(X), rtol=1e-4, atol=1e-4)
  widths = {
    layer.name: layer.filters
    for layer in small.layers
    if hasattr(layer, 'filters') and layer.filters
  }
  assert widths == {
    'stem': 4,
    'a_expand': 6,
    'a_project': 4,
    'separable': 5,
  }
  bound = paoding.deviation_bound(model, small, (-1.0, 1.0))
  moved = np.abs(small(X).numpy() - model(X).numpy()).max(0)
  assert np.all(moved <= bound + 1e-4)
  for old, weight in zip(before, model.weights, strict=True):
    np.testing.assert_array_equal(old, weight)


def test_every_weight_of_a_removed_unit_is_zero():
  wrapped = wrap(network())
  stripped, small = finish(wrapped)
  for name in ('stem', 'a_project', 'b_project'):  # three that sums tie
    assert small.get_layer(name).filters == 4
  assert small.get_layer('b_expand').filters == 8
  np.testing.assert_allclose(small(X), stripped(X), rtol=1e-4, atol=1e-4)
  params = read_params(build_graph(stripped))
  for layer, name, axis in (
    ('a_expand', 'kernel', 3),
    ('a_norm_1', 'gamma', 0),
    ('a_norm_1', 'beta', 0),
    ('a_slope', 'alpha', 2),
    ('a_depth', 'depthwise_kernel', 2),
    ('a_norm_2', 'gamma', 0),
    ('a_gate', 'kernel', 1),
    ('a_gate', 'bias', 0),
    ('a_project', 'kernel', 2),
  ):
    value = params[WeightRef((layer,), name)]
    others = tuple(k for k in range(value.ndim) if k != axis)
    gone = ~(value != 0).any(axis=others)
    assert gone.sum() == 6, (layer, name)


@pytest.mark.parametrize('jit', [False, True])
def test_masks_hold_in_fit(jit):
  wrapped = wrap(network('a'))
  wrapped.compile('adam', 'mse', jit_compile=jit)
  history = paoding.UpdatePruningStep()
  targets = np.random.default_rng(0).normal(size=(len(X), 4))
  wrapped.fit(
    X, targets, batch_size=8, epochs=2, verbose=0, callbacks=[history]
  )
  small = paoding.compact(strip_pruning(wrapped))
  assert small.get_layer('a_expand').filters == 6
  np.testing.assert_allclose(small(X), wrapped(X), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('file', ['model.h5', 'model.keras', 'saved_model'])
def test_wrapped_models_save_and_go_on(tmp_path, file):
  wrapped = wrap(network('a'))
  wrapped.save(tmp_path / file)
  loaded = paoding.load_model(tmp_path / file)
  np.testing.assert_allclose(loaded(X), wrapped(X), rtol=1e-5, atol=1e-6)
  _, one = finish(wrapped)
  _, two = finish(loaded)
  np.testing.assert_allclose(two(X), one(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('quantization', [None, 'dynamic', 'float16'])
def test_compact_networks_run_in_the_interpreter(quantization):
  model = network('a')
  _, small = finish(wrap(model))
  data = paoding.convert_to_tflite(small, quantization, input_range=(-1.0, 1.0))
  assert len(data) < len(paoding.convert_to_tflite(model, quantization))
  if quantization is None:
    (found,) = run_tflite(data, {small.input_names[0]: X[:1]}, outputs=['end'])
    np.testing.assert_allclose(found, small(X[:1]), rtol=1e-4, atol=1e-4)


def test_open_sizes_are_pruned_bounded_and_converted():
  inputs = keras.Input((None, None, 3))
  x = _layers.Conv2D(8, 3, activation='relu', name='one')(inputs)
  x = _layers.DepthwiseConv2D(3, 2, 'same', name='depth')(x)
  x = _layers.Conv2D(6, 3, padding='same', activation='relu', name='two')(x)
  each = _layers.Conv2D(2, 1, name='each')(x)
  x = _layers.Dense(3)(_layers.GlobalMaxPooling2D()(x))
  model = testing.fill(keras.Model(inputs, [each, x]))
  _, small = finish(wrap(model, 'impact'))
  assert small.get_layer('two').filters == 3
  bounds = paoding.deviation_bound(model, small, (-1.0, 1.0))
  for sides in ((9, 12), (33, 8)):
    x = testing.samples((*sides, 3), 4).astype(np.float32)
    for old, new, bound in zip(model(x), small(x), bounds, strict=True):
      assert np.all(np.abs(old - new) <= bound + 1e-4)
  assert (
    len(paoding.convert_to_tflite(small, None, input_range=(-1.0, 1.0))) > 0
  )


@pytest.mark.parametrize('form', ['stripped', 'compact'])
def test_quantization_aware_training_follows(form):
  stripped, small = finish(wrap(plain_network()))
  trained = tfmot.quantization.keras.quantize_model(
    stripped if form == 'stripped' else small
  )
  trained.compile('sgd', 'mse')
  targets = np.random.default_rng(0).normal(size=(len(X), 4))
  trained.fit(X, targets, epochs=1, verbose=0)
  if form == 'compact':
    return
  # Dead on both sides: nothing brings them back.
  for weight, old in zip(
    (w for w in trained.trainable_weights if 'kernel' in w.name),
    (w for w in stripped.trainable_weights if 'kernel' in w.name),
    strict=True,
  ):
    axes = tuple(range(len(old.shape) - 1))
    gone = ~np.any(old.numpy() != 0, axis=axes)
    assert not weight.numpy()[..., gone].any()


def test_mixed_precision():
  keras.mixed_precision.set_global_policy('mixed_float16')
  try:
    model = plain_network()
    stripped, small = finish(wrap(model))
  finally:
    keras.mixed_precision.set_global_policy('float32')
  np.testing.assert_allclose(small(X), stripped(X), rtol=0.02, atol=0.02)


class Projection(_layers.Layer, tfmot.sparsity.keras.PrunableLayer):
  """Somebody's own layer, as TFMOT wants it."""

  def __init__(self, width, **kwargs):
    super().__init__(**kwargs)
    self.width = width

  def build(self, shape):
    self.matrix = self.add_weight('matrix', (shape[-1], self.width))
    self.shift = self.add_weight('shift', (self.width,))

  def call(self, x):
    return keras.backend.maximum(
      keras.backend.dot(x, self.matrix) + self.shift, 0.0
    )

  def get_prunable_weights(self):
    return [self.matrix]

  def get_config(self):
    return {**super().get_config(), 'width': self.width}


def test_a_layer_of_ones_own_joins_by_a_handler():
  def build():
    inputs = keras.Input(_SHAPE)
    x = _layers.Conv2D(6, 3, name='conv')(inputs)
    x = Projection(8, name='own')(x)
    x = _layers.GlobalMaxPooling2D()(x)
    return testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))

  with pytest.raises(ValueError, match="Projection 'own' is of a kind that"):
    paoding.prune(build(), 0.5, verbose=0)

  @paoding.register_handler(Projection)
  class ProjectionHandler(paoding.layers.LayerHandler):
    def lower(self, layer, path, in_shapes, out_shape):
      return [
        MatMul(WeightRef(path, 'matrix'), WeightRef(path, 'shift')),
        Elementwise(rectifier()),
      ]

    def resize(self, layer, config, out_shape):
      return {**config, 'width': out_shape[-1]}

  model = build()
  stripped, small = finish(wrap(model))
  assert small.get_layer('own').width == 4
  assert small.get_layer('conv').filters == 3
  np.testing.assert_allclose(small(X), stripped(X), rtol=1e-4, atol=1e-5)
  moved = np.abs(small(X).numpy() - model(X).numpy()).max(0)
  assert np.all(moved <= paoding.deviation_bound(model, small, (-1.0, 1.0)))


def test_an_application():
  model = prune_applications.build(
    'MobileNetV3Small', input_shape=(32, 32, 3), classes=5
  )
  stripped, small = finish(wrap(model))
  x = testing.samples((32, 32, 3), 2).astype(np.float32)
  one, two = stripped(x).numpy(), small(x).numpy()
  gap = np.abs(one - two).max() / np.abs(one - one.mean()).max()
  assert gap < 1e-4
  assert small.count_params() < 0.4 * model.count_params()


@pytest.mark.shared
def test_accuracy_on_a_real_network(shared):
  model = paoding.load_model(shared / 'models' / 'mnist_cnn.h5')
  with np.load(shared / 'data' / 'mnist.npz') as data:
    x, y = data['x_test'][:2000, ..., None] / 255.0, data['y_test'][:2000]
  small = paoding.prune(model, 0.25, method='saliency', verbose=0)
  answers = testing.answers(small, x.astype(np.float32)).argmax(-1)
  assert (answers == y).mean() > 0.94
