"""What inputs were like, by the first statistics that a network stored.

Which axes are stationary is not told but tried: a few parametrisations are
fitted to some of the stored statistics, and the simplest of those that predict
the others best is taken. How well it predicts them is kept with it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.first_statistics import (
  FirstStatistics,
  first_statistics,
  has_first_statistics,
)
from tfmot_paoding.inputs.moment_fits import (
  VARIANCE_NOISE,
  CovarianceFit,
  RootOf,
  fit_covariance,
  fit_mean,
)
from tfmot_paoding.inputs.statistics_prior import (
  StatisticsPrior,
  placed,
  roots,
  shape_entries,
)
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics.least_squares import simplest

Array = np.ndarray

# What `prior=` calls it.
STATISTICS = 'statistics'
_SCALES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, math.inf)
# Entries that may vary each by itself, and couple.
_MOST_ENTRIES = 128
# How many numbers the responses to one scale's fields may be.
_MOST_RESPONSES = 10_000_000
# Means are fitted again with the sizes that variances tell.
_ROUNDS = 2
# The largest error of left-out statistics that leaves them explained. It is .05
# for coefficients of sounds and .18 for photos, which are no Gaussian field.
_EXPLAINED = 0.1
# Of the largest deviation, the least that an entry's mean may have.
_LEAST_SIZE = 0.02


def fit_statistics(
  model: keras.Model | Network,
) -> StatisticsPrior | dict[str, StatisticsPrior]:
  """The prior that explains the first statistics that a network stored.

  Args:
    model: The trained model, wrapped or not; it is not changed.

  Returns:
    The prior, to be looked at or passed as `prior=`; where the model has
    several inputs, a dict of input name to one.

  Raises:
    ValueError: behind an input no batch normalization stands that only affine
      layers are in front of.
  """
  network = Network.of(model)
  found = {
    name: statistics_prior(network, index)
    for index, name in enumerate(network.input_names)
  }
  return found if len(found) > 1 else next(iter(found.values()))


class UnreadError(ValueError):
  """Statistics are stored, of units that do not read the input."""


def statistics_prior(network: Network, index: int) -> StatisticsPrior:
  """The prior of one input.

  Raises:
    ValueError: its statistics are not stored, or no unit of them reads it
      (`UnreadError`).
  """
  check_statistics(network, index)
  fit = _Fit(first_statistics(network, index))
  if not fit.tells:
    raise UnreadError(
      f'prior={STATISTICS!r} reads what batch normalization stored behind the '
      f'first layers, but of the units behind the input '
      f'{network.input_names[index]!r} of {network.model.name!r} none has a '
      'weight for it and a variance. Leave `prior` out.'
    )
  return fit.prior()


def told_priors(network: Network) -> list[StatisticsPrior | None]:
  """The prior of each input; None where none of its statistics are stored.

  It takes seconds.
  """
  found: list[StatisticsPrior | None] = []
  for index in range(len(network.input_names)):
    prior = None
    if has_first_statistics(network, index):
      with contextlib.suppress(UnreadError):
        prior = statistics_prior(network, index)
    found.append(prior)
  return found


def explaining(
  told: Sequence[StatisticsPrior | None],
) -> list[StatisticsPrior | None]:
  """Those of `told_priors` that explain what was stored; None for others."""
  return [
    prior
    if prior and max(prior.mean_error, prior.variance_error) < _EXPLAINED
    else None
    for prior in told
  ]


def explaining_priors(network: Network) -> list[StatisticsPrior | None]:
  """The prior of each input, if it explains what was stored; else None."""
  return explaining(told_priors(network))


def check_statistics(network: Network, index: int) -> None:
  """Raises where no statistics of an input are stored.

  Args:
    network: The model.
    index: Of the input.

  Raises:
    ValueError: none are.
  """
  if not has_first_statistics(network, index):
    raise ValueError(
      f'prior={STATISTICS!r} reads what batch normalization stored behind the '
      f'first layers, but behind the input {network.input_names[index]!r} of '
      f'{network.model.name!r} there is none that only affine layers (Dense, '
      'convolutions, padding, reshaping) stand in front of. Leave `prior` out, '
      "or pass 'smooth', a prior of your own, or data."
    )


class _Fit:
  """The equations of one input, and their solution."""

  def __init__(self, known: Sequence[FirstStatistics]):
    self._known = known
    # Every round asks for the same ones, and so do both moments.
    self._root_of = functools.cache(roots)
    self._shape = known[0].shape
    self._offsets = [one.offset() for one in known]
    rows = np.concatenate([one.mean_rows() for one in known])
    means = np.concatenate(
      [
        one.mean - offset.mean(0)
        for one, offset in zip(known, self._offsets, strict=True)
      ]
    )
    variance = np.concatenate([one.variance for one in known])
    # Removed units read nothing, and stored what they once read.
    self._living = np.any(rows.reshape(len(rows), -1), 1) & (variance > 0)
    self._rows, self._means = rows[self._living], means[self._living]
    self._variance = variance[self._living]

  @property
  def tells(self) -> bool:
    """Whether any unit reads the input."""
    return bool(self._living.any())

  def prior(self) -> StatisticsPrior:
    """The prior of these statistics."""
    size = np.ones(self._shape)
    last = len(self._shape) - 1
    choices = [(axes, self._forms(axes)) for axes in self._choices()]
    for _ in range(_ROUNDS):
      mean = fit_mean(
        self._rows,
        self._means,
        self._variance**-0.5,
        size,
        (last,) if last else (),
        self._root_of,
      )
      stationary, covariance = self._covariance(mean.mean, choices)
      prior = StatisticsPrior(
        mean.mean,
        stationary,
        covariance.parts,
        float(np.sqrt(mean.errors.mean())),
        float(np.sqrt(covariance.errors.mean())),
      )
      size = np.sqrt(prior.variance())
      size = np.maximum(size, _LEAST_SIZE * size.max())
    return prior

  def _covariance(
    self,
    mean: Array,
    choices: Sequence[tuple[tuple[int, ...], dict[float, Array]]],
  ) -> tuple[tuple[int, ...], CovarianceFit]:
    """The stationary axes and the fit that predict variances best."""
    between = np.concatenate(
      [one.response(mean[None])[0].var(0) for one in self._known]
    )
    target = np.maximum(self._variance - between[self._living], 0.0)
    weight = 1 / self._variance
    alone = [fit_covariance(forms, target, weight, 0) for _, forms in choices]
    chosen = simplest(
      np.stack([fit.errors for fit in alone]),
      np.array([shape_entries(self._shape, axes) for axes, _ in choices]),
      VARIANCE_NOISE**2,
    )
    stationary, forms = choices[chosen]
    return stationary, fit_covariance(forms, target, weight)

  def _choices(self) -> Iterator[tuple[int, ...]]:
    """Sets of stationary axes whose other entries can be told apart."""
    positions = range(max(len(self._shape) - 1, 1))
    yield tuple(positions)
    # Half as many unknowns as equations, or none are left to choose by.
    most = min(_MOST_ENTRIES, len(self._variance) // 2)
    for count in reversed(range(len(positions))):
      for axes in itertools.combinations(positions, count):
        if shape_entries(self._shape, axes) <= most:
          yield axes

  def _forms(self, stationary: tuple[int, ...]) -> dict[float, Array]:
    """For each scale the variances as quadratic forms in a field's pattern."""
    longest = max((self._shape[axis] for axis in stationary), default=1)
    scales = [
      s for s in _SCALES if s < longest or (math.isinf(s) and longest > 1)
    ]
    return {
      scale: np.concatenate(
        [
          _form(one, offset, stationary, scale, self._root_of)
          for one, offset in zip(self._known, self._offsets, strict=True)
        ],
        -1,
      )[..., self._living]
      for scale in scales
    }


