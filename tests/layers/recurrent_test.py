"""Recurrent layers: their units leave, and so do those in front of them."""

from __future__ import annotations

import pathlib

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.bounds.program import NoRelaxationError
from tfmot_paoding.bounds.whole_range import propagate
from tfmot_paoding.compat import keras
from tfmot_paoding.methods.criteria import IntervalImpact
from tfmot_paoding.methods.folding import Fold, fold_weights
from tfmot_paoding.methods.group_view import view_group
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.network.costs import graph_macs
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.network.handler_check import check_call
from tfmot_paoding.ops import WeightRef
from tfmot_paoding.training.live import LiveBounds

L = keras.layers
KINDS = [L.LSTM, L.GRU, L.SimpleRNN]
strip_pruning = tfmot.sparsity.keras.strip_pruning
pytestmark = pytest.mark.filterwarnings(
  'ignore:Pruning has left few',
  'ignore:`input_range`',
  'ignore:.*leaves sizes of its inputs open',
)


def behind(tensors) -> keras.layers.Layer:
  """Logits of all that a layer gives."""
  found = []
  for x in tf.nest.flatten(tensors):
    x = L.GlobalAveragePooling1D()(x) if len(x.shape) == 3 else x
    found.append(L.Dense(3)(x))
  return found[0] if len(found) == 1 else L.Add()(found)


def model(layer, seed=3, shape=(5, 4)) -> keras.Model:
  inputs = keras.Input(shape)
  x = L.Dense(6, 'relu', name='front')(inputs)
  return testing.fill(keras.Model(inputs, behind(layer(x))), seed)


def samples(net, count=30, low=-1.0, high=1.0):
  rng = np.random.default_rng(0)
  found = []
  for tensor in net.inputs:
    sizes = (size or 6 for size in tensor.shape[1:])
    shape = (tensor.shape[0] or count, *sizes)
    if tensor.dtype.is_integer:
      found.append(rng.integers(0, 7, shape))
    else:
      found.append(rng.uniform(low, high, shape).astype(np.float32))
  return found if len(found) > 1 else found[0]


def pruned(net):
  return paoding.prune(
    net, 0.5, method='l1', input_range=(-1.0, 1.0), verbose=0
  )


def groups(net, views=None):
  found = find_groups(build_graph(net, views))
  return {'/'.join(g.name): g.size for g in found.groups}, found.left_alone


def check_forms(net, method='l1', sparsity=0.5, x=None, attention='heads'):
  """Wrapped, stripped and compact agree; the operations are the layers."""
  graph = build_graph(net, attention)
  for call in graph.layer_calls:
    check_call(graph, call)
  whole = any(tensor.dtype.is_integer for tensor in net.inputs)
  input_range = None if whole else (-1.0, 1.0)
  wrapped = paoding.prune_low_saliency(
    net,
    paoding.ProgressiveSparsity(sparsity),
    method,
    input_range,
    attention=attention,
  )
  paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  x = samples(net) if x is None else x
  answers = []
  for one in (net, wrapped, stripped, small):
    one.reset_states()
    answers.append(np.asarray(one(x)))
  np.testing.assert_allclose(answers[1], answers[2], atol=1e-6)
  np.testing.assert_allclose(answers[2], answers[3], atol=1e-5)
  bound = paoding.deviation_bound(net, small, input_range)
  assert np.isfinite(bound).all()
  assert np.all(np.abs(answers[0] - answers[3]).max(0) <= bound + 1e-5)
  return small


