"""Batch normalization in its inference form, and what measures its input."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.ops import Opaque, Scale

L = keras.layers
pytestmark = pytest.mark.filterwarnings('ignore:Pruning has left few')


@pytest.mark.parametrize('center', [True, False])
@pytest.mark.parametrize('scale', [True, False])
@pytest.mark.parametrize('shape', [(4,), (3, 4)])
def test_it_is_a_scale(center, scale, shape):
  layer = keras.layers.BatchNormalization(
    center=center, scale=scale, epsilon=0.01
  )
  model = testing.fill(keras.Sequential([keras.Input(shape), layer]), 2)
  graph = build_graph(model)
  (node,) = graph.nodes
  assert isinstance(node.op, Scale)
  x = testing.samples(shape, 20).astype(np.float32)
  found = testing.forward(graph, read_params(graph), x)[graph.outputs[0]]
  np.testing.assert_allclose(
    found, testing.answers(model, x), rtol=1e-4, atol=1e-5
  )


def test_other_axes_are_not_guessed():
  layer = keras.layers.BatchNormalization(axis=1)
  model = keras.Sequential([keras.Input((3, 4)), layer])
  (node,) = build_graph(model).nodes
  assert isinstance(node.op, Opaque)
  assert 'another axis' in node.op.reason


def rms(**settings):
  return paoding.layers.RMSNormalization(epsilon=0.2, **settings)


NORMS = {
  'layer': lambda **s: L.LayerNormalization(epsilon=0.1, **s),
  'layer, at each step': lambda **s: L.TimeDistributed(
    L.LayerNormalization(epsilon=0.1), **s
  ),
  'layer, positions too': lambda **s: L.LayerNormalization((1, 2), **s),
  'root mean square': rms,
  'root mean square, at each step': lambda **s: L.TimeDistributed(rms(), **s),
  'root mean square, positions too': lambda **s: rms(axis=(1, 2), **s),
  'length': L.UnitNormalization,
  'groups': lambda **s: L.GroupNormalization(4, epsilon=0.1, **s),
  'groups of one': lambda **s: L.GroupNormalization(-1, center=False, **s),
}


def stream(make, activation=None, seed=0) -> keras.Model:
  """A sum that is normalized and read, and the sum with what came of it."""
  inputs = keras.Input((5, 3))
  x = L.Dense(8, activation, name='first')(inputs)
  x = L.Add()([x, L.Dense(8, 'relu')(inputs)])
  y = L.Dense(10, 'relu', name='inner')(make(name='norm')(x))
  x = L.Add()([x, L.Dense(8, name='back')(y)])
  outputs = L.Dense(3)(L.Flatten()(make(name='last')(x)))
  return testing.fill(keras.Model(inputs, outputs), seed)


# Those that a mean is taken over leave where they are named.
HALF = {'first': 0.5, 'inner': 0.5}


def _run(net, method='saliency', named=False):
  schedule = None
  if named:
    schedule = dict.fromkeys(HALF, paoding.ProgressiveSparsity(0.5))
  wrapped = paoding.prune_low_saliency(
    net, schedule, method=method, input_range=(-1, 1)
  )
  paoding.run_schedule(wrapped, verbose=0)
  return wrapped


def forms(wrapped):
  stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  return [wrapped, stripped, paoding.compact(stripped)]


@pytest.mark.parametrize(
  ('kind', 'trained'), testing.paired(NORMS, [True, False])
)
def test_channels_leave_and_nothing_else_changes(kind, trained):
  net = stream(NORMS[kind])
  wrapped = _run(net, named=True)
  x = testing.samples((5, 3), 64).astype(np.float32)
  if trained:
    wrapped.compile(keras.optimizers.Adam(0.05), 'mse')
    wrapped.fit(x, 3 * net(x) + 1, epochs=3, verbose=0)
  one, two, small = forms(wrapped)
  np.testing.assert_allclose(one(x), two(x), atol=1e-5)
  np.testing.assert_allclose(two(x), small(x), atol=1e-5)
  assert small.get_layer('back').units == 4
  assert small.get_layer('inner').units == 5


@pytest.mark.parametrize(
  ('method', 'kind'),
  testing.paired(
    paoding.methods.method_names(), ['root mean square', 'layer', 'groups']
  ),
)
def test_every_method_prunes_and_bounds_hold(kind, method):
  net = stream(NORMS[kind])
  small = paoding.prune(
    net,
    HALF,
    method=method,
    input_range=(-1.0, 1.0),
    verbose=0,
    distillation=False,
  )
  assert small.get_layer('back').units == 4
  x = testing.samples((5, 3), 300).astype(np.float32)
  change = np.abs(net(x) - small(x)).max(0)
  assert np.all(change <= paoding.deviation_bound(net, small, (-1, 1)) + 1e-5)
  near = paoding.deviation_bound(net, small, (-1, 1), x=x[:8], epsilon=0.01)
  moved = np.clip(x[:8] + 0.01, -1, 1)
  assert np.all(np.abs(net(moved) - small(moved)) <= near + 1e-5)


@pytest.mark.parametrize(
  ('suffix', 'kind'), [('h5', 'root mean square'), ('keras', 'layer')]
)
def test_compact_models_are_saved_loaded_and_converted(suffix, kind, tmp_path):
  small = paoding.prune(stream(NORMS[kind]), HALF, method='l1', verbose=0)
  small.save(tmp_path / f'small.{suffix}')
  loaded = keras.models.load_model(tmp_path / f'small.{suffix}')
  x = testing.samples((5, 3), 20).astype(np.float32)
  np.testing.assert_allclose(small(x), loaded(x), atol=1e-6)
  data = paoding.convert_to_tflite(small)
  named = {small.input_names[0]: x}
  (found,) = paoding.tflite.run_tflite(data, named, outputs=small.output_names)
  np.testing.assert_allclose(found, small(x), atol=1e-5)


@pytest.mark.parametrize('suffix', ['h5', 'keras'])
@pytest.mark.parametrize('kind', ['root mean square', 'layer'])
def test_wrapped_models_are_saved_and_loaded(suffix, kind, tmp_path):
  """A registered layer in a wrapper was not found by its name in .h5 files."""
  wrapped = _run(stream(NORMS[kind]), method='l1', named=True)
  wrapped.save(tmp_path / f'wrapped.{suffix}')
  loaded = keras.models.load_model(tmp_path / f'wrapped.{suffix}')
  x = testing.samples((5, 3), 20).astype(np.float32)
  np.testing.assert_allclose(wrapped(x), loaded(x), atol=1e-6)


@pytest.mark.parametrize('kind', ['root mean square', 'length'])
def test_units_that_are_not_zero_without_weights_stay(kind):
  net = stream(NORMS[kind], 'sigmoid')
  wrapped = paoding.prune_low_saliency(net, method='l1')
  history = paoding.run_schedule(wrapped, verbose=0)
  assert "'norm' measures them" in history.left_alone['first']
  assert history.units_removed[-1] == 5  # of the inner layer


@pytest.mark.parametrize('kind', ['root mean square', 'length'])
def test_what_nobody_reads_but_others_are_measured_with_stays(kind):
  """Without weights behind them, units used to be dead."""
  inputs = keras.Input((4,))
  x = NORMS[kind](name='norm')(L.Dense(6, name='first')(inputs))
  net = testing.fill(keras.Model(inputs, L.Dense(2, name='last')(x)))
  kernel, bias = net.get_layer('last').get_weights()
  kernel[:3] = 0.0
  net.get_layer('last').set_weights([kernel, bias])
  rows, shift = net.get_layer('first').get_weights()
  rows[:, 0], shift[0] = 0.0, 0.0  # zero, and so is unit 1 but for its bias
  rows[:, 1] = 0.0
  net.get_layer('first').set_weights([rows, shift])
  small = paoding.compact(net)
  assert small.get_layer('first').units == 5
  x = testing.samples((4,), 50).astype(np.float32)
  np.testing.assert_allclose(net(x), small(x), atol=1e-5)


def test_a_shared_layer_is_readjusted_once():
  inputs = keras.Input((4,))
  norm, dense = rms(name='norm'), L.Dense(6, name='dense')
  x = dense(norm(dense(norm(L.Dense(6)(inputs)))))
  net = testing.fill(keras.Model(inputs, L.Dense(2)(x)))
  one, two, small = forms(_run(net))
  assert small.get_layer('dense').units == 3
  assert small.get_layer('norm').epsilon == pytest.approx(0.4)
  x = testing.samples((4,), 50).astype(np.float32)
  np.testing.assert_allclose(one(x), two(x), atol=1e-5)
  np.testing.assert_allclose(two(x), small(x), atol=1e-5)


def test_another_epsilon_is_not_taken_for_pruning():
  net = stream(rms)
  small = paoding.prune(net, 0.5, method='l1', verbose=0)
  small.get_layer('norm').epsilon *= 1.5
  with pytest.raises(ValueError, match='epsilon 0.6 in the pruned model'):
    paoding.deviation_bound(net, small)


def test_what_a_mean_is_taken_over_leaves_where_it_is_named():
  net = stream(NORMS['layer'])
  plain = paoding.prune(net, 0.5, method='l1', verbose=0)
  assert plain.get_layer('back').units == 8
  assert plain.get_layer('inner').units == 5
  small = paoding.prune(net, {'back': 0.5}, method='l1', verbose=0)
  assert small.get_layer('first').units == 4
  assert small.get_layer('inner').units == 10
  norm = small.get_layer('norm')
  assert type(norm) is paoding.layers.PaddedLayerNormalization
  assert (norm.width, norm.gamma.shape) == (8, (4,))


def test_a_layer_of_heads_names_its_heads_not_the_stream():
  inputs = keras.Input((5, 3))
  x = L.Dense(8, name='stream')(inputs)
  y = L.LayerNormalization(name='norm')(x)
  x = L.Add()([x, L.MultiHeadAttention(4, 2, name='heads')(y, y)])
  outputs = L.Dense(2)(L.Flatten()(L.LayerNormalization()(x)))
  net = testing.fill(keras.Model(inputs, outputs))
  small = paoding.prune(net, {'heads': 0.5}, method='l1', verbose=0)
  assert small.get_layer('heads')._num_heads == 2
  assert small.get_layer('stream').units == 8
  wrapped = paoding.prune_low_saliency(
    net, {'heads': paoding.ProgressiveSparsity(0.5)}, 'l1', (-1, 1)
  )
  history = paoding.run_schedule(wrapped, verbose=0)
  assert "'norm' takes the mean" in history.left_alone['stream']


def test_what_heads_alone_make_stays_where_a_mean_is_taken_over_it():
  inputs = keras.Input((5, 3))
  x = L.MultiHeadAttention(4, 2, name='heads')(inputs, inputs)
  outputs = L.Dense(2)(L.LayerNormalization(name='norm')(x))
  net = testing.fill(keras.Model(inputs, outputs))
  x = testing.samples((5, 3), 8).astype(np.float32)
  small = paoding.prune(net, {'heads': 0.5}, method='l1', verbose=0)
  assert small.get_layer('heads')._num_heads == 2
  assert small(x).shape == net(x).shape
  assert type(small.get_layer('norm')) is L.LayerNormalization


def test_what_was_pruned_is_pruned_further():
  net = stream(NORMS['layer'])
  x = testing.samples((5, 3), 64).astype(np.float32)
  small = paoding.prune(net, {'first': 0.25}, method='l1', verbose=0)
  smaller = paoding.prune(small, {'first': 0.34}, method='l1', verbose=0)
  assert smaller.get_layer('norm').width == 8
  assert smaller.get_layer('first').units == 4
  once = paoding.prune(net, {'first': 0.5}, method='l1', verbose=0)
  np.testing.assert_allclose(smaller(x), once(x), atol=1e-5)
  change = np.abs(net(x) - smaller(x)).max(0)
  assert np.all(change <= paoding.deviation_bound(net, smaller, (-1, 1)) + 1e-5)


def test_another_width_is_not_taken_for_pruning():
  net = stream(NORMS['layer'])
  small = paoding.prune(net, {'first': 0.5}, method='l1', verbose=0)
  small.get_layer('norm').width = 10
  with pytest.raises(ValueError, match='measures 10 channels in the pruned'):
    paoding.deviation_bound(net, small)


def test_without_factors_a_mean_holds_its_units():
  net = stream(lambda **s: L.LayerNormalization(scale=False, **s))
  with pytest.raises(ValueError, match="'first' cannot be pruned"):
    paoding.prune(net, {'first': 0.5}, method='l1', verbose=0)


@pytest.mark.parametrize('dtype', ['float32', 'mixed_float16', 'float64'])
@pytest.mark.parametrize('axis', [-1, (1, 2)])
def test_padded_layer_normalization_measures_zeros(dtype, axis):
  layer = paoding.layers.PaddedLayerNormalization(7, axis=axis, dtype=dtype)
  plain = L.LayerNormalization(axis=axis, dtype=dtype)
  x = 3 + testing.samples((4, 5), 20).astype(layer.compute_dtype)
  wide = np.pad(x, [(0, 0), (0, 0), (0, 2)])
  layer.build(x.shape)
  plain.build(wide.shape)
  rng = np.random.default_rng(0)
  values = [rng.normal(size=w.shape) for w in plain.weights]
  plain.set_weights(values)
  layer.set_weights([value[..., :5] for value in values])
  tolerance = 1e-2 if 'mixed' in dtype else 1e-5
  found = layer(x)
  assert found.dtype == layer.compute_dtype
  np.testing.assert_allclose(found, plain(wide)[..., :5], atol=tolerance)
  again = type(layer).from_config(layer.get_config())
  assert again.get_config() == layer.get_config()


def test_a_width_that_cannot_be_is_refused():
  for width in (0, 2.5, None):
    with pytest.raises(ValueError, match='positive whole number'):
      paoding.layers.PaddedLayerNormalization(width)
  with pytest.raises(ValueError, match='its input has 5'):
    paoding.layers.PaddedLayerNormalization(4).build((None, 5))


def test_groups_lose_whole_groups():
  net = stream(NORMS['groups'])
  small = paoding.prune(net, 0.6, method='l1', verbose=0)
  assert small.get_layer('norm').groups == 2
  assert small.get_layer('back').units == 4  # two of four, of two channels


OPEN = (None, None, 3)


@pytest.mark.parametrize('shape', [OPEN, (6, 7, 3)])
def test_groups_of_maps_of_any_size(shape):
  inputs = keras.Input(shape)
  x = L.Conv2D(8, 3, padding='same')(inputs)
  x = L.ReLU()(L.GroupNormalization(4, name='norm')(x))
  x = L.GlobalAveragePooling2D()(L.Conv2D(6, 3)(x))
  net = testing.fill(keras.Model(inputs, L.Dense(2)(x)))
  one, two, small = forms(_run(net, method='l1'))
  assert small.get_layer('norm').groups == 2
  x = testing.samples((6, 7, 3), 20).astype(np.float32)
  np.testing.assert_allclose(one(x), two(x), atol=1e-5)
  np.testing.assert_allclose(two(x), small(x), atol=1e-5)
  if shape is not OPEN:
    bound = paoding.deviation_bound(net, small, (-1, 1))
    assert np.all(np.abs(net(x) - small(x)).max(0) <= bound + 1e-5)


def transformer_block(make, seed=0) -> keras.Model:
  """Feed-forward blocks around a residual stream."""
  inputs = keras.Input((4, 6))
  x = L.Dense(6, name='stream')(inputs)
  for k in range(2):
    y = make(name=f'norm_{k}')(x)
    y = L.Dense(12, 'gelu', name=f'up_{k}')(y)
    x = L.Add()([x, L.Dense(6, name=f'down_{k}')(y)])
  x = L.GlobalAveragePooling1D()(make(name='norm')(x))
  return testing.fill(keras.Model(inputs, L.Dense(3)(x)), seed)


@pytest.mark.parametrize('method', ['impact', 'reconstruction', 'stochastic'])
def test_bounds_go_through_layer_normalization(method):
  """It used to be opaque, so that nothing was bounded behind it."""
  net = transformer_block(L.LayerNormalization)
  wrapped = paoding.prune_low_saliency(net, method=method, input_range=(-1, 1))
  history = paoding.run_schedule(wrapped, verbose=0)
  assert np.isfinite(history.bound).all()
  why = history.left_alone['stream']
  assert "'norm_0' takes the mean over its units" in why
  assert "sparsity names 'stream'" in why
  one, two, small = forms(wrapped)
  assert small.get_layer('up_0').units == 6
  x = testing.samples((4, 6), 200).astype(np.float32)
  np.testing.assert_allclose(one(x), two(x), atol=1e-5)
  np.testing.assert_allclose(two(x), small(x), atol=1e-5)
  change = np.abs(net(x) - small(x)).max(0)
  assert np.all(change <= paoding.deviation_bound(net, small, (-1, 1)) + 1e-5)


def test_balls_go_through_layer_normalization():
  net = transformer_block(L.LayerNormalization)
  x = testing.samples((4, 6), 4).astype(np.float32)
  for method in ('ibp', 'crown-ibp', 'crown'):
    low, high = paoding.robustness.output_bounds(
      net, x, 1e-3, (-1, 1), method=method
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
      moved = x + 1e-3 * rng.choice([-1, 1], x.shape)
      y = net(np.clip(moved, -1, 1).astype(np.float32)).numpy()
      assert np.all((low <= y + 1e-5) & (y <= high + 1e-5))
    assert np.max(high - low) < 1.0


@pytest.mark.parametrize('axis', [1, (2, 1), (0, 1)])
def test_axes_that_are_not_the_last_are_left_alone(axis):
  if axis == (0, 1):
    layer = L.UnitNormalization(axis=axis)
  else:
    layer = L.LayerNormalization(axis=axis)
  inputs = keras.Input((3, 4))
  graph = build_graph(keras.Model(inputs, layer(inputs)))
  assert isinstance(graph.nodes[0].op, Opaque)


def test_in_half_precision_it_is_measured_in_float32():
  layer = paoding.layers.RMSNormalization(dtype='mixed_float16')
  x = np.full((2, 4), 300.0, np.float32)  # whose squares overflow
  np.testing.assert_allclose(layer(x), 1.0, atol=1e-2)
