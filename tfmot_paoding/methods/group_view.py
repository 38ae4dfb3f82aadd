"""What a criterion may look at: one group as plain arrays."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from tfmot_paoding.bounds import whole_range as bounds_lib
from tfmot_paoding.bounds.instability import group_instability
from tfmot_paoding.methods.consumer_fits import (
  ConsumerFit,
  Fitting,
  Refitted,
  weight_moments,
)
from tfmot_paoding.methods.folding import Fold, fold_weights
from tfmot_paoding.methods.unit_weights import (
  incoming_weights,
  producer_kernels,
)
from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.network.groups import Group
from tfmot_paoding.network.outputs import Head, heads_of, is_one_scale
from tfmot_paoding.numerics.intervals import Interval, hull, over_positions
from tfmot_paoding.ops import Gain, Params, WeightRef

Array = np.ndarray


class NetworkView:
  """The whole network at its current weights; bounds on demand.

  Args:
    graph: The model's graph.
    params: Its current weights.
    boxes: Bounds of each input.
    memory: What groups keep from one step to the next: pair distances, used
      again where the incoming weights are still the same, and how many units
      each stands for.
    fitting: Moments for least squares, if a method wants them.
  """

  def __init__(
    self,
    graph: Graph,
    params: Params,
    boxes: Sequence[Interval],
    memory: dict | None = None,
    fitting: Fitting | None = None,
  ):
    self.fitting = fitting
    self.graph = graph
    self.params = params
    self.memory = {} if memory is None else memory
    self.by_unit: dict[WeightRef, Array] = {}
    self._boxes = boxes
    self._inputs_of: tuple[tuple, dict[int, Array]] = (), {}

  @functools.cached_property
  def heads(self) -> list[Head]:
    """What the network's outputs mean."""
    return heads_of(self.graph)

  @functools.cached_property
  def bounds(self) -> list[Interval | None]:
    """Bounds of every value over the declared inputs."""
    return bounds_lib.propagate(self.graph, self.params, self._boxes)

  def gains_behind(
    self, group: Group, weights: Array | None = None
  ) -> list[Gain | None]:
    """How far the outputs move with what a group's consumers make.

    Args:
      group: The group.
      weights: As in `bounds.output_gain`.
    """
    wanted = {
      call.outputs[0] for member in group.consumers for call in member.calls
    }
    gains = bounds_lib.output_gain(
      self.graph, self.params, self.bounds, wanted, weights
    )
    return [
      _over_calls([gains[call.outputs[0]] for call in member.calls])
      for member in group.consumers
    ]

  def consumer_inputs(self, group: Group) -> dict[int, Array]:
    """What a group's consumers read on the samples, by value.

    Kept for the group asked for last: every attempt on it starts there.
    """
    name, found = self._inputs_of
    if name != group.name:
      found = self.fitting.values(self.params, group.consumers)
      self._inputs_of = group.name, found
    return found

  def unseen(self, group: Group) -> str | None:
    """Why a group's consumers cannot be fitted on samples, or None."""
    found = self.consumer_inputs(group)
    for call in (call for m in group.consumers for call in m.calls):
      layer, value = '/'.join(call.path), found.get(call.inputs[0])
      if value is None:
        return f'what layer {layer!r} reads of them cannot be simulated'
      if not np.all(np.isfinite(value)):
        return f'what layer {layer!r} reads of them overflows'
    return None

  @functools.cached_property
  def output_widths(self) -> Array:
    """Widths of the network's own outputs over the box, (outputs,)."""
    return np.concatenate(
      [self.bounds[v].width.ravel() for v in self.graph.outputs]
    )


