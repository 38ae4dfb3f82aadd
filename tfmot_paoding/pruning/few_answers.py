"""Whether a pruned model still answers as the original: said, and made loud.

Without labels nobody can tell accuracy, but a model that no longer answers as
the original on inputs made for that has lost it.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from tfmot_paoding import callers
from tfmot_paoding.compat import keras
from tfmot_paoding.deprecation import takes_old_calls
from tfmot_paoding.inputs.familiarity import knows_rows
from tfmot_paoding.inputs.first_layers import whole_entries
from tfmot_paoding.inputs.prior import InputPrior, Prior, PriorLike, parts_of
from tfmot_paoding.inputs.ranges import RangeLike
from tfmot_paoding.inputs.rows import RowsPrior
from tfmot_paoding.inputs.samples import MIXED
from tfmot_paoding.inputs.source import InputSource, loose_source
from tfmot_paoding.inputs.user_data import Inputs
from tfmot_paoding.network.agreement import Verdict, judge
from tfmot_paoding.network.network import Network

Array = np.ndarray

# Of answers, or of the outputs' variance. Measured on digits, MNIST and keyword
# spotting, two methods, 30 to 85 % of units removed: above it accuracy fell by
# 1 to 10 points, below it by 2 to 80, nearly always by more than 10.
FEW = 0.8
_MOST = 256
_RECALLED = 64
# Recalling for a larger network takes longer than most methods: what tells
# little is then said to.
_MOST_MACS = 4e6
_MULTIPLY_ACCUMULATES = 2e9  # of all inputs: a second or so
# Of what the most telling inputs say of answers. Keyword spotters have .05 of
# it for fields of many kinds, networks for pictures .5 and more.
_TELLING = 0.25


class FewAnswersWarning(UserWarning):
  """A pruned model answers otherwise than its original too often."""


@takes_old_calls()
def compare_answers(
  original: keras.Model,
  pruned: keras.Model,
  *,
  input_range: RangeLike = None,
  seed: int = 0,
  data: Inputs = None,
  prior: PriorLike = None,
  verbose: int | str = 'auto',
) -> Verdict:
  """How alike two models answer, on inputs that are at hand or drawn.

  Args:
    original: The model before pruning.
    pruned: What pruning made of it.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    seed: The only source of chance.
    data: Unlabelled inputs, if you have some: an array, a list or dict of
      arrays for several inputs, or a batched `tf.data.Dataset`.
    prior: Where inputs come from otherwise. None: from 'smooth', of pictures
      where the original knows its rows or vectors as such; where the
      original has one answer to nearly all of those, and batch normalization
      tells what it has seen, a few recalled ones, for networks of up to 4e6
      multiply-accumulates. Where inputs of many kinds tell the classes of the
      original too, the worse of the two verdicts.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook where
      inputs are recalled, 1 anywhere, 0 nowhere.

  Returns:
    The verdict, with whose inputs it speaks of.
  """
  network = Network.of(original)
  source = loose_source(network, input_range, seed, data, prior, verbose)
  return compared(network, pruned, source)


def compared(
  original: Network, pruned: keras.Model, source: InputSource
) -> Verdict:
  """`compare_answers` on a source's inputs."""
  first = source
  if source.nobody_said and source.recollection is None:
    first = source.like(prior=_smooth(original, source))
  count = _count_for(original)
  found = judged(original, pruned, first.samples(original, count), first)
  if not source.nobody_said:
    return found
  if (
    found.is_blind and original.macs <= _MOST_MACS and source.recalls(original)
  ):
    again = source.like(prior='recalled')
    few = again.samples(original, _RECALLED)
    found = judged(original, pruned, few, again)
  return beside_another(original, pruned, source, found)


def _count_for(original: Network) -> int:
  """How many inputs answers are compared on."""
  macs = max(1, original.macs)
  return int(np.clip(_MULTIPLY_ACCUMULATES / macs, 16, _MOST))


def beside_another(
  original: Network,
  pruned: keras.Model,
  source: InputSource,
  found: Verdict,
) -> Verdict:
  """The worse of a verdict and that on another family, where that one tells.

  A network answers best on what it was fitted and taught on. One for digits
  that has kept .88 of its answers had .98 of those to recalled inputs, .96 of
  those to what statistics tell, and .86 of those to many kinds of picture.

  Args:
    original: The original.
    pruned: What pruning made of it.
    source: Where the inputs of the verdict come from; nobody has said which.
    found: The verdict on these.
  """
  if not found.information > 0:
    return found
  other = source.another(original)
  samples = other.samples(original, _count_for(original))
  told = judged(original, pruned, samples, other)
  least = _TELLING * max(found.information, told.information)
  telling = [x for x in (found, told) if x.information >= least]
  return min(telling, key=lambda verdict: verdict.kept)


def _smooth(original: Network, source: InputSource) -> PriorLike:
  """Smooth inputs; pictures in a vector or in rows for who knows these."""
  if knows_rows(original, source.range, source.seed):
    return RowsPrior(Prior())
  return 'smooth'


def judged(
  original: Network,
  pruned: keras.Model,
  samples: Sequence[Array],
  source: InputSource,
) -> Verdict:
  """`judge`, with whose inputs it speaks of: what the source has given."""
  verdict = judge(original, pruned, samples)
  whose = inputs_in_words(original, len(samples[0]), source)
  return dataclasses.replace(verdict, inputs=whose)


def inputs_in_words(network: Network, count: int, source: InputSource) -> str:
  """Whose inputs a source gives, of a number of them."""
  if source.data is not None:
    return f'{count} unlabelled inputs that were passed'
  if source.recalls(network):
    if source.mixes(network):
      return (
        f'{count} inputs, one in {MIXED} recalled from the model and the '
        'others drawn as its first statistics tell, without data'
      )
    return f'{count} inputs recalled from the model, without data'
  if all(whole.all() for whole in whole_entries(network.model, network.graph)):
    return f'{count} inputs drawn evenly from their range, without data'
  prior = 'smooth' if source.prior is None else source.prior
  if parts := parts_of(prior):
    names = ', '.join(map(_named, parts))
    return f'{count} inputs of {names} in equal shares, without data'
  named = '' if isinstance(prior, Mapping) else f' {_named(prior)}'
  return f'{count} inputs drawn from the prior{named}, without data'


def _named(prior: str | InputPrior) -> str:
  """A prior by its name, or by its class."""
  return repr(prior if isinstance(prior, str) else type(prior).__name__)


def warn_of_few_answers(
  verdict: Verdict, distilled: bool = False, fits: bool = True
) -> None:
  """Warns where a pruned model has lost what the original knew.

  Args:
    verdict: How it answers.
    distilled: Whether it was distilled already.
    fits: Whether its method fits what is left.
  """
  if not verdict.kept < FEW:
    return
  tries = ['a lower sparsity or a larger budget']
  if not fits:
    tries.append("method='reconstruction', which fits what is left")
  if 'passed' not in verdict.inputs:
    tries.append('unlabelled inputs of your own (`data`)')
  if not distilled:
    tries.append('distillation, or training')
  warnings.warn(
    f'Pruning has left few answers: {verdict} (expected: at least {FEW:.0%}). '
    f'Try {"; ".join(tries)}; and measure accuracy on labelled inputs.',
    FewAnswersWarning,
    stacklevel=callers.level(),
  )
