"""What losses say of outputs."""

from __future__ import annotations

import pytest

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.network.network import Network
from tfmot_paoding.network.told_tasks import told_tasks

L = keras.layers


def own_loss(wanted, found):
  return keras.losses.mean_squared_error(wanted, found)


@pytest.mark.parametrize(
  ('loss', 'task'),
  [
    ('mse', 'regression'),
    ('mean_absolute_error', 'regression'),
    (keras.losses.Huber(), 'regression'),
    (keras.losses.log_cosh, 'regression'),
    ('categorical_crossentropy', 'classification'),
    (
      keras.losses.SparseCategoricalCrossentropy(from_logits=True),
      'classification',
    ),
    (own_loss, None),
    ('kl_divergence', None),
    (None, None),
  ],
)
def test_of_one_output(loss, task):
  model = testing.mlp((4, 6, 3))
  model.compile('adam', loss)
  assert told_tasks(model) == [task]


def test_of_several_outputs():
  inputs = keras.Input((4,))
  a, b = (L.Dense(3, name=name)(inputs) for name in 'ab')
  model = keras.Model(inputs, [a, b])
  assert told_tasks(model) == [None, None]
  model.compile('adam', {'b': 'mse'})
  assert told_tasks(model) == [None, 'regression']
  model.compile('adam', ['mse', 'sparse_categorical_crossentropy'])
  assert told_tasks(model) == ['regression', 'classification']
  model.compile('adam', 'mae')
  assert told_tasks(model) == ['regression'] * 2


@pytest.mark.parametrize(
  ('loss', 'activation', 'kind', 'is_guessed'),
  [
    (None, None, 'logits', True),
    ('mse', None, 'values', False),
    ('sparse_categorical_crossentropy', None, 'logits', False),
    ('mse', 'softmax', 'softmax', False),
    (None, 'softmax', 'softmax', False),
  ],
)
def test_linear_outputs_are_what_their_loss_says(
  loss, activation, kind, is_guessed
):
  model = keras.Sequential([keras.Input((4,)), L.Dense(3, activation)])
  if loss:
    model.compile('adam', loss)
  (head,) = Network.of(model).heads()
  assert (head.kind, head.is_guessed) == (kind, is_guessed)
