"""Subclassed tf_keras models: traced into functional ones, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tfmot_paoding.compat import keras
from tfmot_paoding.functional import answers

L = keras.layers


def randomized(model, seed=0):
  rng = np.random.default_rng(seed)
  for weight in model.weights:
    value = rng.normal(size=weight.shape) * 0.5
    weight.assign(np.abs(value) + 0.5 if 'variance' in weight.name else value)
  return model


def built(model, *inputs, **named):
  model(*inputs, **named)
  return randomized(model)


def data(*shape, seed=1):
  return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


class Mlp(keras.Model):
  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.attribute = L.Dense(12, 'relu', name='hidden')
    self.norm = L.BatchNormalization(name='norm')
    self.drop = L.Dropout(0.5)
    self.out = L.Dense(3, name='out')

  def call(self, inputs, training=None):
    x = self.norm(self.attribute(inputs), training=training)
    return self.out(tf.nn.relu(self.drop(x, training=training)))


class Block(L.Layer):
  """A residual block, of which two have layers of the same names."""

  def __init__(self, **kwargs):
    super().__init__(**kwargs)
    self.wide = L.Conv2D(6, 3, padding='same', activation='relu', name='wide')
    self.narrow = L.Conv2D(4, 1, name='narrow')
    self.norm = L.BatchNormalization(name='norm')

  def call(self, x, training=False):
    y = self.norm(self.narrow(self.wide(x)), training=training)
    return tf.nn.relu(x + y)


class ResNet(keras.Model):
  def __init__(self):
    super().__init__(name='resnet')
    self.stem = L.Conv2D(4, 3, name='stem')
    self.blocks = [Block(name=f'block{k}') for k in range(2)]
    self.head = keras.Sequential([L.Flatten(), L.Dense(3)], name='head')

  def call(self, x, training=False):
    x = self.stem(x)
    for block in self.blocks:
      x = block(x, training=training)
    return self.head(x)


def check(model, *inputs, **named):
  """Traces a model; the answers are the same, and nothing of it changed."""
  before = [w.numpy() for w in model.weights]
  nodes = {x.name: len(x._inbound_nodes) for x in model._flatten_layers()}
  traced = paoding.from_subclassed(model)
  for old, weight in zip(before, model.weights, strict=True):
    np.testing.assert_array_equal(old, weight)
  assert nodes == {
    x.name: len(x._inbound_nodes) for x in model._flatten_layers()
  }
  held = {id(w) for w in model.weights}
  assert not any(id(w) in held for w in traced.weights)
  flat = tf.nest.flatten([inputs, named])
  structure = inputs[0] if len(inputs) == 1 and not named else flat
  want = tf.nest.flatten(model(*inputs, **named))
  got = tf.nest.flatten(traced(structure, training=False))
  for x, y in zip(want, got, strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
  return traced


def test_layers_and_functions():
  x = data(4, 8)
  model = built(Mlp(name='mine'), x)
  traced = check(model, x)
  assert traced.name == 'mine'
  assert {'hidden', 'norm', 'out'} <= {layer.name for layer in traced.layers}
  small = paoding.prune(model, 0.5, verbose=0, distillation=False)
  assert small.get_layer('hidden').units == 6


def test_training_is_as_the_layers_are():
  x = data(64, 8)
  model = built(Mlp(), x)
  model.drop.rate = 0.0
  traced = paoding.from_subclassed(model)
  np.testing.assert_allclose(
    traced(x, training=True), model(x, training=True), rtol=1e-4, atol=1e-5
  )
  moved = traced.get_layer('norm').moving_mean
  np.testing.assert_allclose(moved, model.norm.moving_mean, rtol=1e-4)


def test_blocks_are_opened():
  x = data(2, 7, 7, 2)
  model = built(ResNet(), x)
  traced = check(model, x)
  assert traced.get_layer('block1').get_layer('wide').filters == 6
  small = paoding.prune(model, 0.5, method='saliency', verbose=0)
  for name in ('block0', 'block1'):
    assert small.get_layer(name).get_layer('wide').filters == 3
  schedule = paoding.ProgressiveSparsity(0.5)
  wrapped = paoding.prune_low_saliency(model, schedule, 'saliency')
  paoding.run_schedule(wrapped, verbose=0)
  stripped = paoding.compat.strip_pruning(wrapped)
  np.testing.assert_allclose(stripped(x), small(x), rtol=1e-4, atol=1e-5)


class Two(keras.Model):
  def __init__(self):
    super().__init__()
    self.a, self.b = L.Dense(6, 'relu'), L.Dense(6, 'relu')
    self.out = L.Dense(2)

  def call(self, left, right=None):
    return {'sum': self.out(self.a(left) + self.b(right)), 'left': self.a(left)}


class Listed(Two):
  def call(self, inputs):
    left, right = inputs
    return super().call(left, right)


class Named(Two):
  def call(self, inputs):
    return super().call(inputs['left'], inputs['right'])


def test_blocks_in_a_functional_model_are_opened():
  inputs = keras.Input((6, 6, 4))
  shared = Block(name='shared')
  x = shared(shared(Block(name='block')(inputs)))
  model = keras.Model(inputs, L.Dense(3)(L.Flatten()(x)))
  randomized(model)
  opened = paoding.from_subclassed(model)
  x = data(3, 6, 6, 4)
  np.testing.assert_allclose(opened(x), model(x), rtol=1e-5, atol=1e-5)
  small = paoding.prune(model, 0.5, 'l1', input_range=(0, 1), verbose=0)
  assert small.get_layer('block').get_layer('wide').filters == 3
  assert small.get_layer('shared').get_layer('wide').filters == 3
  assert len(model.get_layer('shared').inbound_nodes) == 2


def test_several_inputs():
  left, right = data(3, 4), data(3, 5)
  check(built(Two(), left, right=right), left, right=right)
  check(built(Two(), left, right), left, right)
  check(built(Listed(), [left, right]), [left, right])
  inputs = {'left': left, 'right': right}
  check(built(Named(), inputs), inputs)


def test_shapes_from_build_or_from_an_argument():
  model = Mlp()
  model.build((None, 8))
  x = data(4, 8)
  check(randomized(model), x)
  with pytest.raises(ValueError, match='input_shape='):
    paoding.from_subclassed(Mlp(name='late'))
  traced = paoding.from_subclassed(Mlp(), input_shape=(8,))
  assert traced.input_shape == (None, 8)
  small = paoding.prune(Mlp(), 0.5, method='l1', verbose=0, input_shape=(8,))
  assert small.get_layer('hidden').units == 6
  wrapped = paoding.prune_low_saliency(
    Mlp(), paoding.ProgressiveSparsity(0.5), input_shape=(8,)
  )
  assert wrapped.input_shape == (None, 8)
  with pytest.raises(ValueError, match='input_shape'):
    paoding.prune(small, 0.5, method='l1', verbose=0, input_shape=(9,))


class Tokens(keras.Model):
  def __init__(self):
    super().__init__()
    self.table = L.Embedding(20, 6, mask_zero=True)
    self.rnn = L.LSTM(5)
    self.out = L.Dense(2)

  def call(self, ids):
    return self.out(self.rnn(self.table(ids)))


def test_masks_and_whole_numbers():
  ids = np.array([[1, 2, 0], [3, 0, 0]], np.int32)
  traced = check(built(Tokens(), ids), ids)
  assert traced.inputs[0].dtype == tf.int32


def branch_on_values(self, x):
  y = self.out(x)
  if tf.reduce_sum(x) > 0:
    return y
  return 2 * y


def numpy_of_values(self, x):
  return self.out(x) * float(tf.reduce_max(x).numpy())


def loop_over_samples(self, x):
  return tf.stack([self.out(row[None]) for row in x])


def branch_on_training(self, x, training=False):
  y = self.out(x)
  if training:
    return y
  return tf.nn.softmax(y)


def random_numbers(self, x):
  return self.out(x) + np.random.default_rng().normal(size=3)


@pytest.mark.parametrize(
  ('call', 'statement'),
  [
    (branch_on_values, 'if tf.reduce_sum'),
    (numpy_of_values, 'return self.out'),
    (loop_over_samples, 'for row in x'),
    (branch_on_training, 'if training:'),
    (random_numbers, 'draws numbers'),
  ],
)
def test_what_cannot_be_traced_is_shown(call, statement):
  def make(self):
    keras.Model.__init__(self, name='odd')
    self.out = L.Dense(3)

  model = type('Odd', (keras.Model,), {'__init__': make, 'call': call})()
  model = built(model, data(2, 4))
  for refuse in (
    paoding.from_subclassed,
    lambda m: paoding.prune(m, 0.5, verbose=0),
    paoding.report.count_macs,
  ):
    with pytest.raises(ValueError, match=statement) as caught:
      refuse(model)
    assert "'odd' is subclassed" in str(caught.value)


class OnlyInTraining(keras.Model):
  def __init__(self):
    super().__init__()
    self.hidden, self.drop = L.Dense(8, 'relu'), L.Dropout(0.5)
    self.out = L.Dense(3)

  def call(self, x, training=False):
    x = self.hidden(x)
    if training:
      x = self.drop(x, training=training)
    return self.out(x)


def test_layers_of_training_alone_are_kept():
  x = data(4, 6)
  traced = check(built(OnlyInTraining(), x), x)
  dropped = [layer for layer in traced.layers if isinstance(layer, L.Dropout)]
  assert len(dropped) == 1
  assert not np.allclose(traced(x, training=True), traced(x, training=False))


class Steps(keras.Model):
  """Functional inside; only its training is its own."""

  def train_step(self, batch):
    return super().train_step(batch)


class Doubled(keras.Sequential):
  def call(self, x, training=None, mask=None):
    return 2.0 * super().call(x, training, mask)


def test_own_training_steps_and_own_calls_of_known_models():
  i = keras.Input((4,))
  model = Steps(i, L.Dense(2)(L.Dense(8, 'relu', name='h')(i)))
  assert (
    paoding.prune(model, 0.5, verbose=0, distillation=False)
    .get_layer('h')
    .units
    == 4
  )
  x = data(3, 4)
  model = built(Doubled([L.Input((4,)), L.Dense(6, 'relu'), L.Dense(2)]), x)
  check(model, x)
  small = paoding.prune(model, 0.0, verbose=0, distillation=False)
  np.testing.assert_allclose(small(x), model(x), rtol=1e-4, atol=1e-5)


class Scale(L.Layer):
  """With a weight of its own."""

  def __init__(self, size, note=None):
    super().__init__(name='scale')
    self.note = note
    self.scale = self.add_weight(shape=(size,), name='own')

  def call(self, x):
    return x * self.scale


class Loose(keras.Model):
  def __init__(self, layer=None):
    super().__init__()
    self.layer = layer
    self.loose = self.add_weight(shape=(4,), name='loose')
    self.out = L.Dense(2)

  def call(self, x):
    return self.out(x * self.loose if self.layer is None else self.layer(x))


def test_weights_outside_of_layers_are_named():
  x = data(3, 4)
  with pytest.raises(ValueError, match="weight 'loose:0' is used"):
    paoding.from_subclassed(built(Loose(), x))
  with pytest.raises(ValueError, match="(?s)'scale' .*get_config"):
    paoding.from_subclassed(built(Loose(Scale(4, object())), x))
  model = built(Loose(Scale(4)), x)
  with pytest.warns(UserWarning, match="left out: .'loose:0'"):
    traced = paoding.from_subclassed(model)
  np.testing.assert_allclose(traced(x), model(x), rtol=1e-5)


def test_what_is_not_reached_is_said():
  x = data(3, 4)
  model = built(Loose(L.Activation('relu')), x)
  with pytest.warns(UserWarning, match="left out: .'loose:0'"):
    paoding.from_subclassed(model)


class Opaque(L.Layer):
  """A decision inside of a layer, which stays whole."""

  def __init__(self, units, **kwargs):
    super().__init__(**kwargs)
    self.units, self.inner = units, L.Dense(units)

  def get_config(self):
    return {**super().get_config(), 'units': self.units}

  def call(self, x):
    if tf.reduce_sum(x) > 0:
      return self.inner(x)
    return self.inner(-x)


def test_layers_that_cannot_be_opened_stay_whole():
  x = data(3, 4)
  model = keras.Sequential([L.Dense(8, 'relu', name='first'), Opaque(5)])

  class Outer(keras.Model):
    def __init__(self):
      super().__init__()
      self.inner, self.out = model, L.Dense(2)

    def call(self, x):
      return self.out(self.inner(x))

  traced = check(built(Outer(), x), x)
  assert any(isinstance(x, Opaque) for x in traced._flatten_layers())


def test_compiled_state_stays():
  x = data(8, 4)
  model = built(Loose(L.Activation('relu')), x)
  model.compile('sgd', 'mse', metrics=['mae'])
  model.fit(x, data(8, 2), verbose=0)
  step = int(model.optimizer.iterations)
  with pytest.warns(UserWarning, match='left out'):
    paoding.from_subclassed(model)
  assert int(model.optimizer.iterations) == step
  model.fit(x, data(8, 2), verbose=0)
  assert [m.name for m in model.metrics] == ['loss', 'mae']


class WithLosses(keras.Model):
  """Adds a loss and a metric in its `call`, one of them in training alone."""

  def __init__(self):
    super().__init__(name='sparse')
    self.hidden = L.Dense(
      6, activity_regularizer='l2', kernel_regularizer='l2', name='hidden'
    )
    self.out = L.Dense(3, name='out')

  def call(self, x, training=False):
    x = self.hidden(x)
    if training:
      self.add_loss(tf.reduce_mean(x**2))
    self.add_metric(tf.reduce_mean(x), name='mean')
    return self.out(x)


def test_losses_that_a_call_adds_are_told_of():
  model = built(WithLosses(), data(2, 4))
  with pytest.warns(UserWarning, match=r"'sparse' adds.*add_") as caught:
    made = paoding.from_subclassed(model)
  (text,) = (str(w.message) for w in caught if "'sparse'" in str(w.message))
  assert 'add_metric, add_loss' in text
  # Regularizers are the layers' own, and come along.
  made(data(2, 4))
  assert len(made.losses) == 2
  # It can be called as before.
  model(data(2, 4), training=True)
  assert len(model.losses) == 3


class Penalty(L.Layer):
  """Opened, as it has no weights but its layers'."""

  def __init__(self):
    super().__init__(name='penalty')
    self.inner = L.Dense(6, name='inner')

  def call(self, x):
    x = self.inner(x)
    self.add_loss(tf.reduce_mean(x**2))
    return x


