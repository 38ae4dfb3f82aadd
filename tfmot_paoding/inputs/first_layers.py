"""The range of a model's inputs, as the layers that read them have it.

From each input the graph is followed through everything that only moves
entries, to the layers that say what they were made for: a table's rows, a
category's number of classes, a line that ends in [0, 1] or [-1, 1], the
statistics that normalization stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.claims import (
  Claim,
  Line,
  of_lines,
  of_standardization,
)
from tfmot_paoding.inputs.entry_moves import entry_places, mixes_entries
from tfmot_paoding.inputs.layer_functions import (
  broadcasts,
  depth_of,
  function_of,
  line_of,
  statistics_of,
)
from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.ops import Shape

Array = np.ndarray

_layers = keras.layers
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


def _typed(claims: list[Claim], dtype: tf.DType, shape: Shape) -> list[Claim]:
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
    if node.op.looks_up:
      rows = int(self._graph.weight(node.op.table).shape[0])
      return _limited(rows, f'{name} ({rows} rows)', shape)
    if isinstance(layer, _layers.CategoryEncoding):
      return _limited(
        layer.num_tokens, f'{name} ({layer.num_tokens} categories)', shape
      )
    depth = depth_of(layer)
    if depth is not None:
      return _claim(
        (np.zeros(()), np.full((), depth - 1.0)), f'{name} (one_hot)', shape
      )
    if isinstance(layer, (_layers.Normalization, _layers.BatchNormalization)):
      return _claim(statistics_of(layer, shape), name, shape, is_centred=True)
    line = line_of(layer, name, shape)
    if line is not None:
      return self._of_line(node, line)
    is_mixing = isinstance(layer, _MIXING) and not node.op.moves_positions
    is_mixing |= function_of(layer) == 'math.round'
    if is_mixing or mixes_entries(node):
      return self._mixed(node, value)
    return self._moved(node, value)

  def _of_line(self, node: Node, line: Line) -> list[Claim]:
    """Of a fixed line, and of the lines and layers behind it."""
    shape = self._graph.shapes[node.inputs[0]]
    lines, end = [line], node.outputs[0]
    while (reader := self._only_reader(end)) is not None:
      layer = self._graph.layers[reader.path]
      name = f'{type(layer).__name__} {"/".join(reader.path)!r}'
      following = line_of(layer, name, shape)
      if following is not None:
        lines.append(lines[-1].then(following))
      elif function_of(layer) not in ('cast', 'identity', 'stop_gradient'):
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
    places = entry_places(self._graph, node, value) if behind else None
    if places is None:
      return []
    shape = self._graph.shapes[value]
    return [_back(claim, places[place], shape) for place, claim in behind]


def _limited(count: int, source: str, shape: Shape) -> list[Claim]:
  """The numbers 0, ..., count - 1."""
  # One row alone is number 0, and a range must not be empty.
  ends = np.zeros(()), np.full((), max(count - 1.0, 0.5))
  return _claim(ends, source, shape, is_limit=True)


def _claim(
  ends: Sequence[Array] | None,
  source: str,
  shape: Shape,
  like: Claim | None = None,
  **settings: bool,
) -> list[Claim]:
  """One claim of an input's shape; none without ends that fit it."""
  if ends is None or not broadcasts(ends[0], shape):
    return []
  low, high = (np.broadcast_to(end, shape) for end in ends)
  if like is not None:
    settings = {'is_limit': like.is_limit, 'is_centred': like.is_centred}
  return [Claim(low, high, source, **settings)]


def _back(claim: Claim, places: Array, shape: Shape) -> Claim:
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
