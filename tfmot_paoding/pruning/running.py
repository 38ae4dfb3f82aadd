"""Running a wrapped model's schedule without data, and what it leaves."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfmot_paoding import callers, compat
from tfmot_paoding.compat import keras
from tfmot_paoding.deprecation import takes_old_calls
from tfmot_paoding.inputs.prior import PriorLike
from tfmot_paoding.inputs.ranges import warn_outside
from tfmot_paoding.inputs.samples import check_source
from tfmot_paoding.inputs.source import InputSource, few_of
from tfmot_paoding.inputs.user_data import Inputs
from tfmot_paoding.network.agreement import Verdict
from tfmot_paoding.network.input_shapes import open_inputs
from tfmot_paoding.network.network import Network
from tfmot_paoding.progress import progress_bar
from tfmot_paoding.pruning.driver import Driver
from tfmot_paoding.pruning.few_answers import (
  beside_another,
  compared,
  judged,
  warn_of_few_answers,
)
from tfmot_paoding.pruning.history import History
from tfmot_paoding.pruning.origin import checked_original
from tfmot_paoding.pruning.schedule import pruning_steps
from tfmot_paoding.pruning.shares import warn_of_rounding
from tfmot_paoding.pruning.wrapped import Wrapped

Array = np.ndarray

# Recalled inputs that answers are compared on.
_JUDGED = 256


@takes_old_calls(renamed={'calibration_data': 'data'})
def run_schedule(
  wrapped: keras.Model,
  end_step: int | None = None,
  *,
  verbose: int | str = 'auto',
  data: Inputs = None,
  prior: PriorLike = None,
  original: Any = None,
) -> History:
  """Drives a wrapped model's schedule to its end without data.

  An interrupted run leaves a whole model at the sparsity reached; calling
  again goes on from there, as the same run. Methods that fit look back at the
  model before pruning, which a wrapped model keeps as long as it lives; one
  that was saved and loaded needs `original` for that. In the scope of a
  `tf.distribute` strategy its replicas share recall and the runs that fits are
  made on.

  Args:
    wrapped: What `prune_low_saliency` returned, changed in place.
    end_step: The last training step to act out, for schedules that do not say
      when they end.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.
    data: Unlabelled inputs, if you have some: an array, a list or dict of
      arrays for several inputs, or a batched `tf.data.Dataset`. Methods that
      fit (`'reconstruction'`) use them in place of their prior, and answers are
      compared on them.
    prior: Where inputs to fit on come from otherwise: 'recalled' (by
      `recall_inputs`), 'statistics', a name of `inputs.NAMED_PRIORS` such as
      'smooth' or 'leaves', an object such as `inputs.Prior`, a sequence of
      these, which are drawn in equal shares, or a dict of input name to one.
      None: what the model knows, see `inputs`.
    original: The model that was given to `prune_low_saliency`, where a run on
      a loaded model goes on.

  Returns:
    Sparsity, units removed, output bound and seconds of each step.

  Raises:
    TypeError: `original` is no Keras model.
    ValueError: the model is not wrapped, the schedule has no end, or
      `original` is not what was wrapped.
  """
  network = Network.of(wrapped)
  before = None if original is None else checked_original(original, network)
  check_source(network, data, prior)
  found = Wrapped.of(network)
  source = found.source(data, prior, verbose)
  driver = Driver(found, source, resumes=True, original=before)
  warn_outside(source.range, wrapped, data)
  before = before or driver.original
  if before is None and not driver.removed:
    before = network.plain()
  history = run(driver, wrapped, end_step)
  if before is not None:
    history.verdict = verdict_of(driver, before, wrapped, source)
    if history.verdict is not None:
      warn_of_few_answers(history.verdict, fits=driver.fits)
  return history


def run(
  driver: Driver, wrapped: keras.Model, end_step: int | None = None
) -> History:
  """Carries all steps of the schedules out."""
  steps = sorted(
    {
      step
      for schedule in driver.schedules
      for step in pruning_steps(schedule, end_step)
    }
  )
  verbose = driver.source.verbose
  bar = progress_bar(len(steps), verbose, 'step', ['sparsity', 'bound'])
  for step in steps:
    driver.step(step)
    bar.add(1, driver.history.progress())
  for wrapper in compat.collect_prunable_layers(wrapped):
    keras.backend.set_value(wrapper.pruning_step, steps[-1])
  warn_of_rounding(driver.history.layers)
  return driver.history


def verdict_of(
  driver: Driver, original: Network, pruned: keras.Model, source: InputSource
) -> Verdict | None:
  """How the pruned model answers; recalled inputs are not recalled twice.

  None where the model leaves sizes open and there are no data.

  Args:
    driver: What has pruned it.
    original: What was before.
    pruned: What is left.
    source: Where inputs come from, as the user said.
  """
  if source.data is None and open_inputs(original.model):
    warnings.warn(
      f'{original.model.name!r} leaves sizes of its inputs open, so that '
      'nothing could be drawn to compare answers on. Pass unlabelled inputs of '
      'your own (`data`), or fix the sizes by `input_shape`.',
      stacklevel=callers.level(),
    )
    return None
  return verdict_on(original, pruned, driver.samples, driver.source, source)


def verdict_on(
  original: Network,
  pruned: keras.Model,
  samples: Sequence[Array] | None,
  drawn: InputSource,
  source: InputSource,
) -> Verdict:
  """How the pruned model answers, on inputs that are there or drawn anew.

  Args:
    original: What was before.
    pruned: What is left.
    samples: What was fitted on, if anything was.
    drawn: Where these come from.
    source: Where inputs come from, as the user said.
  """
  if samples is not None and drawn.recalls(original):
    few = [x[:_JUDGED] for x in samples]
  elif samples is not None and source.nobody_said and not drawn.nobody_said:
    few = drawn.anew(original, few_of(original, len(samples[0])))
  else:
    source = source.like(seed=source.seed + 1, told=drawn.told)
    return compared(original, pruned, source)
  found = judged(original, pruned, few, drawn)
  if not source.nobody_said:
    return found
  return beside_another(original, pruned, drawn, found)
