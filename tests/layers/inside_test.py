"""Layers with an inside: units in them leave as those of layers do."""

from __future__ import annotations

import contextlib
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tests.inner_layers import ConvBlock, FeedForward, GatedLinear
from tfmot_paoding.compat import keras
from tfmot_paoding.layers import LayerHandler, base, register_handler
from tfmot_paoding.network.costs import graph_macs
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.numerics.activations import by_name
from tfmot_paoding.ops import Elementwise, Line, MatMul, Multiply, WeightRef

KINDS = [FeedForward, GatedLinear]
pytestmark = pytest.mark.filterwarnings('ignore:Pruning has left few')


def model(kind, residual=True, seed=2) -> keras.Model:
  inputs = keras.Input((5,))
  x = keras.layers.Dense(6, activation='relu', name='stem')(inputs)
  y = kind(8, 6 if residual else 7, name='unit')(x)
  y = keras.layers.Add(name='add')([x, y]) if residual else y
  outputs = keras.layers.Dense(3, name='logits')(y)
  return testing.fill(keras.Model(inputs, outputs), seed)


def nested(kind) -> keras.Model:
  inside = keras.Input((4, 6))
  block = keras.Model(inside, kind(8, 6, name='unit')(inside), name='block')
  inputs = keras.Input((4, 5))
  x = keras.layers.Dense(6, activation='relu', name='stem')(inputs)
  x = keras.layers.Add(name='add')([x, block(x)])
  x = keras.layers.GlobalAveragePooling1D(name='pool')(x)
  return testing.fill(
    keras.Model(inputs, keras.layers.Dense(3, name='logits')(x)), 1
  )


def samples(net, count=100) -> np.ndarray:
  rng = np.random.default_rng(0)
  return rng.uniform(0, 1, (count, *net.input_shape[1:])).astype(np.float32)


@contextlib.contextmanager
def known(layer_class, handler):
  register_handler(layer_class, replace=True)(handler)
  yield
  del base._HANDLERS[layer_class]


@pytest.mark.parametrize('kind', KINDS)
def test_units_inside_are_a_group_and_so_are_those_behind(kind):
  grouping = find_groups(build_graph(model(kind, residual=False)))
  sizes = {group.name: group.size for group in grouping.groups}
  assert sizes == {('stem',): 6, ('unit',): 8, ('unit', '2'): 7}
  assert list(grouping.left_alone) == [('logits',)]


@pytest.mark.parametrize('kind', KINDS)
def test_a_residual_ties_what_the_layer_gives_and_not_its_inside(kind):
  groups = find_groups(build_graph(model(kind))).groups
  assert [(g.name, g.size) for g in groups] == [(('stem',), 6), (('unit',), 8)]


def test_costs_count_every_product():
  assert graph_macs(build_graph(model(FeedForward))) == 30 + 48 + 48 + 18
  assert graph_macs(build_graph(model(GatedLinear))) == 30 + 3 * 48 + 18


@pytest.mark.parametrize(
  ('method', 'kind'), testing.paired(paoding.methods.method_names(), KINDS)
)
def test_every_method_prunes_and_bounds_hold(kind, method):
  net = model(kind)
  small = paoding.prune(net, 0.5, method=method, verbose=0, distillation=False)
  assert (small.get_layer('unit').hidden, small.get_layer('unit').width) == (
    4,
    3,
  )
  x = samples(net, 500)
  bound = paoding.deviation_bound(net, small, input_range=(0, 1))
  assert np.all(np.abs(net(x) - small(x)).max(0) <= bound + 1e-5)


@pytest.mark.parametrize('method', ['reconstruction', 'impact', 'l1'])
def test_a_feed_forward_layer_is_pruned_as_two_dense_layers(method):
  one = model(FeedForward, residual=False)
  inputs = keras.Input((5,))
  x = keras.layers.Dense(6, activation='relu', name='stem')(inputs)
  x = keras.layers.Dense(8, activation='relu', name='first')(x)
  x = keras.layers.Dense(7, name='second')(x)
  two = keras.Model(inputs, keras.layers.Dense(3, name='logits')(x))
  two.set_weights(one.get_weights())
  pruned = [
    paoding.prune(net, 0.5, method=method, verbose=0, distillation=False)
    for net in (one, two)
  ]
  x = samples(one)
  np.testing.assert_allclose(pruned[0](x), pruned[1](x), atol=1e-5)


