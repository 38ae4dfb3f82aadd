"""The range of a model's inputs, as the layers that read them have it.

From each input the graph is followed through everything that only moves
entries, to the layers that say what they were made for: a table's rows, a
category's number of classes, a line that ends in [0, 1] or [-1, 1], the
statistics that normalization stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.claims import (
  Claim,
  Line,
  of_lines,
  of_standardization,
  of_statistics,
)
from tfmot_paoding.compat import keras
from tfmot_paoding.graph import Graph, Node
from tfmot_paoding.ops import Concatenate, Lookup, Positions
from tfmot_paoding.ops.shapes import Rearrangement
from tfmot_paoding.ops.windows import Crop, Pad, Repeat

Array = np.ndarray

_layers = keras.layers
# Functions of TensorFlow whose results are entries of their argument.
_MOVING = frozenset(
  (
    'cast',
    'identity',
    'stop_gradient',
    'ensure_shape',
    'reshape',
    'expand_dims',
    'squeeze',
    'transpose',
    'reverse',
    'roll',
    'concat',
    'stack',
    'unstack',
    'split',
    'slice',
    'strided_slice',
    'gather',
    '__operators__.getitem',
  )
)
_ADDING = ('math.add', '__operators__.add', 'nn.bias_add')
_SUBTRACTING = ('math.subtract', '__operators__.subtract')
_MULTIPLYING = ('math.multiply', '__operators__.multiply')
_DIVIDING = ('math.divide', 'math.truediv', '__operators__.truediv')
# Their results lie between entries of one channel (in training: of about it).
_MIXING = (
  _layers.Masking,
  _layers.Resizing,
  _layers.CenterCrop,
  _layers.RandomCrop,
  _layers.RandomFlip,
  _layers.RandomRotation,
  _layers.RandomTranslation,
  _layers.RandomZoom,
  _layers.RandomContrast,
  _layers.RandomBrightness,
)


def input_claims(model: keras.Model, graph: Graph) -> list[list[Claim]]:
  """What is said of each input of a model.

  Args:
    model: A built tf_keras model, wrapped or not.
    graph: Its graph.

  Returns:
    The claims on each input, arrays of its shape in the graph.
  """
  walk = _Walk(graph)
  return [
    _typed(walk.claims(value), tensor.dtype, graph.shapes[value])
    for value, tensor in zip(graph.inputs, model.inputs, strict=True)
  ]


def whole_entries(model: keras.Model, graph: Graph) -> list[Array]:
  """Which entries of each input are whole numbers: rows, categories, integers.

  Args:
    model: A built tf_keras model.
    graph: Its graph.

  Returns:
    One bool array of the input's shape for each input.
  """
  found = []
  for claims, value, tensor in zip(
    input_claims(model, graph), graph.inputs, model.inputs, strict=True
  ):
    limits = [claim.known for claim in claims if claim.is_limit]
    all_whole = np.full(graph.shapes[value], tensor.dtype.is_integer)
    found.append(np.any([all_whole, *limits], axis=0))
  return found


def _typed(claims: list[Claim], dtype: tf.DType, shape: Any) -> list[Claim]:
  """The claims, within what an 8 or 16-bit input can hold."""
  if not dtype.is_integer or dtype.size > 2:
    return claims
  low, high = (np.full(shape, float(end)) for end in (dtype.min, dtype.max))
  whole = Claim(low, high, f'its type {dtype.name}')
  found = [
    claim
    for claim in claims
    if claim.is_limit or not (_any(claim.low < low) or _any(claim.high > high))
  ]
  return found or [whole]


def _any(values: Array) -> bool:
  return bool(np.any(values))


class _Walk:
  """From a value to the layers behind it that say what it is."""

  def __init__(self, graph: Graph):
    self._graph = graph
    self._readers = graph.readers()
    self._known: dict[int, list[Claim]] = {}

  def claims(self, value: int) -> list[Claim]:
    """What is said of a value, by all that read it."""
    if value not in self._known:
      readers = {id(node): node for node in self._readers[value]}
      self._known[value] = [
        claim
        for node in readers.values()
        for claim in self._of_node(node, value)
      ]
    return self._known[value]

  def _of_node(self, node: Node, value: int) -> list[Claim]:
    layer = self._graph.layers[node.path]
    shape = self._graph.shapes[value]
    name = f'{type(layer).__name__} {"/".join(node.path)!r}'
    if isinstance(node.op, Lookup):
      rows = int(self._graph.weight(node.op.table).shape[0])
      return _limited(rows, f'{name} ({rows} rows)', shape)
    if isinstance(layer, _layers.CategoryEncoding):
      return _limited(
        layer.num_tokens, f'{name} ({layer.num_tokens} categories)', shape
      )
    depth = _depth(layer)
    if depth is not None:
      return _claim(
        (np.zeros(()), np.full((), depth - 1.0)), f'{name} (one_hot)', shape
      )
    if isinstance(layer, (_layers.Normalization, _layers.BatchNormalization)):
      return _claim(_statistics(layer, shape), name, shape, is_centred=True)
    line = _line(layer, name, shape)
    if line is not None:
      return self._of_line(node, line)
    if isinstance(layer, _MIXING) or isinstance(node.op, Positions):
      move = getattr(node.op, 'move', None)
      if not isinstance(move, (Crop, Pad, Repeat)):
        return self._mixed(node, value)
    return self._moved(node, value)

  def _of_line(self, node: Node, line: Line) -> list[Claim]:
    """Of a fixed line, and of the lines and layers behind it."""
    shape = self._graph.shapes[node.inputs[0]]
    lines, end = [line], node.outputs[0]
    while (reader := self._only_reader(end)) is not None:
      layer = self._graph.layers[reader.path]
      name = f'{type(layer).__name__} {"/".join(reader.path)!r}'
      following = _line(layer, name, shape)
      if following is not None:
        lines.append(lines[-1].then(following))
      elif _function(layer) not in ('cast', 'identity', 'stop_gradient'):
        break
      end = reader.outputs[0]
    behind = [_before(claim, lines[-1]) for claim in self.claims(end)]
    found = of_lines(lines)
    if found is not None and not any(claim.is_limit for claim in behind):
      return _claim(found[:2], found[2], shape)
    return behind or _claim(
      of_standardization(lines[-1]),
      lines[-1].source,
      shape,
      is_centred=bool(np.any(lines[-1].scale != 1)),
    )

  def _only_reader(self, value: int) -> Node | None:
    readers = self._readers[value]
    alone = len(readers) == 1 and value not in self._graph.outputs
    return readers[0] if alone else None

  def _mixed(self, node: Node, value: int) -> list[Claim]:
    """Through a layer whose results lie between entries of a channel."""
    shape = self._graph.shapes[value]
    found = []
    for output in node.outputs:
      for claim in self.claims(output):
        if claim.low.shape[-1:] != shape[-1:] or not np.all(claim.known):
          continue
        axes = tuple(range(claim.low.ndim - 1))
        low, high = claim.low.min(axes), claim.high.max(axes)
        found += _claim((low, high), claim.source, shape, claim)
    return found

  def _moved(self, node: Node, value: int) -> list[Claim]:
    """Through a layer whose results are entries of its inputs."""
    behind = [
      (place, claim)
      for place, output in enumerate(node.outputs)
      for claim in self.claims(output)
    ]
    places = self._places(node, value) if behind else None
    if places is None:
      return []
    shape = self._graph.shapes[value]
    return [_back(claim, places[place], shape) for place, claim in behind]

  def _places(self, node: Node, value: int) -> list[Array] | None:
    """The entry of `value`, counted from 1, behind each result; 0 for none.

    None where the layer does something else than to move entries.
    """
    graph, op = self._graph, node.op
    sources = []
    for source in node.inputs:
      shape = graph.shapes[source]
      numbers = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float64)
      own = source == value
      numbers = numbers if own else np.zeros_like(numbers)
      sources.append(tf.constant(numbers.reshape((1, *shape))))
    if isinstance(op, (Rearrangement, Concatenate, Positions)):
      moved = op.transform({}, *sources)
    else:
      moved = _called(graph.layers[node.path], sources)
    if moved is None:
      return None
    moved = list(moved) if isinstance(moved, (list, tuple)) else [moved]
    shapes = [(1, *graph.shapes[output]) for output in node.outputs]
    if [tuple(part.shape) for part in moved] != shapes:
      return None
    return [np.asarray(part)[0].astype(np.int64) for part in moved]


def _limited(count: int, source: str, shape: Any) -> list[Claim]:
  """The numbers 0, ..., count - 1."""
  ends = np.zeros(()), np.full((), count - 1.0)
  return _claim(ends, source, shape, is_limit=True)


def _claim(
  ends: Sequence[Array] | None,
  source: str,
  shape: Any,
  like: Claim | None = None,
  **settings: bool,
) -> list[Claim]:
  """One claim of an input's shape; none without ends that fit it."""
  if ends is None or not _broadcasts(ends[0], shape):
    return []
  low, high = (np.broadcast_to(end, shape) for end in ends)
  if like is not None:
    settings = {'is_limit': like.is_limit, 'is_centred': like.is_centred}
  return [Claim(low, high, source, **settings)]


