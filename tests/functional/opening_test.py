"""Lambda layers: opened where what they do is known, else left as they are."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.functional.opening import opened

L = keras.layers
RANGE = (0.0, 1.0)


def data(*shape):
  return np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32)


def network(function, **settings):
  """Units on both sides of a Lambda layer."""
  inputs = keras.Input((6, 6, 2))
  x = L.Conv2D(8, 3, name='before')(inputs)
  x = L.Lambda(function, name='function', **settings)(x)
  x = L.Conv2D(4, 1, name='after')(x)
  x = L.GlobalAveragePooling2D()(x)
  return testing.fill(keras.Model(inputs, L.Dense(3, name='out')(x)))


FUNCTIONS = {
  'an activation': lambda t: t * tf.nn.relu6(t + 3.0) / 6.0,
  'half of the channels': lambda t: t[..., 2:6],
  'a move': lambda t: tf.nn.depth_to_space(t, 2),
  'a number told': lambda t, by: t * by,
}


@pytest.mark.parametrize('name', FUNCTIONS)
def test_units_in_front_of_a_lambda_leave(name, tmp_path):
  settings = {'arguments': {'by': 2.0}} if 'told' in name else {}
  model, x = network(FUNCTIONS[name], **settings), data(3, 6, 6, 2)
  before = model(x).numpy()
  wrapped = paoding.prune_low_saliency(model, method='l1', input_range=RANGE)
  history = paoding.run_schedule(wrapped, verbose=0)
  stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  small = paoding.compact(stripped)
  assert set(history.left_alone) == {'out'}
  assert small.get_layer('before').filters < 8
  np.testing.assert_allclose(small(x), stripped(x), atol=1e-5)
  np.testing.assert_array_equal(model(x), before)  # as it was
  small.save(path := str(tmp_path / 'small.keras'))
  np.testing.assert_allclose(paoding.load_model(path)(x), small(x), atol=1e-6)


def test_names_and_answers_are_as_they_were():
  model, x = network(tf.nn.relu), data(2, 6, 6, 2)
  found = opened(model)
  assert [a.name for a in found.layers] == [a.name for a in model.layers]
  assert found.output_names == model.output_names
  np.testing.assert_allclose(found(x), model(x), atol=1e-6)


def centred(t):
  return tf.linalg.matmul(tf.linalg.pinv(t), t)


VARIABLE = tf.Variable(2.0)
KEPT = {
  'a function that nobody knows': (centred, {}),
  'a mask of its own': (tf.nn.relu, {'mask': lambda x, mask: mask}),
  'a cast': (tf.nn.relu, {'dtype': 'float16'}),
  'a variable': (lambda t: t * VARIABLE, {}),
  'a look into a tensor': (lambda t: t if t.op is None else -t, {}),
  'nothing': (lambda t: t, {}),
}


@pytest.mark.parametrize('name', KEPT)
def test_others_stay_as_they_are(name):
  function, settings = KEPT[name]
  inputs = keras.Input((6,))
  layer = L.Lambda(function, output_shape=(4,), name='function', **settings)
  outputs = layer(L.Dense(4)(inputs))
  model = keras.Model(inputs, outputs)
  found = opened(model)
  assert type(found.get_layer('function')) is L.Lambda


def test_a_model_that_draws_is_opened_too():
  class Noise(L.Layer):
    def call(self, x):
      return x + tf.random.normal(tf.shape(x))

  inputs = keras.Input((6,))
  x = L.Lambda(tf.nn.relu)(L.Dense(4)(inputs))
  model = keras.Model(inputs, Noise(name='noise')(x))
  found = opened(model)
  assert type(found.get_layer('noise')) is Noise
  assert not any(type(layer) is L.Lambda for layer in found._flatten_layers())


def test_a_layer_called_in_two_ways_is_opened_for_each():
  class Mixed(L.Layer):
    def __init__(self, **kwargs):
      super().__init__(**kwargs)
      self.wide, self.narrow = L.Dense(8, 'relu', name='wide'), L.Dense(4)

    def call(self, x, other=None, factor=1.0):
      y = self.narrow(self.wide(x)) * factor
      return y if other is None else y + other

  first, second = keras.Input((4,)), keras.Input((4,))
  layer = Mixed(name='mixed')
  x = layer(layer(layer(first), other=second), factor=2.0)
  model = keras.Model([first, second], L.Dense(2)(x))
  small = paoding.prune(model, 0.5, method='l1', verbose=0)
  found, x = opened(model), [data(3, 4), data(3, 4) - 1]
  np.testing.assert_allclose(found(x), model(x), rtol=1e-5)
  assert len(found.weights) == len(model.weights)
  assert small.count_params() < model.count_params()


def test_bounds_and_lessons_know_what_was_opened():
  model = network(FUNCTIONS['half of the channels'])
  small = paoding.prune(model, 0.5, method='l1', input_range=RANGE, verbose=0)
  assert np.all(np.isfinite(paoding.deviation_bound(model, small, RANGE)))
  settings = paoding.training.DistillSettings(steps=2)
  taught = paoding.training.distill(
    model, small, input_range=RANGE, settings=settings, verbose=0
  )
  assert taught.count_params() == small.count_params()


def test_a_run_told_of_the_original_opens_it_too():
  model = network(FUNCTIONS['an activation'])
  wrapped = paoding.prune_low_saliency(model, method='l1', input_range=RANGE)
  paoding.run_schedule(wrapped, original=model, verbose=0)
  stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  assert paoding.compact(stripped).get_layer('before').filters == 4


def gated(z):
  return z * tf.sigmoid(1.5 * z)


ACTIVATIONS = {
  'a lambda': lambda z: tf.nn.leaky_relu(z, alpha=0.1),
  'a function': gated,
}


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_units_of_an_activation_of_ones_own_leave(name):
  function = ACTIVATIONS[name]
  model = keras.Sequential(
    [
      keras.Input((6,)),
      L.Dense(8, activation=function, name='fused'),
      L.Dense(8, name='plain'),
      L.Activation(function, name='alone'),
      L.Dense(3, activation=function, name='out'),
    ]
  )
  x = data(4, 6)
  testing.fill(model)
  wrapped = paoding.prune_low_saliency(model, method='l1', input_range=RANGE)
  paoding.run_schedule(wrapped, verbose=0)
  stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  small = paoding.compact(stripped)
  assert [small.get_layer(x).units for x in ('fused', 'plain')] == [4, 4]
  assert small.output_names == model.output_names
  np.testing.assert_allclose(small(x), stripped(x), atol=1e-5)
  np.testing.assert_allclose(opened(model)(x), model(x), atol=1e-6)


def test_activations_that_nobody_knows_stay_with_their_layers():
  function = lambda z: tf.math.atan(z)  # noqa: E731
  inputs = keras.Input((6,))
  x = L.Dense(8, activation=function, name='fused')(inputs)
  x = L.Dense(8, 'relu', name='plain')(x)
  model = testing.fill(keras.Model(inputs, L.Dense(2)(x)))
  small = paoding.prune(model, 0.5, method='l1', input_range=RANGE, verbose=0)
  assert small.get_layer('fused').activation is function
  assert [small.get_layer(x).units for x in ('fused', 'plain')] == [8, 4]


def encoder(*last):
  """Units before and behind what merges, normalizes, drops and pools."""
  inputs = keras.Input((6, 6, 1))
  x = L.Conv2D(4, 3, padding='same', name='conv')(inputs)
  x = L.BatchNormalization()(x)
  y = L.Conv2D(4, 3, padding='same', activation='relu')(x)
  x = L.Concatenate(axis=3)([L.Add()([x, y]), y])
  x = L.Dropout(0.5)(L.MaxPooling2D()(x))
  for layer in last:
    x = layer(x)
  return keras.Model(inputs, L.Dense(6, 'relu', name='dense')(x), name='frame')


def film(model, *others):
  inputs = keras.Input((3, 6, 6, 1))
  x = L.TimeDistributed(model, name='frames')(inputs)
  x = L.Flatten()(x)
  if others:
    x = L.concatenate([x, *(other(inputs) for other in others)])
  return testing.fill(keras.Model(inputs, L.Dense(2)(x)))


@pytest.mark.parametrize(
  'last',
  [
    lambda: [L.Flatten()],
    lambda: [L.GlobalAveragePooling2D()],
    lambda: [L.GlobalMaxPooling2D(keepdims=True), L.Reshape((8,))],
    lambda: [keras.Sequential([L.Input((3, 3, 8)), L.Flatten()])],
  ],
)
def test_units_of_a_model_at_each_step_leave(last):
  model = film(encoder(*last()))
  x = data(4, 3, 6, 6, 1)
  wrapped = paoding.prune_low_saliency(model, method='l1', input_range=RANGE)
  history = paoding.run_schedule(wrapped, verbose=0)
  assert set(history.left_alone) == {model.layers[-1].name}
  assert paoding.report.count_macs(model) > 3 * 36 * 9 * 4
  stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  small = paoding.compact(stripped)
  frames = small.get_layer('frames')
  assert frames.get_layer('conv').layer.filters == 2
  assert frames.get_layer('dense').layer.units == 3
  np.testing.assert_allclose(small(x), stripped(x), atol=1e-5)
  np.testing.assert_allclose(opened(model)(x), model(x), atol=1e-6)


class TwoLayers(L.Layer):
  """Somebody's own, made of others."""

  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.first = L.Dense(8, 'relu', name='first')
    self.second = L.Dense(6, name='second')

  def call(self, x):
    return self.second(self.first(x))