@pytest.mark.parametrize('make', [model, nested])
@pytest.mark.parametrize('kind', KINDS)
def test_wrapped_stripped_and_compact_agree(make, kind):
  net = make(kind)
  wrapped = paoding.prune_low_saliency(net)
  paoding.run_schedule(wrapped)
  stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  small = paoding.compact(stripped)
  x = samples(net)
  np.testing.assert_allclose(wrapped(x), stripped(x), atol=1e-5)
  np.testing.assert_allclose(stripped(x), small(x), atol=1e-5)
  assert small.count_params() < 0.6 * net.count_params()


@pytest.mark.parametrize('kind', KINDS)
def test_twins_leave_without_a_change(kind):
  net = model(kind)
  layer = net.get_layer('unit')
  for weight in layer.weights:
    value = weight.numpy()
    if value.shape[-1] == 8:
      value[..., 4:] = value[..., :4]
      weight.assign(value)
  wrapped = paoding.prune_low_saliency(
    net, method='impact', pruning_policy=_Only('unit')
  )
  paoding.run_schedule(wrapped)
  small = paoding.compact(tfmot.sparsity.keras.strip_pruning(wrapped))
  assert small.get_layer('unit').hidden == 4
  x = samples(net)
  np.testing.assert_allclose(net(x), small(x), atol=1e-5)


class _Only(tfmot.sparsity.keras.PruningPolicy):
  def __init__(self, name):
    self._name = name

  def allow_pruning(self, layer):
    return layer.name == self._name

  def ensure_model_supports_pruning(self, net):
    del net


@pytest.mark.parametrize('suffix', ['h5', 'keras'])
@pytest.mark.parametrize('kind', KINDS)
def test_compact_models_are_saved_and_loaded(
  kind, suffix, tmp_path: pathlib.Path
):
  small = paoding.prune(model(kind), 0.5, method='l1', verbose=0)
  small.save(tmp_path / f'small.{suffix}')
  loaded = keras.models.load_model(tmp_path / f'small.{suffix}')
  x = samples(small)
  np.testing.assert_allclose(small(x), loaded(x), atol=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_compact_models_are_converted(kind):
  small = paoding.prune(model(kind), 0.5, method='l1', verbose=0)
  x = samples(small, 50)
  expected = small(x).numpy()

  def run(**settings):
    data = paoding.convert_to_tflite(small, **settings)
    named = {small.input_names[0]: x}
    return paoding.tflite.run_tflite(data, named, outputs=small.output_names)[0]

  np.testing.assert_allclose(run(), expected, atol=1e-4)
  coarse = run(quantization='int8', representative_data=x)
  assert np.abs(coarse - expected).max() < 0.1 * np.ptp(expected)


@pytest.mark.parametrize('kind', KINDS)
def test_fit_prunes_by_the_callback(kind):
  net = model(kind)
  schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.5, 0, 4, frequency=1)
  wrapped = paoding.prune_low_saliency(net, pruning_schedule=schedule)
  wrapped.compile('sgd', 'mse')
  x = samples(net, 64)
  callbacks = [paoding.UpdatePruningStep()]
  wrapped.fit(x, net(x), batch_size=8, epochs=1, verbose=0, callbacks=callbacks)
  stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  small = paoding.compact(stripped)
  assert small.get_layer('unit').hidden == 4
  np.testing.assert_allclose(stripped(x), small(x), atol=1e-5)


@pytest.mark.parametrize('kind', KINDS)
def test_a_shared_layer_loses_the_same_units_in_all_calls(kind):
  inputs = keras.Input((5,))
  unit = kind(8, 5, name='unit')
  x = unit(unit(inputs))
  net = keras.Model(inputs, keras.layers.Dense(3, name='logits')(x))
  testing.fill(net)
  small = paoding.prune(net, 0.5, method='l1', verbose=0)
  assert small.get_layer('unit').hidden == 4
  x = samples(net)
  bound = paoding.deviation_bound(net, small, input_range=(0, 1))
  assert np.all(np.abs(net(x) - small(x)).max(0) <= bound + 1e-5)


