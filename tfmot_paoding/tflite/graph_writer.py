"""Writes operators into a .tflite: a graph that is made anew, in order."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from tfmot_paoding.tflite.flatbuffer import TFLiteFile, packed

Array = np.ndarray

# Codes that the first field of the schema has room for.
_FORMER = 127


class GraphWriter:
  """The main graph of a file, to which operators are written one by one.

  It has the file's tensors, and no operators until they are written.

  Args:
    data: The flatbuffer, which is left as it is.

  Attributes:
    file: What is read.
    read: Its operators, as the schema has them.
  """

  def __init__(self, data: bytes):
    self.file, self._model = TFLiteFile(data), TFLiteFile(data).object
    self._graph = self._model.subgraphs[0]
    self.read = list(self._graph.operators or [])
    self._graph.operators = []

  def keep(self, op: schema.OperatorT) -> None:
    """Writes an operator that was read."""
    self._graph.operators.append(op)

  def write(
    self,
    name: str,
    inputs: Sequence[int],
    like: int,
    *,
    kind: str = 'FLOAT32',
    version: int = 1,
    **options: int,
  ) -> int:
    """Writes an operator that makes a new tensor, without steps.

    Args:
      name: As in the schema, 'MUL'.
      inputs: Tensors.
      like: Whose shape the new tensor has.
      kind: Of its elements.
      version: The operator's, by which kernels know their types.
      **options: The operator's settings, as the schema calls them.

    Returns:
      The new tensor.
    """
    made = copy.copy(self._graph.tensors[like])
    made.type, made.buffer = getattr(schema.TensorType, kind), 0
    made.quantization = None
    place = self._placed(made)
    self.write_into(name, inputs, place, version=version, **options)
    return place

  def write_into(
    self,
    name: str,
    inputs: Sequence[int],
    output: int,
    *,
    version: int = 1,
    **options: int,
  ) -> None:
    """Writes an operator that makes a tensor that is there; see `write`."""
    op = schema.OperatorT()
    op.opcodeIndex = self._code(name, version)
    op.inputs, op.outputs = list(inputs), [output]
    kind = _OPTIONS.get(name)
    if kind:
      op.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
      op.builtinOptions = getattr(schema, f'{kind}T')()
      vars(op.builtinOptions).update(options)
    self.keep(op)

  def part(self, like: int, axis: int, size: int) -> int:
    """A new tensor as another is, but for one size; nothing makes it yet.

    Args:
      like: The other.
      axis: Which size.
      size: What it is.
    """
    made = copy.copy(self._graph.tensors[like])
    made.shape = [*made.shape]
    made.shape[axis] = size
    if made.shapeSignature is not None:
      made.shapeSignature = [*made.shapeSignature]
      made.shapeSignature[axis] = size
    return self._placed(made)

  def constant(self, x: Array, like: int | None = None) -> int:
    """A tensor that is stored.

    Args:
      x: Its contents, of 'int8', 'int32' or 'float32'.
      like: Whose steps its integers have; None where they have none.
    """
    buffer, made = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(x.tobytes(), np.uint8)
    self._model.buffers.append(buffer)
    made.buffer, made.shape = len(self._model.buffers) - 1, list(x.shape)
    made.type = getattr(schema.TensorType, x.dtype.name.upper())
    if like is not None:
      made.quantization = self._graph.tensors[like].quantization
    return self._placed(made)

  def data(self) -> bytes:
    """The flatbuffer."""
    return packed(self._model)

  def _placed(self, tensor: schema.TensorT) -> int:
    """The place of a new tensor, which gets a name of its own."""
    place = len(self._graph.tensors)
    tensor.name = b'written_%d' % place
    self._graph.tensors.append(tensor)
    return place

  def _code(self, name: str, version: int) -> int:
    """The place of an operator's code."""
    number = getattr(schema.BuiltinOperator, name)
    codes = self._model.operatorCodes
    for place, code in enumerate(codes):
      if (code.builtinCode, code.version) == (number, version):
        return place
    code: Any = schema.OperatorCodeT()
    code.builtinCode, code.version = number, version
    code.deprecatedBuiltinCode = min(number, _FORMER)
    codes.append(code)
    return len(codes) - 1


# What the schema calls the settings of each operator; others have none.
_OPTIONS = {
  'ADD': 'AddOptions',
  'CAST': 'CastOptions',
  'CONCATENATION': 'ConcatenationOptions',
  'DEQUANTIZE': 'DequantizeOptions',
  'GATHER': 'GatherOptions',
  'MAXIMUM': 'MaximumMinimumOptions',
  'MINIMUM': 'MaximumMinimumOptions',
  'MUL': 'MulOptions',
  'QUANTIZE': 'QuantizeOptions',
}
