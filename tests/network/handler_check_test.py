"""What a handler names is what its layer computes, or an error."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tests.inner_layers import FeedForward
from tfmot_paoding.compat import keras
from tfmot_paoding.layers import (
  LayerHandler,
  PaddedLayerNormalization,
  RMSNormalization,
  base,
  register_handler,
)
from tfmot_paoding.layers.base import is_own
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.network.handler_check import check_call
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics.activations import by_name
from tfmot_paoding.ops import Elementwise, Lookup, MatMul, WeightRef

layers = keras.layers


class Taught(FeedForward):
  """A feed-forward layer that tests teach wrongly."""

  def call(self, x):
    return super().call(x)


class Rows(layers.Layer):
  """A table's rows, and a product behind them."""

  def build(self, shape):
    self.table = self.add_weight('table', (7, 6))
    self.kernel = self.add_weight('kernel', (6, 5))

  def call(self, x):
    rows = tf.nn.relu(tf.gather(self.table, tf.cast(x, tf.int32)))
    return tf.tensordot(rows, self.kernel, 1)


@contextlib.contextmanager
def known(layer_class, **methods):
  handler = type('Liar', (LayerHandler,), methods)
  register_handler(layer_class, replace=True)(handler)
  yield
  del base._HANDLERS[layer_class]


def inside(between='relu', bias=True, last=None):
  """What `lower_into` is for a feed-forward layer, true or not."""

  def lower_into(self, layer, emit):
    (x,) = emit.inputs
    first = emit.weight('first_bias') if bias else None
    x = emit(MatMul(emit.weight('first'), first), x)
    x = emit(Elementwise(by_name(between)), x, name='hidden')
    second = MatMul(emit.weight('second'), emit.weight('second_bias'))
    x = emit(second, x)
    return x if last is None else emit(Elementwise(by_name(last)), x)

  return lower_into


def model(layer=None, policy=None) -> keras.Model:
  inputs = keras.Input((5,))
  x = layers.Dense(6, activation='relu', dtype=policy)(inputs)
  x = (layer or Taught(8, 6, name='unit', dtype=policy))(x)
  outputs = layers.Dense(3, dtype=policy)(x)
  return testing.fill(keras.Model(inputs, outputs), 2)


@pytest.mark.parametrize(
  'lie', [{'between': 'tanh'}, {'bias': False}, {'last': 'relu'}]
)
def test_an_inside_that_is_not_the_layer_is_an_error(lie):
  with (
    known(Taught, lower_into=inside(**lie)),
    pytest.raises(
      ValueError, match=r"Liar names for Taught 'unit'.* by up to \d.*Mend"
    ),
  ):
    paoding.prune(model(), 0.5, verbose=0)


def test_so_is_a_chain():
  def lower(self, layer, path, in_shapes, out_shape):
    return [MatMul(WeightRef(path, 'first')), MatMul(WeightRef(path, 'second'))]

  with (
    known(Taught, lower=lower),
    pytest.raises(ValueError, match="Liar names for Taught 'unit'"),
  ):
    paoding.prune(model(), 0.5, verbose=0)


def test_so_is_the_identity_that_is_none():
  class Doubled(layers.Layer):
    def call(self, x):
      return 2 * x

  with (
    known(Doubled, lower=lambda *_: []),
    pytest.raises(ValueError, match='Liar names for Doubled'),
  ):
    Network.of(model(Doubled()))


def test_so_is_one_at_every_step():
  inputs = keras.Input((None, 5))
  x = layers.TimeDistributed(Taught(8, 6), name='steps')(inputs)
  net = testing.fill(keras.Model(inputs, layers.Dense(3)(x)), 1)

  def lower(self, layer, path, in_shapes, out_shape):
    return [MatMul(WeightRef(path, 'first')), MatMul(WeightRef(path, 'second'))]

  with (
    known(Taught, lower=lower),
    pytest.raises(ValueError, match="Liar names for Taught 'steps'"),
  ):
    Network.of(net)