def test_units_of_a_layer_of_others_at_each_step_leave():
  inputs = keras.Input((3, 5))
  x = L.TimeDistributed(TwoLayers(), name='steps')(inputs)
  model = testing.fill(keras.Model(inputs, L.Dense(2)(L.Flatten()(x))))
  x = data(4, 3, 5)
  np.testing.assert_allclose(opened(model)(x), model(x), atol=1e-6)
  small = paoding.prune(model, 0.5, method='l1', input_range=RANGE, verbose=0)
  steps = small.get_layer('steps')
  assert steps.get_layer('first').layer.units == 4
  assert steps.get_layer('second').layer.units == 3


def test_a_model_at_each_step_that_is_used_elsewhere_too_stays_one():
  frame = encoder(L.Flatten())
  model = film(frame, lambda x: frame(x[:, 0]))
  assert opened(model) is model
  again = L.TimeDistributed(frame)
  model = film(frame, lambda x: again(x)[:, 0])
  assert opened(model) is model


def test_a_model_at_each_step_with_layers_not_known_there_is_told():
  inputs = keras.Input((6, 6, 1))
  x = L.Flatten()(tf.nn.relu(L.Conv2D(4, 3)(inputs)))
  model = film(keras.Model(inputs, x))
  assert opened(model) is model
  with pytest.raises(ValueError, match="'frames' holds a model with layers"):
    paoding.prune(model, 0.5, method='l1', input_range=RANGE)


