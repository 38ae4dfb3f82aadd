"""What least squares need of a network: moments, and fresh statistics."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.methods.consumer_rows import by_row, rows_seen, taps_apart
from tfmot_paoding.methods.elimination import RowMoments, least_squares
from tfmot_paoding.methods.refits import ConsumerFit, Refitted
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.network.groups import Group, Member
from tfmot_paoding.network.layer_runner import Simulation
from tfmot_paoding.network.nearness import Nearness
from tfmot_paoding.network.network import Network
from tfmot_paoding.network.outputs import heads_of, is_one_scale
from tfmot_paoding.ops import Params, Scale, WeightRef

Array = np.ndarray
# Mean and variance, each (channels,), by the reference of the stored mean.
Statistics = Mapping[WeightRef, tuple[Array, Array]]

# Of the largest squared gradient.
_LEAST_SHARE = 1e-6
# Two fits are told apart on so many samples.
_TOLD = 1024
# Of all samples that a network of up to 2e7 is fitted on. Three small ones for
# digits, half of their units gone, keep .964, .862 and .864 on 1e9, told apart
# on 1024; .965, .861 and .868 on 2e9, told apart on all, in up to twice the
# time; and .964, .856 and .860 on 5e8: training images, two seeds. One with
# batch normalization loses by it, .661 for .677.
_MULTIPLY_ACCUMULATES, _OF_NORMALIZED = 1e9, 2e9


@dataclasses.dataclass(frozen=True)
class FitSettings:
  """How fits are made.

  Attributes:
    ridge: Added to a covariance's diagonal, as a fraction of its mean.
    samples: How many inputs to draw from the prior, or to take of those given;
      None for as many as a network's size allows in seconds.
    refresh: Whether batch norm's statistics follow; training does it itself.
  """

  ridge: float = 1e-2
  samples: int | None = None
  refresh: bool = True

  def count_for(self, network: Network) -> int:
    """How many inputs, for a network."""
    return self.count(network.macs, network.has_statistics)

  def count(self, macs: int, normalized: bool = False) -> int:
    """How many inputs.

    Args:
      macs: Multiply-accumulates of the network.
      normalized: Whether it has batch normalization.
    """
    if self.samples is not None:
      return self.samples
    if macs <= 2e7:
      work = _OF_NORMALIZED if normalized else _MULTIPLY_ACCUMULATES
      return int(np.clip(work / max(macs, 1), 512, 4096))
    return int(np.clip(1e10 / macs, 32, 512))


class Fitting:
  """Moments of a network's activations, and its batch norm's statistics.

  Args:
    model: The model, wrapped or not.
    params: Its weights, which the statistics belong to.
    samples: Inputs by input of the model.
    settings: Ridge and sizes.
    judged_on: Inputs that no fit is made on, to tell what layers are worth;
      None for the samples.
  """

  def __init__(
    self,
    model: keras.Model | Network,
    params: Params,
    samples: list[Array],
    settings: FitSettings,
    judged_on: list[Array] | None = None,
  ):
    self._simulation = Simulation(model, samples)
    self._own = Nearness(model, params, samples, self._simulation)
    self._few, self._told = self._simulation, self._own
    if len(samples[0]) > _TOLD:
      few = [x[:_TOLD] for x in samples]
      self._few = Simulation(model, few)
      self._told = Nearness(model, params, few, self._few)
    self._apart = self._own
    if judged_on is not None:
      self._apart = Nearness(model, params, judged_on)
    self._settings = settings
    self._original = dict(params)
    self._first = self._simulation.statistics(params)
    self._heads = heads_of(self._simulation.graph)

  @property
  def refreshes(self) -> bool:
    """Whether batch norm's statistics shall follow."""
    return self._settings.refresh

  def stand_before(self, params: Params, group: Group) -> None:
    """Keeps what a group's own layers read: runs that follow begin there."""
    paths = [member.node.path for member in group.members]
    self._simulation.stand_before(params, paths)
    if self._few is not self._simulation:
      self._few.stand_before(params, paths)

  def values(self, params: Params, members: tuple[Member, ...]) -> dict:
    """The inputs of consumers on the samples, by value."""
    wanted = {call.inputs[0] for m in members for call in m.calls}
    return self._simulation.run(params, wanted)

  def change(self, params: Params) -> float:
    """How far a network's answers have moved on the samples, the first ones.

    Two fits to the same samples are told apart well enough on these, and by
    squares, which fits are made by: of digits three MLPs at 70 and 90 % and a
    CNN keep .701 so on average, .697 by divergence, over three to five seeds.

    Args:
      params: Its weights.

    Returns:
      See `Nearness.distance`; infinite where an output is not known.
    """
    return self._told.distance(params)

  def divergence(self, params: Params) -> float:
    """The same by what the answers are worth as probabilities.

    Args:
      params: Its weights.

    Returns:
      See `Nearness.gap`.
    """
    return self._own.gap(params)

  def change_apart(self, params: Params) -> float:
    """How far they have moved on inputs that no fit is made on, if any.

    Args:
      params: Its weights.

    Returns:
      See `Nearness.gap`.
    """
    return self._apart.gap(params)

  @functools.cached_property
  def _scales(self) -> list[Array] | None:
    """Each output's deviations; None where all are much alike."""
    answers = self._own.answers
    if any(logits is None for logits in answers):
      return None
    found = [
      np.sqrt(head.variance(logits))
      for head, logits in zip(self._heads, answers, strict=True)
    ]
    spreads = np.concatenate([scale.ravel() for scale in found])
    return None if is_one_scale(self._heads, spreads) else found

  def elimination(
    self,
    graph: Graph,
    params: Params,
    member: Member,
    values: Mapping[int, Array],
    alive: Array,
  ) -> ConsumerFit:
    """A consumer's weights, ready to lose units.

    Errors count by what they move of the outputs, each in units of its own
    deviation, where a model's answers are of several scales.
    """
    centred, scale = _is_centred(graph, member), _scale_behind(graph, member)
    seen = rows_seen(graph, params, member, values)
    moments = [RowMoments(x, self._settings.ridge, centred) for _, x in seen]
    weights = None
    if scale is not None and sum(len(matrix[0]) for matrix, _ in seen) == len(
      member.node.op.matrix(params)[0]
    ):
      spread = np.concatenate(
        [
          (matrix * (part.covariance @ matrix)).sum(0)
          for (matrix, _), part in zip(seen, moments, strict=True)
        ]
      )
      gamma = 1.0 if scale.gamma is None else params[scale.gamma]
      weights = np.abs(gamma) / np.sqrt(np.maximum(spread, 1e-12))
    if self._scales is not None:
      weights = self._sensitivity(params, member)
    return ConsumerFit(params, member, moments, alive, weights)

  def _sensitivity(self, params: Params, member: Member) -> Array:
    """How far an error of each of a consumer's columns moves the outputs.

    Returns:
      Shape (columns,): the root of the mean squared gradient, positions
      summed up, of the outputs in units of their deviation.
    """
    columns = member.node.op.matrix(params).shape[1]
    found = np.zeros(columns)
    for call in member.calls:
      found += self._simulation.squared_gradient(
        params, call.outputs[0], self._heads, self._scales, columns
      )
    if not (np.isfinite(found).all() and found.any()):
      return np.ones(columns)
    # A column that no sample wakes is not worth nothing.
    return np.sqrt(np.maximum(found, _LEAST_SHARE * found.max()))

  def refitted(
    self,
    graph: Graph,
    params: tuple[Params, Params],
    member: Member,
    values: tuple[Mapping[int, Array], Mapping[int, Array]],
    alive: Array,
  ) -> Refitted:
    """A consumer's best weights for units that have been folded.

    Args:
      graph: The network's graph.
      params: Its weights before, and with the folded units' rows added up.
      member: The consumer.
      values: What consumers read before and after, by value.
      alive: Which units are left, shape (units,).
    """
    before = rows_seen(graph, params[0], member, values[0])
    after = rows_seen(graph, params[1], member, values[1])
    size = len(before[0][0])
    taps = taps_apart(member, params[0], size)
    rows = member.block.places if taps > 1 else member.rows
    matrices, shifts = [], []
    for (wanted, old), (start, new) in zip(before, after, strict=True):
      matrix, shift = least_squares(
        wanted,
        start,
        old,
        new,
        np.setdiff1d(np.arange(size), rows[~alive].ravel()),
        self._settings.ridge,
        _is_centred(graph, member),
      )
      matrices.append(by_row(matrix, taps))
      shifts.append(shift.reshape(taps, -1).sum(0))
    return Refitted(
      member.node.op, np.concatenate(matrices, 1), np.concatenate(shifts)
    )

  def refreshed(self, graph: Graph, params: Params) -> dict[WeightRef, Array]:
    """Batch norm statistics, moved as those of the samples have moved.

    Args:
      graph: The graph that `params` belong to.
      params: The pruned weights.
    """
    now = self._simulation.statistics(params)
    return moved_statistics(graph, self._original, params, self._first, now)


