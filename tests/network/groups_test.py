"""Channel groups: who belongs together, and who is left alone and why."""

from __future__ import annotations

import numpy as np

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups

_layers = keras.layers


def groups_of(model):
  found = find_groups(build_graph(model))
  sizes = {'/'.join(g.name): g.size for g in found.groups}
  reasons = {'/'.join(path): why for path, why in found.left_alone.items()}
  return sizes, reasons


def model_of(*layers, shape=(5,)):
  return keras.Sequential([keras.Input(shape), *layers])


def test_hidden_layers_are_groups_and_outputs_are_not():
  sizes, reasons = groups_of(testing.mlp((5, 8, 6, 3)))
  assert sizes == {'hidden_0': 8, 'hidden_1': 6}
  assert reasons == {'logits': 'its units are outputs of the model'}


def test_members_of_a_group():
  model = testing.with_batch_norm()
  group = find_groups(build_graph(model)).groups[0]
  assert [m.node.path for m in group.producers] == [('hidden_0',)]
  assert [m.node.path for m in group.carriers] == [('norm_0',)]
  assert [m.node.path for m in group.consumers] == [('hidden_1',)]
  for member in group.members:
    assert member.units.tolist() == list(range(8))


def test_branches_share_a_group():
  inputs = keras.Input((5,))
  x = _layers.Dense(4, name='shared')(inputs)
  left, right = _layers.Dense(2, name='l')(x), _layers.Dense(3, name='r')(x)
  sizes, reasons = groups_of(keras.Model(inputs, [left, right]))
  assert sizes == {'shared': 4}
  assert set(reasons) == {'l', 'r'}


def test_hidden_units_that_are_also_outputs_stay():
  inputs = keras.Input((5,))
  x = _layers.Dense(4, name='both')(inputs)
  y = _layers.Dense(3, name='end')(x)
  sizes, reasons = groups_of(keras.Model(inputs, [x, y]))
  assert sizes == {}
  assert 'outputs of the model' in reasons['both']


def test_unknown_layers_leave_what_they_touch_alone():
  inputs = keras.Input((5,))
  a = _layers.Dense(4, name='a')(inputs)
  b = _layers.Dense(4, name='b')(inputs)
  dot = _layers.Dot(axes=1, normalize=True, name='dot')
  x = _layers.Dense(3, name='c')(dot([a, b]))
  model = keras.Model(inputs, _layers.Dense(2, name='d')(x))
  sizes, reasons = groups_of(model)
  assert sizes == {'c': 3}
  assert "'dot'" in reasons['a']
  assert "'dot'" in reasons['b']


def test_an_inner_product_of_vectors_is_known():
  inputs = keras.Input((5,))
  a, b = (_layers.Dense(4, 'relu', name=name)(inputs) for name in 'ab')
  model = testing.fill(keras.Model(inputs, _layers.Dot(1)([a, b])))
  _, reasons = groups_of(model)
  assert reasons == dict.fromkeys('ab', reasons['a'])
  assert 'no product with a kernel' in reasons['a']
  other = testing.fill(keras.models.clone_model(model), 1)
  bound = paoding.deviation_bound(model, other, (0.0, 1.0))
  x = testing.samples((5,), 64, 0.0).astype(np.float32)
  assert np.all(np.abs(model(x) - other(x)) <= bound + 1e-5)


def test_softmax_inside_ties_units():
  sizes, reasons = groups_of(
    model_of(_layers.Dense(4, 'softmax', name='s'), _layers.Dense(2))
  )
  assert sizes == {}
  assert 'softmax' in reasons['s']


def test_layers_used_twice_have_the_same_units_in_both_calls():
  shared = _layers.Dense(4, 'relu', name='shared')
  inputs = keras.Input((4,))
  x = shared(shared(_layers.Dense(4, name='before')(inputs)))
  model = keras.Model(inputs, _layers.Dense(2, name='after')(x))
  grouping = find_groups(build_graph(model))
  (group,) = grouping.groups
  assert [m.node.path for m in group.producers] == [('before',), ('shared',)]
  assert [m.node.path for m in group.consumers] == [('shared',), ('after',)]
  assert [len(m.calls) for m in group.consumers] == [2, 1]
  assert group.size == 4


def test_inputs_of_one_call_keep_the_units_that_another_reads():
  shared = _layers.Dense(3, 'relu', name='shared')
  inputs = keras.Input((4,))
  before = _layers.Dense(4, name='before')(inputs)
  x = _layers.Add()([shared(inputs), shared(before)])
  model = keras.Model(inputs, _layers.Dense(2, name='after')(x))
  sizes, reasons = groups_of(model)
  assert sizes == {'shared': 3}
  assert 'other than units' in reasons['before']


