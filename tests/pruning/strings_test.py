"""Models that take text: said before anything is drawn, and what to do."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tfmot_paoding.compat import keras

L = keras.layers


def test_strings_are_refused_and_what_is_behind_them_is_not():
  word = keras.Input((1,), dtype='string', name='word')
  number = keras.Input((2,), name='number')
  lookup = L.StringLookup(vocabulary=['a', 'b'], output_mode='one_hot')
  x = L.Dense(8, 'relu', name='h')(L.Concatenate()([lookup(word), number]))
  model = keras.Model([word, number], L.Dense(2)(x))
  message = "input 'word'.*takes strings.*lookup"
  with pytest.raises(ValueError, match=message):
    paoding.prune(model, 0.5, method='l1', input_range=(0, 1))
  with pytest.raises(ValueError, match=message):
    paoding.prune_low_saliency(model, method='l1', input_range=(0, 1))
  behind = keras.Model([lookup.output, number], model.outputs)
  small = paoding.prune(behind, 0.5, method='l1', input_range=(0, 1), verbose=0)
  whole = keras.Model(model.inputs, small([lookup.output, number]))
  answers = whole([tf.constant([['a']]), np.ones((1, 2), np.float32)])
  assert answers.shape == (1, 2)
