"""Runs a network on samples, with any weights, layer by layer.

Every layer is called as Keras calls it, also those that the package does not
know. Only batch normalization takes the statistics of the samples: what comes
out of it then has the mean and the variance that it has on the training data,
channel by channel, whatever the samples are like.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat, replicas
from tfmot_paoding.compat import keras
from tfmot_paoding.layers import inner_layer
from tfmot_paoding.layers.base import Path
from tfmot_paoding.network.graph import Call, Graph
from tfmot_paoding.network.hidden_values import in_training, read_last
from tfmot_paoding.network.inner_runner import run_operations, with_mask
from tfmot_paoding.network.looping_calls import LoopingCalls
from tfmot_paoding.network.network import Network
from tfmot_paoding.network.outputs import Head, signed_sum
from tfmot_paoding.network.own_moments import (
  Moments,
  normalized,
  normalized_by_its_own,
)
from tfmot_paoding.network.sound_convolutions import sound_convolutions
from tfmot_paoding.ops import Params, WeightRef

Array = np.ndarray

# How many samples gradients are taken on; of their products there are more.
_PROBED, _MIXED = 128, 256
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


@dataclasses.dataclass(frozen=True)
class _Standing:
  """What stands in front of a call, ready for all that comes after.

  Attributes:
    number: The call's.
    params: The weights that it was computed with.
    values: By index, of each replica's samples.
    shared_by: The strategy whose replicas share the samples, if any.
  """

  number: int
  params: Params
  values: dict[int, dict[int, Any]]
  shared_by: tf.distribute.Strategy | None

  @property
  def known(self) -> set[int]:
    """The indices of what stands."""
    return {value for values in self.values.values() for value in values}


class Simulation:
  """A private copy of a model, and samples to run it on.

  Batch normalization that is called several times, or along another axis than
  the last, is never refreshed: the former runs on its stored statistics, the
  latter keeps those that the samples had in the first run. Layers that draw at
  random do not; stateful ones begin anew with every sample.

  Args:
    model: The model, wrapped or not; it is not changed.
    samples: One array an input, with a batch axis.
  """

  def __init__(self, model: keras.Model | Network, samples: list[Array]):
    plain = Network.of(model).plain()
    self.graph, self._model = plain.graph, plain.model
    self._inputs = [
      tf.cast(x, tensor.dtype)
      for x, tensor in zip(samples, plain.model.inputs, strict=True)
    ]
    self._read_last = read_last(self.graph.layer_calls)
    self._first_moments: dict[int, Moments] = {}
    self._standing: _Standing | None = None
    self._activations = _taken_off(self.graph)
    self._again = LoopingCalls()

  def run(self, params: Params, wanted: Iterable[int]) -> dict[int, Array]:
    """The samples' values under some weights.

    Args:
      params: The weights.
      wanted: Which values to keep.

    Returns:
      Arrays with a batch axis; values inside a layer are left out.
    """
    wanted = set(wanted)
    start = self._standing_under(params, wanted)

    def make() -> dict[int, tf.Tensor]:
      found = self._run(params, wanted, start)
      return {
        value: x
        for value, x in found.items()
        if value in wanted and isinstance(x, tf.Tensor)
      }

    self._assign(params)
    found = replicas.gathered(make, len(self._inputs[0]))
    return {
      value: x.astype(np.float32, copy=False) for value, x in found.items()
    }

  def stand_before(self, params: Params, paths: Iterable[Path]) -> None:
    """Keeps what stands in front of layers: runs that follow begin there.

    They do wherever no weight in front of it has changed; nothing that they
    find is another for it.

    Args:
      params: The weights.
      paths: The layers, of which the first decides.
    """
    calls, paths = self.graph.layer_calls, set(paths)
    number = next(k for k, call in enumerate(calls) if call.path in paths)
    front = {value for call in calls[:number] for value in call.outputs}
    read = {value for call in calls[number:] for value in call.inputs}
    front.update(self.graph.inputs)
    needed = front & {*read, *self.graph.outputs}
    start = self._standing_under(params, needed)
    if start is not None and start.number == number:
      return

    def make() -> dict[int, Any]:
      values = self._run(params, needed, start)
      return {value: values[value] for value in needed}

    self._assign(params)
    kept, shared_by = replicas.on_each(make), replicas.sharing()
    self._standing = _Standing(number, params, kept, shared_by)

  def _standing_under(
    self, params: Params, wanted: set[int]
  ) -> _Standing | None:
    """What is kept, where it is what these weights would lead to."""
    found = self._standing
    if found is None or found.shared_by is not replicas.sharing():
      return None
    front = self.graph.layer_calls[: found.number]
    nodes = [node for call in front for node in call.nodes]
    made = {*self.graph.inputs, *(v for n in nodes for v in n.outputs)}
    same = wanted & made <= found.known and all(
      params[ref] is found.params[ref]
      or np.array_equal(params[ref], found.params[ref])
      for node in nodes
      for ref in node.op.weights()
    )
    return found if same else None

  def squared_gradient(
    self,
    params: Params,
    value: int,
    heads: list[Head],
    scales: list[Array],
    columns: int,
  ) -> Array:
    """Mean squared gradient of the outputs at a value, over samples.

    Args:
      params: The weights.
      value: The value.
      heads: What the outputs mean.
      scales: The unit that each output's logits count in.
      columns: The length of the value's last axis.

    Returns:
      Shape (columns,), positions and outputs summed up; zeros where nothing
      leads to the outputs.
    """
    found = self._gradients(params, value, heads, scales, columns, _PROBED)
    if found is None:
      return np.zeros(columns)
    rows, count = found
    return np.square(rows).sum(0) / count

  def gradient_moments(
    self,
    params: Params,
    value: int,
    heads: list[Head],
    scales: list[Array],
    columns: int,
  ) -> Array | None:
    """Mean second moments of the gradient of the outputs at a value.

    What a small error of the value moves the outputs by, in squares, is the
    sum of its products by these.

    Args:
      params: The weights.
      value: The value.
      heads: What the outputs mean.
      scales: The unit that each output's logits count in.
      columns: The length of the value's last axis.

    Returns:
      Shape (columns, columns), positions and outputs summed up; None where
      no gradient leads to the outputs, or it is no number.
    """
    found = self._gradients(params, value, heads, scales, columns, _MIXED)
    if found is None or not np.isfinite(found[0]).all():
      return None
    rows, count = found
    return rows.T @ rows / count

  def _gradients(
    self,
    params: Params,
    value: int,
    heads: list[Head],
    scales: list[Array],
    columns: int,
    most: int,
  ) -> tuple[Array, int] | None:
    """Gradients of the outputs at every position, and of how many samples."""
    count = min(most, len(self._inputs[0]))
    self._assign(params)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      values = self._run(
        params, {*self.graph.outputs}, count=count, watched=(tape, value)
      )
      outputs = [values[output] for output in self.graph.outputs]
      total = signed_sum(heads, outputs, scales, np.random.default_rng(0))
    found = tape.gradient(total, values.get(value))
    if found is None:
      return None
    return np.asarray(found, np.float64).reshape(-1, columns), count

  def statistics(self, params: Params) -> dict[WeightRef, tuple[Array, Array]]:
    """Mean and variance that each batch normalization sees, by its mean.

    Of one that is called several times the means over its calls.
    """
    norms = [call for call in self.graph.layer_calls if self._is_norm(call)]

    def look() -> dict[WeightRef, list[tuple[Array, Array]]]:
      seen: dict[WeightRef, list[tuple[Array, Array]]] = {}
      self._run(params, {call.outputs[0] for call in norms}, seen=seen)
      return seen

    self._assign(params)
    # All replicas see those of all samples.
    seen, *_ = replicas.on_each(look).values()
    return {
      ref: tuple(np.mean(part, 0) for part in zip(*moments, strict=True))
      for ref, moments in seen.items()
    }

  def _run(self, *args: Any, **kwargs: Any) -> dict[int, Any]:
    with sound_convolutions(self._model):
      return self._values(*args, **kwargs)

  def _values(
    self,
    params: Params,
    wanted: set[int],
    start: _Standing | None = None,
    seen: dict[WeightRef, list[tuple[Array, Array]]] | None = None,
    count: int | None = None,
    watched: tuple[tf.GradientTape | None, int] = (None, -1),
  ) -> dict[int, Any]:
    """Values by index; moments in front of batch normalization into `seen`.

    Args:
      params: The weights, which the layers have.
      wanted: The values to keep.
      start: Where to begin, if not at the inputs.
      seen: Filled by the reference of each batch normalization's mean.
      count: How many of the samples to run.
      watched: A tape, and the value that it shall watch and that is kept.
    """
    tape, kept = watched
    wanted = {*wanted, kept} if tape else wanted
    seen = {} if seen is None else seen
    part = replicas.part_of(len(self._inputs[0]))
    inputs = [x[:count] for x in part.take(self._inputs)]
    values: dict[int, Any] = dict(zip(self.graph.inputs, inputs, strict=True))
    if start is not None:
      values = dict(start.values[part.replica])
    for number, call in enumerate(self.graph.layer_calls):
      if wanted <= values.keys():
        break
      if not call.nodes or (start is not None and number < start.number):
        continue
      sources = [values[value] for value in call.inputs]
      if wanted & call.inner and self._runs_by_operation(call):
        found = run_operations(call, sources, params, watched)
        keep = wanted | {*call.outputs}
        values |= {value: x for value, x in found.items() if value in keep}
      else:
        values |= self._run_layer(number, call, sources, seen, wanted, watched)
      for value in self._read_last[number] - wanted:
        values.pop(value, None)  # wide networks have large ones
    return values

  def _runs_by_operation(self, call: Call) -> bool:
    """Whether the inside of a call's layer is run by what it was lowered to."""
    core = inner_layer(self.graph.layers[call.path])
    halves = call.path in self._activations or isinstance(core, _SEPARABLE)
    return call.inside or not halves

  def _run_layer(
    self,
    number: int,
    call: Call,
    sources: list[Any],
    seen: dict[WeightRef, list[tuple[Array, Array]]],
    wanted: set[int],
    watched: tuple[tf.GradientTape | None, int],
  ) -> dict[int, Any]:
    """What a call makes, and what stands inside known layers, by value."""
    (tape, kept), values = watched, {}
    results = self._results(number, call, sources, seen, tape is not None)
    if call.path in self._activations:
      before = call.nodes[-2].outputs[0]
      if before in wanted:
        values[before] = results[0]
      if tape and before == kept:
        tape.watch(results[0])
      activation = self._activations[call.path]
      results = [with_mask(activation(results[0]), results[0])]
    values.update(zip(call.outputs, results, strict=True))
    if tape and kept in call.outputs:
      tape.watch(values[kept])
    if call.nodes[0].outputs[0] in wanted - values.keys():
      values |= _inside(self.graph, call, sources)
    return values

  def _results(
    self,
    number: int,
    call: Call,
    sources: list[Any],
    seen: dict[WeightRef, list[tuple[Array, Array]]],
    is_watched: bool,
  ) -> list[Any]:
    """What a call makes, one entry an output."""
    layer = self.graph.layers[call.path]
    op = call.nodes[0].op
    if self._is_norm(call):
      norm = inner_layer(layer)
      part = replicas.part_of(len(self._inputs[0]))
      made, moments = normalized_by_its_own(norm, sources[0], part)
      if op.statistics is not None:
        seen.setdefault(op.statistics[0], []).append(
          tuple(part.numpy().astype(np.float64).ravel() for part in moments)
        )
      elif not in_training(call):
        moments = self._first_moments.setdefault(number, moments)
        made = normalized(norm, sources[0], moments)
      if op.statistics is None or self.graph.calls[call.path] == 1:
        return [made]
    training = False
    if in_training(call) and not compat.is_random(layer):
      training = None
    if is_watched:  # graphs of gradients take long to trace
      again = compat.call_again(call.keras_node, sources, training)
      return tf.nest.flatten(again)
    return self._again(number, call.keras_node, sources, training)

  def _is_norm(self, call: Call) -> bool:
    """Whether a call is batch normalization by mean and variance."""
    if not call.nodes or call.inside:
      return False
    op, layer = call.nodes[0].op, self.graph.layers[call.path]
    if not op.known:
      return type(layer) is keras.layers.BatchNormalization
    return op.statistics is not None

  def _assign(self, params: Params) -> None:
    for ref in self.graph.weight_refs():
      variable = self.graph.weight(ref)
      variable.assign(params[ref])


