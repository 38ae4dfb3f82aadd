"""The wrapper: a TFMOT wrapper in every respect, with masks of its own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import (
  PruneLowMagnitude,
  collect_prunable_layers,
  keras,
)

_sparsity = tfmot.sparsity.keras
_layers = keras.layers


def wrapped_dense(**settings):
  layer = paoding.PruneLowSaliency(
    _layers.Dense(3, name='d'), masked_weights=['kernel', 'bias'], **settings
  )
  layer.build((None, 4))
  return layer


def test_it_is_a_tfmot_wrapper():
  layer = wrapped_dense()
  assert isinstance(layer, PruneLowMagnitude)
  assert layer.name == 'prune_low_saliency_d'
  assert len(layer.pruning_vars) == 2
  for weight, mask, _ in layer.pruning_vars:
    assert mask.shape == weight.shape
    assert np.all(mask.numpy() == 1)


def test_mask_names_are_unique():
  names = [weight.name for weight in wrapped_dense().weights]
  assert len(set(names)) == len(names)
  assert any('kernel_mask' in name for name in names)
  assert any('bias_mask' in name for name in names)


def test_training_never_recomputes_masks():
  model = keras.Sequential(
    [
      paoding.PruneLowSaliency(
        _layers.Dense(8, input_shape=(4,)),
        _sparsity.ConstantSparsity(0.9, 0, frequency=1),
        masked_weights=['kernel'],
      )
    ]
  )
  model.compile('sgd', 'mse')
  x = np.random.default_rng(0).normal(size=(64, 4))
  model.fit(x, x @ np.ones((4, 8)), verbose=0, callbacks=[
    _sparsity.UpdatePruningStep()
  ])  # fmt: skip
  ((_, mask, _),) = model.layers[0].pruning_vars
  assert np.all(mask.numpy() == 1)


def test_configs_make_a_round_trip():
  layer = wrapped_dense(
    pruning_schedule=paoding.ProgressiveSparsity(0.4, 0.1),
    method=paoding.Method(paoding.IntervalImpact(beta=0.2), 'annealing'),
    input_range=(np.zeros(4), 2.0),
    seed=7,
  )
  again = paoding.PruneLowSaliency.from_config(layer.get_config())
  one, two = again.get_config(), layer.get_config()
  assert one.pop('layer')['config'] == two.pop('layer')['config']
  assert one == two
  assert isinstance(again.pruning_schedule, paoding.ProgressiveSparsity)
  assert again.method == layer.method
  assert again.seed == 7


def test_a_prunable_layer_of_the_users_own_names_its_weights():
  class Own(_layers.Dense, _sparsity.PrunableLayer):
    def get_prunable_weights(self):
      return [self.kernel]

  layer = paoding.PruneLowSaliency(Own(3))
  layer.build((None, 4))
  assert len(layer.pruning_vars) == 1
  assert layer.pruning_vars[0][0] is layer.layer.kernel


def test_without_names_tfmots_registry_decides():
  layer = paoding.PruneLowSaliency(_layers.Dense(3))
  layer.build((None, 4))
  assert [v.name for v, _, _ in layer.pruning_vars] == [layer.layer.kernel.name]
  with pytest.raises(ValueError, match='supported layer'):
    paoding.PruneLowSaliency(_layers.PReLU())


def test_prune_scope_holds_all_classes():
  model = paoding.prune_low_saliency(testing.mlp())
  config = model.get_config()
  with paoding.prune_scope():
    again = keras.Sequential.from_config(config)
    magnitude = keras.Sequential.from_config(
      _sparsity.prune_low_magnitude(testing.mlp()).get_config()
    )
  assert isinstance(again.layers[0], paoding.PruneLowSaliency)
  assert type(magnitude.layers[0]) is PruneLowMagnitude


@pytest.mark.parametrize('suffix', ('.h5', '.keras', ''))
def test_sequential_models_inside_others_load(tmp_path, suffix):
  inner = keras.Sequential(
    [keras.Input((4,)), _layers.Dense(6, 'relu'), _layers.Dense(4, 'relu')]
  )
  model = testing.fill(
    keras.Sequential([keras.Input((4,)), inner, _layers.Dense(2)])
  )
  wrapped = paoding.prune_low_saliency(model)
  path = str(tmp_path / f'wrapped{suffix}')
  wrapped.save(path)
  loaded = keras.models.load_model(path)
  x = testing.draw((4,)).astype('float32')
  np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)
  assert len(collect_prunable_layers(loaded)) == 3
