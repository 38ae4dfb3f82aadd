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
from tfmot_paoding.pruning.driver import Driver

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
  model = paoding.prune_low_saliency(
    testing.mlp(), _sparsity.ConstantSparsity(0.9, 99, frequency=1)
  )
  model.compile('sgd', 'mse')
  x = np.random.default_rng(0).normal(size=(64, 5))
  model.fit(x, x[:, :3], verbose=0, callbacks=[_sparsity.UpdatePruningStep()])
  for layer in model.layers:
    for _, mask, _ in layer.pruning_vars:
      assert np.all(mask.numpy() == 1)


def test_configs_make_a_round_trip():
  layer = wrapped_dense(
    pruning_schedule=paoding.ProgressiveSparsity(0.4, 0.1),
    method=paoding.Method(
      paoding.methods.IntervalImpact(beta=0.2), 'annealing'
    ),
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
    def call(self, inputs):
      return super().call(inputs) ** 2

    def get_prunable_weights(self):
      return [self.kernel]

  layer = paoding.PruneLowSaliency(Own(3))
  layer.build((None, 4))
  assert len(layer.pruning_vars) == 1
  assert layer.pruning_vars[0][0] is layer.layer.kernel


def test_a_subclass_that_is_its_parent_is_masked_like_it():
  class Own(_layers.Dense, _sparsity.PrunableLayer):
    def get_prunable_weights(self):
      return [self.kernel]

  layer = paoding.PruneLowSaliency(Own(3))
  layer.build((None, 4))
  kernel, bias = (weight for weight, _, _ in layer.pruning_vars)
  assert kernel is layer.layer.kernel
  assert bias is layer.layer.bias


@pytest.mark.parametrize(
  'layer,shape,names',
  [
    (lambda: _layers.Dense(3), (None, 4), ['kernel', 'bias']),
    (lambda: _layers.Dense(3, use_bias=False), (None, 4), ['kernel']),
    (lambda: _layers.Conv2D(3, 2), (None, 5, None, 4), ['kernel', 'bias']),
    (_layers.BatchNormalization, (None, 4), ['gamma', 'beta']),
    (lambda: _layers.DepthwiseConv2D(3), (None, 5, 5, 4), 2),
    (lambda: _layers.SeparableConv2D(3, 2), (None, 5, 5, 4), 3),
    (_layers.PReLU, (None, 4), ['alpha']),
    (lambda: _layers.Embedding(9, 4), (None, 5), ['embeddings']),
    (
      lambda: _layers.TimeDistributed(_layers.Dense(3)),
      (None, 5, 4),
      ['layer.kernel', 'layer.bias'],
    ),
    (_layers.Flatten, (None, 5, 4), []),
  ],
)
def test_without_names_what_is_known_of_the_layer_decides(layer, shape, names):
  wrapper = paoding.PruneLowSaliency(layer())
  wrapper.build(shape)
  again = paoding.PruneLowSaliency.from_config(wrapper.get_config())
  again.build(list(shape))
  for one in (wrapper, again):
    masks = [mask.name.rpartition('/')[2] for _, mask, _ in one.pruning_vars]
    if isinstance(names, int):
      assert len(masks) == len(set(masks)) == names
    else:
      assert masks == [f'{name}_mask:0' for name in names]


def test_of_layers_that_are_not_known_tfmots_registry_decides():
  layer = paoding.PruneLowSaliency(_layers.LocallyConnected1D(3, 2))
  layer.build((None, 5, 4))
  kernel = layer.layer.kernel
  assert [v.name for v, _, _ in layer.pruning_vars] == [kernel.name]
  with pytest.raises(ValueError, match='supported layer'):
    paoding.PruneLowSaliency(_Unknown())


class _Unknown(_layers.Layer):
  """A layer that neither TFMOT nor this package knows."""


def by_hand(model, bare=()):
  """TFMOT's guide to wrapping some layers, all but those named."""

  def wrap(layer):
    fresh = type(layer).from_config(layer.get_config())
    if layer.name in bare:
      return fresh
    return paoding.PruneLowSaliency(
      fresh, paoding.ProgressiveSparsity(0.5, 0.25)
    )

  clone = keras.models.clone_model(model, clone_function=wrap)
  for old, new in zip(model.layers, clone.layers, strict=True):
    new.set_weights(old.get_weights())
  return clone


def conv():
  made = keras.Sequential(
    [
      keras.Input((8, 8, 3)),
      _layers.Conv2D(8, 3),
      _layers.PReLU(),
      _layers.BatchNormalization(),
      _layers.DepthwiseConv2D(3, activation='relu'),
      _layers.Conv2D(8, 3),
      _layers.Flatten(),
      _layers.Dense(4),
    ]
  )
  return testing.fill(made)


HANDMADE = {
  'mlp': testing.mlp,
  'norm': testing.with_batch_norm,
  'conv': conv,
}


@pytest.mark.parametrize('name', HANDMADE)
def test_layers_wrapped_by_hand_are_pruned(name):
  model = HANDMADE[name]()
  wrapped = by_hand(model)
  history = paoding.run_schedule(wrapped, verbose=0)
  whole = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5, 0.25)
  )
  paoding.run_schedule(whole, verbose=0)
  assert history.units_removed[-1] == history.units // 2
  stripped = _sparsity.strip_pruning(wrapped)
  small, same = paoding.compact(stripped), paoding.compact(whole)
  x = testing.samples(model.input_shape[1:], 20).astype(np.float32)
  np.testing.assert_allclose(stripped(x), wrapped(x), rtol=1e-6)
  np.testing.assert_allclose(small(x), wrapped(x), rtol=1e-4, atol=1e-5)
  for one, other in zip(
    small.get_weights(), same.get_weights(), strict=True
  ):  # prune_low_saliency's model to the bit
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('file', ['model.h5', 'model.keras', 'saved_model'])
def test_models_wrapped_by_hand_are_saved_and_go_on(tmp_path, file):
  wrapped = by_hand(testing.with_batch_norm())
  Driver(wrapped).step(0)
  wrapped.save(tmp_path / file)
  loaded = keras.models.load_model(tmp_path / file)
  assert paoding.run_schedule(loaded, verbose=0).units_removed == [4 + 3]


