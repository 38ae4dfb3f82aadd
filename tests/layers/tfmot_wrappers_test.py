"""What TFMOT wraps to quantize or cluster: pruning says what to do first."""

from __future__ import annotations

import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras

L = keras.layers


def annotated(model):
  return tfmot.quantization.keras.quantize_annotate_model(model)


def quantized(model):
  return tfmot.quantization.keras.quantize_apply(annotated(model))


def clustered(model):
  kit = tfmot.clustering.keras
  start = kit.CentroidInitialization.LINEAR
  return kit.cluster_weights(
    model, number_of_clusters=3, cluster_centroids_init=start
  )


@pytest.mark.parametrize(
  ('wrap', 'advice'),
  [
    (annotated, 'annotate what comes out'),
    (quantized, 'prune the model that quantize_model was given'),
    (clustered, 'call strip_clustering first'),
  ],
)
def test_what_to_do_first_is_said(wrap, advice):
  model = wrap(testing.mlp((4, 6, 3)))
  with pytest.raises(ValueError, match=advice):
    paoding.prune(model, 0.5, method='l1', input_range=(0.0, 1.0))


def test_clusters_are_stripped_before_a_file_is_made():
  model = clustered(testing.mlp((4, 6, 3)))
  with pytest.raises(ValueError, match='strip_clustering'):
    paoding.convert_to_tflite(model)
  stripped = tfmot.clustering.keras.strip_clustering(model)
  assert paoding.convert_to_tflite(stripped)
