"""What the layers of a file read: means and covariances over samples."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from tfmot_paoding.ops.windows import window
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.interpreter_worker import load_interpreter

Array = np.ndarray

# Places of a picture that are looked at, of each sample: neighbours tell
# little more.
_PLACES = 256
# A covariance of more takes too long to invert for what it saves.
_WIDEST = 4096


@dataclasses.dataclass
class Moments:
  """Of what one layer reads, in the order of its weights' rows.

  Attributes:
    count: Of places that were seen.
    sums: (inputs,).
    products: Sums of the products of pairs, (inputs, inputs).
  """

  count: int
  sums: Array
  products: Array

  @property
  def mean(self) -> Array:
    """(inputs,)."""
    return self.sums / self.count

  @property
  def squares(self) -> Array:
    """The mean products of pairs, (inputs, inputs)."""
    return self.products / self.count

  @property
  def covariance(self) -> Array:
    """(inputs, inputs)."""
    return self.squares - np.outer(self.mean, self.mean)


def moments_of(
  data: bytes, numbers: Sequence[int], drawn: Mapping[str, Array]
) -> dict[int, Moments]:
  """Moments by operator.

  Args:
    data: A file of real numbers.
    numbers: Its operators to look at, CONV_2D and FULLY_CONNECTED.
    drawn: Samples by input name.

  Returns:
    Of those that are no grouped convolutions and read at most 4096 numbers for
    each that they give.
  """
  file = TFLiteFile(data)
  graph = file.object.subgraphs[0]
  interpreter = load_interpreter(data, keeps_all=True)
  places = file.signature(of_inputs=True)
  by_index = {file.inputs[places[name]]: x for name, x in drawn.items()}
  for index, x in by_index.items():
    interpreter.resize_tensor_input(index, [1, *x.shape[1:]])
  interpreter.allocate_tensors()
  found: dict[int, Moments] = {}
  for k in range(len(next(iter(by_index.values())))):
    interpreter.reset_all_variables()
    for index, x in by_index.items():
      interpreter.set_tensor(index, x[k : k + 1])
    interpreter.invoke()
    for number in numbers:
      op = graph.operators[number]
      shape = file.tensors[op.inputs[1]].shape
      x = interpreter.get_tensor(op.inputs[0])
      if np.prod(shape[1:]) <= _WIDEST and x.size and not _is_grouped(x, shape):
        _add(found, number, _rows(x, shape, op))
  return found


def _is_grouped(x: Array, shape: Sequence[int]) -> bool:
  return len(shape) == 4 and x.shape[-1] != shape[-1]


def _rows(x: Array, shape: Sequence[int], op: Any) -> Array:
  """What a layer multiplies by its weights at some places, (places, inputs)."""
  if len(shape) == 2:
    rows = x.reshape(-1, shape[-1])
    return rows[_chosen(len(rows))]
  options = op.builtinOptions
  same = options.padding == schema.Padding.SAME
  seen = window(
    'same' if same else 'valid',
    shape[1:3],
    (options.strideH, options.strideW),
    (options.dilationHFactor, options.dilationWFactor),
    x.shape[1:3],
  )
  count = len(x) * math.prod(seen.counts(x.shape[1:3]))
  return seen.patches(x, _chosen(count))


def _chosen(count: int) -> Array:
  """Which of so many places are looked at."""
  # An odd step, so that not the same columns of every line are seen.
  return np.arange(0, count, -(-count // _PLACES) | 1)


def _add(found: dict[int, Moments], number: int, rows: Array) -> None:
  """Adds places of one sample to what is known of an operator."""
  rows = rows.astype(np.float64)
  if number not in found:
    width = rows.shape[1]
    found[number] = Moments(0, np.zeros(width), np.zeros((width, width)))
  moments = found[number]
  moments.count += len(rows)
  moments.sums += rows.sum(0)
  moments.products += rows.T @ rows