def steps(inner) -> keras.Model:
  inputs = keras.Input((4, 5))
  x = keras.layers.Dense(6, activation='relu', name='stem')(inputs)
  x = keras.layers.TimeDistributed(inner, name='steps')(x)
  x = keras.layers.GlobalAveragePooling1D(name='pool')(x)
  net = keras.Model(inputs, keras.layers.Dense(3, name='logits')(x))
  return testing.fill(net, 1)


@pytest.mark.parametrize(
  ('method', 'kind'), testing.paired(['reconstruction', 'impact', 'l1'], KINDS)
)
def test_at_every_step_it_is_pruned_as_over_all(kind, method):
  one = steps(kind(8, 7))
  inputs = keras.Input((4, 5))
  x = keras.layers.Dense(6, activation='relu')(inputs)
  x = keras.layers.GlobalAveragePooling1D()(kind(8, 7, name='unit')(x))
  two = keras.Model(inputs, keras.layers.Dense(3)(x))
  two.set_weights(one.get_weights())
  sizes = [
    {group.name: group.size for group in find_groups(build_graph(net)).groups}
    for net in (one, two)
  ]
  assert list(sizes[0].values()) == list(sizes[1].values())
  assert sizes[0]['steps',] == 8
  pruned = [
    paoding.prune(net, 0.5, method=method, verbose=0, distillation=False)
    for net in (one, two)
  ]
  inner = pruned[0].get_layer('steps').layer
  assert (inner.hidden, inner.width) == (4, 4)
  x = samples(one)
  np.testing.assert_allclose(pruned[0](x), pruned[1](x), atol=1e-4)


def test_at_every_step_an_inside_that_minds_an_axis_is_named():
  x = keras.Input((4, 7, 7, 3))
  net = keras.Model(
    x, keras.layers.TimeDistributed(ConvBlock(8, 6), name='steps')(x)
  )
  assert 'Conv' in find_groups(build_graph(net)).left_alone['steps',]


def test_a_handler_may_say_of_a_layer_that_it_is_a_chain():
  class Either(ChainHandler):
    def lower_into(self, layer, emit):
      return None

  net = model(Chained, residual=False)
  with known(Chained, Either):
    small = paoding.prune(net, 0.5, method='l1', verbose=0)
  assert small.get_layer('unit').width == 4
  assert small.get_layer('unit').hidden == 8


class Chained(FeedForward):
  """The same layer, taught as a chain, or wrongly."""

  def call(self, x):
    return super().call(x)


class ChainHandler(LayerHandler):
  def lower(self, layer, path, in_shapes, out_shape):
    names = ('first', 'second')
    one, two = (
      MatMul(WeightRef(path, n), WeightRef(path, f'{n}_bias')) for n in names
    )
    return [one, Elementwise(by_name('relu')), two]

  def resize(self, layer, config, out_shape):
    return {**config, 'width': out_shape[-1]}


@pytest.mark.parametrize('residual', [True, False])
def test_units_between_two_products_of_a_chain_stay(residual):
  net = model(Chained, residual)
  with known(Chained, ChainHandler):
    small = paoding.prune(net, 0.5, verbose=0, distillation=False)
    graph = build_graph(net)
  assert small.get_layer('unit').hidden == 8
  assert small.get_layer('unit').width == (3 if residual else 4)
  call = next(c for c in graph.layer_calls if c.path == ('unit',))
  assert graph.shapes[call.nodes[0].outputs[0]] == (8,)
  assert 'resize_inside' in graph.held[call.nodes[0].outputs[0]]


def _handler(lower_into, **methods):
  return type('Taught', (LayerHandler,), {'lower_into': lower_into, **methods})


def _products(emit, name=None):
  (x,) = emit.inputs
  first = MatMul(emit.weight('first'), emit.weight('first_bias'))
  second = MatMul(emit.weight('second'), emit.weight('second_bias'))
  return emit(second, emit(Elementwise(by_name('relu')), emit(first, x)))


def test_without_resize_inside_units_stay_and_the_reason_is_told():
  handler = _handler(lambda self, layer, emit: _products(emit))
  with known(Chained, handler):
    found = find_groups(build_graph(model(Chained, residual=False)))
  assert 'resize_inside' in found.left_alone['unit',]


def test_a_config_that_keeps_its_size_is_an_error_that_says_so():
  handler = _handler(
    lambda self, layer, emit: _products(emit),
    resize_inside=lambda self, layer, config, widths: config,
  )
  with (
    known(Chained, handler),
    pytest.raises(ValueError, match=r'Taught\.resize_inside builds'),
  ):
    paoding.prune(model(Chained, residual=False), 0.5, verbose=0)