class Steps(L.Layer):
  """An embedding of what stands where, as many places as there are steps."""

  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.tokens = L.Embedding(9, 8, name='tokens')
    self.places = L.Embedding(6, 8, name='places')

  def call(self, x):
    places = tf.range(start=0, limit=tf.shape(x)[-1], delta=1)
    return self.tokens(x) + self.places(places)


class Positions(L.Layer):
  """Rows of a table of positions, as many as there are steps."""

  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.wide = L.Dense(12, 'relu', name='wide')
    self.narrow = L.Dense(8, name='narrow')
    self.table = tf.random.stateless_normal((20, 8), (1, 2))

  def call(self, x):
    length = tf.shape(x)[1]
    x = self.narrow(self.wide(x)) * tf.sqrt(tf.cast(8, tf.float32))
    return x + self.table[tf.newaxis, :length, :]


class Flattened(L.Layer):
  """Moves without weights, by sizes that it asks for."""

  def call(self, x):
    sizes = tf.shape(x)
    return tf.reshape(x, (sizes[0], sizes[1] * sizes[2], sizes[3]))


class Folded(L.Layer):
  """Moves there and back."""

  def call(self, x):
    shape = tf.shape(x)
    return tf.reshape(tf.nn.relu(tf.reshape(x, (shape[0], -1))), shape)