@st.composite
def layers(draw):
  """A recurrent layer of any arguments that it is pruned with."""
  kind = draw(st.sampled_from(KINDS))
  flags = ('return_sequences', 'go_backwards', 'unroll')
  settings = {name: draw(st.booleans()) for name in (*flags, 'use_bias')}
  settings['activation'] = draw(st.sampled_from(['tanh', 'softsign']))
  if kind is not L.SimpleRNN:
    gates = st.sampled_from(['sigmoid', 'hard_sigmoid'])
    settings['recurrent_activation'] = draw(gates)
  if kind is L.GRU:
    settings['reset_after'] = draw(st.booleans())
  both = draw(st.booleans())
  mode = draw(st.sampled_from(['concat', 'sum', 'ave', 'mul', None]))
  if both:
    if mode is not None:
      settings['return_state'] = draw(st.booleans())
    return lambda: L.Bidirectional(kind(4, **settings), mode, name='unit')
  settings['return_state'] = draw(st.booleans())
  return lambda: kind(4, **settings, name='unit')


@hypothesis.settings(max_examples=4, deadline=None)
@hypothesis.given(layers(), st.integers(0, 100))
def test_all_forms_agree_whatever_the_arguments(make, seed):
  net = model(make(), seed)
  sizes, left_alone = groups(net)
  assert sizes['front'] == 6
  assert sizes['unit'] == 4
  assert not {path for path in left_alone if path in (('front',), ('unit',))}
  small = check_forms(net)
  layer, was = small.get_layer('unit'), net.get_layer('unit').get_config()
  layer = getattr(layer, 'forward_layer', layer)
  assert layer.units == 2
  assert small.get_layer('front').units == 3
  config = small.get_layer('unit').get_config()
  inner, before = (
    one.get('layer', {'config': one})['config'] for one in (config, was)
  )
  assert {**inner, 'units': 4} == before


@pytest.mark.parametrize('kind', KINDS)
def test_a_removed_unit_is_zero_at_every_step(kind):
  net = model(kind(6, return_sequences=True, name='unit'))
  wrapped = paoding.prune_low_saliency(net, method='l1')
  paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  states = keras.Model(stripped.input, stripped.get_layer('unit').output)
  gone = np.all(states(samples(net)).numpy() == 0, axis=(0, 1))
  assert gone.sum() == 3


def in_front():
  inputs = keras.Input((9, 3))
  x = L.BatchNormalization()(L.Conv1D(6, 3, name='conv')(inputs))
  x = L.TimeDistributed(L.Dense(6, 'relu'), name='each')(L.ReLU()(x))
  return keras.Model(inputs, L.Dense(3)(L.GRU(6, name='unit')(x)))


def masked():
  inputs = keras.Input((7,), dtype='int32')
  x = L.Embedding(9, 6, mask_zero=True, name='table')(inputs)
  x = L.LSTM(6, return_sequences=True, name='unit')(x)
  x = L.Bidirectional(L.GRU(4, return_sequences=True), name='both')(x)
  return keras.Model(inputs, L.Dense(3)(L.SimpleRNN(4, name='last')(x)))


def encoder_and_decoder():
  inputs = keras.Input((5, 3)), keras.Input((4, 2))
  _, *states = L.LSTM(6, return_state=True, name='unit')(inputs[0])
  x = L.LSTM(6, return_sequences=True)(inputs[1], initial_state=states)
  return keras.Model(inputs, L.Dense(3)(x))


def shared():
  inputs = keras.Input((5, 3)), keras.Input((4, 3))
  unit = L.GRU(6, name='unit')
  x = L.Concatenate()([unit(one) for one in inputs])
  return keras.Model(inputs, L.Dense(3)(x))


def residual():
  inputs = keras.Input((5, 3))
  x = L.Dense(6, name='unit')(inputs)
  x = L.Add()([x, L.GRU(6, return_sequences=True)(x)])
  return keras.Model(inputs, L.Dense(3)(L.Flatten()(x)))


def with_state():
  inputs = keras.Input(batch_shape=(4, 5, 3))
  return keras.Model(
    inputs, L.Dense(3)(L.LSTM(6, stateful=True, name='unit')(inputs))
  )


def of_a_cell():
  inputs = keras.Input((5, 3))
  x = L.Dense(6, name='front')(inputs)
  return keras.Model(inputs, L.Dense(3)(L.RNN(L.GRUCell(6), name='unit')(x)))