@pytest.mark.parametrize('name', ['bounds', 'certificates', 'stability'])
def test_nothing_is_proved_of_what_a_layer_does_not_compute(name):
  net, x = model(), np.zeros((2, 5), np.float32)
  proof = {
    'bounds': lambda: paoding.deviation_bound(net, net, (0, 1)),
    'certificates': lambda: paoding.robustness.output_bounds(
      net, x, 0.1, input_range=(0, 1)
    ),
    'stability': lambda: paoding.robustness.neuron_stability(
      net, input_range=(0, 1)
    ),
  }[name]
  with (
    known(Taught, lower_into=inside('tanh')),
    pytest.raises(ValueError, match='Liar names for Taught'),
  ):
    proof()


@pytest.mark.parametrize('policy', [None, 'mixed_float16', 'mixed_bfloat16'])
def test_the_truth_is_not_told_of_whatever_the_precision(policy):
  net = model(policy=policy)
  before = net.get_weights()
  with known(Taught, lower_into=inside()), warnings.catch_warnings():
    warnings.simplefilter('error')
    Network.of(net)
  for one, two in zip(before, net.get_weights(), strict=True):
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize('between', ['relu', 'tanh'])
def test_integers_of_a_table_are_drawn_from_it(between):
  def lower_into(self, layer, emit):
    rows = emit(Lookup(emit.weight('table')), *emit.inputs)
    rows = emit(Elementwise(by_name(between)), rows)
    return emit(MatMul(emit.weight('kernel')), rows)

  inputs = keras.Input((4,), dtype='int32')
  x = layers.GlobalAveragePooling1D()(Rows()(inputs))
  net = testing.fill(keras.Model(inputs, layers.Dense(2)(x)))
  with known(Rows, lower_into=lower_into):
    if between == 'relu':
      Network.of(net)
    else:
      with pytest.raises(ValueError, match='Liar names for Rows'):
        Network.of(net)


def test_masks_do_not_matter():
  inputs = keras.Input((4,))
  x = layers.Embedding(9, 5, mask_zero=True)(inputs)
  x = layers.GlobalAveragePooling1D()(Taught(8, 6)(x))
  net = testing.fill(keras.Model(inputs, layers.Dense(2)(x)))
  with known(Taught, lower_into=inside()), warnings.catch_warnings():
    warnings.simplefilter('error')
    Network.of(net)


def test_a_layer_that_refuses_random_inputs_is_told_of():
  class Root(Taught):
    def call(self, x):
      tf.debugging.assert_non_negative(x)
      return super().call(x)

  with (
    known(Root, lower_into=inside('tanh')),
    pytest.warns(UserWarning, match=r"Root 'unit' cannot be called.*Liar"),
  ):
    Network.of(model(Root(8, 6, name='unit')))


def test_operations_that_do_not_fit_the_samples_are_an_error():
  def lower(self, layer, path, in_shapes, out_shape):
    return [MatMul(WeightRef(path, 'second'))]  # has other rows

  with (
    known(Taught, lower=lower),
    pytest.raises(ValueError, match='Liar names for Taught.*do not run'),
  ):
    Network.of(model())


def test_an_operation_without_a_value_leaves_an_inside_alone():
  """Fits would run it; they met NotImplementedError."""

  class Mystery(Elementwise):
    def runs(self, in_shape):
      return False

  def lower_into(self, layer, emit):
    (x,) = emit.inputs
    x = emit(MatMul(emit.weight('first'), emit.weight('first_bias')), x)
    x = emit(Mystery(by_name('relu')), x)
    return emit(MatMul(emit.weight('second'), emit.weight('second_bias')), x)

  net = model()
  with known(Taught, lower_into=lower_into):
    found = find_groups(build_graph(net)).left_alone
    small = paoding.prune(model(layers.Dense(6)), 0.5, verbose=0)
  assert 'Mystery' in found['unit',]
  assert '`run`' in found['unit',]
  assert small.layers[1].units == 3