def moved_statistics(
  graph: Graph,
  original: Params,
  params: Params,
  before: Statistics,
  after: Statistics,
) -> dict[WeightRef, Array]:
  """Stored batch norm statistics, moved as those of samples have moved.

  Args:
    graph: The graph that `params` belong to.
    original: The original's weights.
    params: The changed ones, of the graph's shapes as all others.
    before: Mean and variance of the samples in the original, by the mean.
    after: The same under the changed weights.
  """
  found = {}
  for node in graph.nodes:
    op = node.op
    if op.statistics is None or op.mean not in after:
      continue
    (mean, variance), (old_mean, old_variance) = (
      after[op.mean],
      before[op.mean],
    )
    alive = variance > 1e-12 * (1 + old_variance)
    ratio = original[op.variance] / np.maximum(old_variance, 1e-12)
    shift = (mean - old_mean) * np.sqrt(ratio)
    found[op.mean] = np.where(alive, original[op.mean] + shift, params[op.mean])
    found[op.variance] = np.where(alive, variance * ratio, params[op.variance])
  return found


def _is_centred(graph: Graph, member: Member) -> bool:
  """Whether a bias, or batch normalization behind, can take the means.

  Not behind a transposed convolution: each position sees its own taps.
  """
  op = member.node.op
  takes = op.bias is not None or _scale_behind(graph, member) is not None
  return takes and not op.taps_vary


def _scale_behind(graph: Graph, member: Member) -> Scale | None:
  """The batch normalization that alone reads what a consumer makes."""
  readers = [
    [node for node in graph.nodes if call.outputs[0] in node.inputs]
    for call in member.calls
  ]
  scales = {node.op for nodes in readers for node in nodes}
  alone = all(len(nodes) == 1 for nodes in readers) and len(scales) == 1
  (scale, *_) = (*scales, None)
  return scale if alone and scale.normalizes else None
