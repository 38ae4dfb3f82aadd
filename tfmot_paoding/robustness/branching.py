"""Which neuron to split: scores of neurons, and settings of the search."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_paoding.arguments import check_whole
from tfmot_paoding.bounds import AlphaSettings
from tfmot_paoding.bounds.domains import Ascent
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray

RULES = ('fsb', 'babsr')
_ROOT = Ascent(steps=30)
_BRANCH = Ascent(steps=8)
_LEAF = Ascent(steps=200)
_INTERMEDIATE = AlphaSettings(steps=10, intermediate=True)


@dataclasses.dataclass(frozen=True)
class BranchSettings:
  """How branch and bound works.

  Attributes:
    rule: How the neuron to split is picked: 'babsr', by an estimate of what its
      split gains (Bunel et al. 2020, arXiv 1909.06588); 'fsb', of a few of
      these the one whose halves are really bounded best, by the sum of what
      they lack to be proved (after De Palma et al. 2021, arXiv 2104.06718,
      whose minimum over the halves takes twice as many subdomains on MNIST).
    candidates: How many neurons of each of two estimates 'fsb' tries.
    batch_size: How many subdomains are bounded at once, at least 2.
    root: How slopes are optimised for the whole ball.
    branch: How slopes and multipliers are for a subdomain.
    leaf: How they are where no neuron is left to split.
    intermediate: How slopes are optimised for the bounds of neurons, once for a
      ball, unless that would take half of the time; None for the bounds of
      'crown'.
    most_subdomains: After how many subdomains a sample is given up.
    most_open: So many that wait to be split are kept in memory; a sample with
      more is given up.
    attack_steps: Gradient steps of the attack that comes first.
    attack_restarts: Its starts.
    seed: For these.
    relax_the_rest: Whether a network with activations that cannot be split
      (other than ReLU, leaky or clipped too, PReLU, hard sigmoid, maxima,
      minima and max pooling) is worked on all the same. These are then relaxed
      alone, and an answer may stay 'unknown' with time left.
  """

  rule: str = 'fsb'
  candidates: int = 3
  batch_size: int = 256
  root: Ascent = _ROOT
  branch: Ascent = _BRANCH
  leaf: Ascent = _LEAF
  intermediate: AlphaSettings | None = _INTERMEDIATE
  most_subdomains: int = 1_000_000
  most_open: int = 100_000
  attack_steps: int = 40
  attack_restarts: int = 3
  seed: int = 0
  relax_the_rest: bool = False

  def __post_init__(self):
    if self.rule not in RULES:
      raise ValueError(
        f'`rule` must be one of {", ".join(map(repr, RULES))}, but got '
        f'{self.rule!r}.'
      )
    for name, least in (
      ('candidates', 1),
      ('batch_size', 2),
      ('most_subdomains', 1),
      ('most_open', 1),
      ('attack_steps', 1),
      ('attack_restarts', 1),
    ):
      check_whole(name, getattr(self, name), least)


def settled(settings: BranchSettings | None) -> BranchSettings:
  """The settings, or how it is worked without any.

  Raises:
    TypeError: they are something else.
  """
  if settings is None:
    return BranchSettings()
  if not isinstance(settings, BranchSettings):
    raise TypeError(
      f'`settings` must be of BranchSettings, but got {settings!r}.'
    )
  return settings


def candidates(
  coefficients: Array,
  signs: Array,
  neurons: Interval,
  biases: Array,
  settings: BranchSettings,
) -> Array:
  """The neurons to consider for a split, the best estimate first.

  Args:
    coefficients: What a subdomain's linear bound takes each neuron's output by,
      (domains, neurons).
    signs: Of neurons that are split already, 0 for the others.
    neurons: Bounds of all of them over the whole ball, (neurons,).
    biases: What is added last to each, (neurons,).
    settings: The rule, and for 'fsb' how many.

  Returns:
    Shape (domains, candidates); -1 where there is none. One appears twice where
    both estimates like it.
  """
  if not coefficients.shape[1]:
    return np.full((len(coefficients), 1), -1)
  free = (signs == 0) & (neurons.low < 0) & (neurons.high > 0)
  gains, intercepts = estimates(coefficients, neurons, biases)
  if settings.rule == 'babsr':
    return _highest(gains, free, 1)
  count = min(settings.candidates, coefficients.shape[1])
  return np.concatenate(
    [_highest(gains, free, count), _highest(intercepts, free, count)], 1
  )


def estimates(
  coefficients: Array, neurons: Interval, biases: Array
) -> tuple[Array, Array]:
  """What splits may gain: by BaBSR, and by the intercept of the line above.

  With c the coefficient, s = u / (u - l) the slope of the chord and b the bias,
  BaBSR is |max(c b (s - 1), c b s) - min(c, 0) l s|: how the constant term of
  the bound would change if the neuron were off, or on.

  Args:
    coefficients: c, (domains, neurons).
    neurons: l, u, (neurons,).
    biases: b, (neurons,).
  """
  width = np.where(neurons.width > 0, neurons.width, 1.0)
  slope = np.clip(neurons.high / width, 0.0, 1.0)
  at_kink = -neurons.low * slope
  intercepts = np.minimum(coefficients, 0.0) * at_kink
  shifts = coefficients * biases
  gains = np.maximum(shifts * (slope - 1.0), shifts * slope) + intercepts
  return np.abs(gains), np.abs(intercepts)


def _highest(scores: Array, allowed: Array, count: int) -> Array:
  """Indices of the highest scores of each row; ties to the first."""
  scores = np.where(allowed, scores, -1.0)
  best = np.argsort(-scores, axis=1, kind='stable')[:, :count]
  return np.where(np.take_along_axis(allowed, best, 1), best, -1)
