"""Chains of thinner layers, read as the layers that they stand for.

Links of a chain have no bias and no activation but the last, which has the
name of the layer in whose place the chain is: multiplied out they are that
layer with another kernel, exactly, as functions of real numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfmot_paoding.layers.base import Path
from tfmot_paoding.network.graph import Graph, Node, read_params
from tfmot_paoding.ops import Params

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Unchained:
  """A model in which layers stand where it has chains.

  Attributes:
    graph: Its graph; of the chains only nodes, values and shapes are changed.
    params: Its weights, kernels of chains multiplied out in float64.
    ranks: How many channels stand between the links, by the layer's path.
  """

  graph: Graph
  params: Params
  ranks: dict[Path, tuple[int, ...]]


def multiplied_out(graph: Graph, other: Graph) -> Unchained:
  """A model with layers in the place of chains, where an original has them.

  Args:
    graph: The original's.
    other: That of what was made of it; not changed.

  Returns:
    It as it is, where no chain stands for one of the original's layers, or
    its other layers are not the original's.

  Raises:
    ValueError: a weight is NaN or infinite.
  """
  params = read_params(other)
  chains = _chains(graph, other, params)
  if not chains:
    return Unchained(other, params, {})
  twins = _products(graph)
  instead, gone, ranks = {}, set(), {}
  for path, links in chains.items():
    last, twin = links[-1], twins[path]
    params[twin.op.kernel] = _kernel(links, params)
    node = Node(twin.op, links[0].inputs, last.outputs, path)
    instead[id(last)] = node
    gone |= {id(link) for link in links[:-1]}
    ranks[path] = tuple(
      other.shapes[link.outputs[0]][-1] for link in links[:-1]
    )
  nodes = [instead.get(id(n), n) for n in other.nodes if id(n) not in gone]
  found = _laid_out(graph, other, nodes)
  if found is None:
    return Unchained(other, params, {})
  refs = found.weight_refs()
  return Unchained(found, {ref: params[ref] for ref in refs}, ranks)


def _products(graph: Graph) -> dict[Path, Node]:
  """The product of each layer that is called once and has but one."""
  found: dict[Path, list[Node]] = {}
  for node in graph.nodes:
    if node.op.known and node.op.linear and node.op.consumes_units:
      found.setdefault(node.path, []).append(node)
  return {path: nodes[0] for path, nodes in found.items() if len(nodes) == 1}


def _chains(
  graph: Graph, other: Graph, params: Params
) -> dict[Path, list[Node]]:
  """The links of each chain, by the path of the layer it stands for."""
  twins, products = _products(graph), _products(other)
  writer, readers = other.writer(), other.readers()
  found = {}
  for path in [path for path in products if path in twins]:
    links = [products[path]]
    while True:
      value = links[0].inputs[0]
      front = writer.get(value)
      if (
        front is None
        or front is not products.get(front.path)
        or front.path in graph.layers
        or front.op.bias is not None
        or len(readers[value]) > 1
        or value in other.outputs
      ):
        break
      links.insert(0, front)
    if len(links) > 1 and _stands_for(links, twins[path], other, params):
      found[path] = links
  return found


def _stands_for(
  links: Sequence[Node], twin: Node, graph: Graph, params: Params
) -> bool:
  """Whether one link slides the layer's window and the others none."""
  return all(_is_whole(link, graph, params) for link in links) and any(
    _works_as(link, twin)
    and all(_is_pointwise(one, graph) for one in links if one is not link)
    for link in links
  )


def _is_whole(link: Node, graph: Graph, params: Params) -> bool:
  """Whether every column reads every channel: there are no blocks of them."""
  rows = link.op.taps * graph.shapes[link.inputs[0]][-1]
  return len(link.op.matrix(params)) == rows


def _works_as(link: Node, twin: Node) -> bool:
  """Whether a link is the layer's function, its weights aside."""
  if type(link.op) is not type(twin.op):
    return False
  op = dataclasses.replace(link.op, kernel=twin.op.kernel, bias=twin.op.bias)
  return op.function() == twin.op.function()


def _is_pointwise(link: Node, graph: Graph) -> bool:
  """Whether each position is made of the same position alone."""
  shapes = [graph.shapes[end[0]][:-1] for end in (link.inputs, link.outputs)]
  return link.op.taps == 1 and shapes[0] == shapes[1]


def _kernel(links: Sequence[Node], params: Params) -> Array:
  """The kernel that links multiply by one after the other."""
  first, *others = links
  made = params[first.op.kernel]
  # (taps, channels in, channels behind the links so far)
  made = made.reshape(first.op.taps, -1, made.shape[-1])
  window = params[first.op.kernel].shape[:-2]
  for link in others:
    kernel = params[link.op.kernel]
    # At most one of the two has more than one tap.
    made = made @ kernel.reshape(link.op.taps, -1, kernel.shape[-1])
    if link.op.taps > 1:
      window = kernel.shape[:-2]
  return made.reshape(*window, *made.shape[1:])


def _laid_out(graph: Graph, other: Graph, nodes: list[Node]) -> Graph | None:
  """Nodes of another graph in the order and with the values of a graph's.

  Keras orders layers by how far they are from the outputs, so that a chain
  moves what stands beside it.

  Returns:
    None where the nodes are of other layers.
  """
  given = dict(zip(_places(nodes), nodes, strict=True))
  if given.keys() != set(_places(graph.nodes)):
    return None
  ordered = [given[place] for place in _places(graph.nodes)]
  number = dict(zip(other.inputs, graph.inputs, strict=False))
  for node, twin in zip(ordered, graph.nodes, strict=True):
    number |= dict(zip(node.outputs, twin.outputs, strict=False))
  if sorted(number.values()) != list(range(len(graph.shapes))):
    return None

  def told(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(number[value] for value in values)

  back = {to: value for value, to in number.items()}
  return dataclasses.replace(
    other,
    nodes=[
      dataclasses.replace(
        node, inputs=told(node.inputs), outputs=told(node.outputs)
      )
      for node in ordered
    ],
    shapes=[other.shapes[back[to]] for to in sorted(back)],
    inputs=told(other.inputs),
    outputs=told(other.outputs),
  )


def _places(nodes: Sequence[Node]) -> list[tuple[Path, int]]:
  """The path of each node, and how many of that path are in front of it."""
  counts: dict[Path, int] = {}
  found = []
  for node in nodes:
    counts[node.path] = counts.get(node.path, -1) + 1
    found.append((node.path, counts[node.path]))
  return found
