"""`factorize`: what it gives, and what it refuses with advice."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.training import DistillSettings

_layers = keras.layers
SETTINGS = {'input_range': (-1.0, 1.0), 'verbose': 0, 'distillation': False}


def mlp(seed=0):
  """Wide enough that ranks save something."""
  return testing.mlp((8, 24, 24, 3), seed=seed)


def cnn():
  return testing.fill(
    keras.Sequential(
      [
        keras.Input((8, 8, 2)),
        _layers.Conv2D(12, 3, activation='relu', name='first'),
        _layers.Conv2D(12, 3, padding='same', activation='relu', name='wide'),
        _layers.GlobalAveragePooling2D(),
        _layers.Dense(16, activation='relu', name='dense'),
        _layers.Dense(3, activation='softmax', name='classes'),
      ]
    )
  )


def factorize(model, *args, **settings):
  return paoding.factorize(model, *args, **{**SETTINGS, **settings})


@pytest.mark.parametrize('make', [mlp, cnn])
@pytest.mark.parametrize('sparsity', [0.2, 0.4])
@pytest.mark.filterwarnings('ignore::tfmot_paoding.pruning.FewAnswersWarning')
def test_so_many_parameters_leave(make, sparsity):
  model = make()
  weights, config = model.get_weights(), model.get_config()
  small = factorize(model, sparsity)
  limit = (1 - sparsity) * model.count_params()
  assert 0.85 * limit <= small.count_params() <= limit
  for old, new in zip(weights, model.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)
  assert model.get_config() == config
  names = {layer.name for layer in model.layers}
  assert names <= {layer.name for layer in small.layers}
  assert small.layers[-1].get_config() == model.layers[-1].get_config()


def test_ranks_are_those_that_were_given():
  small = factorize(cnn(), ranks={'wide': (3, 4), 'dense': 2})
  shapes = {
    layer.name: tuple(layer.kernel.shape)
    for layer in small.layers
    if hasattr(layer, 'kernel')
  }
  assert shapes == {
    'first': (3, 3, 2, 12),
    'wide_front': (1, 1, 12, 3),
    'wide_low_rank': (3, 3, 3, 4),
    'wide': (1, 1, 4, 12),
    'dense_low_rank': (12, 2),
    'dense': (2, 16),
    'classes': (16, 3),
  }


@pytest.mark.filterwarnings('ignore::tfmot_paoding.pruning.FewAnswersWarning')
def test_it_saves_macs_where_they_are_asked_for():
  model = cnn()
  small = factorize(model, 0.4, cost='macs')
  before, after = (paoding.report.count_macs(one) for one in (model, small))
  assert 0.8 * 0.6 * before <= after <= 0.6 * before


@pytest.mark.filterwarnings('ignore::tfmot_paoding.pruning.FewAnswersWarning')
def test_ranks_end_at_multiples():
  model = mlp()
  small = factorize(model, 0.5, multiple_of=4)
  widths = [x.units for x in small.layers if x.name.endswith('low_rank')]
  assert widths
  assert all(width % 4 == 0 for width in widths)
  alone = factorize(model, 0.3, multiple_of={'hidden_1': 'xnnpack'})
  assert {x.units for x in alone.layers if x.name == 'hidden_1_low_rank'} <= {8}


def test_same_seed_same_model():
  one, other = (factorize(mlp(), 0.3, seed=3) for _ in range(2))
  for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_outputs_are_taken_where_they_are_asked_for():
  model = testing.mlp((6, 24, 24))  # most of it makes the outputs
  with pytest.raises(ValueError, match='logits: it makes outputs'):
    factorize(model, 0.5)
  small = factorize(model, 0.4, outputs=True, distillation=False)
  assert 'logits_low_rank' in {layer.name for layer in small.layers}


@pytest.mark.filterwarnings('ignore::tfmot_paoding.pruning.FewAnswersWarning')
def test_it_is_taught_as_prune_teaches():
  model = mlp()
  settings = DistillSettings(steps=60)
  plain = factorize(model, 0.5)
  taught = factorize(model, 0.5, distillation=settings)
  x = testing.samples((8,), 300, seed=5).astype(np.float32)
  gaps = [np.square(one(x) - model(x)).mean() for one in (plain, taught)]
  assert gaps[1] < gaps[0]
  assert taught.count_params() == plain.count_params()


@pytest.mark.filterwarnings('ignore::tfmot_paoding.pruning.FewAnswersWarning')
def test_data_take_the_place_of_the_prior():
  """What never happens in them is not worth a rank."""
  model = testing.mlp((8, 24, 3))
  rng = np.random.default_rng(0)
  x = (rng.normal(size=(400, 2)) @ rng.normal(size=(2, 8))).astype(np.float32)
  x /= np.abs(x).max()
  gaps = []
  for data in (None, x):
    small = factorize(model, ranks={'hidden_0': 2}, data=data)
    gaps.append(np.abs(small(x) - model(x)).max())
  assert gaps[1] < 0.02 < 10 * gaps[1] < gaps[0]


@pytest.mark.filterwarnings('ignore::tfmot_paoding.pruning.FewAnswersWarning')
@pytest.mark.parametrize('quantization', [None, 'int8'])
def test_it_is_saved_pruned_and_converted(quantization, tmp_path):
  small = factorize(cnn(), 0.4)
  path = str(tmp_path / 'small.keras')
  small.save(path)
  loaded = paoding.load_model(path)
  x = testing.samples((8, 8, 2), 20).astype(np.float32)
  np.testing.assert_allclose(loaded(x), small(x), atol=1e-6)
  data = paoding.convert_to_tflite(
    loaded, quantization, input_range=(-1.0, 1.0)
  )
  profile = paoding.profile_tflite(data, micro=False)
  assert set(profile.operators) <= {
    'CONV_2D', 'FULLY_CONNECTED', 'MEAN', 'SOFTMAX', 'QUANTIZE', 'DEQUANTIZE',
  }  # fmt: skip


@pytest.mark.filterwarnings('ignore::tfmot_paoding.pruning.FewAnswersWarning')
def test_units_leave_before_and_after():
  model = mlp()
  both = paoding.prune(factorize(model, 0.3), 0.25, **SETTINGS)
  assert both.get_layer('hidden_0').units == 18
  both = factorize(paoding.prune(model, 0.25, **SETTINGS), 0.3)
  assert both.get_layer('hidden_0').units == 18
  assert any(x.name.endswith('low_rank') for x in both.layers)


def test_what_can_be_factorized_is_listed():
  found = paoding.pruning.factorizable(cnn())
  # 12 x 16 weights, and 28 for each rank.
  assert found.largest_ranks['dense'] == 6
  assert found.outputs == ('classes',)
  model = keras.Sequential(
    [
      keras.Input((4, 6)),
      _layers.LSTM(5, name='lstm'),
      _layers.Dense(1, name='one'),
    ]
  )
  found = paoding.pruning.factorizable(model)
  assert not found.largest_ranks
  assert 'LSTM; only' in found.left_alone['lstm']
  assert 'so small' in found.left_alone['one']


def test_a_rank_that_saves_nothing_is_told_of():
  with pytest.warns(UserWarning, match="'hidden_1' stays.*at most 11"):
    small = factorize(mlp(), ranks={'hidden_0': 2, 'hidden_1': 12})
  assert 'hidden_1_low_rank' not in {layer.name for layer in small.layers}


def test_nothing_to_save_is_told_of():
  with pytest.warns(UserWarning, match='nothing was to be saved'):
    small = factorize(mlp(), 0.0)
  assert small.count_params() == mlp().count_params()


def test_arguments_beside_ranks_are_told_of():
  with pytest.warns(UserWarning, match='`multiple_of` and `cost` have no'):
    factorize(mlp(), ranks={'hidden_1': 4}, multiple_of=4, cost='macs')


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({}, 'either `sparsity` or `ranks`.*neither'),
    ({'sparsity': 0.5, 'ranks': {'hidden_0': 2}}, 'both'),
    ({'sparsity': 1.0}, '`sparsity` must lie.*parameters'),
    ({'sparsity': 'x'}, '`sparsity`'),
    ({'sparsity': {'hidden_0': 0.5}}, '`sparsity`'),
    ({'sparsity': 0.97}, 'save at most .* hidden_0|save at most'),
    ({'sparsity': 0.5, 'cost': 'x'}, '`cost` must be one of'),
    ({'sparsity': 0.5, 'seed': -1}, '`seed`'),
    ({'sparsity': 0.5, 'verbose': 2}, '`verbose`'),
    ({'sparsity': 0.5, 'prior': 'x'}, '`prior`'),
    ({'sparsity': 0.5, 'data': 3}, '`data`'),
    ({'sparsity': 0.5, 'distillation': 0}, '`distillation`'),
    ({'sparsity': 0.5, 'input_range': (1, 0)}, '`input_range`'),
    ({'sparsity': 0.5, 'input_shape': 3}, '`input_shape'),
    ({'sparsity': 0.5, 'outputs': 'x'}, '`outputs`'),
    ({'sparsity': 0.5, 'multiple_of': 0}, '`multiple_of`'),
    ({'sparsity': 0.5, 'multiple_of': {'x': 2}}, "'x', which does not"),
    ({'sparsity': 0.5, 'multiple_of': 64}, 'save at most'),
    ({'ranks': {}}, '`ranks` must be a dict'),
    ({'ranks': 3}, '`ranks` must be a dict'),
    ({'ranks': {'x': 3}}, "'x'.*none of that name.*hidden_0, hidden_1"),
    ({'ranks': {'hidden_0': 0}}, r"`ranks\['hidden_0'\]`"),
    ({'ranks': {'hidden_0': 1.5}}, r"`ranks\['hidden_0'\]`"),
    ({'ranks': {'hidden_0': 9}}, 'ranks of at most 8'),
    ({'ranks': {'hidden_0': (2, 2)}}, 'ranks of at most 8'),
    ({'ranks': {'hidden_0': (None, None)}}, 'pair of ranks'),
  ],
)
def test_bad_arguments_are_named(settings, message):
  with pytest.raises((TypeError, ValueError), match=message):
    factorize(mlp(), **settings)


def test_models_without_such_a_layer_are_refused_with_the_reason():
  model = keras.Sequential(
    [keras.Input((6, 3)), _layers.LSTM(4, name='only'), _layers.Dense(2)]
  )
  with pytest.raises(ValueError, match='no layer that.*only: it is a LSTM'):
    factorize(model, 0.5)
  with pytest.raises(TypeError):
    factorize('model.h5', 0.5)
  wrapped = tfmot.sparsity.keras.prune_low_magnitude(mlp())
  with pytest.raises(ValueError, match='wrapped'):
    factorize(wrapped, 0.5)


def test_depthwise_layers_stay_and_say_so():
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((8, 8, 3)),
        _layers.DepthwiseConv2D(3, name='deep'),
        _layers.SeparableConv2D(12, 3, name='apart'),
        _layers.GlobalAveragePooling2D(),
        _layers.Dense(3, name='classes'),
      ]
    )
  )
  for name in ('deep', 'apart'):
    with pytest.raises(ValueError, match=f'{name!r}, which cannot become a'):
      factorize(model, ranks={name: 2})
  with pytest.raises(ValueError, match='deep: it is a DepthwiseConv2D; only'):
    factorize(model, 0.3)


def test_weights_must_be_finite():
  model = mlp()
  model.get_layer('hidden_1').bias[0].assign(np.nan)
  with pytest.raises(ValueError, match="'bias' of layer 'hidden_1'"):
    factorize(model, 0.5)
