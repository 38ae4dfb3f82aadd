"""Which families of inputs a network is said to know."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.familiarity import (
  is_picture,
  knows_leaves,
  knows_rows,
  tells_pictures,
  tells_rows,
  tells_vectors,
)
from tfmot_paoding.inputs.named_priors import NAMED_PRIORS
from tfmot_paoding.inputs.prior import VariedPrior, prior_samples
from tfmot_paoding.inputs.ranges import input_boxes, resolve_range
from tfmot_paoding.inputs.rows import RowsPrior
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.network.network import Network
from tfmot_paoding.network.outputs import Head
from tfmot_paoding.numerics.intervals import Interval


def test_sure_and_various_answers_say_all_there_is():
  sure = np.eye(4, dtype=np.float32)[np.arange(80) % 4]
  head = Head('softmax', (4,))
  assert head.information(sure) == pytest.approx(np.log(4), abs=1e-4)
  assert head.information(sure[:1].repeat(9, 0)) == pytest.approx(0)
  unsure = np.full((6, 4), 0.25, np.float32)
  assert head.information(unsure) == pytest.approx(0, abs=1e-6)


def test_two_answers_by_hand():
  output = np.array([[0.9, 0.1], [0.3, 0.7]], np.float32)
  middle = np.array([0.6, 0.4])

  def entropy(p):
    return -(p * np.log(p)).sum(-1)

  expected = entropy(middle) - entropy(output.astype(float)).mean()
  found = Head('softmax', (2,)).information(output)
  assert found == pytest.approx(expected, rel=1e-5)
  # Two sigmoids say what each says.
  sigmoids = Head('sigmoid', (1,)).information(output[:, :1])
  assert sigmoids == pytest.approx(expected, rel=1e-5)
  both = Head('sigmoid', (2,)).information(output)
  assert both == pytest.approx(2 * expected, rel=1e-5)


def test_positions_are_inputs():
  output = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
  assert Head('logits', (5, 4)).information(output) == pytest.approx(
    Head('logits', (4,)).information(output.reshape(15, 4)), rel=1e-6
  )


def test_pictures_have_long_sides_and_few_channels():
  assert is_picture((32, 32, 3))
  assert is_picture((28, 28, 1))
  for shape in ((49, 10, 1), (32, 32, 8), (32, 3), (784,)):
    assert not is_picture(shape)


def trained(name: str, others: list[str]) -> keras.Model:
  """A network that tells samples of one family from one another."""
  shape, count = (16, 16, 1), 1200
  keras.utils.set_random_seed(0)
  model = keras.Sequential(
    [
      keras.Input(shape),
      keras.layers.Flatten(),
      keras.layers.Dense(32, 'relu'),
      keras.layers.Dense(4),
    ]
  )
  network = Network.of(model)
  reach = resolve_range(network, (0, 1))
  rng = np.random.default_rng(1)

  def draw(one, n):
    return prior_samples(
      NAMED_PRIORS[one], input_boxes(network, reach, [shape]), [shape], n, rng
    )[0]

  x = draw(name, count)
  # Which quarter is brightest, for one family; nothing of the others.
  quarters = x.reshape(count, 2, 8, 2, 8).mean((2, 4)).reshape(count, 4)
  y = np.eye(4, dtype=np.float32)[quarters.argmax(1)]
  rest = np.concatenate([draw(one, count // 2) for one in others])
  x = np.concatenate([x, rest])
  y = np.concatenate([y, np.full((len(rest), 4), 0.25, np.float32)])
  model.compile(
    keras.optimizers.Adam(3e-3),
    keras.losses.CategoricalCrossentropy(from_logits=True),
  )
  model.fit(x, y, epochs=6, batch_size=64, verbose=0)
  return model


@pytest.mark.parametrize(
  'name, others, known',
  [
    ('leaves', ['varied', 'blobs', 'strokes'], True),
    ('varied', ['leaves', 'blobs', 'strokes'], False),
  ],
)
def test_a_network_knows_what_it_learned(name, others, known):
  network = Network.of(trained(name, others))
  reach = resolve_range(network, (0, 1))
  assert knows_leaves(network, reach, 0) is known
  assert knows_leaves(network, reach, 5) is known


def reader_of(prior, recurrent) -> Network:
  """A network that tells which end of rows is brighter, where they have one.

  Its rows are of pictures, or alike in all features.
  """
  shape, count = (16, 16), 800
  keras.utils.set_random_seed(0)
  inputs = keras.Input(shape)
  x = keras.layers.Flatten()(inputs)
  x = keras.layers.Dense(16, activation='relu')(x)
  if recurrent:
    x = keras.layers.SimpleRNN(16)(inputs)
  network = Network.of(keras.Model(inputs, keras.layers.Dense(4)(x)))
  box = Interval(np.zeros(shape), np.ones(shape))
  x = prior.sample(box, count, np.random.default_rng(1)).astype(np.float32)
  halves = x.reshape(count, 2, 8, 2, 8).mean((2, 4)).reshape(count, 4)
  if prior == VariedPrior():
    halves = x.mean(2).reshape(count, 4, 4).mean(2)
  loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  network.model.compile(keras.optimizers.Adam(3e-3), loss)
  network.model.fit(x, halves.argmax(1), epochs=15, batch_size=32, verbose=0)
  return network


@pytest.mark.parametrize('recurrent', [True, False])
@pytest.mark.parametrize(
  ('prior', 'known'), [(RowsPrior(VariedPrior()), True), (VariedPrior(), False)]
)
def test_a_network_knows_rows_that_it_learned(prior, known, recurrent):
  network = reader_of(prior, recurrent)
  assert tells_rows(network)
  reach = resolve_range(network, (0, 1))
  assert knows_rows(network, reach, 0) is known
  source = InputSource.of(network, (0, 1), verbose=0).settled(network)
  assert source.prior == ('rows' if known else None)


def reader_of_vectors(shuffled: bool) -> keras.Model:
  """A network that tells which quarter of flat pictures is brightest.

  Or the same one of entries that have no order.
  """
  count = 1500
  keras.utils.set_random_seed(0)
  model = keras.Sequential(
    [
      keras.Input((256,)),
      keras.layers.Dense(32, 'relu'),
      keras.layers.Dense(4),
    ]
  )
  box = Interval(np.zeros((16, 16, 1)), np.ones((16, 16, 1)))
  x = VariedPrior().sample(box, count, np.random.default_rng(1))
  quarters = x.reshape(count, 2, 8, 2, 8).mean((2, 4)).reshape(count, 4)
  x = x.reshape(count, 256).astype(np.float32)
  if shuffled:
    x = x[:, np.random.default_rng(2).permutation(256)]
  loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  model.compile(keras.optimizers.Adam(3e-3), loss)
  model.fit(x, quarters.argmax(1), epochs=12, batch_size=32, verbose=0)
  return model


@pytest.mark.parametrize('shuffled', [False, True])
def test_a_network_knows_the_order_of_vectors_that_it_learned(shuffled):
  network = Network.of(reader_of_vectors(shuffled))
  reach = resolve_range(network, (0, 1))
  for seed in range(3):
    assert knows_rows(network, reach, seed) is not shuffled
  source = InputSource.of(network, (0, 1), verbose=0).settled(network)
  assert source.prior == (None if shuffled else 'rows')
  if not shuffled:
    (x,) = source.another(network).samples(network, 300)
    alike = np.corrcoef(x.reshape(300, 16, 16)[:, 4].T)
    assert alike[5, 6] > alike[0, 15] + 0.3  # pictures too, of another kind


def test_a_network_of_tables_knows_no_order():
  rng = np.random.default_rng(4)
  x = rng.uniform(size=(2000, 100)).astype(np.float32)
  y = ((x - 0.5) @ rng.normal(size=(100, 4))).argmax(1)
  keras.utils.set_random_seed(0)
  model = keras.Sequential(
    [
      keras.Input((100,)),
      keras.layers.Dense(32, 'relu'),
      keras.layers.Dense(4),
    ]
  )
  loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  model.compile(keras.optimizers.Adam(3e-3), loss)
  model.fit(x, y, epochs=10, batch_size=32, verbose=0)
  network = Network.of(model)
  ends = np.zeros(100), np.linspace(0.5, 1.5, 100)  # a range for each column
  for reach in ((0, 1), ends):
    settled = resolve_range(network, reach)
    assert not any(knows_rows(network, settled, seed) for seed in range(3))


def test_vectors_that_are_no_pictures_are_not_asked():
  for size, units in ((90, 3), (49, 3), (256, 1)):
    inputs = keras.Input((size,))
    network = Network.of(keras.Model(inputs, keras.layers.Dense(units)(inputs)))
    assert not tells_vectors(network)


def test_networks_that_read_no_rows_know_none():
  inputs = keras.Input((20, 16))
  x = keras.layers.Conv1D(4, 3)(inputs)
  x = keras.layers.GlobalAveragePooling1D()(x)
  network = Network.of(keras.Model(inputs, keras.layers.Dense(1)(x)))
  assert not tells_rows(network)  # a number, no classes
  assert not knows_rows(network, resolve_range(network, (0, 1)), 0)
  for shape in ((20, 7), (None, 16)):
    inputs = keras.Input(shape)
    x = keras.layers.Dense(3)(keras.layers.GRU(4)(inputs))
    assert not tells_rows(Network.of(keras.Model(inputs, x)))


def test_rows_of_few_features_are_asked_about():
  inputs = keras.Input((20, 8))
  x = keras.layers.Dense(3)(keras.layers.GRU(4)(inputs))
  assert tells_rows(Network.of(keras.Model(inputs, x)))


def test_others_know_none():
  vector = Network.of(testing.mlp((5, 8, 4)))
  assert not tells_pictures(vector)
  assert not knows_leaves(vector, resolve_range(vector, (0, 1)), 0)
  numbers = testing.fill(
    keras.Sequential(
      [
        keras.Input((16, 16, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(1),
      ]
    )
  )
  assert not tells_pictures(Network.of(numbers))


def test_a_constant_network_knows_none():
  model = keras.Sequential(
    [
      keras.Input((16, 16, 1)),
      keras.layers.Flatten(),
      keras.layers.Dense(3, kernel_initializer='zeros'),
    ]
  )
  network = Network.of(model)
  assert tells_pictures(network)
  assert not knows_leaves(network, resolve_range(network, (0, 1)), 0)
  assert tf.reduce_all(network.model(np.ones((1, 16, 16, 1))) == 0)