def _broadcasts(array: Array, shape: Any) -> bool:
  sizes = np.shape(array)
  return len(sizes) <= len(shape) and all(
    size in (1, wanted)
    for size, wanted in zip(sizes[::-1], tuple(shape)[::-1], strict=False)
  )


def _back(claim: Claim, places: Array, shape: Any) -> Claim:
  """A claim on moved entries, on the entries in their old places."""
  count = int(np.prod(shape))
  low, high = np.full(count + 1, np.nan), np.full(count + 1, np.nan)
  # An entry that goes to several places keeps all limits, or the widest range.
  inner, outer = (np.fmax, np.fmin)
  if claim.is_limit:
    inner, outer = outer, inner
  outer.at(low, places.ravel(), claim.low.ravel())
  inner.at(high, places.ravel(), claim.high.ravel())
  return Claim(
    low[1:].reshape(shape),
    high[1:].reshape(shape),
    claim.source,
    claim.is_limit,
    claim.is_centred,
  )


def _before(claim: Claim, line: Line) -> Claim:
  """A claim on the result of a line, on what goes into it."""
  ends = [(end - line.shift) / line.scale for end in (claim.low, claim.high)]
  return Claim(
    np.minimum(*ends),
    np.maximum(*ends),
    claim.source,
    claim.is_limit,
    claim.is_centred,
  )