def _two_names(emit):
  (x,) = emit.inputs
  relu = Elementwise(by_name('relu'))
  return emit(relu, emit(relu, x, name='same'), name='same')


BAD = {
  'no attribute': lambda emit: emit(MatMul(emit.weight('third')), *emit.inputs),
  'numbers for entries': lambda emit: emit(
    MatMul(emit.weight('weights.9')), *emit.inputs
  ),
  'takes one': lambda emit: emit(
    Elementwise(by_name('relu')), emit.inputs[0], emit.inputs[0]
  ),
  'has 8 rows': lambda emit: emit(MatMul(emit.weight('second')), *emit.inputs),
  'the layer makes': lambda emit: emit(
    MatMul(emit.weight('first')), *emit.inputs
  ),
  'are named': _two_names,
}


@pytest.mark.parametrize('told', BAD)
def test_handlers_that_do_not_fit_their_layer_are_told(told):
  handler = _handler(lambda self, layer, emit: BAD[told](emit))
  with known(Chained, handler), pytest.raises(ValueError, match=told):
    build_graph(model(Chained, residual=False))


def test_a_weight_in_unlike_operations_is_left_alone():
  def lower_into(self, layer, emit):
    (x,) = emit.inputs
    one = emit(MatMul(emit.weight('first'), emit.weight('first_bias')), x)
    del one
    two = emit(MatMul(emit.weight('first')), x)
    return emit(MatMul(emit.weight('second')), two)

  with known(Chained, _handler(lower_into)):
    found = find_groups(build_graph(model(Chained, residual=False)))
  assert 'unlike operations' in found.left_alone['unit',]


def test_the_packages_own_handlers_are_replaced_on_request_alone():
  before = base._HANDLERS[keras.layers.Dense]
  with pytest.raises(ValueError, match='replace=True'):
    register_handler(keras.layers.Dense)(ChainHandler)
  assert base._HANDLERS[keras.layers.Dense] is before
  try:
    register_handler(keras.layers.Dense, replace=True)(ChainHandler)
    assert isinstance(base._HANDLERS[keras.layers.Dense], ChainHandler)
  finally:
    base._HANDLERS[keras.layers.Dense] = before


@pytest.mark.parametrize('wrong', [ChainHandler(), int])
def test_only_handlers_are_registered(wrong):
  with pytest.raises(TypeError, match='LayerHandler'):
    register_handler(Chained)(wrong)
  with pytest.raises(TypeError, match='classes of layers'):
    register_handler(wrong if not isinstance(wrong, type) else 'Dense')


def test_gradients_pass_an_activation_that_is_run_by_its_values():
  op, x = Elementwise(by_name('gelu')), tf.constant([[-1.0, 0.5, 2.0]])
  with tf.GradientTape() as tape:
    tape.watch(x)
    y = op.run({}, x)
  with tf.GradientTape() as known_tape:
    known_tape.watch(x)
    z = tf.nn.gelu(x)
  np.testing.assert_allclose(y, z, atol=1e-6)
  np.testing.assert_allclose(
    tape.gradient(y, x), known_tape.gradient(z, x), atol=1e-5
  )


class Fork(keras.layers.Layer, tfmot.sparsity.keras.PrunableLayer):
  """relu(x W + b), and two products of it."""

  def __init__(self, hidden, left, right, **kwargs):
    super().__init__(**kwargs)
    self.sizes = hidden, left, right

  def build(self, shape):
    hidden, *sides = self.sizes
    self.first = self.add_weight('first', (shape[-1], hidden))
    self.first_bias = self.add_weight('first_bias', (hidden,))
    self.left, self.right = (
      self.add_weight(name, (hidden, size))
      for name, size in zip(('left', 'right'), sides, strict=True)
    )

  def call(self, x):
    x = tf.nn.relu(x @ self.first + self.first_bias)
    return x @ self.left, x @ self.right

  def get_prunable_weights(self):
    return [self.first, self.left, self.right]

  def get_config(self):
    names = ('hidden', 'left', 'right')
    sizes = dict(zip(names, self.sizes, strict=True))
    return {**super().get_config(), **sizes}