def _form(
  known: FirstStatistics,
  offset: Array,
  stationary: tuple[int, ...],
  scale: float,
  root_of: RootOf = roots,
) -> Array:
  """Shape (entries, entries, channels)."""
  shape = known.shape
  entries = shape_entries(shape, stationary)
  each = entries * max(offset.size, math.prod(shape))
  matrices = [root_of(shape[axis], scale) for axis in stationary]
  fields = _fields(matrices, max(_MOST_RESPONSES // each, 1))
  x = fields[..., None, None] * np.eye(entries)
  x = np.moveaxis(x, -2, 0).reshape(-1, *x.shape[1:-2], entries)
  response = known.response(placed(x, shape, stationary))
  response -= offset
  response = response.reshape(entries, -1, offset.shape[-1])
  return _products(response) / len(offset)


def _products(responses: Array) -> Array:
  """Sums of the products of every two, a channel each.

  Args:
    responses: Shape (entries, samples, channels).

  Returns:
    Shape (entries, entries, channels).
  """
  entries, _, channels = responses.shape
  made = np.empty((entries, entries, channels))
  for k in range(entries):
    # One einsum of all takes four times as long.
    own = np.einsum('nc,gnc->gc', responses[k], responses[: k + 1])
    made[k, : k + 1] = made[: k + 1, k] = own
  return made


def _fields(matrices: Sequence[Array], most: int) -> Array:
  """Fields whose products sum to the noise's covariance, (fields, *sizes).

  Where there are too many, random sums of them, which do so on average.

  Args:
    matrices: A root of the covariance along each stationary axis.
    most: How many fields are not too many.
  """
  counts = [matrix.shape[1] for matrix in matrices]
  count = math.prod(counts)
  if count > most:
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(most, *counts)) / np.sqrt(most)
    for k, matrix in enumerate(matrices):
      fields = np.moveaxis(np.tensordot(fields, matrix, (k + 1, 1)), -1, k + 1)
    return fields
  fields = np.ones(1)
  for matrix in matrices:
    fields = np.multiply.outer(fields, matrix.T)
    # A direction of each axis, and then a position of each.
    fields = np.moveaxis(fields, -2, 1)
    fields = fields.reshape(-1, *fields.shape[2:])
  return fields