# One or two of each kind that a handler of the package's own knows.
SHAPES = {1: (6, 4), 2: (6, 6, 4), 3: (4, 4, 4, 4)}


def by_rank(name, *args, ranks=(1, 2, 3), **settings):
  return [
    (getattr(layers, f'{name}{rank}D')(*args, **settings), [SHAPES[rank]])
    for rank in ranks
  ]


def plain(name, *args, shape=(3, 4), count=1, **settings):
  return [(getattr(layers, name)(*args, **settings), [shape] * count)]


def cases():
  image = SHAPES[2]
  return [
    *plain('Activation', 'gelu'),
    *plain('ReLU', max_value=2.0),
    *plain('LeakyReLU'),
    *plain('PReLU', shared_axes=[1]),
    *plain('ELU', 0.5),
    *plain('Softmax'),
    *plain('Softmax', axis=1),
    *by_rank('Conv', 6, 3, strides=2, activation='relu'),
    *by_rank('Conv', 6, 2, padding='same', groups=2),
    *by_rank('Conv', 6, 2, padding='same', dilation_rate=2),
    *plain('Conv1D', 6, 3, padding='causal', shape=SHAPES[1]),
    *by_rank('Conv', 6, 3, ranks=()),
    *[
      (getattr(layers, f'Conv{rank}DTranspose')(5, 3, 2), [SHAPES[rank]])
      for rank in (1, 2, 3)
    ],
    *by_rank('DepthwiseConv', 3, ranks=(1, 2), depth_multiplier=2),
    *by_rank('SeparableConv', 5, 3, ranks=(1, 2), activation='tanh'),
    *plain('Dense', 5, activation='sigmoid'),
    *plain('Embedding', 9, 5, shape=(4,)),
    *plain('RepeatVector', 3, shape=(4,)),
    *plain('Discretization', [-0.5, 0.0, 0.5]),
    *plain('CategoryEncoding', 9, 'multi_hot', shape=(4,)),
    *plain('IntegerLookup', vocabulary=[3, 1, 7], shape=(4,)),
    *plain('Hashing', 5, shape=(4,)),
    *[
      case
      for name in ('Add', 'Average', 'Multiply', 'Maximum', 'Minimum')
      for case in plain(name, count=3)
    ],
    *plain('Subtract', count=2),
    *plain('Concatenate', count=3),
    *plain('BatchNormalization'),
    *plain('LayerNormalization'),
    *plain('LayerNormalization', axis=(1, 2)),
    *plain('GroupNormalization', 2),
    *[(RMSNormalization(axis), [(3, 4)]) for axis in (-1, (1, 2))],
    *[(PaddedLayerNormalization(6, axis=a), [(3, 4)]) for a in (-1, (1, 2))],
    *plain('UnitNormalization'),
    *plain('UnitNormalization', axis=(1, 2)),
    *plain('Rescaling', 0.5, -1.0),
    *plain('Normalization', mean=1.5, variance=4.0),
    *by_rank('MaxPooling', 2),
    *by_rank('MaxPooling', 3, strides=2, padding='same'),
    *by_rank('AveragePooling', 3, strides=2, padding='same'),
    *by_rank('Cropping', 1),
    *by_rank('ZeroPadding', 2),
    *plain('Masking'),
    *by_rank('GlobalMaxPooling'),
    *by_rank('GlobalAveragePooling', keepdims=True),
    *by_rank('UpSampling', 2),
    *plain('Resizing', 9, 4, shape=image),
    *plain('Dropout', 0.5),
    *by_rank('SpatialDropout', 0.5),
    *plain('AlphaDropout', 0.5),
    *plain('GaussianDropout', 0.5),
    *plain('GaussianNoise', 0.5),
    *plain('ActivityRegularization', 0.5),
    *plain('Identity'),
    *plain('Flatten'),
    *plain('Permute', (2, 1)),
    *plain('Reshape', (4, 3)),
    *plain('TimeDistributed', layers.Dense(5)),
    *plain('LSTM', 4, return_sequences=True, shape=SHAPES[1]),
    *[
      (getattr(layers, f'ConvLSTM{rank}D')(4, 2), [(3, *SHAPES[rank])])
      for rank in (1, 2, 3)
    ],
    *plain('GRU', 4, reset_after=False, shape=SHAPES[1]),
    *plain('SimpleRNN', 4, go_backwards=True, shape=SHAPES[1]),
    *plain('RNN', layers.GRUCell(4), return_state=True, shape=SHAPES[1]),
    *plain('Bidirectional', layers.LSTM(4), shape=SHAPES[1]),
    *plain('MultiHeadAttention', 2, 3, shape=SHAPES[1], count=2),
    *plain('Attention', use_scale=True, shape=SHAPES[1], count=2),
    *plain('Attention', score_mode='concat', shape=SHAPES[1], count=3),
    *plain('AdditiveAttention', shape=SHAPES[1], count=2),
    *plain('Dot', 2, shape=SHAPES[1], count=2),
    *plain('Dot', 1, shape=(4,), count=2),
    *plain('EinsumDense', 'abc,cde->abde', (None, 2, 5), shape=SHAPES[1]),
    *plain('EinsumDense', 'abc,bcd->ad', (5,), shape=SHAPES[1]),
  ]


