"""Entries of an input that were 0 in all of training, as weights tell.

A weight that reads an entry which is always 0 has no gradient: training leaves
it as the initializer drew it. A row of a first kernel all of whose weights are
still within what the initializer draws, where those of other rows are not,
therefore tells that an entry never was anything but 0: the corners of pictures
of digits, a word that never came.

Pictures with empty corners are pictures of one thing on an empty ground. It is
not known where it ends, but the nearer to what is empty, or to the rim, the
less there is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.entry_moves import entry_places
from tfmot_paoding.inputs.layer_functions import line_of
from tfmot_paoding.network.graph import Graph, Node
from tfmot_paoding.ops import Shape

Array = np.ndarray

_initializers = keras.initializers
# What draws at random, each number by itself.
_DRAWING = (
  _initializers.RandomNormal,
  _initializers.RandomUniform,
  _initializers.TruncatedNormal,
  _initializers.VarianceScaling,
)
# Of the largest weight that is drawn: another draw has one a little larger, the
# more so the fewer there are (a uniform one's by 7 parts of their number, once
# in a thousand, a truncated Gaussian's by 30).
_SLACK, _FEW = 1e-3, 30
# Of rows that are taken for untouched, how many may be so by chance.
_CHANCE = 0.05
# How far two distributions of as they were drawn may lie apart, and how far
# samples of one may (Kolmogorov and Smirnov: one pair in a hundred lies
# farther). A uniform one and what training makes of it are .2 apart and more.
_APART, _BY_CHANCE = 0.1, 1.63
_COMPARED = 100_000  # weights
# Of the shorter side of a picture: so far from what is empty it is full. On
# training images of MNIST, a tenth of the units left, three seeds, an MLP has
# .871 of answers right (.846 without), others of tanh .932 (.928) and of
# sigmoids .909 (.879); where what surrounds a picture does not count as empty,
# .870, .924 and .895.
_REACH = 1 / 4


def empty_entries(graph: Graph) -> list[Array]:
  """Which entries of each input were 0 in all of training.

  None where layers that read an input, at once or behind layers that move its
  entries, multiply none of these by a weight of its own (of a convolution whole
  channels may be empty); where they do not say how their kernels were drawn; or
  where training has moved every weight.

  Args:
    graph: A trained model's.

  Returns:
    A bool array of the input's shape for each input.
  """
  walk = _Walk(graph)
  return [walk.empty(value) for value in graph.inputs]


def untouched_rows(kernel: Array, drawn: Array) -> Array:
  """Which rows of a kernel are as they were before training.

  A row of zeros is taken for one, too: nothing depends on its entry.

  Args:
    kernel: Shape (rows, columns).
    drawn: What its initializer draws, of the same shape.

  Returns:
    Shape (rows,), all or nearly all False where rows that were trained would
    look the same.
  """
  zero = ~kernel.any(1)
  limit = (1 + _SLACK + _FEW / drawn.size) * np.max(np.abs(drawn))
  within = np.abs(kernel) <= limit
  inside = within.all(1) & ~zero
  trained = ~(inside | zero)
  if not inside.any() or trained.sum() <= inside.sum():
    return zero
  # A row that was trained has each weight within with this chance.
  alone = np.mean(within[trained])
  by_chance = len(kernel) * alone ** kernel.shape[1]
  if by_chance > _CHANCE * inside.sum():
    return zero
  if not _alike(np.abs(kernel[inside]).ravel(), np.abs(drawn).ravel()):
    return zero
  return zero | inside


def fullness(empty: Array) -> Array:
  """How much of an entry's usual size is left next to empty ones.

  Args:
    empty: Which entries are empty, shape (height, width, channels); those of
      other shapes have no neighbours.

  Returns:
    Of the same shape: 0 for empty entries, 1 for those that are farther from
    them, and from what surrounds the picture, than a quarter of its shorter
    side, in between by distance. 1 for all others where no place is empty.
  """
  if empty.ndim != 3 or not empty.all(-1).any():
    return np.where(empty, 0.0, 1.0)
  around = np.pad(empty.all(-1), 1, constant_values=True)
  distances = _distances(around)[1:-1, 1:-1]
  found = np.minimum(distances / (_REACH * min(distances.shape)), 1.0)
  return np.where(empty, 0.0, found[..., None])


def _distances(empty: Array) -> Array:
  """From each position to the nearest empty one, shape (height, width)."""
  height, width = empty.shape
  far = float(height + width)
  columns = np.arange(width)
  # Along each row, then from row to row.
  across = np.abs(columns[:, None] - columns)
  beside = np.where(empty[:, None, :], across, far).min(-1)
  rows = np.arange(height)
  down = np.square(rows[:, None] - rows)[..., None]
  return np.sqrt((down + np.square(beside)).min(1))


def _alike(some: Array, others: Array) -> bool:
  """Whether two samples may be of one distribution, or of two close ones."""
  some, others = (
    np.sort(x[:: -(-len(x) // _COMPARED)]) for x in (some, others)
  )
  points = np.concatenate([some, others])
  apart = np.max(
    np.abs(
      np.searchsorted(some, points, 'right') / len(some)
      - np.searchsorted(others, points, 'right') / len(others)
    )
  )
  chance = _BY_CHANCE * np.sqrt(1 / len(some) + 1 / len(others))
  return apart <= max(_APART, chance)


class _Walk:
  """From a value to the kernels that read its entries."""

  def __init__(self, graph: Graph):
    self._graph = graph
    self._readers = graph.readers()

  def empty(self, value: int) -> Array:
    """Which entries are empty, as all that read them say."""
    shape = self._graph.shapes[value]
    readers = {id(node): node for node in self._readers[value]}
    if not readers or value in self._graph.outputs:
      return np.zeros(shape, bool)
    parts = (self._of_node(node, value) for node in readers.values())
    return np.logical_and.reduce(list(parts))

  def _of_node(self, node: Node, value: int) -> Array:
    shape = self._graph.shapes[value]
    if node.op.consumes_units and node.op.multiplies is not None:
      return np.broadcast_to(self._channels(node, shape[-1]), shape)
    line = line_of(self._graph.layers[node.path], '', shape)
    if line is not None:
      # What is no 0 behind it is a constant that weights do depend on.
      return self.empty(node.outputs[0]) & (np.asarray(line.shift) == 0)
    return self._moved(node, value, shape)

  def _channels(self, node: Node, count: int) -> Array:
    """Of so many channels that are multiplied by a kernel, at all positions."""
    op, ref, layer = node.op, node.op.multiplies, self._graph.layers[node.path]
    kernel = np.asarray(self._graph.weight(ref))
    drawn = _drawn(getattr(layer, f'{ref.name}_initializer', None), kernel)
    if drawn is None or not np.all(np.isfinite(kernel)):
      return np.zeros(count, bool)
    matrix, as_drawn = (op.matrix({ref: x}) for x in (kernel, drawn))
    rows = untouched_rows(matrix, as_drawn)
    return rows[op.rows_of(np.arange(count), count)].all(-1)

  def _moved(self, node: Node, value: int, shape: Shape) -> Array:
    """Through an operation whose results are entries of what it reads."""
    places = entry_places(self._graph, node, value)
    if places is None:
      return np.zeros(shape, bool)
    size = int(np.prod(shape))
    read, empty = np.zeros(size + 1, bool), np.ones(size + 1, bool)
    for place, output in zip(places, node.outputs, strict=True):
      read[place] = True
      np.logical_and.at(empty, place, self.empty(output))
    return (read & empty)[1:].reshape(shape)


def _drawn(initializer: Any, kernel: Array) -> Array | None:
  """What an initializer draws in place of a kernel, or None."""
  if not isinstance(initializer, _DRAWING):
    return None
  config = {**initializer.get_config(), 'seed': 0}
  again = type(initializer).from_config(config)
  return np.asarray(again(kernel.shape, 'float32'))
