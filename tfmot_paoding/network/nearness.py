"""How near networks answer to an original: what one of several is chosen by.

Classes are compared by the divergence of what logits make likely: squares of
logits count what lies far within a class as much as what lies at its edge.
Batch normalization takes the statistics of the inputs, in the original and in
the candidates alike: with those that it has stored, inputs unlike the training
data leave it far outside of what the network knows, where answers tell nothing.
A keyword spotter that keeps .77, .84 and .87 of .91 in three ways has .38, .53
and .18 of the original's answers to smooth noise by its own statistics, and
.92, .93 and .95 by those of the noise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.network.layer_runner import Simulation
from tfmot_paoding.network.network import Network
from tfmot_paoding.network.outputs import Head, heads_of
from tfmot_paoding.ops import Params

Array = np.ndarray


class Nearness:
  """Compares networks with an original on the same inputs.

  Args:
    original: The original.
    params: Its weights.
    samples: One array an input, with a batch axis.
    simulation: The original's on these samples, if there is one already: what
      stands in it need not be run again.
  """

  def __init__(
    self,
    original: keras.Model | Network,
    params: Params,
    samples: list[Array],
    simulation: Simulation | None = None,
  ):
    self._original = Network.of(original)
    self._params, self._samples = dict(params), samples
    self._heads = heads_of(self._original.graph)
    self._given = simulation

  def gap(self, params: Params) -> float:
    """How far the answers are under other weights.

    Args:
      params: The weights.

    Returns:
      The sum over outputs of `Head.gap`; infinite where an output is not known.
    """
    return self._gap(self._logits(self._simulation, params))

  def distance(self, params: Params) -> float:
    """How far they are by squares of logits, in units of their variance.

    Args:
      params: The weights.

    Returns:
      The sum over outputs of `Head.distance`; infinite as in `gap`.
    """
    return self._gap(self._logits(self._simulation, params), Head.distance)

  def gap_of(self, model: keras.Model | Network) -> float:
    """The same of another network, such as a compact one."""
    network = Network.of(model)
    simulation = Simulation(network, self._samples)
    return self._gap(self._logits(simulation, network.params()))

  @functools.cached_property
  def answers(self) -> list[Array | None]:
    """The original's logits, by output; None of one that is not known."""
    return self._logits(self._simulation, self._params)

  @functools.cached_property
  def _simulation(self) -> Simulation:
    return self._given or Simulation(self._original, self._samples)

  def _gap(
    self,
    found: list[Array | None],
    measure: Callable[[Head, Array, Array], float] = Head.gap,
  ) -> float:
    total = 0.0
    for head, logits, wanted in zip(
      self._heads, found, self.answers, strict=True
    ):
      if wanted is None or logits is None:
        return float('inf')
      total += measure(head, wanted, logits)
    return total

  def _logits(
    self, simulation: Simulation, params: Params
  ) -> list[Array | None]:
    outputs = simulation.graph.outputs
    values = simulation.run(params, outputs)
    return [
      head.logits(values[value]).numpy() if value in values else None
      for head, value in zip(self._heads, outputs, strict=True)
    ]