def _taken_off(graph: Graph) -> dict[Path, Callable]:
  """Activations inside products' layers, which then make what is in front."""
  found: dict[Path, Callable] = {}
  for call in graph.layer_calls:
    if len(call.nodes) < 2 or call.path in found or call.inside:
      continue
    product, last = (node.op for node in call.nodes[-2:])
    core = inner_layer(graph.layers[call.path])
    # A layer that somebody taught may compute its own, inside its `call`.
    if (
      sum(node.op.makes_units for node in call.nodes) == 1
      and product.consumes_units
      and last.activates
      and callable(getattr(core, 'activation', None))
    ):
      found[call.path] = core.activation
      core.activation = keras.activations.linear
  return found


def _inside(
  graph: Graph, call: Call, sources: list[tf.Tensor]
) -> dict[int, tf.Tensor]:
  """What stands between the two halves of a separable convolution."""
  (x, *_), (first, *_) = sources, call.nodes
  core = inner_layer(graph.layers[call.path])
  if not isinstance(core, _SEPARABLE):
    return {}
  # Steps of TimeDistributed go along with the batch.
  steps = tf.shape(x)[: x.shape.rank - core.rank - 1]
  x = tf.reshape(x, tf.concat([[-1], tf.shape(x)[len(steps) :]], 0))
  own = {ref: graph.weight(ref).numpy() for ref in first.op.weights()}
  made = first.op.run(own, x)
  made = tf.reshape(made, tf.concat([steps, tf.shape(made)[1:]], 0))
  return {first.outputs[0]: made}