class Looking(L.Layer):
  """Made of layers, but asks what stands in a tensor."""

  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.dense = L.Dense(6)

  def call(self, x):
    y = self.dense(x)
    if tf.reduce_sum(x) < -1e9:
      y = -y
    return y


def picture(own):
  inputs = keras.Input((6, 6, 2))
  x = own(L.Conv2D(8, 3, name='before')(inputs))
  x = L.Dense(4, name='after')(L.Flatten()(x))
  return testing.fill(keras.Model(inputs, L.Dense(3, name='out')(x)))


def test_places_that_are_counted_are_embedded_as_before():
  inputs = keras.Input((6,), dtype='int32')
  x = L.Dense(4, name='after')(L.Flatten()(Steps(name='own')(inputs)))
  model = testing.fill(keras.Model(inputs, L.Dense(3, name='out')(x)))
  found, x = opened(model), np.arange(12).reshape(2, 6) % 9
  assert compat.is_graph_model(found.get_layer('own'))
  assert len(found.weights) == len(model.weights)
  np.testing.assert_allclose(found(x), model(x), atol=1e-6)


@pytest.mark.parametrize('own', [Positions, Flattened, Folded])
def test_layers_of_ones_own_are_opened_and_sizes_are_numbers(own, tmp_path):
  inputs = keras.Input((6, 2) if own is Positions else (6, 6, 2))
  layer = L.Dense if own is Positions else L.Conv2D
  sizes = {} if own is Positions else {'kernel_size': 3}
  x = own(name='own')(layer(8, name='before', **sizes)(inputs))
  x = L.Dense(4, name='after')(L.Flatten()(x))
  model = testing.fill(keras.Model(inputs, L.Dense(3, name='out')(x)))
  x = data(3, *model.input_shape[1:])
  before = model(x).numpy()
  small, history = pruned(model)
  # What stands at a place in a table is no weight, which could be masked.
  kept = {'out', *(['own/narrow'] if own is Positions else [])}
  assert set(history.left_alone) == kept
  assert small.get_layer('before').get_weights()[0].shape[-1] == 4
  assert compat.is_graph_model(small.get_layer('own'))
  np.testing.assert_array_equal(model(x), before)  # as it was
  small.save(path := str(tmp_path / 'small.keras'))
  np.testing.assert_allclose(paoding.load_model(path)(x), small(x), atol=1e-6)
  if own is Positions:
    assert small.get_layer('own').get_layer('wide').units == 6


def test_layers_of_ones_own_that_cannot_be_traced_stay():
  model = picture(Looking(name='own'))
  small, history = pruned(model)
  assert 'could not be traced' in history.left_alone['own']
  assert type(small.get_layer('own')) is Looking
  assert small.get_layer('after').units == 2


def pruned(model):
  wrapped = paoding.prune_low_saliency(model, method='l1', input_range=RANGE)
  history = paoding.run_schedule(wrapped, verbose=0)
  stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  small = paoding.compact(stripped)
  x = data(3, *model.input_shape[1:])
  np.testing.assert_allclose(wrapped(x), stripped(x), atol=1e-5)
  np.testing.assert_allclose(small(x), stripped(x), atol=1e-5)
  return small, history


class Taught(L.Layer):
  """A block that a handler knows."""

  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.dense = L.Dense(5)

  def call(self, x):
    return self.dense(x)


def test_a_layer_that_somebody_taught_is_not_opened():
  class Handler(paoding.layers.LayerHandler):
    def lower(self, layer, path, in_shapes, out_shape):
      return paoding.layers.opaque(layer, 'is as it was taught')

  paoding.layers.register_handler(Taught)(Handler)
  assert (
    opened(picture(Taught(name='own'))).get_layer('own').__class__ is Taught
  )


class Placed(L.Layer):
  """An embedding of what stands where, whose places are numbers."""

  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.dense = L.Dense(8)
    self.places = L.Embedding(36, 8)

  def call(self, x):
    return self.dense(x) + self.places(tf.range(start=0, limit=36, delta=1))


