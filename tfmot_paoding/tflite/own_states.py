"""States of LSTMs are tensors of their own.

TensorFlow's converter keeps equal constants once, also where one is the zeros
that a state begins with and the other a weight: of an LSTM of one unit and one
input, a kernel that is zero. The weight then moves with the state. In real
numbers answers were a fifth of their spread off, and integers end the process.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from tfmot_paoding.tflite.flatbuffer import packed

Array = np.ndarray

# By an LSTM's place in the schema, which inputs of it are states.
_STATES = {
  schema.BuiltinOperator.LSTM: (18, 19),
  schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM: (18, 19),
}


def with_own_states(data: bytes) -> bytes:
  """The same file, with zeros of their own where a state is read as a weight.

  Args:
    data: A flatbuffer of real numbers.
  """
  model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
  shared = list(_shared(model))
  for graph, op, slot in shared:
    read = [int(index) for index in op.inputs]
    read[slot] = _zeros_like(model, graph, read[slot])
    op.inputs = read
  return packed(model) if shared else data


def shares_states(model: Any) -> bool:
  """Whether an operator reads as a weight what is a state of an LSTM.

  Args:
    model: `TFLiteFile.object`.
  """
  return any(True for _ in _shared(model))


def _shared(model: Any) -> Iterator[tuple[Any, Any, int]]:
  """The graph, the operator and the place of each such weight."""
  for graph in model.subgraphs:
    operators = [] if graph.operators is None else graph.operators
    slots = [
      _STATES.get(model.operatorCodes[op.opcodeIndex].builtinCode, ())
      for op in operators
    ]
    states = {
      int(op.inputs[slot])
      for op, known in zip(operators, slots, strict=True)
      for slot in known
    }
    for op, known in zip(operators, slots, strict=True):
      for slot, index in enumerate([] if op.inputs is None else op.inputs):
        if int(index) in states and slot not in known:
          yield graph, op, slot


def _zeros_like(model: Any, graph: Any, index: int) -> int:
  """A new tensor of zeros, of the shape of another."""
  tensor = copy.copy(graph.tensors[index])
  buffer = schema.BufferT()
  zeros = np.zeros(tensor.shape, np.float32)
  buffer.data = np.frombuffer(zeros.tobytes(), np.uint8)
  model.buffers.append(buffer)
  tensor.buffer, tensor.isVariable = len(model.buffers) - 1, False
  tensor.name = (tensor.name or b'') + b'/weight'
  graph.tensors.append(tensor)
  return len(graph.tensors) - 1
