"""Groups of convolutional networks: what is tied, carried and left alone."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.groups import find_groups

_layers = keras.layers


def conv(filters, name, size=3, **settings):
  return _layers.Conv2D(filters, size, padding='same', name=name, **settings)


def end(x, name='end'):
  return _layers.Dense(3, name=name)(_layers.GlobalAveragePooling2D()(x))


def grouping_of(model):
  return find_groups(build_graph(model))


def roles(model):
  """By group name: size, producers, carriers and consumers by layer."""
  return {
    '/'.join(g.name): (
      g.size,
      *(
        ['/'.join(m.node.path) for m in members]
        for members in (g.producers, g.carriers, g.consumers)
      ),
    )
    for g in grouping_of(model).groups
  }


def residual():
  inputs = keras.Input((6, 6, 2))
  x = conv(8, 'stem')(inputs)
  x = _layers.BatchNormalization(name='norm')(x)
  y = conv(4, 'inner', activation='relu')(_layers.ReLU()(x))
  y = conv(8, 'back')(y)
  x = _layers.Add()([x, y])
  return testing.fill(keras.Model(inputs, end(x)))


def test_residual_adds_tie_their_branches():
  assert roles(residual()) == {
    'stem': (8, ['stem', 'back'], ['norm'], ['inner', 'end']),
    'inner': (4, ['inner'], [], ['back']),
  }


def test_depthwise_convolutions_carry():
  inputs = keras.Input((6, 6, 2))
  x = conv(4, 'first')(inputs)
  x = _layers.DepthwiseConv2D(3, depth_multiplier=2, name='depth')(x)
  x = _layers.PReLU(shared_axes=[1, 2], name='slope')(x)
  model = keras.Model(inputs, end(x))
  assert roles(model) == {'first': (4, ['first'], ['depth', 'slope'], ['end'])}
  (group,) = grouping_of(model).groups
  assert group.carriers[0].incoming.tolist() == [0, 1, 2, 3]
  assert group.carriers[0].units.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
  weights = [
    (ref.layer[0], ref.name, axis) for ref, axis, *_ in group.weights()
  ]
  assert weights == [
    ('first', 'kernel', -1),
    ('first', 'bias', 0),
    ('depth', 'bias', 0),
    ('depth', 'depthwise_kernel', -2),
    ('slope', 'alpha', -1),
    ('end', 'kernel', 0),
  ]


def test_separable_convolutions_carry_and_produce():
  inputs = keras.Input((6, 6, 2))
  x = conv(4, 'first')(inputs)
  x = _layers.SeparableConv2D(5, 3, name='separable')(x)
  assert roles(keras.Model(inputs, end(x))) == {
    'first': (4, ['first'], ['separable'], ['separable']),
    'separable': (5, ['separable'], [], ['end']),
  }


def test_concatenation_keeps_offsets():
  inputs = keras.Input((6, 6, 2))
  one, other = conv(3, 'one')(inputs), conv(5, 'other')(inputs)
  x = _layers.Concatenate()([one, inputs, other])
  model = keras.Model(inputs, end(conv(4, 'next')(x)))
  first, second, _ = grouping_of(model).groups
  assert first.consumers[0].units.tolist() == [0, 1, 2] + [-1] * 7
  assert second.consumers[0].units.tolist() == [-1] * 5 + [0, 1, 2, 3, 4]


def test_units_in_one_sum_but_not_in_another_form_groups_of_their_own():
  inputs = keras.Input((6, 6, 2))
  one, other = conv(3, 'one')(inputs), conv(5, 'other')(inputs)
  x = _layers.Add()(
    [_layers.Concatenate()([one, other]), conv(8, 'wide')(inputs)]
  )
  found = grouping_of(keras.Model(inputs, end(x))).groups
  assert [(g.name, g.size) for g in found] == [(('one',), 3), (('other',), 5)]
  assert found[1].producers[1].units.tolist() == [-1] * 3 + [0, 1, 2, 3, 4]


def test_groups_with_one_first_producer_have_names_of_their_own():
  inputs = keras.Input((6, 6, 2))
  wide = _layers.ReLU()(_layers.ReLU()(conv(8, 'wide')(inputs)))
  one, other = conv(3, 'one')(inputs), conv(5, 'other')(inputs)
  x = _layers.Add()([wide, _layers.Concatenate()([one, other])])
  model = testing.fill(keras.Model(inputs, end(x)))
  names = [g.name for g in grouping_of(model).groups]
  assert names == [('wide',), ('wide', '2')]
  small = assert_same_forms(model, {'one': paoding.ProgressiveSparsity(0.5)})
  # One wrapper holds one schedule: the units of `wide` go together.
  assert small.get_layer('wide').filters == 8 - 1 - 2


def test_squeeze_and_excite_ties_the_gate():
  inputs = keras.Input((6, 6, 2))
  x = conv(6, 'main')(inputs)
  gate = _layers.GlobalAveragePooling2D(keepdims=True)(x)
  gate = _layers.Dense(2, 'relu', name='squeeze')(gate)
  gate = _layers.Dense(6, 'sigmoid', name='excite')(gate)
  model = keras.Model(inputs, end(_layers.Multiply()([x, gate])))
  assert roles(model) == {
    'main': (6, ['main', 'excite'], [], ['squeeze', 'end']),
    'squeeze': (2, ['squeeze'], [], ['excite']),
  }


def test_a_gate_of_one_channel_leaves_the_others_free():
  inputs = keras.Input((6, 6, 2))
  x = conv(6, 'main')(inputs)
  gate = conv(1, 'gate', activation='sigmoid')(x)
  model = keras.Model(inputs, end(_layers.Multiply()([x, gate])))
  grouping = grouping_of(model)
  assert roles(model) == {'main': (6, ['main'], [], ['gate', 'end'])}
  assert 'meets several units' in grouping.left_alone['gate',]


def test_flattened_channels_are_read_in_many_rows():
  inputs = keras.Input((4, 4, 2))
  x = _layers.Flatten()(_layers.MaxPooling2D()(conv(3, 'first')(inputs)))
  (group,) = grouping_of(keras.Model(inputs, _layers.Dense(2)(x))).groups
  assert group.consumers[0].places.tolist() == [
    [0, 3, 6, 9],
    [1, 4, 7, 10],
    [2, 5, 8, 11],
  ]


def test_blocks_of_a_grouped_convolution_lose_the_same_places():
  inputs = keras.Input((6, 6, 2))
  x = conv(8, 'first')(inputs)
  x = conv(6, 'grouped', groups=2)(x)
  model = keras.Model(inputs, end(x))
  first, second = grouping_of(model).groups
  assert first.size == 4
  assert first.producers[0].units.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
  assert second.producers[0].units.tolist() == [0, 1, 2, 0, 1, 2]


REASONS = {
  'LayerNormalization': (
    lambda x: _layers.LayerNormalization(scale=False)(x),
    'the mean over its units',
  ),
  'GroupNormalization': (
    lambda x: _layers.GroupNormalization(1)(x),
    'in a single group',
  ),
  'Lambda': (lambda x: _layers.Lambda(lambda y: y * 2)(x), 'not known'),
  'attention': (
    lambda x: _layers.MultiHeadAttention(2, 3, attention_axes=1)(x, x),
    'attention_axes',
  ),
  'channels first': (
    lambda x: _layers.MaxPooling2D(data_format='channels_first')(x),
    'channels first',
  ),
  'bicubic': (
    lambda x: _layers.UpSampling2D(interpolation='bicubic')(x),
    'beyond its values',
  ),
  'a sum with the input': (
    lambda x: _layers.Add()([x, keras.Input((6, 6, 4), name='side')]),
    'other than units',
  ),
  'settings by channel': (
    lambda x: _layers.Rescaling([1.0, 2.0, 3.0, 4.0])(x),
    'a setting for each',
  ),
  'a softmax': (lambda x: _layers.Softmax()(x), 'softmax'),
}


@pytest.mark.parametrize('name', REASONS)
def test_what_is_not_understood_leaves_units_alone(name):
  make, reason = REASONS[name]
  inputs = keras.Input((6, 6, 2))
  x = make(conv(4, 'first')(inputs))
  shapes = [inputs]
  if name == 'a sum with the input':
    shapes.append(x.node.keras_inputs[1])
  model = keras.Model(shapes, end(x))
  grouping = grouping_of(model)
  assert not grouping.groups
  assert reason in grouping.left_alone['first',]


def test_layers_that_are_not_known_bound_a_group():
  inputs = keras.Input((6, 2))
  x = _layers.Conv1D(4, 2, name='before')(inputs)
  x = _layers.Conv1D(3, 2, name='last')(x)
  x = _layers.Flatten()(_layers.LocallyConnected1D(5, 2, name='local')(x))
  x = _layers.Dense(4, name='after')(x)
  model = testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))
  grouping = grouping_of(model)
  assert [g.name[0] for g in grouping.groups] == ['before', 'after']
  assert 'LocallyConnected1D' in grouping.left_alone['last',]
  assert 'LocallyConnected1D' in grouping.left_alone['local',]
  assert_same_forms(model, paoding.ProgressiveSparsity(0.5))


def test_a_shared_convolution_loses_the_same_units_in_all_calls():
  shared = conv(4, 'shared')
  inputs = keras.Input((6, 6, 4))
  x = shared(conv(4, 'before')(inputs))
  model = keras.Model(inputs, end(conv(3, 'after')(shared(x))))
  grouping = grouping_of(model)
  assert [(g.name[0], g.size) for g in grouping.groups] == [
    ('before', 4),
    ('after', 3),
  ]
  assert_same_forms(testing.fill(model), paoding.ProgressiveSparsity(0.5))


def test_tied_layers_cannot_be_asked_for_different_sparsities():
  with pytest.raises(ValueError, match="'stem' and 'back' are tied"):
    paoding.prune(
      residual(), {'stem': 0.5, 'back': 0.25}, verbose=0, distillation=False
    )
  small = paoding.prune(
    residual(), {'back': 0.25}, verbose=0, distillation=False
  )
  assert small.get_layer('stem').filters == 6
  assert small.get_layer('inner').filters == 4


def assert_same_forms(model, sparsity):
  """The wrapped, the stripped and the compact model answer alike."""
  wrapped = paoding.prune_low_saliency(model, sparsity, 'saliency', (-1.0, 1.0))
  paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  assert small.count_params() < model.count_params()
  x = testing.samples(model.input_shape[1:], 10).astype(np.float32)
  np.testing.assert_array_equal(stripped(x), wrapped(x))
  np.testing.assert_allclose(small(x), stripped(x), rtol=1e-4, atol=1e-5)
  return small


# A norm does not see twins, and a ridge keeps fits from being exact.
@pytest.mark.parametrize('method', ['saliency', 'impact', 'stochastic'])
def test_identical_channels_cost_nothing_to_merge(method):
  model = residual()
  for name in ('stem', 'norm', 'back'):
    layer = model.get_layer(name)
    values = layer.get_weights()
    for value in values:
      value[..., 4:] = value[..., :4]
    layer.set_weights(values)
  inner = model.get_layer('inner')
  kernel, bias = inner.get_weights()
  kernel[..., 2:], bias[2:] = kernel[..., :2], bias[:2]
  inner.set_weights([kernel, bias])
  small = paoding.prune(
    model,
    0.5,
    method=method,
    input_range=(-1.0, 1.0),
    step_sparsity=0.5,
    verbose=0,
  )
  assert small.get_layer('stem').filters == 4
  assert small.get_layer('inner').filters == 2
  x = testing.samples((6, 6, 2), 20).astype(np.float32)
  np.testing.assert_allclose(small(x), model(x), rtol=1e-4, atol=1e-4)


class TestConstants:
  """A unit whose weights are zero but which is not."""

  def build(self, padding, use_bias=True):
    inputs = keras.Input((5, 5, 2))
    x = _layers.Conv2D(4, 3, name='first')(inputs)
    x = _layers.BatchNormalization(name='norm')(x)
    x = _layers.Conv2D(3, 3, padding=padding, use_bias=use_bias, name='second')(
      x
    )
    model = testing.fill(keras.Model(inputs, end(x)))
    kernel, bias = model.get_layer('first').get_weights()
    kernel[..., 1] = 0.0
    model.get_layer('first').set_weights([kernel, bias])
    return model

  def check(self, model, filters):
    small = paoding.compact(model)
    x = testing.samples((5, 5, 2), 20).astype(np.float32)
    np.testing.assert_allclose(small(x), model(x), rtol=1e-4, atol=1e-5)
    assert small.get_layer('first').filters == filters

  def test_it_is_folded_into_the_next_bias(self):
    self.check(self.build('valid'), 3)

  def test_padding_would_make_that_inexact(self):
    self.check(self.build('same'), 4)

  def test_without_a_bias_there_is_nowhere_to_fold_it(self):
    self.check(self.build('valid', use_bias=False), 4)

  def test_a_centre_tap_alone_never_sees_padding(self):
    model = self.build('same')
    kernel, bias = model.get_layer('second').get_weights()
    centre = kernel[1, 1, 1].copy()
    kernel[:, :, 1] = 0.0
    kernel[1, 1, 1] = centre
    model.get_layer('second').set_weights([kernel, bias])
    small = paoding.compact(model)
    x = testing.samples((5, 5, 2), 20).astype(np.float32)
    np.testing.assert_allclose(small(x), model(x), rtol=1e-4, atol=1e-5)


class TestGlobalScope:
  def wrapped(self, sparsity=0.4, **settings):
    return paoding.prune_low_saliency(
      residual(),
      paoding.ProgressiveSparsity(sparsity, 0.1),
      'saliency',
      (-1.0, 1.0),
      scope='global',
      **settings,
    )

  @pytest.mark.parametrize('cost', ['parameters', 'macs'])
  def test_it_removes_the_fraction_of_all_units(self, cost):
    wrapped = self.wrapped(0.4, cost=cost, floor=0.25)
    history = paoding.run_schedule(wrapped, verbose=0)
    assert history.units_removed[-1] == int(0.4 * history.units)
    small = paoding.compact(strip_pruning(wrapped))
    assert small.get_layer('stem').filters >= 2
    assert small.get_layer('inner').filters >= 1
    x = testing.samples((6, 6, 2), 10).astype(np.float32)
    np.testing.assert_allclose(small(x), wrapped(x), rtol=1e-4, atol=1e-4)

  def test_floors_hold(self):
    wrapped = self.wrapped(0.5, floor=0.5)
    paoding.run_schedule(wrapped, verbose=0)
    small = paoding.compact(strip_pruning(wrapped))
    assert small.get_layer('stem').filters == 4
    assert small.get_layer('inner').filters == 2

  def test_it_survives_saving(self, tmp_path):
    wrapped = self.wrapped()
    wrapped.save(tmp_path / 'm.keras')
    loaded = keras.models.load_model(tmp_path / 'm.keras')
    one = paoding.run_schedule(wrapped, verbose=0)
    two = paoding.run_schedule(loaded, verbose=0)
    assert one.units_removed == two.units_removed
    x = testing.samples((6, 6, 2), 10).astype(np.float32)
    np.testing.assert_array_equal(wrapped(x), loaded(x))

  @pytest.mark.parametrize(
    ('arguments', 'message'),
    [
      ({'scope': 'all'}, "`scope` must be one of 'local', 'global'"),
      ({'scope': 'global', 'cost': 'bytes'}, '`cost` must be one of'),
      ({'scope': 'global', 'floor': 1.0}, '`floor` must be a number in'),
      ({'scope': 'global', 'floor': 0.6}, 'cannot be reached while a floor'),
      (
        {'scope': 'global', 'sparsity': {'stem': 0.5}},
        'spreads one sparsity over all',
      ),
    ],
  )
  def test_bad_settings_are_named(self, arguments, message):
    with pytest.raises(ValueError, match=message):
      paoding.prune(residual(), **{'sparsity': 0.5, 'verbose': 0, **arguments})
