"""A model as the one function that a .tflite is made of."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite.saved_function import SIGNATURE, TAG, save_function

# TensorFlow's operations that run others until something holds.
LOOPS = frozenset({'While', 'StatelessWhile'})


def serving(model: keras.Model) -> Any:
  """The model as one function with named inputs and outputs.

  It takes a batch of any size where that costs nothing, else one sample: TFLite
  has loops, such as those of recurrent layers, for a known batch only, working
  out shapes takes operators that tflite-micro does not have, and what makes
  several rows of a sample, as TimeDistributed does, it reads as one.
  """

  def serve(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    given = inputs[0] if len(inputs) == 1 else list(inputs)
    outputs = tf.nest.flatten(model(given, training=False))
    return dict(zip(model.output_names, outputs, strict=True))

  def traced(batch: int | None) -> Any:
    specs = [
      tf.TensorSpec((x.shape[0] or batch, *x.shape[1:]), x.dtype, name)
      for x, name in zip(model.inputs, model.input_names, strict=True)
    ]
    # With autograph: layers of the user's may branch on a tensor.
    with compat.without_forms_for_gpus():
      return tf.function(serve).get_concrete_function(*specs)

  function = traced(None)
  needs_one = operations(function) & (LOOPS | {'Shape'})
  return traced(1) if needs_one or _makes_rows(function) else function


def _makes_rows(function: Any) -> bool:
  """Whether a reshape gives other than one row for a sample."""
  for op in function.graph.get_operations():
    if op.type == 'Reshape':
      sizes = [tensor.shape for tensor in (op.inputs[0], op.outputs[0])]
      rows = [_entries(size) for size in sizes]
      if None not in rows and rows[0] != rows[1]:
        return True
  return False


def _entries(shape: tf.TensorShape) -> int | None:
  """Of one row, where only the number of rows is open."""
  if not shape.rank or shape[0] is not None:
    return None
  return shape[1:].num_elements()


def operations(function: Any) -> set[str]:
  """The kinds of TensorFlow's operations in a function, and in those in it."""
  graph = function.graph.as_graph_def()
  parts = [graph.node, *(inner.node_def for inner in graph.library.function)]
  return {node.op for part in parts for node in part}


class OnceConverter(tf.lite.TFLiteConverter):
  """TensorFlow's converter, of a SavedModel that holds what it reads alone."""

  def _convert_concrete_functions_to_saved_model(
    self, output_dir: str
  ) -> tuple[Any, Any, Any]:
    try:
      graph, inputs = save_function(self._funcs[0], output_dir)
    except Exception:  # then TensorFlow freezes the function, as it does itself
      return None, None, None
    self.saved_model_dir = output_dir
    self._saved_model_tags = {TAG}
    self._saved_model_exported_names = [SIGNATURE]
    self._parse_saved_model_args(always_enable_saved_model_import=True)
    return graph.as_graph_def(), inputs, None


def converter_of(
  model: keras.Model,
  function: Any,
  kind: type[OnceConverter] = OnceConverter,
) -> tf.lite.TFLiteConverter:
  """A converter of that function.

  It has a fraction of the work of `from_keras_model`, which also writes down
  all that training and other calls would need.

  Args:
    model: Whose weights the function reads.
    function: What `serving` gave.
    kind: The converter's class.
  """
  owner = tf.Module()
  owner.held = list(model.variables)
  return kind.from_concrete_functions([function], owner)
