"""Chains fitted one after the other, to what the original makes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfmot_paoding.factorization.candidates import Candidate
from tfmot_paoding.factorization.forms import WHOLE, Form, Options, options
from tfmot_paoding.factorization.worth import (
  RIDGE,
  Answers,
  Chain,
  Moments,
  Seen,
  chain_of,
  losses_of,
)
from tfmot_paoding.layers.base import Path
from tfmot_paoding.methods.consumer_fits import Statistics, moved_statistics
from tfmot_paoding.network.layer_runner import Simulation
from tfmot_paoding.network.nearness import Nearness
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics.low_rank import with_ridge
from tfmot_paoding.ops import Params, WeightRef

Array = np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
  """A network whose layers were fitted as chains.

  Attributes:
    params: Its weights at the original's shapes, chains multiplied out.
    chains: The matrices, and the bias if there is one, by layer.
    statistics: What batch normalization sees behind them.
  """

  params: dict[WeightRef, Array]
  chains: dict[Path, tuple[Chain, Array | None]]
  statistics: dict[WeightRef, Array] = dataclasses.field(default_factory=dict)


class ChainFits:
  """Fits chains for an original's layers on samples.

  Args:
    network: The original.
    layers: Its layers that a chain can stand for, in the order of computation.
    samples: One array an input.
    apart: Other samples, to choose on.
    done: Called when a layer was weighed, and when it was fitted.
  """

  def __init__(
    self,
    network: Network,
    layers: Sequence[Candidate],
    samples: list[Array],
    apart: list[Array],
    done: Callable[[], None] = lambda: None,
  ):
    self._done = done
    self._layers, self._params = layers, network.params()
    self._before = Simulation(network, samples)
    self._after = Simulation(network, samples)
    self._apart = Nearness(network, self._params, apart)
    own = Nearness(network, self._params, samples, self._before)
    heads = network.heads()
    scales = None
    if all(logits is not None for logits in own.answers):
      scales = [
        np.sqrt(head.variance(logits))
        for head, logits in zip(heads, own.answers, strict=True)
      ]
    self._answers = Answers(self._before, self._params, heads, scales)
    self._counts: dict[Path, Array] = {}

  def options(self, layer: Candidate, cost: str, multiple: int = 1) -> Options:
    """The chains that a layer may become.

    Args:
      layer: One of the layers.
      cost: What is to be saved: 'parameters' or 'macs'.
      multiple: What ranks are multiples of.
    """
    moments = self._seen(self._before, self._params, layer).moments()
    matrix, counts = self._matrix(layer), self._counted(layer, moments)
    lost = losses_of(matrix, moments, counts, layer.size.channels)
    self._done()
    return options(layer.size, *lost, cost, multiple)

  def fitted(self, forms: Mapping[Path, Form]) -> Fitted:
    """The network with chains of some forms in the place of layers.

    Every layer is fitted in two ways, on what it reads in the original, and on
    what the chains in front of it leave of that; the whole that answers nearer
    to the original on inputs that no fit was made on is taken. Statistics of
    batch normalization are moved as those of the inputs move.

    Args:
      forms: By layer; of others the second way moves the weights as well.
    """
    plain = Fitted(dict(self._params), {})
    moved = Fitted(dict(self._params), {})
    has_moved = False
    for layer in self._layers:
      self._done()
      form = forms.get(layer.path, WHOLE)
      if form.is_whole and not has_moved:
        continue
      before = self._seen(self._before, self._params, layer)
      after = before
      if has_moved:
        after = self._seen(self._after, moved.params, layer)
      matrix = self._matrix(layer)
      if not form.is_whole:
        self._put(plain, layer, form, matrix, before, before)
      refitted = matrix
      if has_moved:
        refitted = _refitted(matrix, before, after)
      self._put(moved, layer, form, refitted, before, after)
      has_moved = True
    gaps = [self._apart.gap(one.params) for one in (plain, moved)]
    found = moved if gaps[1] < gaps[0] else plain
    if found.chains:
      found.statistics.update(self._statistics(found.params))
    return found

  def _statistics(self, params: Params) -> dict[WeightRef, Array]:
    """Those that are stored under other weights."""
    graph, after = self._before.graph, self._before.statistics(params)
    return moved_statistics(graph, self._params, params, self._first, after)

  @functools.cached_property
  def _first(self) -> Statistics:
    """Those of the inputs in the original."""
    return self._before.statistics(self._params)

  def gap(self, fitted: Fitted) -> float:
    """How far answers are on inputs that no fit was made on."""
    return self._apart.gap(fitted.params)

  def _put(
    self,
    fitted: Fitted,
    layer: Candidate,
    form: Form,
    matrix: Array,
    before: Seen,
    after: Seen,
  ) -> None:
    """Notes a layer's new weights.

    Args:
      fitted: Where to.
      layer: The layer.
      form: What chain it becomes; a whole one stays a layer.
      matrix: What the chain shall multiply by as nearly as it can.
      before: What the layer saw in the original.
      after: What it sees now.
    """
    op, made = layer.op, matrix
    if not form.is_whole:
      moments = after.moments()
      chain = chain_of(
        matrix,
        moments,
        self._counted(layer, moments),
        form,
        layer.size.channels,
      )
      made = chain.matrix()
    fitted.params[op.kernel] = op.kernel_of(made, self._params[op.kernel])
    bias = None
    if op.bias is not None:
      shift = _passed(before.mean, self._matrix(layer))
      shift = shift - _passed(after.mean, made)
      bias = op.shifted(self._params[op.bias], shift)
      fitted.params[op.bias] = bias
    if not form.is_whole:
      fitted.chains[layer.path] = chain, bias

  def _seen(
    self, simulation: Simulation, params: Params, layer: Candidate
  ) -> Seen:
    simulation.stand_before(params, [layer.path])
    value = layer.node.inputs[0]
    return Seen.of(layer, simulation.run(params, {value})[value])

  def _matrix(self, layer: Candidate) -> Array:
    return layer.op.matrix(self._params)

  def _counted(self, layer: Candidate, moments: Moments) -> Array:
    if layer.path not in self._counts:
      self._counts[layer.path] = self._answers.counts(layer, moments)
    return self._counts[layer.path]


def _passed(mean: Array, matrix: Array) -> Array:
  """What a mean adds to what a layer makes, (columns,)."""
  return np.tile(mean, len(matrix) // len(mean)) @ matrix


def _dual(rows: Array, missing: Array) -> Array:
  """The least matrix that makes what is missing, of fewer samples than rows.

  The same as least squares with a ridge, solved among samples.
  """
  gram = rows @ rows.T / len(rows)
  level = RIDGE * float(np.square(rows).mean())
  gram[np.diag_indices(len(rows))] += max(level, 1e-12)
  return rows.T @ np.linalg.solve(gram, missing) / len(rows)


def _refitted(matrix: Array, before: Seen, after: Seen) -> Array:
  """The matrix that makes of what is seen now what it made before.

  By least squares, drawn towards itself; the same for every tap where channels
  stand for all taps.
  """
  now = after.moved
  if len(now) < now.shape[1] == len(matrix):
    return matrix + _dual(now, (before.moved - now) @ matrix)
  gram = with_ridge(now.T @ now / len(now), RIDGE)
  moves = np.linalg.solve(gram, now.T @ (before.moved - now) / len(now))
  own = matrix.reshape(-1, len(moves), matrix.shape[1])
  return (own + moves @ own).reshape(matrix.shape)
