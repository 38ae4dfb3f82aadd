"""Runs the operations that a layer was lowered to, one by one, on samples.

A layer is called as Keras calls it; what stands inside it is had by its
operations alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.network.graph import Call
from tfmot_paoding.ops import Params


def run_operations(
  call: Call,
  sources: list[Any],
  params: Params,
  watched: tuple[tf.GradientTape | None, int] = (None, -1),
) -> dict[int, tf.Tensor]:
  """Every value that a call's operations make.

  Args:
    call: The call.
    sources: Samples of what it reads, with a batch axis.
    params: The weights.
    watched: A tape, and the value that it shall watch.

  Returns:
    Samples by value; what the call gives is in its first input's precision.
  """
  tape, kept = watched
  dtype = sources[0].dtype if sources[0].dtype.is_floating else tf.float32
  # In reduced precision inner values would be coarser than any fit.
  exact = tf.float64 if dtype == tf.float64 else tf.float32
  values = {
    value: with_mask(tf.cast(x, exact), x)
    for value, x in zip(call.inputs, sources, strict=True)
  }
  for node in call.nodes:
    own = {
      ref: np.asarray(params[ref], exact.as_numpy_dtype)
      for ref in node.op.weights()
    }
    reads = [values[value] for value in node.inputs]
    made = node.op.run(own, *reads)
    if made.shape.rank >= reads[0].shape.rank:
      made = with_mask(made, reads[0])  # operations on sequences heed it
    (output,) = node.outputs
    values[output] = made
    if tape and output == kept:
      tape.watch(made)
  for value in call.outputs:
    values[value] = with_mask(tf.cast(values[value], dtype), values[value])
  return {k: x for k, x in values.items() if k not in call.inputs}


def with_mask(made: tf.Tensor, source: tf.Tensor) -> tf.Tensor:
  """A tensor that hides the same steps as the one it was made from."""
  if hasattr(source, '_keras_mask'):
    made._keras_mask = source._keras_mask
  return made