def test_shared_layers_without_weights_tie_nothing():
  relu = _layers.ReLU()
  inputs = keras.Input((4,))
  x = relu(_layers.Dense(5, name='a')(inputs))
  x = relu(_layers.Dense(5, name='b')(x))
  sizes, _ = groups_of(keras.Model(inputs, _layers.Dense(2)(x)))
  assert sizes == {'a': 5, 'b': 5}


def test_a_shared_reshape_has_one_size_in_all_calls():
  reshape = _layers.Reshape((2, 3))
  inputs = keras.Input((4,))
  x, y = (
    _layers.Conv1D(2, 1)(reshape(_layers.Dense(6, name=name)(inputs)))
    for name in ('a', 'b')
  )
  x = _layers.Flatten()(_layers.Add()([x, y]))
  grouping = find_groups(
    build_graph(keras.Model(inputs, _layers.Dense(2, name='end')(x)))
  )
  first = grouping.groups[0]
  assert {m.node.path for m in first.producers} == {('a',), ('b',)}
  assert first.size == 3


def test_calls_on_tensors_of_unlike_length_share_their_channels():
  shared = _layers.Conv1D(4, 3, activation='relu', name='shared')
  long, short = keras.Input((9, 2)), keras.Input((5, 2))
  pooled = [_layers.GlobalMaxPooling1D()(shared(one)) for one in (long, short)]
  x = _layers.Dense(2, name='end')(_layers.Concatenate()(pooled))
  sizes, _ = groups_of(keras.Model([long, short], x))
  assert sizes == {'shared': 4}


def test_reshape_that_keeps_units_on_one_axis_is_followed():
  sizes, _ = groups_of(
    model_of(
      _layers.Dense(6, name='a'),
      _layers.Reshape((1, 6)),
      _layers.Dense(4, name='b'),
      _layers.Flatten(),
      _layers.Dense(2),
    )
  )
  assert sizes == {'a': 6, 'b': 4}


def test_reshape_that_divides_channels_ties_them_over_positions():
  grouping = find_groups(
    build_graph(
      model_of(
        _layers.Dense(6, name='a'),
        _layers.Reshape((2, 3), name='grid'),
        _layers.Flatten(),
        _layers.Dense(2),
      )
    )
  )
  (group,) = grouping.groups
  assert group.size == 3
  assert group.producers[0].places.tolist() == [[0, 3], [1, 4], [2, 5]]
  assert group.consumers[0].places.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_shuffled_channels_are_tied_by_their_place_in_each_block():
  grouping = find_groups(
    build_graph(
      model_of(
        _layers.Dense(6, name='a'),
        _layers.Reshape((3, 2)),
        _layers.Permute((2, 1)),
        _layers.Reshape((6,)),
        _layers.Dense(2),
      )
    )
  )
  (group,) = grouping.groups
  assert group.size == 3  # as many as the more of 2 and 3
  assert group.producers[0].places.tolist() == [[0, 1], [2, 3], [4, 5]]
  assert group.consumers[0].places.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_units_that_no_axis_tells_apart_are_left_alone():
  inputs = keras.Input((4,))
  x = _layers.Reshape((2, 2), name='grid')(_layers.Dense(4, name='a')(inputs))
  x = _layers.Add()([x, _layers.Permute((2, 1))(x)])
  x = _layers.Dense(2)(_layers.Flatten()(x))
  sizes, reasons = groups_of(keras.Model(inputs, x))
  assert sizes == {}
  assert reasons['a'] == "'grid' spreads them over several axes"


def test_units_on_another_axis_than_the_last_stay():
  _, reasons = groups_of(
    model_of(
      _layers.Dense(6, name='a'),
      _layers.Reshape((6, 1)),
      _layers.Dense(4, name='b'),
      _layers.Flatten(),
      _layers.Dense(2),
    )
  )
  assert 'not the last axis' in reasons['a']


def test_flattened_sequences_repeat_their_units():
  model = model_of(
    _layers.Dense(4, name='a'),
    _layers.Flatten(),
    _layers.Dense(2, name='end'),
    shape=(3, 5),
  )
  grouping = find_groups(build_graph(model))
  (group,) = grouping.groups
  (consumer,) = group.consumers
  assert consumer.units.tolist() == [0, 1, 2, 3] * 3


def test_a_layer_that_leads_nowhere_is_no_group():
  inputs = keras.Input((5,))
  _layers.Dense(4, name='dangling')(inputs)
  model = keras.Model(inputs, _layers.Dense(2, name='end')(inputs))
  sizes, reasons = groups_of(model)
  assert sizes == {}
  assert set(reasons) == {'end'}


