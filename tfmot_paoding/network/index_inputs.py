"""What a model uses its inputs as: rows of a table, or numbers.

Many models take the integers of an embedding as real numbers, since that is
what an input is by default.
"""

from __future__ import annotations

import dataclasses

from tfmot_paoding.network.graph import Graph


@dataclasses.dataclass(frozen=True)
class Use:
  """What an input is used as.

  Attributes:
    as_index: An embedding looks it up.
    as_number: Something else reads it.
  """

  as_index: bool
  as_number: bool


def uses_of_inputs(graph: Graph) -> list[Use]:
  """How each of a model's inputs is used, moved about or not.

  Args:
    graph: The model's graph.
  """
  readers = graph.readers()

  def use(value: int) -> Use:
    found = [
      Use(True, False)
      if node.op.looks_up
      else use(node.outputs[0])
      if node.op.rearranges
      else Use(False, True)
      for node in readers[value]
    ]
    return Use(
      any(one.as_index for one in found),
      any(one.as_number for one in found) or value in graph.outputs,
    )

  return [use(value) for value in graph.inputs]