class ForkHandler(LayerHandler):
  swapped = False

  def lower_into(self, layer, emit):
    (x,) = emit.inputs
    first = MatMul(emit.weight('first'), emit.weight('first_bias'))
    x = emit(Elementwise(by_name('relu')), emit(first, x), name='hidden')
    sides = [emit(MatMul(emit.weight(n)), x) for n in ('left', 'right')]
    return tuple(reversed(sides) if self.swapped else sides)

  def resize_inside(self, layer, config, widths):
    names = ('hidden', 'left', 'right')
    told = (widths[n] for n in ('hidden', 'output_0', 'output_1'))
    return {**config, **dict(zip(names, told, strict=True))}


def forked(right=6) -> keras.Model:
  inputs = keras.Input((5,))
  one, two = Fork(8, 4, right, name='fork')(inputs)
  x = keras.layers.Concatenate()([keras.layers.ReLU()(one), two])
  outputs = keras.layers.Dense(3, name='logits')(x)
  return testing.fill(keras.Model(inputs, outputs), 4)


@pytest.mark.parametrize('method', ['reconstruction', 'impact', 'l1'])
def test_a_layer_may_give_several_tensors(method):
  net = forked()
  with known(Fork, ForkHandler):
    groups = find_groups(build_graph(net)).groups
    small = paoding.prune(
      net, 0.5, method=method, verbose=0, distillation=False
    )
    bound = paoding.deviation_bound(net, small, input_range=(0, 1))
    x = samples(net)
    assert np.all(np.abs(net(x) - small(x)).max(0) <= bound + 1e-5)
  assert sorted(group.size for group in groups) == [4, 6, 8]
  assert small.get_layer('fork').sizes == (4, 2, 3)


def test_outputs_in_another_order_are_an_error():
  handler = type('Swapped', (ForkHandler,), {'swapped': True})
  with known(Fork, handler):
    with pytest.raises(
      ValueError, match=r'\(6,\), \(4,\), but the layer makes'
    ):
      build_graph(forked())
    with pytest.raises(ValueError, match="Swapped names for Fork 'fork'"):
      paoding.prune(forked(right=4), 0.5, verbose=0)


class Gated(keras.layers.Layer):
  """Takes a gate for its second argument, and a setting."""

  def call(self, x, gate, negative=False, more=None):
    found = x * tf.sigmoid(-gate if negative else gate)
    return found if more is None else found + more


class GatedHandler(LayerHandler):
  arguments = ('gate', 'negative')

  def lower_into(self, layer, emit):
    (x, *_), gate = emit.inputs, emit.argument('gate')
    if emit.argument('negative', False):
      gate = emit(Line((-1.0,), (0.0,)), gate)
    return emit(Multiply(), x, emit(Elementwise(by_name('sigmoid')), gate))


def with_gate(**more):
  inputs = keras.Input((5,))
  x, gate = (
    keras.layers.Dense(6, activation='tanh', name=name)(inputs)
    for name in ('stem', 'gate')
  )
  y = Gated(name='unit')(x, gate=gate, **more)
  return testing.fill(
    keras.Model(inputs, keras.layers.Dense(3, name='logits')(y))
  )


@pytest.mark.parametrize('settings', [{}, {'negative': True}])
def test_a_handler_reads_the_arguments_that_it_asks_for(settings):
  net = with_gate(**settings)
  with known(Gated, GatedHandler):
    wrapped = paoding.prune_low_saliency(
      net, paoding.ProgressiveSparsity(0.5), 'saliency', (0.0, 1.0)
    )
    paoding.run_schedule(wrapped, verbose=0)
    stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
    small = paoding.compact(stripped)
  assert [small.get_layer(name).units for name in ('stem', 'gate')] == [3, 3]
  x = samples(net)
  np.testing.assert_allclose(small(x), stripped(x), atol=1e-5)


@pytest.mark.parametrize(
  ('more', 'reason'),
  [
    ({'more': 1.0}, '`more`, which is not known'),
    ({'negative': tf.constant(True)}, '`negative`, which is no tensor'),
  ],
)
def test_calls_that_pass_others_are_left_alone(more, reason):
  with known(Gated, GatedHandler):
    found = find_groups(build_graph(with_gate(**more))).left_alone
  assert reason in found['stem',]
  assert reason in found['gate',]
