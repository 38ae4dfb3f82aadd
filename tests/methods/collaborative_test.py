"""TFMOT's other tools behind pruning: removed units stay removed."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning

_layers = keras.layers
X = testing.samples((8, 8, 2), 32, 0.0, 1.0).astype(np.float32)
Y = np.arange(64) % 4


def network():
  x = inputs = keras.Input((8, 8, 2))
  x = _layers.Conv2D(8, 3, name='conv')(x)
  x = _layers.BatchNormalization(name='norm')(x)
  x = _layers.ReLU()(x)
  x = _layers.DepthwiseConv2D(3, padding='same', name='depthwise')(x)
  x = _layers.ReLU()(x)
  x = _layers.GlobalAveragePooling2D()(x)
  x = _layers.Dense(12, activation='relu', name='dense')(x)
  return testing.fill(keras.Model(inputs, _layers.Dense(4, name='logits')(x)))


def forms():
  """The wrapped, stripped and compact model of one pruning."""
  wrapped = paoding.prune_low_saliency(
    network(), paoding.ProgressiveSparsity(0.5, 0.25), 'saliency'
  )
  paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  return wrapped, stripped, paoding.compact(stripped)


def trained(model):
  model.compile(
    keras.optimizers.Adam(1e-2),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
  )
  before = model.get_weights()
  model.fit(X, Y, epochs=2, verbose=0)
  moved = [
    np.abs(a - b).max()
    for a, b in zip(before, model.get_weights(), strict=True)
    if a.size
  ]
  assert max(moved) > 1e-3
  return model


def kernels(model):
  """Kernels of producers by layer name, whatever wraps the layers."""
  found = {}
  for layer in model.layers:
    inner = getattr(layer, 'layer', layer)
    if isinstance(inner, (_layers.Conv2D, _layers.Dense)) and not isinstance(
      inner, _layers.DepthwiseConv2D
    ):
      kernel = next(w for w in layer.weights if 'kernel' in w.name)
      found[inner.name] = kernel.numpy()
  return found


def removed(model):
  """Units without incoming weights, by layer."""
  return {
    name: np.flatnonzero(~kernel.any(axis=tuple(range(kernel.ndim - 1))))
    for name, kernel in kernels(model).items()
  }


def test_quantization_aware_training_of_a_compact_model():
  small = forms()[2]
  aware = trained(tfmot.quantization.keras.quantize_model(small))
  assert kernels(aware)['conv'].shape[-1] == 4
  data = paoding.convert_to_tflite(small, 'int8')
  assert len(data) < 0.9 * len(paoding.convert_to_tflite(network(), 'int8'))


@pytest.mark.parametrize('form', ['stripped', 'compact'])
def test_sparsity_preserving_quantization_aware_training(form):
  """PQAT: zeros stay zeros while the rest trains on."""
  model = forms()[1 if form == 'stripped' else 2]
  gone = removed(model)
  annotated = tfmot.quantization.keras.quantize_annotate_model(model)
  scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
  aware = trained(tfmot.quantization.keras.quantize_apply(annotated, scheme))
  after = removed(aware)
  for name in ('conv', 'dense'):
    assert len(gone[name]) == (0 if form == 'compact' else len(after[name]))
    np.testing.assert_array_equal(after[name], gone[name])
  if form == 'stripped':
    assert [len(gone[name]) for name in ('conv', 'dense')] == [4, 6]


@pytest.mark.parametrize('form', ['stripped', 'compact'])
def test_sparsity_preserving_clustering(form):
  model = forms()[1 if form == 'stripped' else 2]
  gone = removed(model)
  # Not exported, but documented: sparsity-preserving clustering.
  cluster = importlib.import_module(
    'tensorflow_model_optimization.python.core.clustering.keras.experimental'
    '.cluster'
  )
  clustered = cluster.cluster_weights(
    model,
    number_of_clusters=6,
    cluster_centroids_init=(
      tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
    ),
    preserve_sparsity=True,
  )
  stripped = tfmot.clustering.keras.strip_clustering(trained(clustered))
  after = removed(stripped)
  for name in ('conv', 'dense'):
    np.testing.assert_array_equal(after[name], gone[name])
    assert len(np.unique(kernels(stripped)[name])) <= 7
  small = paoding.compact(stripped)
  assert small.get_layer('conv').filters == 4
  np.testing.assert_allclose(small(X), stripped(X), rtol=1e-3, atol=1e-4)


def test_fine_tuning_a_wrapped_model_and_then_all_of_it():
  """Wrapped models train on as they are; TFMOT's tools take them stripped."""
  wrapped = forms()[0]
  gone = removed(wrapped)
  wrapped.compile(
    'adam', keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  )
  wrapped.fit(
    X, Y, epochs=2, verbose=0, callbacks=[paoding.UpdatePruningStep()]
  )
  after = removed(wrapped)
  for name in ('conv', 'dense'):
    np.testing.assert_array_equal(after[name], gone[name])
  with pytest.raises((RuntimeError, ValueError)):
    tfmot.quantization.keras.quantize_model(wrapped)
  aware = tfmot.quantization.keras.quantize_model(
    paoding.compact(strip_pruning(wrapped))
  )
  trained(aware)
