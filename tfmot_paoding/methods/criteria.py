"""Criteria: what does removing a unit cost, by itself or absorbed by another?

A criterion overrides one hook, `scores`. Which units go, and how the kept ones
make up for them, is decided elsewhere.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_paoding.methods.elimination import combined_costs
from tfmot_paoding.methods.group_view import GroupView
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.registry import Configurable, Registry

Array = np.ndarray


class Criterion(Configurable):
  """A cost of removal; subclasses are frozen dataclasses.

  What a class says of itself below is what is asked of it: the tests run over
  the registry and hold each class to its word. Nothing said, nothing claimed.

  Attributes:
    needs_samples: Whether it looks at `view.fits`.
    twins_are_free: Whether it costs exactly 0 to merge units of like weights.
    unread_are_free: Whether units that feed nothing cost exactly 0.
    silent_are_free: Whether units that give 0 for every input cost exactly 0.
    is_mutual: Whether a pair costs the same either way, by what makes its two
      units and what they stand for: as others go, only pairs with a unit that
      has moved are scored again.
  """

  needs_samples = False
  twins_are_free = False
  unread_are_free = False
  silent_are_free = False
  is_mutual = False

  def scores(self, view: GroupView, units: Array) -> Array:
    """What removing each of `units` costs, lower is better.

    Args:
      view: The group at its current weights.
      units: The units in question, shape (k,).

    Returns:
      Shape (k,): the cost of each by itself; or (k, n): the cost of each if
      the unit of the column absorbs it, infinite where it shall not. Columns
      of the unit itself and of units that are gone are ignored. Costs are at
      least 0, and 0 is for removals that cost nothing.
    """
    raise NotImplementedError


criteria: Registry[Criterion] = Registry('criterion', Criterion)
register_criterion = criteria.register


@criteria.register('norm')
@dataclasses.dataclass(frozen=True)
class Norm(Criterion):
  """The norm of a unit's incoming weights; PAODING's SCALE with order 1.

  s_j = ||w_j||_order of the kernels as they are. Folding in the batch
  normalization behind them ranks worse on trained networks.

  Attributes:
    order: The norm's order, 1 or 2.
    folded: Whether to fold batch normalization and depthwise kernels in.
  """

  order: int = 1
  folded: bool = False

  def __post_init__(self):
    if self.order not in (1, 2):
      raise ValueError(f'`order` must be 1 or 2, but got {self.order}.')

  def scores(self, view: GroupView, units: Array) -> Array:
    """Shape (k,)."""
    weights = view.incoming if self.folded else view.kernels
    return np.linalg.norm(weights[:, units], ord=self.order, axis=0)


@criteria.register('saliency')
@dataclasses.dataclass(frozen=True)
class PairSaliency(Criterion):
  """Pair saliency: how different two units are, times what the one feeds.

  s_ij = ||(w_i, b_i) - (w_j, b_j)|| ||v_j|| for removing j into i. Identical
  units cost exactly 0.

  Reference: Srinivas and Babu 2015, arXiv 1507.06149.

  Attributes:
    bias_aware: Whether the biases belong to the distance.
  """

  bias_aware: bool = True

  twins_are_free = True
  unread_are_free = True

  def scores(self, view: GroupView, units: Array) -> Array:
    """Shape (k, n)."""
    distances = view.pair_distances[units]
    if not self.bias_aware:
      shift = view.biases[:, units, None] - view.biases[:, None, :]
      distances = distances**2 - np.square(shift).sum(0)
      distances = np.sqrt(np.maximum(distances, 0))
    return distances * view.outgoing_sizes(units)[:, None]


@criteria.register('ward')
@dataclasses.dataclass(frozen=True)
class Ward(Criterion):
  """What folding two units adds to the spread within clusters.

  s_ij = m_i m_j / (m_i + m_j) ||(w_i, b_i) - (w_j, b_j)||^2, m being how many
  original units each stands for.

  Reference: Ward 1963; Wang et al. 2025, arXiv 2502.10216, cluster likewise.
  """

  twins_are_free = True
  is_mutual = True

  def scores(self, view: GroupView, units: Array) -> Array:
    """Shape (k, n)."""
    own, other = view.masses[units][:, None], view.masses
    weights = own * other / (own + other)
    return weights * np.square(view.pair_distances[units])


@criteria.register('impact')
@dataclasses.dataclass(frozen=True)
class IntervalImpact(Criterion):
  """Interval impact: how far a merge can move the network's outputs.

  The bounds of a_i - a_j over the input box, seen by both units jointly, are
  carried to the outputs; L is the mean width of what arrives there, in units
  of the network's own output widths, and E its entropy, in units of its
  largest possible value. The impact is I = L (alpha + beta E): a merge that
  moves nothing costs nothing. Bounds over a whole box saturate, so the score
  is I^(1 - blend) s^blend, s being the pair's saliency. What travels through a
  recurrence is bounded by the largest slopes of its steps, or ordered by them
  where that many steps lead beyond numbers: see `ops.unrolling.gains`. With
  `squash` it is the paper's alpha sigmoid(L) + beta sigmoid(E), L the plain sum
  of widths; its weights are .75 and .25 for ReLU networks.

  Reference: Meng et al., arXiv 2204.00783; entropy of intervals after Dai et
  al. 2016.

  Attributes:
    alpha: Weight of L.
    beta: Weight of E.
    similarity: Two output intervals at least this similar count as one kind.
    pool: Only each unit's so many nearest partners by pair saliency are
      scored, and new ones only when these are all gone; 0 for all.
    blend: The exponent of pair saliency in the score; 0 for impact alone.
    squash: The paper's sigmoid(L) and sigmoid(E).
  """

  alpha: float = 1.0
  beta: float = 0.0
  similarity: float = 0.9
  pool: int = 1
  blend: float = 0.5
  squash: bool = False

  def __post_init__(self):
    if not (self.alpha >= 0 and self.beta >= 0 and self.alpha + self.beta > 0):
      raise ValueError(
        '`alpha` and `beta` must be at least 0 and not both 0, but got '
        f'{self.alpha} and {self.beta}.'
      )
    if self.pool < 0:
      raise ValueError(f'`pool` must be at least 0, but got {self.pool}.')
    for name in ('similarity', 'blend'):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(
          f'`{name}` must lie in [0, 1], but got {getattr(self, name)}.'
        )

  @property
  def twins_are_free(self) -> bool:
    """Unless squashed: the sigmoid of 0 is not 0."""
    return not self.squash

  unread_are_free = twins_are_free

  def scores(self, view: GroupView, units: Array) -> Array:
    """Shape (k, n), infinite outside the pool."""
    if not view.has_bounds:
      # No sound bounds on the way: fall back on how different the units are.
      return PairSaliency().scores(view, units)
    row, kept = self._candidates(view, units)
    gap = view.difference(kept, units[row])
    found = np.full((len(units), view.size), np.inf)
    if self.beta or self.squash:
      impact = self._impact(view, units, row, gap)
    else:
      # Widths alone: linear in the gap's, so one number a unit is enough.
      per_width = np.abs(view.outgoing[units]) @ view.relative_gain
      impact = self.alpha * gap.width * per_width[row]
    if self.blend and not self.squash:
      saliency = view.pair_distances[units[row], kept]
      saliency *= view.outgoing_sizes(units)[row]
      impact = impact ** (1 - self.blend) * saliency**self.blend
    found[row, kept] = impact
    return found

  def _candidates(self, view: GroupView, units: Array) -> tuple[Array, Array]:
    """Rows of `units` and the partners to score them with, by distance."""
    distances = np.where(view.alive, view.pair_distances[units], np.inf)
    distances[np.arange(len(units)), units] = np.inf
    pool = min(self.pool or view.size, int(view.alive.sum()) - 1)
    if pool == 1:
      return np.arange(len(units)), distances.argmin(1)
    # A stable sort, so that equal distances give the same pool everywhere.
    nearest = np.argsort(distances, axis=1, kind='stable')[:, :pool]
    return np.repeat(np.arange(len(units)), pool), nearest.ravel()

  def _impact(
    self, view: GroupView, units: Array, row: Array, gap: Interval
  ) -> Array:
    """alpha L + beta E of the output intervals, shape (pairs,)."""
    up, down = output_effect(view, units)
    # gap = [-a, b]: what arrives is within [-(a up + b down), b up + a down].
    a, b = np.maximum(-gap.low, 0)[:, None], np.maximum(gap.high, 0)[:, None]
    arriving = Interval(
      -(a * up[row] + b * down[row]), b * up[row] + a * down[row]
    )
    entropy = interval_entropy(arriving, self.similarity)
    if self.squash:
      length = arriving.width.sum(-1)
      return self.alpha * _squash(length) + self.beta * _squash(entropy)
    widths = view.output_widths
    length = (arriving.width / np.where(widths > 0, widths, 1.0)).mean(-1)
    # Entropy tells apart merges of like length; alone it must not make a
    # merge that moves nothing cost anything.
    most = max(np.log(len(widths)), 1.0)
    return length * (self.alpha + self.beta * entropy / most)


@criteria.register('stability')
@dataclasses.dataclass(frozen=True)
class Stability(Criterion):
  """Interval impact, lower for units whose activation is unstable.

  s_ij = I_ij (1 - weight u_j), u_j being how far inside its bounds over the
  input box unit j's kink lies (0 for a unit that is always on or off, 1 for a
  kink in the middle). Units that give 0 for every input cost nothing; those
  that equal another cost nothing by their impact. What is left is easier to
  verify, with less to lose than by instability alone.

  Reference: neuron stability as in Li et al. 2022, arXiv 2206.07311, whose
  channel score wants training; the bounds here want no data.

  Attributes:
    weight: How much instability counts, in [0, 1].
  """

  weight: float = 0.5

  twins_are_free = True
  unread_are_free = True
  silent_are_free = True

  def __post_init__(self):
    if not 0 <= self.weight <= 1:
      raise ValueError(f'`weight` must lie in [0, 1], but got {self.weight}.')

  def scores(self, view: GroupView, units: Array) -> Array:
    """Shape (k, n)."""
    impact = IntervalImpact().scores(view, units)
    if not view.has_bounds:
      return impact
    preferred = 1.0 - self.weight * view.instability[units][:, None]
    wanted = np.isfinite(impact)
    found = np.where(wanted, np.where(wanted, impact, 0.0) * preferred, impact)
    found[view.silent[units]] = 0.0
    return found


@criteria.register('reconstruction')
@dataclasses.dataclass(frozen=True)
class Reconstruction(Criterion):
  """The error that is left when all consumers are re-fitted by least squares.

  s_j = sum over consumers of tr(V_j^T ([C^-1]_jj)^-1 V_j), the columns in units
  of the batch normalization behind them; 0 for units that equal another.

  Reference: Hassibi and Stork 1993.
  """

  needs_samples = True
  unread_are_free = True

  def scores(self, view: GroupView, units: Array) -> Array:
    """Shape (k,)."""
    costs = combined_costs(
      [part for fit in view.fits for part in fit.parts], units
    )
    # The ridge lets twins seem dearer than units that the samples never wake.
    return np.where(view.twins(units) >= 0, 0.0, costs)


def output_effect(view: GroupView, units: Array) -> tuple[Array, Array]:
  """Gains from a unit's activation to the outputs, two arrays (k, outputs)."""
  gain = view.output_gain
  positive = np.maximum(view.outgoing[units], 0)
  negative = np.maximum(-view.outgoing[units], 0)
  return (
    positive @ gain.up + negative @ gain.down,
    positive @ gain.down + negative @ gain.up,
  )


def interval_entropy(x: Interval, similarity: float) -> Array:
  """Entropy of how alike a row's intervals are, shape (rows,).

  sim(A, B) = 1 - (|A.low - B.low| + |A.high - B.high|) / (2 |A u B u {0}|);
  p_k is the share of a row's intervals at least `similarity` like the k-th,
  and H = -sum p_k ln p_k.

  Args:
    x: Bounds of shape (rows, outputs).
    similarity: The threshold, in [0, 1].

  Reference: Dai et al. 2016.
  """
  low, high = x.low[:, :, None], x.high[:, :, None]
  other = Interval(x.low[:, None, :], x.high[:, None, :])
  span = np.maximum(np.maximum(high, other.high), 0) - np.minimum(
    np.minimum(low, other.low), 0
  )
  gap = np.abs(low - other.low) + np.abs(high - other.high)
  alike = gap <= 2 * (1 - similarity) * span
  share = alike.mean(-1)
  return -(share * np.log(share)).sum(-1)


def _squash(x: Array) -> Array:
  return 1 / (1 + np.exp(-np.minimum(x, 700.0)))