def _statistics(layer: Any, shape: Any) -> tuple[Array, Array] | None:
  """Mean +- deviations that a layer stored, broadcasting to its input."""
  if isinstance(layer, _layers.Normalization):
    mean, variance = np.asarray(layer.mean), np.asarray(layer.variance)
    if layer.invert:  # it is given what was normalized
      ends = of_statistics(mean, variance)
      return ends and (np.full((), -3.0), np.full((), 3.0))
    return of_statistics(*(_unbatched(x, shape) for x in (mean, variance)))
  axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
  kept = {axis % (len(shape) + 1) - 1 for axis in axes}
  sizes = [size if k in kept else 1 for k, size in enumerate(shape)]
  values = [
    keras.backend.get_value(weight).reshape(sizes)
    for weight in (layer.moving_mean, layer.moving_variance)
  ]
  return of_statistics(*values)


def _unbatched(values: Array, shape: Any) -> Array:
  """Constants without the batch axis that some have."""
  if values.ndim == len(shape) + 1 and values.shape[0] == 1:
    return values[0]
  return values


def _function(layer: Any) -> str | None:
  """The name of the TensorFlow function that a layer calls."""
  if not isinstance(layer, compat.TFOpLambda):
    return None
  return layer.get_config()['function']


def _line(layer: Any, name: str, shape: Any) -> Line | None:
  """A layer as a line of fixed numbers, if it is one."""
  if isinstance(layer, _layers.Rescaling):
    numbers = layer.scale, layer.offset
  else:
    numbers = _arithmetic(layer)
  if numbers is None:
    return None
  scale, shift = (
    _unbatched(np.asarray(values, np.float64), shape) for values in numbers
  )
  fits = _broadcasts(scale, shape) and _broadcasts(shift, shape)
  if not fits or not np.all(np.isfinite(shift)) or not np.all(scale):
    return None
  return Line(scale, shift, name)


def _arithmetic(layer: Any) -> tuple[Any, Any] | None:
  """Scale and shift of a function of a tensor and constants."""
  function, call = _function(layer), _only_call(layer)
  if function is None or call is None:
    return None
  values = list(call.call_args)
  values += [
    call.call_kwargs[key]
    for key in ('x', 'y', 'value', 'bias')
    if key in call.call_kwargs
  ]
  tensors = [compat.is_keras_tensor(value) for value in values[:2]]
  if tensors.count(True) != 1 or len(tensors) != 2:
    return None
  try:
    constant = np.asarray(values[tensors.index(False)], np.float64)
  except (TypeError, ValueError):
    return None
  first = tensors[0]
  if function in _ADDING:
    return 1.0, constant
  if function in _SUBTRACTING:
    return (1.0, -constant) if first else (-1.0, constant)
  if function in _MULTIPLYING:
    return constant, 0.0
  if function in _DIVIDING and first and np.all(constant):
    return 1 / constant, 0.0
  return None


def _depth(layer: Any) -> int | None:
  """How many classes `tf.one_hot` has, if a layer is that."""
  call = _only_call(layer)
  if _function(layer) != 'one_hot' or call is None:
    return None
  depth = (*call.call_args, call.call_kwargs.get('depth'))[1]
  return int(depth) if isinstance(depth, (int, np.integer)) else None


def _only_call(layer: Any) -> Any:
  """The one call of a layer in a graph, or None."""
  calls = layer.inbound_nodes
  return calls[0] if len(calls) == 1 else None


def _called(layer: Any, sources: list[tf.Tensor]) -> Any:
  """What a function that only moves entries makes of tensors, or None."""
  call = _only_call(layer)
  if _function(layer) not in _MOVING or call is None or not call.call_args:
    return None
  first, *others = call.call_args
  others = tf.nest.flatten((others, call.call_kwargs))
  if any(compat.is_keras_tensor(value) for value in others):
    return None
  remaining = iter(sources)
  first = tf.nest.map_structure(
    lambda v: next(remaining) if compat.is_keras_tensor(v) else v, first
  )
  try:
    return layer.call(first, *call.call_args[1:], **call.call_kwargs)
  except (TypeError, ValueError, tf.errors.InvalidArgumentError):
    return None  # sizes that the graph does not know
