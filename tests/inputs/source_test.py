"""Where inputs come from, settled once."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import inputs
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs import familiarity, source, statistics_fit
from tfmot_paoding.inputs.named_priors import NAMED_PRIORS
from tfmot_paoding.inputs.source import InputSource, few_of
from tfmot_paoding.network.network import Network
from tfmot_paoding.pruning.few_answers import inputs_in_words
from tfmot_paoding.training.distill_settings import DistillSettings


def pictures(normalized: bool) -> keras.Model:
  """A small classifier of pictures."""
  layers = keras.layers
  norm = [layers.BatchNormalization()] if normalized else []
  return testing.fill(
    keras.Sequential(
      [
        keras.Input((16, 16, 1)),
        layers.Conv2D(4, 3, strides=4),
        *norm,
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(3),
      ]
    )
  )


@pytest.fixture
def known(monkeypatch):
  """Every network of pictures knows leaves."""
  asked = []

  def knows(network, *others):
    asked.append(network)
    return familiarity.tells_pictures(network)

  monkeypatch.setattr(source, 'knows_leaves', knows)
  return asked


def settled(model, **given):
  network = Network.of(model)
  given = InputSource.of(network, (0, 1), verbose=0, **given)
  return network, given.settled(network)


def test_what_knows_leaves_is_fitted_on_them(known):
  network, found = settled(pictures(False))
  assert found.prior == 'leaves'
  assert not found.recalls(network)
  drawn = inputs.draw_samples(network.model, (0, 1), 30, prior='leaves')
  np.testing.assert_array_equal(found.samples(network, 30)[0], drawn[0])


def test_statistics_give_recalled_ones_beside_them(known, monkeypatch):
  monkeypatch.setattr(source, '_BESIDE_LEAVES', 6)
  network, found = settled(pictures(True))
  assert found.prior == ('leaves', 'recalled')
  (x,), (few,) = found.samples(network, 40), found.samples(network, 8)
  assert (len(x), len(few)) == (26, 8)
  (recalled,) = found.recollection
  assert len(recalled) == 6
  places = [np.flatnonzero((x == one).all((1, 2, 3))) for one in recalled]
  assert all(len(place) == 1 for place in places)
  assert places != sorted(places)  # in random order
  words = inputs_in_words(network, 8, found)
  assert words == (
    "8 inputs of 'leaves', 'recalled' in equal shares, without data"
  )


def test_first_statistics_are_explained_only_once(monkeypatch):
  asked = []
  explain = statistics_fit.statistics_prior

  def counted(network, index):
    asked.append(index)
    return explain(network, index)

  monkeypatch.setattr(statistics_fit, 'statistics_prior', counted)
  monkeypatch.setattr(source, 'knows_leaves', lambda *_: False)
  _, found = settled(pictures(True))
  assert found.recollection is not None
  assert asked == [0]


def test_it_is_asked_only_once(known):
  network, found = settled(pictures(False))
  assert found.settled(network) is found
  _, other = settled(testing.mlp((5, 8, 4)))
  assert other.settled(network) is other
  assert other.prior is None
  assert len(known) == 2


@pytest.mark.parametrize('prior', ['smooth', ('blobs', 'strokes')])
def test_what_a_user_says_stays(prior, known):
  _, found = settled(pictures(False), prior=prior)
  assert found.prior == prior
  assert not known
  data = np.zeros((4, 16, 16, 1), np.float32)
  _, found = settled(pictures(True), data=data)
  assert found.recollection is None
  assert not known


def test_several_priors_share_evenly():
  model = pictures(False)
  (x,) = inputs.draw_samples(
    model, (0, 1), 21, prior=('smooth', NAMED_PRIORS['strokes'])
  )
  (smooth,) = inputs.draw_samples(model, (0, 1), 11, prior='smooth')
  (strokes,) = inputs.draw_samples(model, (0, 1), 10, prior='strokes')
  assert len(x) == 21
  for part in (smooth, strokes):
    assert all((x == one).all((1, 2, 3)).any() for one in part)
  (one,) = inputs.draw_samples(model, (0, 1), 1, prior=('smooth', 'strokes'))
  assert len(one) == 1


@pytest.mark.parametrize('prior', [('smooth', 'nonsense'), (), ('smooth', 3)])
def test_parts_that_are_none_are_refused(prior):
  with pytest.raises(ValueError, match='sequence of these'):
    inputs.draw_samples(pictures(False), (0, 1), 4, prior=prior)


@pytest.fixture
def fits(monkeypatch):
  """Every fit of a prior to first statistics."""
  found = []
  fit = statistics_fit.statistics_prior

  def counted(network, index):
    found.append(index)
    return fit(network, index)

  monkeypatch.setattr(statistics_fit, 'statistics_prior', counted)
  return found


@pytest.mark.parametrize(
  'prior', ['statistics', ('statistics', 'leaves', 'statistics')]
)
def test_statistics_by_name_are_fitted_once_for_all_draws(prior, fits):
  network, found = settled(pictures(True), prior=prior)
  (first,) = found.samples(network, 9)
  (again,) = found.samples(network, 9)
  np.testing.assert_array_equal(first, again)
  found.like(seed=1).samples(network, 4)
  assert fits == [0]
  (same,) = inputs.draw_samples(network.model, (0, 1), 9, prior=prior)
  np.testing.assert_array_equal(first, same)
  assert fits == [0, 0]


def test_a_whole_pruning_fits_them_once(fits):
  paoding.prune(
    pictures(True),
    0.5,
    input_range=(0, 1),
    prior='statistics',
    distillation=DistillSettings(steps=2, samples=16),
    verbose=0,
  )
  assert fits == [0]


def test_statistics_by_the_name_of_an_input_too(fits):
  model = pictures(True)
  (name,) = model.input_names
  network, found = settled(model, prior={name: 'statistics'})
  for _ in range(2):
    found.samples(network, 4)
  assert fits == [0]


def test_words_say_what_most_samples_are(monkeypatch, fits):
  monkeypatch.setattr(source, 'knows_leaves', lambda *_: False)
  network, found = settled(pictures(True))
  fits.clear()
  words = {}
  for most in (-1.0, 1e9):
    monkeypatch.setattr(statistics_fit, '_EXPLAINED', most)
    words[most] = inputs_in_words(network, 12, found)
  assert not fits
  assert words == {
    -1.0: '12 inputs recalled from the model, without data',
    1e9: (
      '12 inputs, one in 6 recalled from the model and the others drawn as its '
      'first statistics tell, without data'
    ),
  }
  alone = found.like(prior='recalled')
  assert inputs_in_words(network, 2, alone) == (
    '2 inputs recalled from the model, without data'
  )


@pytest.mark.parametrize(
  'prior, expected',
  [(None, 'mixed'), ('leaves', 'mixed'), (('leaves', 'recalled'), 'mixed')],
)
def test_another_source_is_of_many_kinds(prior, expected):
  network = Network.of(pictures(True))
  own = InputSource.of(network, (0, 1), prior=prior)
  own = own.like(recollection=[np.zeros((2, 16, 16, 1))])
  other = own.another(network)
  assert (other.prior, other.seed) == (expected, own.seed + 1)
  assert other.recollection is None


def test_another_source_is_never_the_same():
  pictured, plain = (
    Network.of(model) for model in (pictures(False), testing.mlp((5, 8, 4)))
  )
  for network, prior, expected in (
    (pictured, 'mixed', 'varied'),
    (plain, None, 'varied'),
    (plain, 'varied', 'smooth'),
  ):
    own = InputSource.of(network, (0, 1), prior=prior)
    assert own.another(network).prior == expected


def test_what_a_user_describes_has_no_other():
  network = Network.of(testing.mlp((5, 8, 4)))
  prior = inputs.GaussianPrior(0.2, 0.1)
  own = InputSource.of(network, (0, 1), prior=prior)
  assert own.another(network).prior is prior
  data = np.zeros((4, 5), np.float32)
  own = InputSource.of(network, (0, 1), data=data)
  np.testing.assert_array_equal(
    own.another(network).samples(network, 4)[0], data
  )


def test_what_is_drawn_anew_is_of_the_same_kind():
  network = Network.of(testing.mlp((5, 8, 4)))
  own = InputSource.of(network, (0, 1), prior='smooth', seed=3)
  (found,) = own.anew(network, 6)
  (expected,) = own.like(seed=5).samples(network, 6)
  np.testing.assert_array_equal(found, expected)
  assert not np.array_equal(found, own.samples(network, 6)[0])
  held = [np.full((2, 5), 0.5, np.float32)]
  own = InputSource.of(network, (0, 1), prior='recalled')
  own = own.like(recollection=held)
  np.testing.assert_array_equal(own.anew(network, 2)[0], held[0])


def test_candidates_are_told_apart_on_a_few():
  few = Network.of(testing.mlp((5, 8, 4)))
  assert few_of(few, 20) == 20
  assert few_of(few, 4000) == 512
  many = Network.of(testing.mlp((100_000, 2, 4)))
  assert few_of(many, 4000) == 100
  assert few_of(Network.of(testing.mlp((700_000, 2, 4))), 4000) == 16
