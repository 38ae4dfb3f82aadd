"""ONNX models and VNN-LIB properties for other verifiers (extra `verify`)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import extras
from tfmot_paoding.bounds.balls import balls, check_labels
from tfmot_paoding.compat import keras
from tfmot_paoding.files import write_file, write_files
from tfmot_paoding.inputs.ranges import RangeLike
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.robustness.scores import Scores, scores_model, scores_of

Array = np.ndarray

_OPSET = 13  # what verifiers read


def export_onnx(model: keras.Model, path: str) -> None:
  """Writes a classifier as ONNX, one sample a batch.

  The output is the class scores: verifiers know no softmax. Inputs keep their
  layout, channels last.

  Args:
    model: A classifier with one input and one output.
    path: Where to; written whole or not at all.

  Raises:
    ImportError: tf2onnx is missing; the extra to install is named.
    TypeError: `model` is no tf_keras model.
    ValueError: it is no classifier of this kind.
    OSError: the file cannot be written.
  """
  write_file(path, _onnx(model))


def export_properties(
  model: keras.Model,
  x: Any,
  y: Any,
  epsilon: float,
  folder: str,
  input_range: RangeLike = None,
  *,
  seconds: int = 60,
) -> list[str]:
  """Writes a model and what to verify of it, as VNN-COMP lays it out.

  `model.onnx`, a `property_<n>.vnnlib` for each sample, and `instances.csv`
  with a line "model, property, timeout" each, which alpha-beta-CROWN and
  others read. A property is the counterexample: an input of the ball where
  another class scores at least as high as the label; 'unsat' means robust.

  Args:
    model: A classifier with one input and one output.
    x: Samples, (batch, *input shape).
    y: Labels, integers of shape (batch,).
    epsilon: The balls' radius in the L-infinity norm, in units of the inputs.
    folder: An existing folder; files of these names are replaced.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    seconds: The timeout to note for each.

  Returns:
    The paths of the properties.

  Raises:
    ImportError: tf2onnx is missing; the extra to install is named.
    TypeError: `model` is no tf_keras model.
    ValueError: an argument is bad, or the model is no such classifier.
    OSError: a file cannot be written.
  """
  model = as_opened(model)
  scores = scores_of(model)
  shapes = [scores.graph.shapes[value] for value in scores.graph.inputs]
  boxes = balls(model, x, epsilon, input_range, shapes)
  labels = check_labels(y, len(boxes[0].low), scores.classes)
  files = {os.path.join(folder, 'model.onnx'): _onnx(model)}
  lines, paths = [], []
  for k, label in enumerate(labels):
    name = f'property_{k}.vnnlib'
    paths.append(os.path.join(folder, name))
    box = Interval(boxes[0].low[k].ravel(), boxes[0].high[k].ravel())
    files[paths[-1]] = _property(scores, box, int(label)).encode()
    lines.append(f'model.onnx,{name},{seconds}\n')
  files[os.path.join(folder, 'instances.csv')] = ''.join(lines).encode()
  write_files(files)
  return paths


def _onnx(model: Any) -> bytes:
  extras.TF2ONNX.require()
  import tf2onnx

  inner = scores_model(model)
  shape = scores_of(model).only_input
  spec = tf.TensorSpec((1, *shape), tf.float32, name='input')
  function = tf.function(
    lambda x: tf.identity(inner(x, training=False), 'scores')
  )
  found, _ = tf2onnx.convert.from_function(
    function, input_signature=[spec], opset=_OPSET
  )
  return found.SerializeToString()


def _property(scores: Scores, box: Interval, label: int) -> str:
  """The counterexample as VNN-LIB."""
  count = scores.graph.shapes[scores.value][0]
  lines = [f'; label {label}: an input where another class scores as high']
  lines += [f'(declare-const X_{k} Real)' for k in range(len(box.low))]
  lines += [f'(declare-const Y_{k} Real)' for k in range(count)]
  for k, (low, high) in enumerate(zip(box.low, box.high, strict=True)):
    lines.append(f'(assert (>= X_{k} {_number(low)}))')
    lines.append(f'(assert (<= X_{k} {_number(high)}))')
  if scores.is_binary:
    sign = '<=' if label else '>='
    lines.append(f'(assert ({sign} Y_0 0.0))')
    return '\n'.join(lines) + '\n'
  others = [k for k in range(count) if k != label]
  cases = ''.join(f'\n  (and (>= Y_{k} Y_{label}))' for k in others)
  lines.append(f'(assert (or{cases}\n))')
  return '\n'.join(lines) + '\n'


def _number(value: float) -> str:
  """As VNN-LIB has it: no exponent with a plus, all digits."""
  return np.format_float_positional(value, trim='0')
