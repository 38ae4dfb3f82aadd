"""Rows of next to no weights beside biases that are not small.

A bias is an integer of 32 bits in steps of the input's step times the row's,
and the step of a row of zeros is next to nothing: the bias of such a unit, as
pruning and regularization leave them behind, comes out as the largest integer
there is, times nothing. TensorFlow's converter sees to that, ai-edge-quantizer
does not.
"""

from __future__ import annotations

import numpy as np

from tfmot_paoding.tflite.flatbuffer import TFLiteFile, packed
from tfmot_paoding.tflite.integers import ends_of

Array = np.ndarray

# Where units stand in the weights of each operator.
_UNITS = {'CONV_2D': 0, 'FULLY_CONNECTED': 0, 'DEPTHWISE_CONV_2D': -1}
# Half of what a bias may be.
_MOST = 2.0**30
_STEPS, _END = 255, 127


def with_enough_weight(plain: bytes, ranged: bytes) -> bytes:
  """A file in which every row has a weight that its bias can stand beside.

  Args:
    plain: A file of real numbers.
    ranged: The same with the ranges of its activations.

  Returns:
    It as it is, where all have. Else one weight of a row is set to the least
    that will do, which moves what the unit gives by less than a ten-thousandth
    of its bias.
  """
  file, ranges = TFLiteFile(plain), TFLiteFile(ranged).object.subgraphs[0]
  model, changed = file.object, False
  for op in file.operators:
    if op.name not in _UNITS or len(op.inputs) < 3 or op.inputs[2] < 0:
      continue
    read, weights, bias = (file.tensors[index] for index in op.inputs[:3])
    ends = ends_of(ranges.tensors[op.inputs[0]])
    if ends is None or not (weights.stored and bias.stored) or read.stored:
      continue
    step = max(ends[1], 0.0) - min(ends[0], 0.0)
    kernel, beside = (
      np.frombuffer(bytes(model.buffers[one.buffer].data), np.float32)
      for one in (weights, bias)
    )
    rows = np.moveaxis(kernel.reshape(weights.shape), _UNITS[op.name], 0)
    made = _with_least(rows, beside, step / _STEPS)
    if made is not None:
      stored = np.ascontiguousarray(np.moveaxis(made, 0, _UNITS[op.name]))
      model.buffers[weights.buffer].data = stored.view(np.uint8).ravel()
      changed = True
  return packed(model) if changed else plain


def _with_least(rows: Array, bias: Array, step: float) -> Array | None:
  """Rows with the least weight that their biases need; None if all have it.

  Args:
    rows: Weights, units first.
    bias: (units,).
    step: What an integer of the input is worth.
  """
  if step <= 0:
    return None
  flat = rows.reshape(len(rows), -1).copy()
  least = np.abs(bias) * _END / (step * _MOST)
  short = np.abs(flat).max(1) < least
  if not short.any():
    return None
  flat[short, 0] = least[short]
  return flat.reshape(rows.shape)