def of_stacked_cells():
  inputs = keras.Input((5, 3))
  x = L.Dense(6, name='front')(inputs)
  cells = [L.LSTMCell(6), L.GRUCell(4), L.SimpleRNNCell(6)]
  x = L.RNN(cells, go_backwards=True, name='unit')(x)
  return keras.Model(inputs, L.Dense(3)(x))


def of_masked_stacked_cells():
  inputs = keras.Input((7,), dtype='int32')
  x = L.Embedding(9, 6, mask_zero=True, name='table')(inputs)
  cells = [L.GRUCell(4), L.LSTMCell(6)]
  settings = {'go_backwards': True, 'return_sequences': True}
  x = L.RNN(cells, zero_output_for_mask=True, name='unit', **settings)(x)
  cells = [L.LSTMCell(4), L.LSTMCell(4)]
  x = L.Bidirectional(L.RNN(cells, return_sequences=True), name='both')(x)
  return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(x)))


def of_stacked_states():
  inputs = keras.Input((5, 3)), keras.Input((4, 2))

  def cells():
    return [L.SimpleRNNCell(6), L.GRUCell(4)]

  _, *states = L.RNN(cells(), return_state=True, name='unit')(inputs[0])
  again = L.RNN(cells(), return_sequences=True, go_backwards=True)
  x = again(inputs[1], initial_state=states)
  return keras.Model(inputs, L.Dense(3)(L.Flatten()(x)))


def stateful_and_stacked():
  inputs = keras.Input(batch_shape=(4, 5, 3))
  cells = [L.GRUCell(6), L.LSTMCell(4)]
  x = L.RNN(cells, stateful=True, return_sequences=True, name='unit')(inputs)
  x = L.Bidirectional(L.GRU(4, stateful=True), name='both')(x)
  return keras.Model(inputs, L.Dense(3)(x))


def of_any_length():
  inputs = keras.Input((None, 3))
  x = L.LSTM(6, return_sequences=True, name='unit')(inputs)
  x = L.Bidirectional(L.LSTM(6, return_sequences=True), name='both')(x)
  return keras.Model(inputs, L.Dense(3)(L.LSTM(4, name='last')(x)))


NETWORKS = {
  in_front: {'conv': 6, 'each': 6, 'unit': 6},
  masked: {'table': 6, 'unit': 6, 'both': 4, 'both/2': 4, 'last': 4},
  encoder_and_decoder: {'unit': 6},
  shared: {'unit': 6},
  residual: {'unit': 6},
  with_state: {'unit': 6},
  of_a_cell: {'front': 6, 'unit': 6},
  of_stacked_cells: {'front': 6, 'unit': 6, 'unit/2': 4, 'unit/3': 6},
  of_masked_stacked_cells: {
    'table': 6,
    'unit': 4,
    'unit/2': 6,
    'both': 4,
    'both/2': 4,
    'both/3': 4,
    'both/4': 4,
  },
  of_stacked_states: {'unit': 6, 'unit/2': 4},
  stateful_and_stacked: {'unit': 6, 'unit/2': 4, 'both': 4, 'both/2': 4},
  of_any_length: {'unit': 6, 'both': 6, 'both/2': 6, 'last': 4},
}


@pytest.mark.parametrize('make', NETWORKS, ids=lambda make: make.__name__)
def test_networks_around_recurrent_layers(make):
  net = testing.fill(make())
  assert groups(net)[0] == NETWORKS[make]
  small = check_forms(net)
  assert small.count_params() < 0.6 * net.count_params()


@pytest.mark.parametrize('method', paoding.methods.method_names())
def test_every_method_prunes(method):
  check_forms(testing.fill(of_a_cell()), method)


