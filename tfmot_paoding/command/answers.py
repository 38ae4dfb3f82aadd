"""How a pruned model answers beside its original, and on whose inputs."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from absl import flags

from tfmot_paoding.bounds.deviation import largest_deviation
from tfmot_paoding.command.model_files import read_arrays, read_data
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import InputRange
from tfmot_paoding.inputs.source import draw_samples
from tfmot_paoding.network.agreement import Verdict, judge
from tfmot_paoding.network.answering import outputs_of
from tfmot_paoding.pruning.few_answers import compare_answers

Array = np.ndarray

_COUNT = 256
_TESTED = 4096
_BATCH = 64


def samples_of(
  model: keras.Model, settled: InputRange, given: flags.FlagValues
) -> list[Array]:
  """Test inputs, or those of --data, or drawn ones, one array an input.

  Args:
    model: The original.
    settled: The range of its inputs.
    given: The flags.

  Raises:
    OSError: a file cannot be read.
    ValueError: it holds no inputs.
  """
  test = read_arrays(given.test_data, 'x')
  if test is not None:
    return [test[0][:_COUNT]]
  data = read_data(given)
  prior = 'smooth' if data is None else None
  return draw_samples(
    model, settled, _COUNT, seed=given.seed, data=data, prior=prior
  )


def verdict_of(
  original: keras.Model,
  pruned: keras.Model,
  settled: InputRange,
  given: flags.FlagValues,
  known: Verdict | None = None,
) -> Verdict:
  """How a pruned model answers: on test data where there are any.

  Args:
    original: The original.
    pruned: The pruned model.
    settled: The range of the inputs.
    given: The flags.
    known: What pruning has found by itself on other inputs, if it has.

  Raises:
    OSError: a file cannot be read.
    ValueError: it holds no inputs.
  """
  test = read_arrays(given.test_data, 'x')
  if test is not None:
    x = test[0][:_TESTED]
    verdict = judge(original, pruned, [x])
    return dataclasses.replace(
      verdict, inputs=f'{len(x)} inputs of {given.test_data}'
    )
  if known is not None:
    return known
  # Inputs that nothing was fitted to; warnings of `prune` speak of them too.
  return compare_answers(
    original,
    pruned,
    input_range=settled,
    seed=given.seed + 1,
    data=read_data(given),
  )


def check_min_agreement(verdict: Verdict, given: flags.FlagValues) -> None:
  """Raises where too little is left of what the original says.

  Args:
    verdict: How the pruned model answers.
    given: The flags.

  Raises:
    ValueError: it keeps less than --min_agreement.
  """
  least = given.min_agreement
  if least is not None and not verdict.kept >= least:
    raise ValueError(
      f'The pruned model gives {verdict}: less than '
      f'--min_agreement={least:g}. Nothing was written. '
      + ' '.join(_remedies(given))
    )


def _remedies(given: flags.FlagValues) -> list[str]:
  """What keeps more answers, as far as flags have not said so already."""
  if 'method' not in given:
    return ['Prune less, or by another method.']
  found = []
  if 'sparsity' in given:
    found.append(f'Prune less than --sparsity={given.sparsity:g}.')
  else:
    found.append('Allow the device more.')
  if given.method != 'reconstruction':
    found.append('Take --method=reconstruction.')
  if given.data is None:
    found.append('Fit on unlabelled inputs of your own with --data.')
  if not given.input_range:
    found.append('Say the range of the inputs with --input_range.')
  return found


def bound_told(
  original: keras.Model,
  pruned: keras.Model,
  settled: InputRange,
  samples: list[Array],
) -> str:
  """What is proved of how far outputs moved; '' where that says nothing.

  A bound that is wider than the outputs' own range says nothing.

  Args:
    original: The original.
    pruned: The pruned model.
    settled: The range of the inputs.
    samples: Inputs that the outputs' range is taken from.
  """
  bound = largest_deviation(original, pruned, settled)
  if math.isnan(bound):
    return 'how far outputs moved is not bounded: a layer has no known bounds'
  if bound > _widest(original, samples):
    return ''
  return f'no output moves by more than {bound:.6g} in the input range'


def _widest(model: keras.Model, samples: list[Array]) -> float:
  """The widest range of any output's entry over samples."""
  lows, highs = [], []
  for start in range(0, len(samples[0]), _BATCH):
    batch = [x[start : start + _BATCH] for x in samples]
    made = [np.asarray(y, np.float64) for y in outputs_of(model, batch)]
    lows.append([y.min(0) for y in made])
    highs.append([y.max(0) for y in made])
  return max(
    float(np.max(np.max(high, axis=0) - np.min(low, axis=0)))
    for low, high in zip(
      zip(*lows, strict=True), zip(*highs, strict=True), strict=True
    )
  )
