"""The inputs that fits, distillation and comparisons run on.

Best first: inputs that the user has; inputs recalled from the statistics that
batch normalization stored; samples of a prior.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import callers
from tfmot_paoding.arguments import warn_idle
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.empty_entries import empty_entries, fullness
from tfmot_paoding.inputs.first_layers import whole_entries
from tfmot_paoding.inputs.mirrors import (
  drawn_for,
  mirror_axes,
  with_images,
)
from tfmot_paoding.inputs.named_priors import NAMED_PRIORS
from tfmot_paoding.inputs.prior import (
  CarriedInputs,
  InputPrior,
  PriorLike,
  parts_of,
  prior_samples,
)
from tfmot_paoding.inputs.ranges import InputRange, input_boxes
from tfmot_paoding.inputs.recall import (
  RecallSettings,
  recalled,
)
from tfmot_paoding.inputs.statistics_fit import (
  STATISTICS,
  check_statistics,
  explaining,
)
from tfmot_paoding.inputs.statistics_prior import StatisticsPrior
from tfmot_paoding.inputs.teacher_choice import choose_samples
from tfmot_paoding.inputs.user_data import Inputs, calibration_samples
from tfmot_paoding.network.batches import in_batches
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape

Array = np.ndarray

# Recalling inputs for larger networks (multiply-accumulates) takes too long.
_MOST_MACS = 6e7
_MOST_RECALLED = 768
# Of inputs, steps and multiply-accumulates of an inference: three minutes of
# computing on one core. Beyond, fewer inputs are recalled, a batch at least,
# and then in fewer steps. Not before: taught, half of four small networks for
# digits has .875, .869, .939, .828 right with 768 inputs in 200 steps and .868,
# .869, .941, .820 with 256 in 120, in .53 to .94 of the time; untaught, the
# first has .70 and .61. Half a ResNet-8 has .453 with 256 in 200, .432 in 120.
_DESCENT = 1e12
_FEWEST_STEPS = 120
# Of a mixture, how many there are for each recalled input.
MIXED = 6
# How many times too many samples are drawn where a classifier chooses.
_CHOICE = 4


def check_source(
  model: keras.Model | Network, data: Inputs, prior: PriorLike
) -> None:
  """Raises where inputs cannot come from where the user says.

  Args:
    model: The model, wrapped or not.
    data: Inputs that the user has, or None.
    prior: As in `draw_samples`.

  Raises:
    ValueError: the data or the prior do not fit the model.

  Warns where both are given.
  """
  network = Network.of(model)
  if data is not None:
    calibration_samples(network.model, data, 2)
  warn_of_two(data, prior)
  if prior is None or isinstance(prior, CarriedInputs):
    return
  for part in parts_of(prior) or [prior]:
    if not recalls(network, part):
      _priors(part, network)


def warn_of_two(data: Inputs, prior: PriorLike, name: str = 'data') -> None:
  """Warns where inputs of the user's leave a prior without use.

  Args:
    data: Inputs that the user has, or None.
    prior: As in `draw_samples`.
    name: What the function calls the data.
  """
  if data is not None:
    why = f'since `{name}` are given'
    warn_idle({'prior': prior}, why, 'Leave one of the two out.')


def with_answers(
  model: keras.Model | Network,
  samples: list[Array],
  given: str | None = None,
) -> list[Array]:
  """The samples that a model has an answer for.

  Where Keras masks run, a sample may have all its steps masked, and a mean over
  nothing is NaN: it tells nothing, and a fit on it would write NaN.

  Args:
    model: The model.
    samples: One array an input.
    given: What the user calls them, to be warned of those left out.

  Raises:
    ValueError: hardly any are left.
  """
  network = Network.of(model)
  if not network.graph.masked:
    return samples
  model = network.model
  finite = np.concatenate([_is_answered(model, x) for x in in_batches(samples)])
  if finite.sum() < 2:
    raise ValueError(
      f'The model {model.name!r} answers with no number (NaN) for all but '
      f'{finite.sum()} of {len(finite)} samples: all their steps are masked. '
      'Pass an `input_range` or data with steps that count.'
    )
  if given is not None and not finite.all():
    warnings.warn(
      f'{(~finite).sum()} of {len(finite)} samples of {given} are left out: '
      'all their steps are masked, and the model answers with no number (NaN).',
      stacklevel=callers.level(),
    )
  return [x[finite] for x in samples]


def _is_answered(model: keras.Model, samples: list[Array]) -> Array:
  """Whether every output is finite, (samples,).

  Not by `predict`: a fused rectifier makes 0 of NaN.
  """
  answers = model(samples if len(samples) > 1 else samples[0], training=False)
  return np.all(
    [
      np.isfinite(y).reshape(len(y), -1).all(1)
      for y in tf.nest.flatten(answers)
    ],
    axis=0,
  )


def of_prior(
  network: Network,
  input_range: InputRange,
  count: int,
  seed: int,
  prior: PriorLike,
  told: Sequence[StatisticsPrior | None],
) -> list[Array]:
  """Samples of a prior, one array an input; `told` is by 'statistics'."""
  names, shapes = network.input_names, network.input_shapes
  priors = [
    told[index] if one == STATISTICS else one
    for index, one in enumerate(_priors(prior, network))
  ]
  boxes = input_boxes(network, input_range, shapes)
  rng = np.random.default_rng([seed, 1])
  middles = input_range.middles(names)
  wholes = whole_entries(network.model, network.graph)
  times = _CHOICE if any(one.is_chosen for one in priors) else 1
  empties = _empties(network)
  found = []
  for whole, one, box, shape, middle, empty in zip(
    wholes, priors, boxes, shapes, middles, empties, strict=True
  ):
    if whole.all():
      found.append(_whole_numbers(box, shape, times * count, rng))
      continue
    x = _drawn(one, box, shape, times, times * count, rng, middle)
    if one.mirrors:
      x = _emptied(x, one, box, empty)
    if whole.any():
      x = np.where(whole, _whole_numbers(box, shape, times * count, rng), x)
    found.append(x)
  return choose_samples(network, found, count) if times > 1 else found


def _drawn(
  prior: InputPrior,
  box: Interval,
  shape: Shape,
  images: int,
  count: int,
  rng: np.random.Generator,
  middle: Array,
) -> Array:
  """So many samples, among them so many mirror images of one at most."""
  picture, axes = prior.picture(shape), []
  if prior.mirrors:
    about = [np.broadcast_to(x, shape).reshape(picture) for x in (*box, middle)]
    axes = mirror_axes(picture, about)
  few = drawn_for(count, axes, images)
  (x,) = prior_samples(prior, [box], [shape], few, rng, [middle])
  x = with_images(x.reshape(few, *picture), axes, count)
  return x.reshape(count, *shape)


def _empties(network: Network) -> list[Array]:
  """Which entries of each input samples are to have nothing in."""
  if network.has_statistics:
    # Beside inputs that are recalled from these it brings nothing: three tenths
    # of an MLP for digits keep .945 without and .937 with it.
    return [np.zeros(shape, bool) for shape in network.input_shapes]
  return empty_entries(network.graph)


def _emptied(x: Array, prior: InputPrior, box: Interval, empty: Array) -> Array:
  """Samples with nothing where the network never saw anything."""
  empty = empty & (box.low <= 0) & (box.high >= 0)
  if not empty.any():
    return x
  left = fullness(empty.reshape(prior.picture(empty.shape)))
  return x * left.reshape(empty.shape).astype(x.dtype)


def _whole_numbers(
  box: Interval, shape: Shape, count: int, rng: np.random.Generator
) -> Array:
  """Whole numbers of a range, all alike: of indices none is nearer to none."""
  low, high = (
    np.broadcast_to(end, shape) for end in (np.ceil(box.low), box.high)
  )
  return rng.integers(
    low, np.maximum(np.floor(high), low), (count, *shape), endpoint=True
  ).astype(np.float32)


def recalled_samples(
  network: Network,
  input_range: InputRange,
  seed: int,
  verbose: int | str,
  told: Sequence[StatisticsPrior | None],
  count: int | None = None,
  may_mix: bool = False,
  settings: RecallSettings | None = None,
) -> list[Array]:
  """Recalled inputs, as many as asked for or as few as time allows.

  Args:
    network: The model.
    input_range: The range of its inputs.
    seed: The only source of chance.
    verbose: Whether to show a progress bar.
    told: The priors that the first statistics tell, as of `told_priors`.
    count: How many at most; None for as many as time allows.
    may_mix: Whether all but one in six are samples of the prior that the first
      statistics tell, where it explains these. Both together teach more than
      either: recalled inputs are of all classes, but their pixels are free.
    settings: Of the descent; None for the usual ones.
  """
  priors = explaining(told)
  limit = _MOST_RECALLED
  if settings is None:
    limit, settings = _in_time(network.macs)
  if not may_mix or not mixes(told):
    count = min(count or limit, limit)
    return recalled(
      network, input_range, count, seed, verbose, priors, settings
    )
  most = MIXED * limit
  count = min(count or most, most)
  few = -(-count // MIXED)
  named = dict(zip(network.input_names, priors, strict=True))
  parts = [recalled(network, input_range, few, seed, verbose, priors, settings)]
  if count > few:
    parts.append(of_prior(network, input_range, count - few, seed, named, told))
  return shuffled(parts, np.random.default_rng([seed, 5]))


def _in_time(macs: int) -> tuple[int, RecallSettings]:
  """How many inputs are recalled at most, and how, of a network's size.

  Args:
    macs: Its multiply-accumulates.
  """
  usual = RecallSettings()
  one = max(macs, 1) * usual.batch_size * usual.steps
  batches = int(np.clip(_DESCENT // one, 1, _MOST_RECALLED // usual.batch_size))
  steps = int(usual.steps * min(_DESCENT / (one * batches), 1))
  steps = max(steps, _FEWEST_STEPS)
  settings = dataclasses.replace(usual, steps=steps)
  return batches * usual.batch_size, settings


def mixes(told: Sequence[StatisticsPrior | None]) -> bool:
  """Whether recalled inputs may go with samples of what statistics tell."""
  return all(prior is not None for prior in explaining(told))


def shuffled(
  parts: Sequence[Sequence[Array]], rng: np.random.Generator
) -> list[Array]:
  """Samples of several sources as one, in random order.

  Args:
    parts: Of each source, one array an input.
    rng: The only source of chance.
  """
  found = [np.concatenate(x) for x in zip(*parts, strict=True)]
  order = rng.permutation(len(found[0]))
  return [x[order] for x in found]


def recalls(model: keras.Model | Network, prior: Any = None) -> bool:
  """Whether inputs of a model are recalled; see `draw_samples`.

  Raises:
    ValueError: they shall be, but are whole numbers.
  """
  network = Network.of(model)
  graph = network.graph
  wholes = whole_entries(network.model, graph)
  whole = any(entries.any() for entries in wholes)
  if prior is None:
    few = network.macs <= _MOST_MACS
    return network.has_statistics and few and not whole
  asked = isinstance(prior, str) and prior == 'recalled'
  if asked and whole:
    raise ValueError(
      f'{network.model.name!r} has an input of whole numbers, which no '
      "gradient leads to: 'recalled' is not for it. Leave `prior` out, or "
      'pass data.'
    )
  return asked


def _priors(prior: Any, network: Network) -> list[InputPrior | str]:
  """The prior of each input; the name of that which the network tells."""
  names = network.input_names
  if not isinstance(prior, Mapping):
    one = _prior(prior)
    found = [one] * len(names)
  else:
    if set(prior) != set(names):
      raise ValueError(
        f'`prior` names the inputs {sorted(prior, key=str)}, but the model has '
        f'{sorted(names)}.'
      )
    found = [_prior(prior[name]) for name in names]
  for index, one in enumerate(found):
    if one == STATISTICS:
      check_statistics(network, index)
  return found


def _prior(prior: Any) -> InputPrior | str:
  """What an input's prior stands for."""
  if isinstance(prior, str):
    if prior == STATISTICS:
      return prior
    prior = NAMED_PRIORS.get(prior, prior)
  if not isinstance(prior, InputPrior):
    raise ValueError(
      f"`prior` must be 'recalled', one of {', '.join(NAMED_PRIORS)} and "
      f'{STATISTICS}, an object such as tfmot_paoding.inputs.Prior, a sequence '
      f'of these, or a dict of input name to one, but got {prior!r}.'
    )
  return prior
