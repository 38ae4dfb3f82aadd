"""What losses say of outputs."""

from __future__ import annotations

import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.functional.subclassed import from_subclassed, retraced
from tfmot_paoding.keras3.model import from_keras3
from tfmot_paoding.network.cloning import copied
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


def of_dicts(keras, loss=None):
  inputs = keras.Input((4,))
  x = keras.layers.Dense(6, 'relu')(inputs)
  ends = {'b': keras.layers.Dense(3)(x), 'a': keras.layers.Dense(2)(x)}
  model = keras.Model(inputs, ends)
  if loss is not None:
    model.compile('adam', loss)
  return model


LOSSES = {'a': 'mae', 'b': 'sparse_categorical_crossentropy'}
TASKS = ['regression', 'classification']


@pytest.mark.parametrize('generation', ['tf_keras', 'keras'])
def test_of_a_dict_of_outputs(generation):
  keras = pytest.importorskip(generation)
  assert told_tasks(of_dicts(keras, LOSSES)) == TASKS
  objects = {
    'a': keras.losses.Huber(),
    'b': keras.losses.SparseCategoricalCrossentropy(),
  }
  assert told_tasks(of_dicts(keras, objects)) == TASKS


def test_a_copy_is_told_what_its_original_is():
  model = of_dicts(keras, LOSSES)
  for copy in (copied(model), retraced(model)):
    assert told_tasks(copy) == TASKS
    copy.compile('adam', {'b': 'mse'})
    assert told_tasks(copy) == ['regression'] * 2


def test_what_becomes_of_a_model_of_keras_3_is_told():
  keras3 = pytest.importorskip('keras', minversion='3')
  assert told_tasks(from_keras3(of_dicts(keras3, LOSSES))) == TASKS


def test_a_pruned_model_is_told():
  model = of_dicts(keras, LOSSES)
  small = paoding.prune(model, 0.5, method='l1', input_range=(0.0, 1.0))
  assert told_tasks(small) == TASKS


class Subclassed(keras.Model):
  def __init__(self):
    super().__init__()
    self.hidden, self.end = L.Dense(6, 'relu'), L.Dense(3)

  def call(self, inputs):
    x = self.hidden(inputs)
    return [self.end(x), x]


def test_what_is_traced_of_a_class_is_told():
  model = Subclassed()
  model.compile('adam', 'mse')
  made = from_subclassed(model, (4,))
  assert told_tasks(made) == ['regression'] * 2


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
