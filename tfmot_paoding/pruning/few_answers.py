"""Whether a pruned model still answers as the original: said, and made loud.

Without labels nobody can tell accuracy, but a model that no longer answers as
the original on inputs made for that has lost it.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.first_layers import whole_entries
from tfmot_paoding.inputs.recall import has_statistics
from tfmot_paoding.inputs.samples import draw_samples, recalls
from tfmot_paoding.network.agreement import Verdict, judge
from tfmot_paoding.network.costs import graph_macs
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.registry import Configurable

Array = np.ndarray

# Of answers, or of the outputs' variance. Measured on digits, MNIST and keyword
# spotting, two methods, 30 to 85 % of units removed: above it accuracy fell by
# 1 to 10 points, below it by 2 to 80, nearly always by more than 10.
FEW = 0.8
_MOST = 256
_RECALLED = 64  # some seconds
_MULTIPLY_ACCUMULATES = 2e9  # of all inputs: a second or so


class FewAnswersWarning(UserWarning):
  """A pruned model answers otherwise than its original too often."""


def compare_answers(
  original: keras.Model,
  pruned: keras.Model,
  input_range: Any = None,
  seed: int = 0,
  data: Any = None,
  prior: Any = None,
  verbose: int | str = 0,
) -> Verdict:
  """How alike two models answer, on inputs that are at hand or drawn.

  Args:
    original: The model before pruning.
    pruned: What pruning made of it.
    input_range: The range of the inputs, as in `prune_low_saliency`.
    seed: The only source of chance.
    data: Unlabelled inputs, if there are some, as in `run_schedule`.
    prior: Where inputs come from otherwise. None: from 'smooth'; where the
      original has one answer to nearly all of those, and batch normalization
      tells what it has seen, a few recalled ones.
    verbose: 1 shows a progress bar where inputs are recalled.

  Returns:
    The verdict, with whose inputs it speaks of.
  """
  macs = max(1, graph_macs(build_graph(original)))
  count = int(np.clip(_MULTIPLY_ACCUMULATES / macs, 16, _MOST))
  source = 'smooth' if prior is None and data is None else prior
  samples = draw_samples(
    original, input_range, count, seed, data, source, verbose
  )
  found = judged(original, pruned, samples, data, source)
  if data is not None or prior is not None or not found.is_blind:
    return found
  if not (has_statistics(build_graph(original)) and recalls(original)):
    return found
  samples = draw_samples(
    original, input_range, _RECALLED, seed, None, 'recalled', verbose
  )
  return judged(original, pruned, samples, None, 'recalled')


def judged(
  original: keras.Model,
  pruned: keras.Model,
  samples: Sequence[Array],
  data: Any,
  prior: Any,
) -> Verdict:
  """`judge`, with whose inputs `draw_samples` has given for `data`, `prior`."""
  verdict = judge(original, pruned, samples)
  whose = inputs_in_words(original, len(samples[0]), data, prior)
  return dataclasses.replace(verdict, inputs=whose)


def inputs_in_words(
  model: keras.Model, count: int, data: Any, prior: Any
) -> str:
  """Whose inputs `draw_samples` gives.

  Args:
    model: The original.
    count: How many there are.
    data: What it was given.
    prior: As well.
  """
  if data is not None:
    return f'{count} unlabelled inputs that were passed'
  if recalls(model, prior):
    return f'{count} inputs recalled from the model, without data'
  if all(whole.all() for whole in whole_entries(model, build_graph(model))):
    return f'{count} inputs drawn evenly from their range, without data'
  name = 'smooth' if prior is None else prior
  if isinstance(name, Configurable):
    name = type(name).__name__
  named = f' {name!r}' if isinstance(name, str) else ''
  return f'{count} inputs drawn from the prior{named}, without data'


def warn_of_few_answers(
  verdict: Verdict, stacklevel: int, distilled: bool = False, fits: bool = True
) -> None:
  """Warns where a pruned model has lost what the original knew.

  Args:
    verdict: How it answers.
    stacklevel: As `warnings.warn` takes it.
    distilled: Whether it was distilled already.
    fits: Whether its method fits what is left.
  """
  if not verdict.kept < FEW:
    return
  tries = ['a lower sparsity or a larger budget']
  if not fits:
    tries.append("method='reconstruction', which fits what is left")
  if 'passed' not in verdict.inputs:
    tries.append('unlabelled inputs of your own (`calibration_data`)')
  if not distilled:
    tries.append('distillation, or training')
  warnings.warn(
    f'Pruning has left few answers: {verdict} (expected: at least {FEW:.0%}). '
    f'Try {"; ".join(tries)}; and measure accuracy on labelled inputs.',
    FewAnswersWarning,
    stacklevel=stacklevel + 1,
  )