def test_a_model_of_wrapped_layers_may_be_built_later():
  wrapped = keras.Sequential(
    [
      paoding.PruneLowSaliency(_layers.Dense(8, 'relu')),
      paoding.PruneLowSaliency(_layers.Dense(3)),
    ]
  )
  wrapped.build((None, 5))
  assert paoding.run_schedule(wrapped, verbose=0).units_removed[-1] == 4


def test_the_layer_that_is_not_wrapped_is_named():
  wrapped = by_hand(testing.with_batch_norm(), bare=['norm_1'])
  history = paoding.run_schedule(wrapped, verbose=0)
  assert history.units == 8
  assert "layer 'norm_1'" in history.left_alone['hidden_1']
  wrapped = by_hand(testing.with_batch_norm(), bare=['norm_0', 'norm_1'])
  with pytest.raises(ValueError, match=r"layer 'norm_0', .* is not wrapped"):
    paoding.run_schedule(wrapped, verbose=0)


def test_a_weight_without_a_mask_is_named():
  wrapped = keras.Sequential(
    [
      keras.Input((5,)),
      paoding.PruneLowSaliency(
        _layers.Dense(8, 'relu', name='a'), masked_weights=['kernel']
      ),
      paoding.PruneLowSaliency(_layers.Dense(3)),
    ]
  )
  with pytest.raises(ValueError, match=r"layer 'a' has no mask for its 'bias'"):
    paoding.run_schedule(wrapped, verbose=0)


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


def _alone(layer, shape):
  return keras.Sequential([keras.Input(shape), paoding.PruneLowSaliency(layer)])


@pytest.mark.parametrize(
  'layer,shape,reason',
  [
    (_layers.Dense(4, name='x'), (3,), 'outputs of the model'),
    (_layers.Conv2D(4, 2, name='x'), (4, 4, 1), 'outputs of the model'),
    (_layers.SeparableConv1D(4, 2, name='x'), (4, 2), 'outputs of the model'),
    (_layers.LSTM(4, name='x'), (4, 2), 'outputs of the model'),
    (_layers.LocallyConnected1D(4, 2, name='x'), (4, 2), "'x' is of a kind"),
  ],
)
def test_what_tfmot_prunes_alone_is_refused_by_name(layer, shape, reason):
  with pytest.raises(ValueError, match=f"'x'.*{reason}"):
    paoding.run_schedule(_alone(layer, shape), verbose=0)


def test_a_reader_that_is_not_wrapped_is_named():
  model = _alone(_layers.Embedding(10, 3), (5,))
  model.add(_layers.Flatten())
  model.add(_layers.Dense(1, name='reader'))
  with pytest.raises(ValueError, match="'reader'.* is not wrapped"):
    paoding.run_schedule(model, verbose=0)


@pytest.mark.parametrize(
  'settings', [{'method': 'l1'}, {'seed': 3}, {'input_range': (-1.0, 1.0)}]
)
def test_layers_wrapped_for_different_ways_of_pruning(settings):
  layers = [_layers.Dense(8, 'relu', name=name) for name in 'ab']
  model = keras.Sequential(
    [
      keras.Input((5,)),
      paoding.PruneLowSaliency(layers[0]),
      paoding.PruneLowSaliency(layers[1], **settings),
      paoding.PruneLowSaliency(_layers.Dense(3)),
    ]
  )
  (name,) = settings
  with pytest.raises(ValueError, match=f"'a' and 'b' .* different `{name}`"):
    paoding.run_schedule(model, verbose=0)


def test_quantizing_what_is_still_wrapped_says_what_to_do():
  wrapped = paoding.prune_low_saliency(testing.mlp())
  quantize = tfmot.quantization.keras.quantize_model
  with pytest.raises(ValueError, match=r"'hidden_0' is still wrapped.*compact"):
    quantize(wrapped)
  paoding.run_schedule(wrapped, verbose=0)
  small = paoding.compact(tfmot.sparsity.keras.strip_pruning(wrapped))
  quantized = quantize(small)
  assert quantized.output_shape == small.output_shape
