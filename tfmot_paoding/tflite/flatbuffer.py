"""What a .tflite says of itself: operators, tensors, and what they take."""

from __future__ import annotations

import functools
import struct

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema

from tfmot_paoding.tflite.operators import (
  indices_of,
  least_step,
  macs_of,
  read_operator,
)
from tfmot_paoding.tflite.tensors import read_tensor

# Of what buffers hold, as the schema asks.
ALIGNMENT = 16
# What reading bytes that are no flatbuffer comes to, wherever it goes wrong.
_DAMAGE = (
  struct.error,
  ArithmeticError,
  AttributeError,
  LookupError,
  MemoryError,
  RecursionError,
  TypeError,
  ValueError,
)


class TFLiteFile:
  """A .tflite, read.

  Args:
    data: The flatbuffer.
    name: What messages call it, such as the argument that it came in.

  Raises:
    ValueError: `data` is no .tflite, or damaged.
  """

  def __init__(self, data: bytes, name: str = ''):
    file = f'This ({name})' if name else 'This'
    if not isinstance(data, (bytes, bytearray, memoryview)):
      raise ValueError(
        f'{file} must be the bytes of a .tflite, but got '
        f'{type(data).__name__}. Read the file first.'
      )
    data = bytes(data)
    if len(data) < 8 or data[4:8] != b'TFL3':
      raise ValueError(
        f'{file} is no .tflite: pass the bytes that convert_to_tflite returned.'
      )
    try:
      self._read(data)
    except _DAMAGE as error:
      raise ValueError(
        f'{file} is a damaged .tflite of {len(data)} bytes '
        f'({type(error).__name__}: {error}). Convert or copy it anew.'
      ) from error

  def _read(self, data: bytes) -> None:
    model = schema.Model.GetRootAsModel(data, 0)
    self.object = schema.ModelT.InitFromObj(model)
    graph, buffers = self.object.subgraphs[0], self.object.buffers
    self.tensors = [read_tensor(tensor, buffers) for tensor in graph.tensors]
    self._inner = [
      read_tensor(tensor, buffers)
      for other in self.object.subgraphs[1:]
      for tensor in other.tensors
    ]
    self.operators = [
      read_operator(op, self.object, len(self.tensors))
      for op in graph.operators
    ]
    for other in self.object.subgraphs[1:]:
      for op in other.operators:
        read_operator(op, self.object, len(other.tensors))
      for order in (other.inputs, other.outputs):
        indices_of(order, len(other.tensors))
    self.inputs, self.outputs = (
      indices_of(order, len(self.tensors))
      for order in (graph.inputs, graph.outputs)
    )
    # What is worked out on demand goes wrong here or nowhere.
    self._places = self._signature()
    _ = self.macs, self.too_fine, self.peak_activation_bytes

  def signature(self, of_inputs: bool) -> dict[str, int]:
    """Each input's, or output's, place in the graph's order, by name."""
    return self._places[0 if of_inputs else 1]

  def _signature(self) -> tuple[dict[str, int], dict[str, int]]:
    """Of inputs and outputs; tensors' own names where there is none."""
    if not self.object.signatureDefs:
      return tuple(
        {self.tensors[index].name: place for place, index in enumerate(order)}
        for order in (self.inputs, self.outputs)
      )
    definition = self.object.signatureDefs[0]
    return tuple(
      {
        entry.name.decode(): order.index(entry.tensorIndex)
        for entry in (() if entries is None else entries)
      }
      for entries, order in (
        (definition.inputs, self.inputs),
        (definition.outputs, self.outputs),
      )
    )

  @functools.cached_property
  def weight_bytes(self) -> int:
    """Bytes of all contents, those of loops too, shared ones once."""
    tensors = [*self.tensors, *self._inner]
    return sum({t.buffer: t.stored for t in tensors}.values())

  @functools.cached_property
  def macs(self) -> dict[str, int]:
    """Multiply-accumulates by operator, for one sample, but for loops."""
    found: dict[str, int] = {}
    for op in self.operators:
      count = macs_of(op, self.tensors)
      if count:
        found[op.name] = found.get(op.name, 0) + count
    return found

  @functools.cached_property
  def operator_counts(self) -> dict[str, int]:
    """How often each operator is used."""
    found: dict[str, int] = {}
    for op in self.operators:
      found[op.name] = found.get(op.name, 0) + 1
    return found

  @functools.cached_property
  def has_open_loops(self) -> bool:
    """Whether a loop makes tensors whose size changes from step to step."""
    return any(
      size < 0
      for other in self.object.subgraphs[1:]
      for tensor in other.tensors
      for size in (
        () if tensor.shapeSignature is None else tensor.shapeSignature
      )
    )

  @functools.cached_property
  def peak_activation_bytes(self) -> int:
    """The most bytes of activations that are alive at once."""
    last = dict.fromkeys(self.inputs, -1)
    for step, op in enumerate(self.operators):
      last.update(dict.fromkeys((*op.inputs, *op.outputs), step))
    last.update(dict.fromkeys(self.outputs, len(self.operators)))
    alive, peak = set(self.inputs), 0
    for step, op in enumerate(self.operators):
      alive |= set(op.outputs)
      peak = max(
        peak,
        sum(self.tensors[t].bytes for t in alive if not self.tensors[t].stored),
      )
      alive = {tensor for tensor in alive if last[tensor] > step}
    return peak

  @functools.cached_property
  def too_fine(self) -> list[str]:
    """Tensors of integers whose step is too small for what they come from."""
    return [
      self.tensors[index].name
      for op in self.operators
      for index in op.outputs
      if 0 < self.tensors[index].step <= least_step(op, self.tensors)
    ]


class AlignedBuilder(flatbuffers.Builder):
  """Writes the contents of buffers where the schema wants them.

  That is at multiples of 16 bytes (`force_align`): kernels of some processors
  read weights in place, many at once. The builder of Python knows nothing of
  it, nor does the code that is generated from the schema, by which TensorFlow's
  converter writes its files as well.
  """

  def StartVector(  # noqa: N802
    self,
    elemSize: int,  # noqa: N803
    numElems: int,  # noqa: N803
    alignment: int,
  ) -> int:
    """Begins a vector; bytes are what buffers hold."""
    if elemSize == 1:
      alignment = max(alignment, ALIGNMENT)
    return super().StartVector(elemSize, numElems, alignment)


def packed(
  model: schema.ModelT, builder: flatbuffers.Builder | None = None
) -> bytes:
  """The bytes of a .tflite that was read and changed.

  Args:
    model: `TFLiteFile.object`.
    builder: What writes them; None for an `AlignedBuilder`.
  """
  builder = AlignedBuilder(1024) if builder is None else builder
  builder.Finish(model.Pack(builder), b'TFL3')
  return bytes(builder.Output())