class GroupView:
  """One group of n units at the network's current weights.

  Attributes:
    alive: Which units are still there, shape (n,).
    incoming: What makes the units, (d, n): the weights of all producers, with
      batch normalization and depthwise kernels behind them folded in.
    biases: The producers' biases likewise, (producers, n).
    outgoing: Consumer weights, (n, m); a unit read in several rows of a
      kernel (taps, positions) has them one after another. Compensation
      changes it as units go.
    changed: The units whose weights the last removal changed.
    masses: How many original units each stands for, (n,).
    staying: Units known to stay at this step, (n,) of bool, where a selection
      chooses all removals at once; None where it does not.
  """

  def __init__(self, network: NetworkView, group: Group, alive: Array):
    self._network = network
    self._group = group
    self.size = group.size
    self.alive = alive.copy()
    self._places = [member.places for member in group.consumers]
    self._rows = [member.rows for member in group.consumers]
    self.outgoing = self._gather_outgoing()
    self.changed = np.zeros(0, int)
    self.staying: Array | None = None
    masses = network.memory.get((group.name, 'masses'), np.ones(self.size))
    self.masses = masses.copy()
    self._folds: list[Fold] = []
    self._fitted: Sequence[ConsumerFit | Refitted] = ()
    self._last_kept = np.full(self.size, -1)
    self._last_low, self._last_high = np.zeros((2, self.size))

  # What criteria read.

  @functools.cached_property
  def _incoming(self) -> tuple[Array, Array]:
    network = self._network
    return incoming_weights(network.graph, network.params, self._group)

  @property
  def incoming(self) -> Array:
    """What makes the units, (d, n); see the class."""
    return self._incoming[0]

  @property
  def biases(self) -> Array:
    """The producers' biases, (producers, n); see the class."""
    return self._incoming[1]

  @functools.cached_property
  def kernels(self) -> Array:
    """The producers' kernels as they are, nothing folded in, (d', n)."""
    return producer_kernels(self._network.params, self._group)

  @functools.cached_property
  def pair_distances(self) -> Array:
    """||(w_i, b_i) - (w_j, b_j)|| of all pairs alive, shape (n, n)."""
    points = self._points()
    memory, name = self._network.memory, self._group.name
    digests = dict(
      zip(np.flatnonzero(self.alive), map(_digest, points), strict=True)
    )
    if name in memory and digests.items() <= memory[name][0].items():
      return memory[name][1]
    distances = np.zeros((self.size, self.size))
    distances[np.ix_(self.alive, self.alive)] = euclidean_distances(points)
    memory[name] = digests, distances
    return distances

  def _points(self) -> Array:
    """Weights and biases of each living unit, as contiguous rows.

    Filled in place: for the widest layers every copy counts.
    """
    used = (self.incoming != 0).any(1)  # inputs that were removed add nothing
    rows = int(used.sum())
    points = np.empty((int(self.alive.sum()), rows + len(self.biases)))
    points[:, rows:] = self.biases[:, self.alive].T
    step = max(1, (1 << 22) // self.size)  # about 32 MiB at a time
    for start, chosen in _chunks(np.flatnonzero(used), step):
      columns = slice(start, start + len(chosen))
      points[:, columns] = self.incoming[chosen][:, self.alive].T
    return points

  def difference(self, kept: Array, removed: Array) -> Interval:
    """Bounds of a_kept - a_removed where consumers read them, (pairs,).

    Several positions or consumers: the hull over all of them. The last
    partner of each unit is remembered: it is asked for again and again.
    """
    fresh = np.flatnonzero(self._last_kept[removed] != kept)
    found = Interval(self._last_low[removed], self._last_high[removed])
    if fresh.size:
      new = self._difference(kept[fresh], removed[fresh])
      found.low[fresh], found.high[fresh] = new
      self._last_kept[removed] = kept
      self._last_low[removed], self._last_high[removed] = found
    return found

  @functools.cached_property
  def output_gain(self) -> Gain:
    """Gains behind the outgoing weights, two arrays (m, outputs)."""
    return self._behind(self._gains)

  @functools.cached_property
  def relative_gain(self) -> Array:
    """Mean output width per unit of width behind the outgoing weights, (m,).

    Each output counts in units of its own width over the box.
    """
    gain = self._behind(self._relative_gains)
    return (gain.up + gain.down)[:, 0]

  @functools.cached_property
  def column_weights(self) -> Array:
    """What the outgoing weights count in pair saliency, shape (m,) or ().

    1 where the outputs are of one scale; else what they move of the outputs,
    each in units of its own width, or without bounds in units of all that
    their consumer reads.
    """
    network = self._network
    if is_one_scale(network.heads):
      return np.ones(())
    if self.has_bounds:
      largest = self.relative_gain.max()
      if largest <= 0 or is_one_scale(network.heads, network.output_widths):
        return np.ones(())
      return self.relative_gain / largest
    matrices = [
      member.node.op.matrix(network.params) for member in self._group.consumers
    ]
    sizes = np.array([np.linalg.norm(matrix) for matrix in matrices])
    if is_one_scale(network.heads, sizes):
      return np.ones(())
    widths = [
      matrix.shape[1] * rows.shape[1]
      for matrix, rows in zip(matrices, self._rows, strict=True)
    ]
    return np.repeat(1 / np.where(sizes > 0, sizes, 1.0), widths)

  def outgoing_sizes(self, units: Array) -> Array:
    """||v_j|| of some units, columns weighed, (k,)."""
    return np.linalg.norm(self.outgoing[units] * self.column_weights, axis=1)

  @property
  def output_widths(self) -> Array:
    """Widths of the network's own outputs over the box, (outputs,)."""
    return self._network.output_widths

  @functools.cached_property
  def ranges(self) -> Interval:
    """What consumers read of each unit over the box, (n,); see `has_bounds`."""
    found = None
    for call, places in self._reads():
      own = over_positions(self._network.bounds[call.inputs[0]])
      one = Interval(own.low[places].min(1), own.high[places].max(1))
      found = one if found is None else hull(found, one)
    return found

  @functools.cached_property
  def silent(self) -> Array:
    """Units that give 0 for every input, (n,) of bool."""
    if not self.has_bounds:
      return np.zeros(self.size, bool)
    return (self.ranges.low == 0) & (self.ranges.high == 0)

  @functools.cached_property
  def instability(self) -> Array:
    """How unstable each unit's activation is over the box, (n,), 0 to 1."""
    network = self._network
    return group_instability(network.graph, network.bounds, self._group)

  @functools.cached_property
  def has_bounds(self) -> bool:
    """Whether finite bounds reach this group and lead on to the outputs."""
    bounds = self._network.bounds
    reached = [call.inputs[0] for call, _ in self._reads()]
    reached += self._network.graph.outputs
    return all(_is_finite(bounds[v]) for v in reached) and all(
      gain is not None and np.isfinite(gain.up + gain.down).all()
      for gain in self._relative_gains
    )

  @functools.cached_property
  def _gains(self) -> list[Gain | None]:
    return self._network.gains_behind(self._group)

  @functools.cached_property
  def _relative_gains(self) -> list[Gain | None]:
    widths, graph = self.output_widths, self._network.graph
    sizes = [self._network.bounds[v].low.size for v in graph.outputs]
    # Each output tensor counts alike, and its entries by their own widths.
    share = np.repeat(1 / np.array(sizes), sizes) / len(sizes)
    weights = share / np.where(widths > 0, widths, 1.0)
    return self._network.gains_behind(self._group, weights)

  def _behind(self, gains: list[Gain]) -> Gain:
    """The consumers' gains, laid out as `outgoing` is."""
    parts = []
    for rows, gain in zip(self._rows, gains, strict=True):
      # One row a column of the kernel: positions of a longer tensor add up.
      gain = gain.fitted(gain.up.shape[-2:-1])
      parts += [gain] * rows.shape[1]
    return Gain(
      np.concatenate([part.up for part in parts]),
      np.concatenate([part.down for part in parts]),
    )

  @functools.cached_property
  def fits(self) -> list[ConsumerFit]:
    """The consumers as least squares see them.

    Raises:
      ValueError: the method did not say that it needs samples.
    """
    network, members = self._network, self._group.consumers
    if network.fitting is None:
      raise ValueError(
        'There are no samples to fit on: set `needs_samples` in the class of '
        'the criterion or compensation that asks for them.'
      )
    values = network.consumer_inputs(self._group)
    return [
      network.fitting.elimination(
        network.graph,
        network.params,
        member,
        values,
        self.alive,
      )
      for member in members
    ]

  def twins(self, units: Array) -> Array:
    """For each of some units a living one that equals it, or -1, (k,)."""
    equal = self.pair_distances[units] == 0
    equal &= self.alive
    equal[np.arange(len(units)), units] = False
    return np.where(equal.any(1), equal.argmax(1), -1)

  @functools.cached_property
  def _points_by_unit(self) -> Array:
    """Weights and biases of all units, (d + producers, n)."""
    return np.vstack([self.incoming, self.biases])

  def cosines(self, unit: int) -> Array:
    """Cosines of (w, b) with those of all units, (n,); 0 where one is zero."""
    products = self._points_by_unit[:, unit] @ self._points_by_unit
    sizes = self.point_sizes[unit] * self.point_sizes
    return np.where(sizes > 0, products / np.where(sizes > 0, sizes, 1), 0.0)

  @functools.cached_property
  def point_sizes(self) -> Array:
    """||(w, b)|| of all units, (n,)."""
    return np.linalg.norm(self._points_by_unit, axis=0)

  # What a removal changes.

  def eliminate(self, unit: int) -> None:
    """Re-fits all consumers to do without a unit, on the samples' moments.

    Where another unit equals it, that one takes over: it does so for every
    input, not for the samples alone.
    """
    (twin,) = self.twins(np.array([unit]))
    if twin < 0:
      self._eliminate(self.fits, unit)
      return
    self._fitted = self.fits
    for fit in self.fits:
      fit.merge(unit, twin)
    self.changed = np.flatnonzero(self.alive)

  def eliminate_by_weights(self, unit: int, ridge: float) -> None:
    """Re-fits all consumers to do without a unit, on incoming weights alone.

    Args:
      unit: The unit.
      ridge: Added to the weights' Gram matrix, as a fraction of its mean
        diagonal.
    """
    if not self._fitted:
      gram = self._points_by_unit.T @ self._points_by_unit
      params = self._network.params
      self._fitted = [
        ConsumerFit(
          params, member, [weight_moments(member, gram, ridge)], self.alive
        )
        for member in self._group.consumers
      ]
    self._eliminate(self._fitted, unit)

  def _eliminate(self, fits: Sequence[ConsumerFit], unit: int) -> None:
    self._fitted = fits
    for fit in fits:
      fit.eliminate(unit)
    self.changed = np.flatnonzero(self.alive)

  def absorb(self, removed: int, kept: int, scale: float = 1.0) -> None:
    """v_kept += scale v_removed."""
    self.outgoing[kept] += scale * self.outgoing[removed]
    self.changed = np.append(self.changed, kept)

  def fold(self, removed: int, kept: int) -> None:
    """The kept unit becomes the mean of both clusters and feeds their sum."""
    share = self.masses[removed] / (self.masses[removed] + self.masses[kept])
    self._move(removed, kept, float(share))
    self._folds.append(Fold(removed, kept, float(share)))
    self.masses[kept] += self.masses[removed]
    self.absorb(removed, kept)
    self.changed = np.flatnonzero(self.alive)  # all distances to it change

  def _move(self, removed: int, kept: int, share: float) -> None:
    """Incoming weights, and distances to them, as the fold leaves them."""
    distances = self.pair_distances
    if not self._folds:
      # Until now they may be the caller's own arrays.
      self.pair_distances = distances = distances.copy()
      self._incoming = tuple(np.array(part) for part in self._incoming)
    for part in self._incoming:
      part[:, kept] = (1 - share) * part[:, kept] + share * part[:, removed]
    gaps = [np.square(p - p[:, [kept]]).sum(0) for p in self._incoming]
    distances[kept] = distances[:, kept] = np.sqrt(sum(gaps))

  def refit(self) -> None:
    """Re-fits all consumers to what the folded units make of the samples."""
    network, members = self._network, self._group.consumers
    fitting = network.fitting
    changed = {**network.params, **self.changed_params()}
    before = network.consumer_inputs(self._group)
    after = fitting.values(changed, members)
    kernels = {**network.params, **self.consumer_kernels()}
    self._fitted = [
      fitting.refitted(
        network.graph,
        (network.params, kernels),
        member,
        (before, after),
        self.alive,
      )
      for member in members
    ]

  def remove(self, unit: int) -> None:
    """Takes a unit out; its outgoing weights become zero."""
    self.outgoing[unit] = 0.0
    self.alive[unit] = False

  def changed_params(self) -> dict[WeightRef, Array]:
    """Every weight that the removals so far have changed."""
    found = {**self.consumer_kernels(), **self.consumer_biases()}
    if self._folds:
      network = self._network
      params = {**network.params, **found}
      found |= fold_weights(network.graph, params, self._group, self._folds)
    return found

  def remember(self) -> None:
    """Keeps for the next step what is asked for again."""
    self._network.memory[self._group.name, 'masses'] = self.masses

  def consumer_kernels(self) -> dict[WeightRef, Array]:
    """The consumers' kernels with the current outgoing weights in place."""
    if self._fitted:
      return {
        fit.op.kernel: fit.op.kernel_of(
          np.array(fit.matrix), self._network.params[fit.op.kernel]
        )
        for fit in self._fitted
      }
    matrices, start = {}, 0
    for member, rows in zip(self._group.consumers, self._rows, strict=True):
      op = member.node.op
      if op.kernel not in matrices:
        matrices[op.kernel] = op, np.array(op.matrix(self._network.params))
      matrix = matrices[op.kernel][1]
      for k in range(rows.shape[1]):
        width = matrix.shape[1]
        matrix[rows[:, k]] = self.outgoing[:, start : start + width]
        start += width
    return {
      ref: op.kernel_of(matrix, self._network.params[ref])
      for ref, (op, matrix) in matrices.items()
    }

  def consumer_biases(self) -> dict[WeightRef, Array]:
    """The consumers' biases, with what fits have added to them."""
    return {
      fit.op.bias: self._network.params[fit.op.bias] + fit.shift
      for fit in self._fitted
      if fit.op.bias is not None
    }

  def _difference(self, kept: Array, removed: Array) -> Interval:
    network, found = self._network, None
    for call, places in self._reads():
      one = bounds_lib.difference_of_entries(
        network.graph,
        network.params,
        network.bounds,
        call.inputs[0],
        places[kept].ravel(),
        places[removed].ravel(),
        network.by_unit,
      ).reshape((-1, places.shape[1]))
      one = Interval(one.low.min(1), one.high.max(1))
      found = one if found is None else hull(found, one)
    return found

  def _reads(self) -> Iterator[tuple[Node, Array]]:
    """Every call of the consumers, and the channels of each unit there."""
    for member, places in zip(self._group.consumers, self._places, strict=True):
      for call in member.calls:
        yield call, places

  def _gather_outgoing(self) -> Array:
    matrices = [
      member.node.op.matrix(self._network.params)
      for member in self._group.consumers
    ]
    widths = [
      matrix.shape[1] * rows.shape[1]
      for matrix, rows in zip(matrices, self._rows, strict=True)
    ]
    found, start = np.empty((self.size, sum(widths))), 0
    for matrix, rows in zip(matrices, self._rows, strict=True):
      for k in range(rows.shape[1]):
        found[:, start : start + matrix.shape[1]] = matrix[rows[:, k]]
        start += matrix.shape[1]
    return found


def _over_calls(gains: list[Gain | None]) -> Gain | None:
  """What all calls of a layer move together."""
  if any(gain is None for gain in gains):
    return None
  if len(gains) == 1:
    return gains[0]
  # Positions that move at once add up, where calls have more or fewer.
  channels = [gain.fitted(gain.up.shape[-2:-1]) for gain in gains]
  return Gain(sum(g.up for g in channels), sum(g.down for g in channels))


def euclidean_distances(points: Array) -> Array:
  """Distances between all rows by one Gram matrix, shape (n, n).

  ||p||^2 + ||q||^2 - 2 p.q cancels for near twins, so pairs that come out
  close are computed again directly: identical rows are exactly 0 apart.

  Args:
    points: Shape (n, d).
  """
  distances = points @ points.T
  squares = np.diag(distances).copy()
  distances *= -2.0
  distances += squares[:, None]
  distances += squares
  near = distances <= 1e-7 * (squares[:, None] + squares)
  np.fill_diagonal(near, False)
  if near.any():
    _recompute(distances, points, near)
  np.fill_diagonal(distances, 0.0)
  return np.sqrt(np.maximum(distances, 0.0, out=distances), out=distances)


def _chunks(entries: Array, size: int) -> Iterator[tuple[int, Array]]:
  """Runs of at most `size` entries, and where each begins."""
  for start in range(0, len(entries), size):
    yield start, entries[start : start + size]


def _is_finite(bounds: Interval | None) -> bool:
  return bounds is not None and bool(np.isfinite(bounds.magnitude).all())


def _recompute(squared: Array, points: Array, near: Array) -> None:
  """Replaces the marked squared distances by directly computed ones."""
  # Identical rows first: a layer full of them has too many pairs.
  numbers: dict[bytes, int] = {}
  kind = np.array(
    [numbers.setdefault(_digest(row), len(numbers)) for row in points]
  )
  same = kind[:, None] == kind
  squared[same] = 0.0
  pairs = np.argwhere(np.triu(near & ~same, 1))
  rows = max(1, (1 << 22) // max(points.shape[1], 1))  # about 32 MiB at a time
  for start in range(0, len(pairs), rows):
    i, j = pairs[start : start + rows].T
    exact = np.square(points[i] - points[j]).sum(1)
    squared[i, j] = squared[j, i] = exact


def _digest(row: Array) -> bytes:
  """A fingerprint of a contiguous row; -0.0 counts as 0.0."""
  return hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest()