def test_so_are_those_of_layers_that_are_opened():
  model = built(Doubled([Penalty(), L.Dense(2)]), data(2, 4))
  with pytest.warns(UserWarning, match=r"'penalty' adds.*add_loss"):
    paoding.from_subclassed(model)


def test_a_model_that_is_traced_twice_is_the_same_one():
  class Model(keras.Model):
    def __init__(self):
      super().__init__()
      self.hidden, self.out = L.Dense(6, name='h'), L.Dense(2, name='o')

    def call(self, x):
      return self.out(tf.nn.relu(tf.nn.relu(self.hidden(x)) - 0.5))

  model = built(Model(), data(1, 4))
  small = paoding.prune(model, 0.5, method='l1', input_range=(0, 1), verbose=0)
  assert np.all(np.isfinite(paoding.deviation_bound(model, small, (0, 1))))


def test_inputs_go_by_the_same_names_each_time():
  model = built(Two(), data(4, 5), right=data(4, 5))
  assert paoding.from_subclassed(model).input_names == ['input_1', 'input_2']
  assert paoding.from_subclassed(model).input_names == ['input_1', 'input_2']


def test_what_both_draw_is_not_told_apart():
  draw = np.random.default_rng(0).normal

  def drawn(x):
    return [x, draw(size=3)]

  assert answers.compare(drawn, drawn, 1.0) == 0
  assert answers.compare(drawn, lambda x: [x + 1, draw(size=3)], 1.0) == 1
  assert answers.compare(drawn, lambda x: [x, np.zeros(3)], 1.0) > 0
  assert answers.compare(drawn, drawn, 1.0, remembers=True) > 0


def test_a_call_that_draws_is_traced():
  class Noisy(keras.Model):
    def __init__(self):
      super().__init__()
      self.hidden, self.out = L.Dense(8, 'relu', name='hidden'), L.Dense(3)

    def call(self, x):
      return self.out(self.hidden(x + tf.random.normal(tf.shape(x))))

  model = built(Noisy(), data(2, 4))
  with pytest.warns(UserWarning, match='draws at random'):
    small = paoding.prune(model, 0.5, method='l1', verbose=0)
  assert small.get_layer('hidden').units == 4