@pytest.mark.parametrize(
  ('make', 'method'),
  [
    (encoder_and_decoder, 'reconstruction'),
    (encoder_and_decoder, 'folding'),
    (masked, 'impact'),
  ],
)
def test_states_and_masks_pass_whatever_makes_up_for_units(make, method):
  """By one method of each kind: which units go does not see these."""
  check_forms(testing.fill(make()), method)


LEFT_ALONE = [
  (
    lambda: L.RNN([L.LSTMCell(4), L.StackedRNNCells([L.GRUCell(4)])]),
    'runs a StackedRNNCells',
  ),
  (lambda: L.LSTM(4, time_major=True), 'steps in front of its samples'),
  (lambda: L.LSTM(4, activation='sigmoid'), 'makes something of zeros'),
  (lambda: L.LSTM(4, activation=tf.sin), 'activation that is not known'),
  (lambda: L.LSTM(4, activation='softmax'), 'activation that is not known'),
]


@pytest.mark.parametrize(('make', 'why'), LEFT_ALONE)
def test_what_is_left_alone_is_said(make, why):
  layer = make()
  _, left_alone = groups(model(layer))
  assert why in left_alone[layer.name,]
  assert layer.name in left_alone[layer.name,]


def test_units_behind_an_activation_that_moves_zero_stay_those_in_front_leave():
  net = model(L.LSTM(4, activation='sigmoid', name='unit'))
  assert groups(net)[0] == {'front': 6}
  assert check_forms(net).get_layer('unit').units == 4


def test_a_state_from_outside_keeps_its_units():
  inputs = keras.Input((5, 3)), keras.Input((6,))
  x = L.GRU(6, name='unit')(inputs[0], initial_state=inputs[1])
  sizes, left_alone = groups(keras.Model(inputs, L.Dense(3)(x)))
  assert not sizes
  assert 'meet other than units' in left_alone['unit',]


def test_a_call_told_more_than_tensors_of_the_model_is_left_alone():
  inputs = keras.Input((5, 3))
  x = L.Dense(6, name='front')(inputs)
  x = L.GRU(6, name='unit')(x, initial_state=tf.ones((1, 6)))
  _, left_alone = groups(keras.Model(inputs, L.Dense(3)(x)))
  assert 'called with `initial_state`' in left_alone['front',]


def test_units_that_the_model_gives_stay():
  inputs = keras.Input((5, 3))
  x = L.Dense(6, name='front')(inputs)
  net = keras.Model(inputs, L.LSTM(6, return_state=True, name='unit')(x))
  sizes, left_alone = groups(net)
  assert sizes == {'front': 6}
  assert 'outputs of the model' in left_alone['unit',]


@pytest.mark.parametrize('kind', KINDS)
def test_twins_merge_without_a_change(kind):
  net = model(kind(6, return_sequences=True, name='unit'), seed=1)
  cell = net.get_layer('unit').cell
  blocks = cell.kernel.shape[1] // 6
  for weight in (cell.kernel, cell.bias, cell.recurrent_kernel):
    value = weight.numpy()
    parts = np.reshape(value, (*value.shape[:-1], blocks, 6))
    parts[..., 3:] = parts[..., :3]
    weight.assign(value)
  only = {'unit': paoding.ProgressiveSparsity(0.5)}
  wrapped = paoding.prune_low_saliency(net, only, method='saliency')
  paoding.run_schedule(wrapped, verbose=0)
  small = paoding.compact(strip_pruning(wrapped))
  assert small.get_layer('unit').units == 3
  x = samples(net)
  np.testing.assert_allclose(net(x), small(x), atol=1e-5)


