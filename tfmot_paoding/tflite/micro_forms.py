"""Operators that tflite-micro lacks, written in those that it has.

GELU it does not have at all, exponentials, logarithms and square roots in real
numbers alone, and it concatenates ten tensors at most.
Between integers of 8 bits any of them is a table of 256 entries, which is what
LiteRT's own kernels read: the answers are the same bit for bit. Real numbers
take the function by sigmoids, and 16 bits become real for so long.

LiteRT has kernels for all of them, and so have Arm's NPUs in 8 bits, which
leave a table to the processor or take eight times the cycles: this is for
microcontrollers alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.function_forms import PARTS
from tfmot_paoding.tflite.graph_writer import GraphWriter
from tfmot_paoding.tflite.lean import lean
from tfmot_paoding.tflite.litert import load_interpreter
from tfmot_paoding.tflite.operators import Operator
from tfmot_paoding.tflite.single_operator import alone

Array = np.ndarray

# Whose kernels in tflite-micro have no integers, or that it lacks.
_SCALARS = frozenset(['EXP', 'GELU', 'LOG', 'SQRT'])
_LEAST, _MOST = -128, 127  # integers of 8 bits
# gelu(x) = x p(x), p the normal distribution, and p(x) is the sigmoid of an odd
# function: x times this polynomial in x^2, least powers first, to within 2e-6
# of gelu once x is cut off, fitted to weighted least squares that even out the
# largest error.
_ODDS = (
  1.59574534e00,
  7.27311002e-02,
  -1.15581745e-04,
  -9.45648813e-05,
  5.59990361e-06,
  -1.13301188e-07,
)
_CUT = 5.5
# What (1 + tanh(u)) / 2 = sigmoid(2 u) makes of Hendrycks and Gimpel (2016),
# "Gaussian error linear units": u = sqrt(2 / pi) (x + .044715 x^3).
_TANH_ODDS = tuple(math.sqrt(8 / math.pi) * c for c in (1.0, 0.044715))


def with_micro_forms(data: bytes) -> bytes:
  """The same function in operators that tflite-micro has; itself, if it has.

  Loops are left as they are.

  Args:
    data: A flatbuffer.
  """
  writer = GraphWriter(data)
  forms = [_form(writer.file, op) for op in writer.file.operators]
  if not any(forms):
    return data
  for number, form in enumerate(forms):
    if form is None:
      writer.keep(writer.read[number])
    else:
      form(writer, number)
  return lean(writer.data())


def with_forms(data: bytes) -> list[str]:
  """The operators of a file that `with_micro_forms` writes, sorted.

  Args:
    data: A flatbuffer.
  """
  file = TFLiteFile(data)
  return sorted({op.name for op in file.operators if _form(file, op)})


def _form(
  file: TFLiteFile, op: Operator
) -> Callable[[GraphWriter, int], None] | None:
  """How an operator is written; None for what tflite-micro has."""
  if op.name == 'CONCATENATION' and len(op.inputs) > PARTS:
    return _concatenated
  if op.name not in _SCALARS:
    return None
  kind = file.tensors[op.inputs[0]].type
  if kind == 'float32' and op.name != 'GELU':
    return None
  return {'float32': _in_real, 'int8': _by_table, 'int16': _real_between}.get(
    kind
  )


def _in_real(writer: GraphWriter, number: int) -> None:
  """GELU of real numbers."""
  op = writer.file.operators[number]
  (x,), (output,) = op.inputs, op.outputs
  writer.write_into('MUL', [x, _gelu_share(writer, number, x)], output)


def _gelu_share(writer: GraphWriter, number: int, x: int) -> int:
  """What GELU lets through of x: sigmoid(x (c_0 + c_1 x^2 + ...)).

  Args:
    writer: Where it is written.
    number: The GELU.
    x: A tensor of real numbers.
  """
  approximate = writer.read[number].builtinOptions.approximate
  odds = _TANH_ODDS if approximate else _ODDS
  c = x
  if not approximate:
    for name, end in (('MAXIMUM', -_CUT), ('MINIMUM', _CUT)):
      c = writer.write(name, [c, _number(writer, end)], x)
  square = writer.write('MUL', [c, c], x)
  polynomial = _number(writer, odds[-1])
  for odd in odds[-2::-1]:
    product = writer.write('MUL', [square, polynomial], x)
    polynomial = writer.write('ADD', [product, _number(writer, odd)], x)
  return writer.write('LOGISTIC', [writer.write('MUL', [c, polynomial], x)], x)


def _number(writer: GraphWriter, value: float) -> int:
  return writer.constant(np.array(value, np.float32))


def _real_between(writer: GraphWriter, number: int) -> None:
  """An operator of 16 bits, in real numbers."""
  op = writer.file.operators[number]
  (source,), (output,) = op.inputs, op.outputs
  x = writer.write('DEQUANTIZE', [source], source, version=3)
  if op.name == 'GELU':
    y = writer.write('MUL', [x, _gelu_share(writer, number, x)], x)
  else:
    y = writer.write(op.name, [x], x)
  writer.write_into('QUANTIZE', [y], output, version=2)


def _concatenated(writer: GraphWriter, number: int) -> None:
  """Many tensors, some at a time."""
  op, read = writer.file.operators[number], writer.read[number]
  tensors, axis = writer.file.tensors, read.builtinOptions.axis
  parts = [(index, tensors[index].shape[axis]) for index in op.inputs]
  while len(parts) > PARTS:
    groups = [parts[at : at + PARTS] for at in range(0, len(parts), PARTS)]
    parts = []
    for group in groups:
      size = sum(count for _, count in group)
      made = writer.part(op.outputs[0], axis, size)
      inputs = [index for index, _ in group]
      writer.write_into('CONCATENATION', inputs, made, axis=axis)
      parts.append((made, size))
  read.inputs = [index for index, _ in parts]
  writer.keep(read)


def _by_table(writer: GraphWriter, number: int) -> None:
  """An operator of 8 bits, looked up."""
  op = writer.file.operators[number]
  (source,), (output,) = op.inputs, op.outputs
  entries = writer.constant(_table(writer.file, number), output)
  kinds = schema.TensorType
  whole = writer.write(
    'CAST',
    [source],
    source,
    kind='INT32',
    inDataType=kinds.INT8,
    outDataType=kinds.INT32,
  )
  first = writer.constant(np.array(-_LEAST, np.int32))
  place = writer.write('ADD', [whole, first], source, kind='INT32')
  writer.write_into('GATHER', [entries, place], output, version=2)


def _table(file: TFLiteFile, number: int) -> Array:
  """What LiteRT's kernel makes of every integer of 8 bits, (256,)."""
  interpreter = load_interpreter(alone(file, number))
  (given,) = interpreter.get_input_details()
  x = np.arange(_LEAST, _MOST + 1, dtype=np.int8)
  interpreter.resize_tensor_input(given['index'], x.shape)
  interpreter.allocate_tensors()
  interpreter.set_tensor(given['index'], x)
  interpreter.invoke()
  (made,) = interpreter.get_output_details()
  return interpreter.get_tensor(made['index']).copy()
