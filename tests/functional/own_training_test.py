"""What is a model's training alone is told of where a copy lacks it."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning

_L = keras.layers


class Steps(keras.Model):
  """Trains in a way of its own."""

  def train_step(self, batch):
    return super().train_step(batch)


def functional(kind=keras.Model):
  inputs = keras.Input((5,))
  x = _L.Dense(8, 'relu', name='hidden')(inputs)
  return testing.fill(kind(inputs, _L.Dense(3)(x))), x


def test_a_train_step_of_its_own_is_told_of():
  model, _ = functional(Steps)
  with pytest.warns(UserWarning, match='Steps .* has a train_step'):
    wrapped = paoding.prune_low_saliency(model)
  # What the warning says to do: the class trains the wrapped model inside.
  outer = Steps(wrapped.inputs, wrapped(wrapped.inputs))
  outer.compile('sgd', 'mse')
  x, y = np.ones((8, 5), np.float32), np.ones((8, 3), np.float32)
  callback = paoding.UpdatePruningStep()
  outer.fit(x, y, 2, 25, verbose=0, callbacks=[callback])
  assert callback.history.units_removed[-1] == 4


def test_so_is_that_of_a_subclassed_model():
  class Own(keras.Model):  # Steps is a functional model's class by now
    def train_step(self, batch):
      return super().train_step(batch)

    def __init__(self):
      super().__init__(name='own')
      self.out = _L.Dense(3)

    def call(self, x):
      return self.out(x)

  model = Own()
  model(np.ones((1, 5), np.float32))
  with pytest.warns(UserWarning, match="Own 'own' has a train_step"):
    paoding.from_subclassed(model)


def test_and_that_of_keras_3():
  keras3 = pytest.importorskip('keras')

  class Own(keras3.Model):
    def train_step(self, batch):
      return super().train_step(batch)

  inputs = keras3.Input((5,))
  with pytest.warns(UserWarning, match='Own .* has a train_step'):
    paoding.from_keras3(Own(inputs, keras3.layers.Dense(3)(inputs)))


@pytest.mark.parametrize('nested', [False, True])
def test_models_that_losses_were_added_to_are_pruned(nested):
  model, x = functional()
  model.add_loss(tf.reduce_mean(x**2))
  model.add_metric(tf.reduce_mean(x), name='mean')
  if nested:
    inputs = keras.Input((5,))
    model = keras.Model(inputs, _L.Dense(2)(model(inputs)))
  with pytest.warns(UserWarning, match='were added to the model') as caught:
    wrapped = paoding.prune_low_saliency(model)
  (text,) = (str(w.message) for w in caught if 'were added' in str(w.message))
  assert re.search(r'add_loss\S*, add_metric', text)
  paoding.run_schedule(wrapped, verbose=0)
  small = paoding.compact(strip_pruning(wrapped))
  at = small.layers[1] if nested else small
  assert at.get_layer('hidden').units == 4
  assert not small.losses