@pytest.mark.parametrize('suffix', ['h5', 'keras'])
def test_directions_may_lose_unlike_numbers(suffix, tmp_path: pathlib.Path):
  net = model(L.Bidirectional(L.LSTM(6), name='unit'))
  cell = net.get_layer('unit').backward_layer.cell
  for weight in (cell.kernel, cell.bias, cell.recurrent_kernel):
    value = weight.numpy()
    value.reshape((*value.shape[:-1], 4, 6))[..., :2] = 0
    weight.assign(value)
  small = paoding.compact(net)
  layer = small.get_layer('unit')
  assert (layer.forward_layer.units, layer.backward_layer.units) == (6, 4)
  small.save(tmp_path / f'small.{suffix}')
  loaded = keras.models.load_model(tmp_path / f'small.{suffix}')
  x = samples(net)
  np.testing.assert_allclose(net(x), small(x), atol=1e-5)
  np.testing.assert_allclose(small(x), loaded(x), atol=1e-6)


def test_costs_are_those_of_both_products_at_every_step():
  net = model(L.LSTM(6, name='unit'))
  wanted = 5 * (4 * 6 + 4 * 6 * 6 + 4 * 6 * 6) + 6 * 3
  assert graph_macs(build_graph(net)) == wanted


def test_training_keeps_what_is_gone():
  net = model(L.GRU(6, name='unit'))
  wrapped = paoding.prune_low_saliency(net, method='l1')
  paoding.run_schedule(wrapped, verbose=0)
  wrapped.compile('adam', 'mse')
  x = samples(net, 64)
  callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
  wrapped.fit(x, net(x), epochs=2, verbose=0, callbacks=callbacks)
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  assert small.get_layer('unit').units == 3
  np.testing.assert_allclose(stripped(x), small(x), atol=1e-5)


def test_distillation_keeps_what_is_gone():
  net = model(L.LSTM(6, name='unit'))
  small = pruned(net)
  settings = paoding.training.DistillSettings(steps=3)
  taught = paoding.training.distill(
    net, small, data=samples(net, 64), settings=settings, verbose=0
  )
  assert taught.get_layer('unit').units == 3


@pytest.mark.parametrize('kind', [L.LSTM, L.GRU])
def test_files_for_devices_answer_alike(kind):
  inputs = keras.Input((5, 4))
  x = kind(6, return_sequences=True)(L.Dense(6, 'relu')(inputs))
  net = testing.fill(keras.Model(inputs, L.Dense(3)(kind(6)(x))))
  small = pruned(net)
  data = paoding.convert_to_tflite(small)
  x = samples(small, 4)
  named = {small.input_names[0]: x}
  (found,) = paoding.tflite.run_tflite(data, named, outputs=small.output_names)
  np.testing.assert_allclose(found, small(x), atol=1e-5)
  fused = b'' if kind is L.GRU else b'UNIDIRECTIONAL_SEQUENCE_LSTM'
  interpreter = tf.lite.Interpreter(model_content=data)
  names = [one['op_name'] for one in interpreter._get_ops_details()]
  assert names.count(fused.decode()) == (2 if fused else 0)


def test_reconstruction_fits_what_states_feed_back():
  inputs = keras.Input((8, 4))
  x = L.GRU(12, name='unit')(inputs)
  net = testing.fill(keras.Model(inputs, L.Dense(3)(x)), scale=1.5)
  cell = net.get_layer('unit').cell
  # Half of the units are sums of the others, but for a little.
  rng = np.random.default_rng(5)
  for weight in (cell.kernel, cell.bias, cell.recurrent_kernel):
    value = weight.numpy()
    parts = np.reshape(value, (*value.shape[:-1], 3, 12))
    parts[..., 6:] = parts[..., :6] + 0.1 * rng.normal(
      size=parts[..., :6].shape
    )
    weight.assign(value)
  x = samples(net, 256, 0.0, 1.0)
  moved = {
    method: np.square(
      net(x)
      - paoding.prune(
        net, 0.5, method=method, data=x, verbose=0, distillation=False
      )(x)
    ).mean()
    for method in ('saliency', 'reconstruction')
  }
  assert moved['reconstruction'] < 0.3 * moved['saliency']


