"""One operator of a .tflite, alone."""

from __future__ import annotations

import copy

from tfmot_paoding.tflite.flatbuffer import TFLiteFile, packed


def alone(file: TFLiteFile, number: int) -> bytes:
  """A flatbuffer with one of the operators of a main graph and nothing else.

  Args:
    file: The file that it stands in.
    number: Its place there.
  """
  model = copy.deepcopy(file.object)
  graph = model.subgraphs[0]
  op = graph.operators[number]
  graph.operators = [op]
  graph.inputs = [
    index
    for index in file.operators[number].inputs
    if index >= 0 and not file.tensors[index].stored
  ]
  graph.outputs = list(op.outputs)
  model.signatureDefs = []
  return packed(model)