class Cut(L.Layer):
  """Patches, as transformers for images cut them."""

  def call(self, x):
    batch, sizes = tf.shape(x)[0], [1, 1, 1, 1]
    x = tf.image.extract_patches(x, sizes, sizes, sizes, 'VALID')
    return tf.reshape(x, [batch, -1, x.shape[-1]])


def test_weights_that_only_numbers_meet_stay_weights():
  inputs = keras.Input((6, 6, 2))
  x = Cut(name='cut')(L.Conv2D(6, 1, name='before')(inputs))
  x = L.Flatten()(Placed(name='own')(x))
  x = L.Dense(4, name='after')(x)
  model = testing.fill(keras.Model(inputs, L.Dense(3, name='out')(x)))
  small, history = pruned(model)
  assert set(history.left_alone) == {'before', 'own', 'out'}
  assert compat.is_graph_model(small.get_layer('cut'))
  assert type(small.get_layer('own')) is Placed


def test_a_layer_of_dicts_is_opened():
  class Fuse(L.Layer):
    def __init__(self, **kwargs):
      super().__init__(**kwargs)
      self.first, self.second = L.Dense(6, 'relu'), L.Dense(8, 'relu')

    def call(self, inputs):
      return {'b': self.first(inputs['y']), 'a': self.second(inputs['x'])}

  one, other = keras.Input((5,), name='y'), keras.Input((4,), name='x')
  fused = Fuse(name='fuse')({'x': L.Dense(6, 'relu')(other), 'y': one})
  outputs = {'p': L.Dense(2)(fused['a']), 'q': L.Dense(3)(fused['b'])}
  model = keras.Model({'y': one, 'x': other}, outputs)
  x = {'x': data(3, 4), 'y': data(3, 5)}
  small = paoding.prune(model, 0.5, method='l1', verbose=0)
  for found in (opened(model)(x), small(x)):
    assert {key: y.shape for key, y in found.items()} == {
      'p': (3, 2),
      'q': (3, 3),
    }
  np.testing.assert_allclose(opened(model)(x)['q'], model(x)['q'], rtol=1e-5)
  assert small.count_params() < 0.6 * model.count_params()


def test_a_model_inside_that_gives_a_dict_is_opened():
  inputs = keras.Input((5,))
  x = L.Dense(8, 'relu', name='hidden')(inputs)
  inner = keras.Model(
    {'in': inputs}, {'mean': L.Dense(4)(x), 'all': x}, name='inner'
  )
  inputs = keras.Input((5,))
  made = inner({'in': inputs})
  x = L.Concatenate()([made['mean'], made['all']])
  model = keras.Model(inputs, L.Dense(2)(x))
  x = data(3, 5)
  small = paoding.prune(model, 0.5, method='l1', verbose=0)
  assert small.get_layer('inner').get_layer('hidden').units == 4
  np.testing.assert_allclose(opened(model)(x), model(x), rtol=1e-5)


@pytest.mark.parametrize('generation', ['tf_keras', 'keras'])
def test_a_layer_that_training_normalizes_is_opened(generation, tmp_path):
  kit = pytest.importorskip(generation)
  spectral, layers = kit.layers.SpectralNormalization, kit.layers
  inputs = kit.Input((6, 6, 2))
  x = spectral(layers.Conv2D(8, 3), name='normed')(inputs)
  x = layers.Flatten()(layers.Conv2D(8, 3, activation='relu')(x))
  x = spectral(layers.Dense(6, 'relu', bias_initializer='ones'))(x)
  model = kit.Model(inputs, layers.Dense(3)(x))
  x = data(5, 6, 6, 2)
  model(x, training=True)
  with pytest.warns(UserWarning, match='are left out.*vector_u'):
    wrapped = paoding.prune_low_saliency(
      model, paoding.ProgressiveSparsity(0.5), method='l1', input_range=RANGE
    )
  np.testing.assert_allclose(wrapped(x), model(x), atol=1e-5)
  left = paoding.run_schedule(wrapped, verbose=0).left_alone
  assert set(left.values()) == {'its units are outputs of the model'}
  assert compat.strip_pruning(wrapped).get_layer('normed').filters == 8
  if generation == 'tf_keras':
    there = paoding.to_keras3(model)
    np.testing.assert_allclose(there(x), model(x), atol=1e-5)