def test_a_fold_takes_the_mean_of_a_bias_once():
  net = model(L.GRU(4, name='unit'))
  graph = build_graph(net)
  (group,) = (g for g in find_groups(graph).groups if g.name == ('unit',))
  params = read_params(graph)
  found = fold_weights(graph, params, group, [Fold(0, 1, 0.25)])
  for ref, axis in (('cell.bias', 1), ('cell.kernel', 1)):
    old, new = (
      np.moveaxis(one[WeightRef(('unit',), ref)], axis, 0)
      for one in (params, found)
    )
    np.testing.assert_allclose(new[1::4], 0.75 * old[1::4] + 0.25 * old[::4])


def near(x, epsilon, count=20):
  """Samples of the balls around samples, (count, batch, ...)."""
  rng = np.random.default_rng(1)
  moves = rng.choice([-1, 1], (count, *x.shape)) * rng.uniform(
    0, 1, (count, *x.shape)
  )
  return np.clip(x + epsilon * moves, -1, 1).astype(np.float32)


@pytest.mark.parametrize(
  ('kind', 'method'),
  [
    (L.LSTM, 'ibp'),
    (L.LSTM, 'crown'),
    (L.GRU, 'crown-ibp'),
    (L.SimpleRNN, 'alpha-crown'),
  ],
)
def test_bounds_near_samples_contain_them(kind, method):
  unit = L.Bidirectional(kind(4, return_sequences=True), 'sum')
  net = model(unit)
  x, epsilon = samples(net, 3), 0.01
  low, high = paoding.robustness.output_bounds(
    net, x, epsilon, (-1.0, 1.0), method, verbose=0
  )
  moved = near(x, epsilon)
  answers = np.stack([net(one) for one in moved])
  assert np.all(answers >= low - 1e-5)
  assert np.all(answers <= high + 1e-5)
  # The whole range's bounds are wider by far.
  graph = build_graph(net)
  bounds = propagate(graph, read_params(graph), testing.box(graph))
  assert np.all(high - low < 0.5 * bounds[graph.outputs[0]].width)


@pytest.mark.parametrize(
  ('kind', 'method'), [(L.LSTM, 'ibp'), (L.GRU, 'crown')]
)
def test_deviation_near_samples_is_bounded(kind, method):
  net = model(kind(6, name='unit'))
  small = pruned(net)
  x, epsilon = samples(net, 3), 0.01
  bound = paoding.deviation_bound(
    net, small, (-1.0, 1.0), x=x, epsilon=epsilon, method=method, verbose=0
  )
  moved = near(x, epsilon)
  apart = np.stack([np.abs(net(one) - small(one)) for one in moved])
  assert np.all(apart <= bound + 1e-5)
  whole = paoding.deviation_bound(net, small, (-1.0, 1.0))
  assert np.all(bound < whole)


@pytest.mark.parametrize('make', [of_any_length, residual, in_front, shared])
def test_impact_is_known_of_recurrent_units(make):
  net = testing.fill(make())
  graph = build_graph(net)
  view = NetworkView(graph, read_params(graph), testing.box(graph))
  for group in find_groups(graph).groups:
    own = view_group(view, group, np.ones(group.size, bool))
    assert own.has_bounds
    scores = IntervalImpact(blend=0.0).scores(own, np.arange(group.size))
    assert (scores.min(1) > 0).all()
    assert np.ptp(scores.min(1)) > 0


def test_what_is_certified_holds():
  net = model(L.LSTM(4, name='unit'))
  x = samples(net, 40)
  y = np.argmax(net(x), -1)
  sure = paoding.robustness.certified(net, x, y, 0.002, (-1.0, 1.0), verbose=0)
  assert sure.any()
  for one in near(x, 0.002):
    assert np.all(np.argmax(net(one), -1)[sure] == y[sure])


def test_bounds_that_are_trained_through_are_refused_by_name():
  net = model(L.LSTM(4, name='unit'))
  with pytest.raises(NoRelaxationError, match="'unit' has no bounds that can"):
    LiveBounds(build_graph(net), build_graph(net).outputs[0])
