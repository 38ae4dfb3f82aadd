"""Whether the operations that a user's handler names are what a layer computes.

All else follows from them: a handler that errs gives a wrong model, and bounds
that do not hold. So each layer that one was written for is called on a few
random inputs, and its operations are run on the same. Weights are taken as they
are: what a bias of zeros hides is not seen.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import callers, compat
from tfmot_paoding.compat import keras
from tfmot_paoding.layers import handler_of, inner_layer
from tfmot_paoding.layers.base import is_own
from tfmot_paoding.network.graph import Call, Graph
from tfmot_paoding.network.inner_runner import run_operations
from tfmot_paoding.network.lowering import sizes_of
from tfmot_paoding.ops import Params

Array = np.ndarray

# Of each sample: some activations are alike near 0, others far from it.
_DEVIATIONS = (0.5, 4.0)
# What is taken for a size that the model leaves open.
_OPEN_SIZE = 32
# Differences beside the largest value: of rounding in the layer's precision.
_ROUNDING = {'float16': 0.05, 'bfloat16': 0.2}
_FINE = 1e-3


def check_handlers(graph: Graph) -> None:
  """Raises where a handler of a user's names what its layer does not compute.

  Args:
    graph: A model's graph.

  Raises:
    ValueError: one does; the message names layer, handler and difference.

  Warns of a layer that could not be called on random inputs. Layers are left
  out whose operations are not known, or have no value on samples.
  """
  if not tf.executing_eagerly():
    return  # within a graph of TensorFlow's nothing has a value yet
  seen = set()
  for call in graph.layer_calls:
    core = inner_layer(graph.layers[call.path])
    if call.path in seen or is_own(handler_of(core)):
      continue
    seen.add(call.path)
    check_call(graph, call)


def check_call(graph: Graph, call: Call) -> bool:
  """The same of one call of a layer, whoever its handler is of.

  Returns:
    Whether anything could be compared.

  Raises:
    ValueError: as `check_handlers`.
  """
  for node in call.nodes:
    if not (node.op.known and node.op.runs(graph.shapes[node.inputs[0]])):
      return False
  layer = graph.layers[call.path]
  who = f'{type(inner_layer(layer)).__name__} {"/".join(call.path)!r}'
  name = type(handler_of(inner_layer(layer))).__name__
  refs = {ref for node in call.nodes for ref in node.op.weights()}
  params = {ref: keras.backend.get_value(graph.weight(ref)) for ref in refs}
  sources = _sources(call, params)
  try:
    made = compat.call_again(call.keras_node, sources, False)
  except (ValueError, TypeError, tf.errors.OpError) as error:
    _warn(who, name, f'cannot be called on random inputs ({_first(error)})')
    return False
  try:
    values = run_operations(call, sources, params)
  except (ValueError, TypeError, tf.errors.OpError) as error:
    raise ValueError(
      f'The operations that {name} names for {who} do not run on what the '
      f'layer takes: {_first(error)}. Mend the handler.'
    ) from error
  values |= dict(zip(call.inputs, sources, strict=True))
  for value, wanted in zip(call.outputs, tf.nest.flatten(made), strict=True):
    _compare(who, name, layer, wanted, values[value])
  return True


def _compare(who: str, name: str, layer: Any, wanted: Any, got: Any) -> None:
  """Raises where two tensors differ by more than rounding explains."""
  wanted, got = (np.asarray(tf.cast(x, tf.float64)) for x in (wanted, got))
  if wanted.shape != got.shape:
    gap = f'they make {got.shape[1:]}, the layer {wanted.shape[1:]}'
  else:
    finite = np.isfinite(wanted)
    if not finite.any():
      _warn(who, name, 'gives no number on random inputs')
      return
    size = np.abs(wanted[finite]).max()
    largest = np.abs(wanted - got)[finite].max()
    if largest <= _ROUNDING.get(layer.compute_dtype, _FINE) * max(size, _FINE):
      return
    gap = (
      f'on random inputs they differ by up to {largest:.3g} from what the '
      f'layer gives, which goes up to {size:.3g}'
    )
  raise ValueError(
    f'The operations that {name} names for {who} are not what the layer '
    f'computes: {gap}. Whatever was pruned by them would be a wrong model. '
    'Mend the handler, whose operations must give what `call` gives at '
    'inference; or let it return an `Opaque`, which leaves the layer alone.'
  )


def _sources(call: Call, params: Params) -> list[tf.Tensor]:
  """Random inputs of a call, one tensor for each that it takes."""
  rng = np.random.default_rng(0)
  count = len(_DEVIATIONS)
  found: dict[int, tf.Tensor] = {}
  for value, tensor in zip(
    call.inputs, call.keras_node.keras_inputs, strict=True
  ):
    if value in found:
      continue  # a layer of two inputs may be given one tensor twice
    shape = (count, *(size or _OPEN_SIZE for size in sizes_of(tensor)))
    rows = [
      len(params[ref])
      for node in call.nodes
      if node.op.looks_up and value in node.inputs
      for ref in node.op.weights()
    ]
    if rows or not tensor.dtype.is_floating:
      x = rng.integers(0, min(rows, default=2), shape)
    else:
      deviations = np.reshape(_DEVIATIONS, (count, *(1,) * (len(shape) - 1)))
      x = rng.normal(size=shape) * deviations
    found[value] = tf.cast(x, tensor.dtype)
  return [found[value] for value in call.inputs]


def _warn(who: str, name: str, why: str) -> None:
  warnings.warn(
    f'{who} {why}, so that nobody has seen whether the operations that {name} '
    'names for it are what it computes. See to it yourself, by a test that '
    'calls the layer and compares.',
    stacklevel=callers.level(),
  )


def _first(error: Exception) -> str:
  """The first line of what an error says."""
  return (str(error).strip().splitlines() or [type(error).__name__])[0]