# Of these, what the package says that nothing is known, position by position
# at least, and what refuses numbers below zero, which are among those drawn.
UNKNOWN = {'CategoryEncoding', 'Masking', 'Resizing'}
# Of TFMOT, of which nothing is claimed.
WRAPPERS = {
  'ClusterWeights',
  'QuantizeAnnotate',
  'QuantizeLayer',
  'QuantizeWrapper',
  'QuantizeWrapperV2',
}


def lowered(layer, shapes):
  """A layer, called for the first time, in a graph of its own."""
  whole = isinstance(layer, layers.Hashing)  # it takes nothing else
  dtype = 'int32' if whole else None
  inputs = [keras.Input(shape, dtype=dtype) for shape in shapes]
  if isinstance(layer, layers.MultiHeadAttention):
    made = layer(*inputs)
  else:
    made = layer(inputs if len(inputs) > 1 else inputs[0])
  net = testing.fill(keras.Model(inputs, made))
  graph = build_graph(net)
  (call,) = graph.layer_calls
  return graph, call


def test_every_handler_of_the_package_names_what_its_layers_compute():
  left = set()
  for layer, shapes in cases():
    graph, call = lowered(layer, shapes)
    if not check_call(graph, call):
      left.add(type(layer).__name__)
  assert left == UNKNOWN


@pytest.mark.parametrize('function', ['x + y', 'x * y', 'slice', 'concat'])
def test_so_do_the_functions_that_models_call(function):
  x, y = keras.Input((3, 4)), keras.Input((3, 4))
  made = {
    'x + y': lambda: x + y,
    'x * y': lambda: x * y,
    'slice': lambda: x[:, 1:],
    'concat': lambda: tf.concat([x, y], -1),
  }[function]()
  graph = build_graph(keras.Model([x, y], made))
  assert all(check_call(graph, call) for call in graph.layer_calls)


def test_there_is_a_case_of_each_kind():
  named = {type(layer) for layer, _ in cases()}
  elsewhere = {'TFOpLambda', 'SlicingOpLambda', *WRAPPERS}
  missing = {
    kind.__name__
    for kind, handler in base._HANDLERS.items()
    if is_own(handler)
    and kind not in named
    # Those of keras.applications are run by their own networks' tests.
    and 'applications' not in kind.__module__
  }
  assert missing == elsewhere
