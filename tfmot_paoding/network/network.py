"""A model that was read once: its graph and groups, handed on to who asks.

Reading a model costs a walk over all its calls. What every stage of pruning
asks of it depends on its structure alone, which its wrapped, stripped and plain
copies have as well: they share all but the layers.
"""

from __future__ import annotations

import dataclasses
import functools
import math

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.layers.base import Path
from tfmot_paoding.network.cloning import plain_copy
from tfmot_paoding.network.costs import graph_macs
from tfmot_paoding.network.graph import (
  Call,
  Graph,
  ViewLike,
  build_graph,
  layers_of,
  read_params,
  unwrapped,
)
from tfmot_paoding.network.groups import Grouping, find_groups
from tfmot_paoding.network.handler_check import check_handlers
from tfmot_paoding.network.outputs import Head, heads_of
from tfmot_paoding.ops import Params, Shape


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
  """A checked model and what is known of its structure.

  Weights are not part of it: they are read when they are asked for, and the
  model may change them.

  Attributes:
    model: A built Sequential or functional tf_keras model, wrapped or not.
    graph: Its operations.
    twin: The network that this one is a copy of, layer by layer, or None.
  """

  model: keras.Model
  graph: Graph
  twin: Network | None = None

  @classmethod
  def of(cls, model: keras.Model | Network, views: ViewLike = None) -> Network:
    """The network of a model; one that was read already comes back as it is.

    Args:
      model: The model.
      views: What the units are of layers that leave a choice.

    Raises:
      TypeError: `model` is not a tf_keras model.
      ValueError: `model` is subclassed or not built, or a handler of a user's
        is not what its layer computes.
    """
    if isinstance(model, cls):
      return model
    graph = build_graph(model, views)
    check_handlers(graph)
    return cls(model, graph)

  def like(self, copy: keras.Model) -> Network:
    """The network of a copy of this model, without reading it again.

    Args:
      copy: A model of the same structure and layer names, such as the wrapped,
        the stripped or a plain one.
    """
    graph = _graph_like(self.graph, copy)
    if graph is None:  # its calls come in another order
      return Network.of(copy, self.graph.views)
    return Network(copy, graph, self)

  def plain(self) -> Network:
    """A copy without wrappers or state, of the same weights."""
    return self.like(plain_copy(self.model))

  @functools.cached_property
  def groups(self) -> Grouping:
    """The groups of units that live or die together."""
    return find_groups(self.graph) if self.twin is None else self.twin.groups

  @functools.cached_property
  def macs(self) -> int:
    """Multiply-accumulates of one inference."""
    return graph_macs(self.graph)

  @functools.cached_property
  def has_statistics(self) -> bool:
    """Whether it stores statistics of batch normalization."""
    return any(
      isinstance(layer, keras.layers.BatchNormalization)
      for layer in self.graph.layers.values()
    )

  @property
  def input_names(self) -> list[str]:
    """The names of the inputs, in their order."""
    return list(self.model.input_names)

  @property
  def input_shapes(self) -> list[Shape]:
    """The inputs' shapes without the batch axis."""
    return [self.graph.shapes[value] for value in self.graph.inputs]

  @property
  def input_entries(self) -> int:
    """Numbers in one sample of all inputs."""
    return sum(map(math.prod, self.input_shapes))

  def params(self) -> Params:
    """The weights as they are now, float64.

    Raises:
      ValueError: one is NaN or infinite.
    """
    return read_params(self.graph)

  def heads(self, task: str | None = None) -> list[Head]:
    """What the outputs mean; see `heads_of`."""
    return heads_of(self.graph, task)


def _graph_like(graph: Graph, copy: keras.Model) -> Graph | None:
  """The graph with a copy's layers in place of its own.

  None where the copy's calls are not those of the graph.
  """
  found = layers_of(copy)
  layers = {path: unwrapped(layer) for path, layer in found.items()}
  if not graph.layers.keys() <= layers.keys():
    return None
  paths = {id(layer): path for path, layer in layers.items()}
  whole = {call.path for call in graph.layer_calls}
  made = _calls(copy, paths, whole)
  if [path for path, _ in made] != [call.path for call in graph.layer_calls]:
    return None
  calls: list[Call] = [
    dataclasses.replace(call, keras_node=node)
    for call, (_, node) in zip(graph.layer_calls, made, strict=True)
  ]
  return dataclasses.replace(
    graph,
    layers={path: layers[path] for path in graph.layers},
    wrappers={
      path: found[path]
      for path in graph.layers
      if found[path] is not layers[path]
    },
    paths=paths,
    layer_calls=calls,
  )


def _calls(
  model: keras.Model, paths: dict[int, Path], whole: set[Path]
) -> list[tuple[Path, object]]:
  """Every call of a layer that is no walked model, with Keras's own record."""
  found: list[tuple[Path, object]] = []
  for call in compat.ordered_nodes(model):
    if call.is_input:
      continue
    layer = unwrapped(call.layer)
    path = paths[id(layer)]
    if compat.is_graph_model(layer) and path not in whole:
      found += _calls(layer, paths, whole)
    else:
      found.append((path, call))
  return found
