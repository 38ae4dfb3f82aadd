"""Which positions windows read, beside TensorFlow's convolutions."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfmot_paoding.ops.windows import window


@pytest.mark.parametrize(
  ('kernel', 'strides', 'dilations'),
  [
    ((3, 2), (1, 1), (1, 1)),
    ((1, 1), (2, 2), (1, 1)),
    ((3, 3), (2, 3), (1, 1)),
    ((2, 3), (1, 1), (2, 2)),
  ],
)
@pytest.mark.parametrize('padding', ['same', 'valid'])
def test_patches_times_a_kernel_are_a_convolution(
  kernel, strides, dilations, padding
):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 9, 7, 3))
  weights = rng.normal(size=(*kernel, 3, 4))
  expected = tf.nn.conv2d(
    x, weights, strides, padding.upper(), dilations=dilations
  )
  over = window(padding, kernel, strides, dilations, (9, 7))
  places = np.reshape(expected, (-1, 4))
  assert len(places) == 2 * np.prod(over.counts((9, 7)))
  chosen = rng.permutation(len(places))[: len(places) // 2]
  made = over.patches(x, chosen) @ weights.reshape(-1, 4)
  np.testing.assert_allclose(made, places[chosen], atol=1e-12)
