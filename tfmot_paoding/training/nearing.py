"""Whether a lesson has led nearer to the original, told on other inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.source import InputSource, few_of
from tfmot_paoding.network.agreement import all_outputs, judge
from tfmot_paoding.network.input_shapes import open_inputs
from tfmot_paoding.network.network import Network

Array = np.ndarray

# What regressors have to come nearer by, and how far from the original they may
# be then, on inputs of the kind that was learned on and on others, in the
# variance of an output: from 1 on, to say nothing is nearer. On real inputs,
# half and three quarters of the units gone, tables and forecasts had 2 to 18
# times less error by a lesson, autoencoders of digits .98 and .76 of their
# answers' variance in place of .59 and none. One behind batch normalization,
# which was 37 away on recalled inputs and is .2, and 136 on others and is 12,
# lost what it had.
# Nearer is told by the two kinds together: an autoencoder that was 1.17 and 1.5
# times nearer was so 5.7 times on real inputs, a network for places 1.07, 2.2
# and 4.3, detectors 2.6, 1.03 and 1.3, and 1.9, 1.2 and 1.6, a table's behind
# batch normalization 2.5, .75 and 2.3. Of 100 lessons that 17 networks had at
# .1 to .75, 92 lead nearer so, 12 of which one kind alone or the other refused;
# on real inputs one of these is as far as it was, at .99, all others nearer.
_NEARER = 1.2
_WORSE = 1.5
_FAR = 0.5, 1.0
# How much further numbers are from the original's where a lesson by classes has
# ruined them. In units of their variance, on two kinds of inputs, a regressor's
# outputs went from .01 to 2.4 and .5, .09 to .7 and .04 to .16, .27 to .41 and
# .15 to .19; scores of classes up to twice as far on one kind, and nearer on
# the other. Where sizes are open there is one kind, a user's inputs.
_AWAY, _AWAY_ALONE = 1.1, 3.0
_JUDGED = 512
# Distances below it are none.
_LEAST = 1e-12


def comes_nearer(
  original: Network,
  small: keras.Model,
  student: keras.Model,
  source: InputSource,
) -> bool:
  """Whether a student that gives numbers has come clearly nearer, and near.

  That is on a new draw of what it has learned on and on another kind, in the
  geometric mean of both, and on neither by much further away. Inputs of a
  user's were kept apart to tell that already.

  Args:
    original: What was before.
    small: The pruned model.
    student: What a lesson made of it.
    source: Where inputs of the lesson came from.
  """
  if source.data is not None:
    return True
  ratios, outputs = [], len(original.heads())
  for samples, most in zip(_draws(original, source), _FAR, strict=True):
    before, after = (
      judge(original, one, samples).distance / outputs
      for one in (small, student)
    )
    if after > min(most, before * _WORSE):
      return False
    ratios.append(max(after, _LEAST) / max(before, _LEAST))
  return float(np.prod(ratios)) ** (1 / len(ratios)) <= 1 / _NEARER


def leads_away(
  original: Network,
  small: keras.Model,
  student: keras.Model,
  source: InputSource,
) -> bool:
  """Whether outputs that are guessed to be classes lost what numbers they are.

  Args:
    original: What was before.
    small: The pruned model.
    student: What a lesson made of it.
    source: Where inputs of the lesson came from.
  """
  guessed = {
    k: head.as_numbers()
    for k, head in enumerate(original.heads())
    if head.is_guessed
  }
  if not guessed:
    return False
  away, draws = np.ones(len(guessed), bool), list(_draws(original, source))
  most = _AWAY if len(draws) > 1 else _AWAY_ALONE
  for samples in draws:
    wanted, before, after = (
      all_outputs(model, samples) for model in (original.model, small, student)
    )
    for place, (k, numbers) in enumerate(guessed.items()):
      gap = numbers.distance(wanted[k], before[k])
      away[place] &= numbers.distance(wanted[k], after[k]) > most * gap
  return bool(away.any())


def _draws(original: Network, source: InputSource) -> Iterator[list[Array]]:
  """Inputs of the kind that was learned on, and drawn ones of another."""
  count = few_of(original, _JUDGED)
  yield source.anew(original, count)
  if source.data is None:
    yield source.another(original).samples(original, count)
  elif source.range is not None and not open_inputs(original.model):
    drawn = source.like(data=None).another(original)
    yield drawn.samples(original, count)