def test_units_are_numbered_by_group():
  model = testing.mlp((5, 8, 6, 3))
  graph = build_graph(model)
  grouping = find_groups(graph)
  by_shape = {units.shape: units for units in grouping.units}
  assert by_shape[(6,)].tolist() == list(range(8, 14))
  assert by_shape[(3,)].tolist() == [-1] * 3


def test_groups_in_nested_models_cross_the_border():
  inner_in = keras.Input((4,))
  inner = keras.Model(
    inner_in, _layers.Dense(6, name='deep')(inner_in), name='inner'
  )
  inputs = keras.Input((5,))
  x = inner(_layers.Dense(4, name='front')(inputs))
  sizes, _ = groups_of(keras.Model(inputs, _layers.Dense(2)(x)))
  assert sizes == {'front': 4, 'inner/deep': 6}


def test_numbers_of_a_large_flatten_are_exact():
  model = model_of(
    _layers.Dense(7, name='a'), _layers.Flatten(), _layers.Dense(2),
    shape=(6, 5, 3),
  )  # fmt: skip
  (group,) = find_groups(build_graph(model)).groups
  units = group.consumers[0].units.reshape(6, 5, 7)
  assert np.array_equal(units, np.broadcast_to(np.arange(7), (6, 5, 7)))


def test_places_and_weights_of_members():
  model = model_of(
    _layers.Dense(2, name='a'), _layers.Flatten(), _layers.Dense(4, name='b'),
    shape=(3, 5),
  )  # fmt: skip
  (group,) = find_groups(build_graph(model)).groups
  assert group.consumers[0].places.tolist() == [[0, 2, 4], [1, 3, 5]]
  found = [(ref.name, axis, masked) for ref, axis, masked, _ in group.weights()]
  assert found == [('kernel', 1, True), ('bias', 0, True), ('kernel', 0, True)]


def test_concatenated_units_keep_their_groups():
  a, b = keras.Input((4,), name='a'), keras.Input((3,), name='b')
  x, y = _layers.Dense(5, name='x')(a), _layers.Dense(6, name='y')(b)
  both = _layers.Concatenate(name='both')([x, y])
  z = _layers.Dense(4, name='z')(both)
  ends = [_layers.Dense(2, name='one')(z), _layers.Dense(3, name='two')(z)]
  sizes, reasons = groups_of(keras.Model([a, b], ends))
  assert sizes == {'x': 5, 'y': 6, 'z': 4}
  assert set(reasons) == {'one', 'two'}


def test_unknown_layers_with_units_of_their_own_are_listed():
  sizes, reasons = groups_of(
    model_of(
      _layers.LocallyConnected1D(3, 2, name='local'),
      _layers.Dense(4, name='a'),
      _layers.Dense(5, activation=lambda z: z**2, name='square'),
      _layers.Dense(2, name='end'),
      shape=(4, 3),
    )
  )
  assert sizes == {'a': 4}  # read by a product, whatever comes behind it
  why = "LocallyConnected1D 'local' is of a kind that is not known"
  assert reasons['local'] == why
  assert 'activation that is not known' in reasons['square']
  assert list(reasons) == ['local', 'square', 'end']


def test_unknown_layers_without_weights_are_not():
  _, reasons = groups_of(
    model_of(
      _layers.Permute((2, 1)), _layers.Dense(2, name='end'), shape=(4, 3)
    )
  )
  assert set(reasons) == {'end'}


def test_groups_of_a_sequence_read_at_once_and_step_by_step():
  inputs = keras.Input((3, 5))
  x = _layers.Dense(4, name='a')(inputs)
  flat = _layers.Dense(2, name='flat')(_layers.Flatten()(x))
  model = keras.Model(inputs, [flat, _layers.Dense(2, name='each')(x)])
  (group,) = find_groups(build_graph(model)).groups
  places = {m.node.path: m.places.tolist() for m in group.consumers}
  assert places['each',] == [[0], [1], [2], [3]]
  assert places['flat',] == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]


def test_statistics_over_another_axis_are_no_carriers():
  model = model_of(
    _layers.Dense(6, name='a'),
    _layers.Reshape((6, 1)),
    _layers.BatchNormalization(),
    _layers.Flatten(),
    _layers.Dense(2, name='end'),
  )
  (group,) = find_groups(build_graph(model)).groups
  assert group.size == 6
  assert group.carriers == ()
  assert group.consumers[0].units.tolist() == list(range(6))
