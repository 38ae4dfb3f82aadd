"""A Keras model as a flat graph of operations.

Nested models are inlined, pruning wrappers looked through. Each tensor is a
value with an index; each operation a node between values. The layer a node
came from is known by its path of names, which is the same in the original,
the wrapped, the stripped and the compact model. A layer that is reached in
several ways, as inside a nested model that another one holds as well, has one
path, the first: it is one layer, called repeatedly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.layers.base import Path, handler_of, views_of
from tfmot_paoding.network.keras_masks import carries_mask
from tfmot_paoding.network.lowering import Surroundings, lower_call, shape_of
from tfmot_paoding.network.told_tasks import told_tasks
from tfmot_paoding.ops import Op, Shape, WeightRef

# What the units of layers are that leave a choice: see `Graph.asked`.
ViewLike = str | Mapping[Path, str] | None


@dataclasses.dataclass(frozen=True)
class Node:
  """One operation between values.

  Attributes:
    op: The operation.
    inputs: The indexes of the values it reads.
    outputs: The indexes of the values it makes.
    path: The path of the layer it came from.
  """

  op: Op
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  path: Path


@dataclasses.dataclass(frozen=True)
class Call:
  """One call of a layer that is no walked model.

  Attributes:
    keras_node: Keras's own record of the call.
    path: The layer's path.
    inputs: The values that its Keras tensors are, in their order.
    outputs: The values that it makes.
    nodes: Its operations; none for an identity, whose output is its input.
    names: The values of its inside, by the names that the handler gave.
    inside: Whether its operations are a graph of the layer's own, which any
      of its values can be run by.
  """

  keras_node: Any
  path: Path
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  nodes: tuple[Node, ...]
  names: dict[str, int] = dataclasses.field(default_factory=dict)
  inside: bool = False

  @property
  def inner(self) -> set[int]:
    """The values that its operations make and that it does not give."""
    made = {value for node in self.nodes for value in node.outputs}
    return made - set(self.outputs)


@dataclasses.dataclass
class Graph:
  """A model's operations in the order of computation.

  Attributes:
    nodes: Inputs first.
    shapes: Each value's shape without the batch axis.
    inputs: The values that are the model's inputs.
    outputs: The values that are the model's outputs.
    layers: The layer of each path, wrappers taken off; also those inside
      nested models that are not walked.
    wrappers: The pruning wrapper of each path that has one.
    calls: How often each layer is called.
    paths: The path of each layer by its id.
    masked: The values that a Keras mask may travel with.
    held: Values inside layers whose units must stay, and why.
    views: What the units are of each layer that leaves a choice.
    asked: What was asked for: one view for all such layers, or by path; None
      for what their wrappers say, and 'heads' where they have none.
    told: What the model's loss says of each output, see `told_tasks`.
    layer_calls: Every call, in the order of computation.
    layer_inputs: The values that each layer reads, in its last call.
    layer_outputs: The values that each layer makes, in its last call.
  """

  nodes: list[Node] = dataclasses.field(default_factory=list)
  shapes: list[Shape] = dataclasses.field(default_factory=list)
  inputs: tuple[int, ...] = ()
  outputs: tuple[int, ...] = ()
  layers: dict[Path, Any] = dataclasses.field(default_factory=dict)
  wrappers: dict[Path, Any] = dataclasses.field(default_factory=dict)
  calls: dict[Path, int] = dataclasses.field(default_factory=dict)
  paths: dict[int, Path] = dataclasses.field(default_factory=dict)
  masked: set[int] = dataclasses.field(default_factory=set)
  held: dict[int, str] = dataclasses.field(default_factory=dict)
  views: dict[Path, str] = dataclasses.field(default_factory=dict)
  asked: ViewLike = None
  told: tuple[str | None, ...] = ()
  layer_calls: list[Call] = dataclasses.field(default_factory=list)
  layer_inputs: dict[Path, tuple[int, ...]] = dataclasses.field(
    default_factory=dict
  )
  layer_outputs: dict[Path, tuple[int, ...]] = dataclasses.field(
    default_factory=dict
  )

  def add_value(self, shape: Shape) -> int:
    """A new value of a shape."""
    self.shapes.append(shape)
    return len(self.shapes) - 1

  def weight_refs(self) -> dict[WeightRef, None]:
    """Every weight that the operations read, each once, in order."""
    return {ref: None for node in self.nodes for ref in node.op.weights()}

  def weight(self, ref: WeightRef) -> Any:
    """The variable that a reference stands for."""
    return ref.of(self.layers[ref.layer])

  def readers(self) -> dict[int, list[Node]]:
    """The nodes that read each value."""
    found: dict[int, list[Node]] = {i: [] for i in range(len(self.shapes))}
    for node in self.nodes:
      for value in node.inputs:
        found[value].append(node)
    return found

  def writer(self) -> dict[int, Node]:
    """The node that makes each value; the inputs have none."""
    return {value: node for node in self.nodes for value in node.outputs}


def build_graph(model: keras.Model, views: ViewLike = None) -> Graph:
  """The graph of a built Sequential or functional model.

  Args:
    model: A tf_keras model, wrapped for pruning or not.
    views: What the units are of layers that leave a choice; see `Graph.asked`.

  Returns:
    Its graph.

  Raises:
    TypeError: `model` is not a tf_keras model.
    ValueError: `model` is subclassed or not built.
  """
  check_model(model)
  told = tuple(told_tasks(model))
  graph = Graph(paths=layer_paths(model), asked=views, told=told)
  inputs = [graph.add_value(shape_of(tensor)) for tensor in model.inputs]
  graph.inputs = tuple(inputs)
  graph.outputs = tuple(_inline(graph, model, inputs))
  return graph


def check_model(model: Any) -> None:
  """Raises unless `model` is a built Sequential or functional tf_keras model.

  Raises:
    TypeError: it is no tf_keras model.
    ValueError: it is subclassed or not built.
  """
  if compat.is_keras3(model):
    raise TypeError(
      f'Expected a tf_keras (Keras 2) model, but got the Keras 3 object '
      f'{type(model).__name__}. TFMOT runs on tf_keras: pass a Keras 3 model '
      'through from_keras3 first; or build it with tf_keras from the start, '
      'for which TF_USE_LEGACY_KERAS=1 makes tf.keras stand.'
    )
  if not isinstance(model, keras.Model):
    raise TypeError(
      'Expected a Sequential or functional tf_keras model, but got '
      f'{model!r}. Single layers and lists of layers cannot be pruned by '
      'what they mean to the layers around them: pass the whole model.'
    )
  _check_wrappers(model)
  if compat.is_graph_model(model):
    return
  if isinstance(model, keras.Sequential):
    raise ValueError(
      f'The model {model.name!r} is not built. Give its first layer an '
      '`input_shape`, or call `model.build(input_shape)` first.'
    )
  raise ValueError(
    f'The model {model.name!r} is subclassed: its layers cannot be walked. '
    'Pass from_subclassed(model), which traces its `call`; or express it with '
    'the functional API, tf_keras.Model(inputs, outputs).'
  )


def _check_wrappers(model: keras.Model) -> None:
  """Raises where a SavedModel was loaded without the class of its wrappers.

  What comes of them are traced functions of the same class name, which
  strip_pruning leaves in place.
  """
  for layer in model.layers:
    if compat.is_graph_model(layer):
      _check_wrappers(layer)
    elif compat.is_revived(layer) and type(layer).__name__.startswith('Prune'):
      raise ValueError(
        f'The layer {layer.name!r} of the model {model.name!r} is a pruning '
        f'wrapper ({type(layer).__name__}) that was loaded from a SavedModel '
        'without its class, so that nothing can strip it. Import '
        'tfmot_paoding, and load the model within prune_scope().'
      )


def unwrapped(layer: Any) -> Any:
  """The layer inside a pruning wrapper, or the layer itself."""
  return layer.layer if isinstance(layer, compat.PruneLowMagnitude) else layer


def layer_paths(model: keras.Model) -> dict[int, Path]:
  """The path of each layer inside a model, nested models' too, by its id.

  Args:
    model: A built Sequential or functional model, wrapped for pruning or not;
      the ids are those of the layers inside wrappers.
  """
  return {id(unwrapped(one)): path for path, one in layers_of(model).items()}


def layers_of(model: keras.Model) -> dict[Path, Any]:
  """Each layer inside a model, nested models' too, by its path.

  Args:
    model: A built Sequential or functional model, wrapped for pruning or not;
      wrappers stay on their layers.
  """
  found: dict[Path, Any] = {}
  seen: set[int] = set()

  def walk(inside: keras.Model, outer: Path) -> None:
    called = [call.layer for call in compat.ordered_nodes(inside)]
    for one in [*called, *inside.layers]:
      layer = unwrapped(one)
      if id(layer) in seen:
        continue
      seen.add(id(layer))
      path = (*outer, layer.name)
      found[path] = one
      if compat.is_graph_model(layer):
        walk(layer, path)

  walk(model, ())
  return found


def read_params(graph: Graph) -> dict[WeightRef, np.ndarray]:
  """Every weight that the operations read, as float64.

  Raises:
    ValueError: a weight is NaN or infinite.
  """
  params = {}
  for ref in graph.weight_refs():
    value = keras.backend.get_value(graph.weight(ref))
    params[ref] = np.asarray(value, np.float64)
    if not np.all(np.isfinite(params[ref])):
      raise ValueError(
        f'The weight {ref.name!r} of layer {"/".join(ref.layer)!r} holds NaN '
        'or infinite values. Repair or retrain the model first.'
      )
  return params


def _inline(graph: Graph, model: keras.Model, inputs: list[int]) -> list[int]:
  """Appends a model's nodes; returns the values of its outputs."""
  values: dict[tuple[int, int, int], int] = {}

  def bind(tensor: Any, value: int) -> None:
    layer, node, position = compat.tensor_position(tensor)
    values[id(layer), node, position] = value

  for tensor, value in zip(model.inputs, inputs, strict=True):
    bind(tensor, value)
  for call in compat.ordered_nodes(model):
    if call.is_input:
      continue
    sources = [
      values[id(layer), node, position]
      for layer, node, position in compat.inbound_tensors(call)
    ]
    made = _add_call(graph, call, sources)
    for position, value in enumerate(made):
      values[id(call.layer), compat.node_position(call), position] = value
  outputs = []
  for tensor in model.outputs:
    layer, node, position = compat.tensor_position(tensor)
    outputs.append(values[id(layer), node, position])
  return outputs


def _add_call(graph: Graph, call: Any, sources: list[int]) -> list[int]:
  """Appends one call of a layer or nested model; returns its outputs."""
  layer = unwrapped(call.layer)
  path = graph.paths[id(layer)]
  graph.calls[path] = graph.calls.get(path, 0) + 1
  graph.layers[path] = layer
  if layer is not call.layer:
    graph.wrappers[path] = call.layer
  odd = _what_is_odd(call, layer)
  if compat.is_graph_model(layer) and not odd:
    made = _inline(graph, layer, sources)
  else:
    graph.layer_calls.append(_append(graph, call, layer, path, sources))
    made = list(graph.layer_calls[-1].outputs)
  graph.layer_inputs[path] = tuple(sources)
  graph.layer_outputs[path] = tuple(made)
  return made


def _what_is_odd(call: Any, layer: Any) -> str | None:
  """Why a call is not the layer's function at inference, or None.

  Args:
    call: The call.
    layer: The layer, its wrapper taken off.
  """
  if call.call_kwargs.get('training') not in (None, False):
    return 'is called with training=True'
  asked = handler_of(layer).arguments
  if asked:
    return _what_is_more(_arguments(call, layer), asked)
  if not compat.takes_plain_tensors(call):
    return 'takes or gives more than plain tensors'
  further = [
    name
    for name, value in call.call_kwargs.items()
    if value is not None and name != 'training'
  ]
  if further:
    return f'is called with `{further[0]}`, which is no tensor of the model'
  return None


def _arguments(call: Any, layer: Any) -> dict[str, Any]:
  """What a call passes, by the names of the layer's parameters."""
  return compat.tensor_arguments(call, layer._call_spec.arg_names)


def _what_is_more(given: dict[str, Any], asked: tuple[str, ...]) -> str | None:
  """Why a handler cannot tell what a call does, or None.

  Args:
    given: What the call passes, the layer's first parameter at the front.
    asked: The further parameters that the handler reads.
  """
  first, *others = given.items()
  flat = tf.nest.flatten(first[1])
  if not all(isinstance(value, compat.TensorNumber) for value in flat):
    return 'is called with constants'
  for name, value in others:
    if name == 'training' and value not in (None, False):
      return 'is called with training=True'
    if name not in asked and name != 'training' and value is not None:
      return f'is called with `{name}`, which is not known'
    if not isinstance(value, (compat.TensorNumber, bool, type(None))):
      return f'is called with `{name}`, which is no tensor of the model'
  return None


def _note_layers(graph: Graph, layer: Any) -> None:
  """Files the layers of a nested model that is not walked."""
  if not compat.is_graph_model(layer):
    return
  for inner in map(unwrapped, layer.layers):
    graph.layers[graph.paths[id(inner)]] = inner
    _note_layers(graph, inner)


def _view(graph: Graph, layer: Any, path: Path) -> str | None:
  """What a layer's units are, where that is to be chosen; it is noted."""
  views = views_of(layer)
  if not views:
    return None
  asked = graph.asked
  if isinstance(asked, Mapping):
    asked = asked.get(path)
  elif asked is None:
    asked = getattr(graph.wrappers.get(path), 'attention', None)
  graph.views[path] = asked or views[0]
  return graph.views[path]


def _append(
  graph: Graph, call: Any, layer: Any, path: Path, sources: list[int]
) -> Call:
  """Appends the operations of one layer call."""
  _note_layers(graph, layer)
  masked = any(source in graph.masked for source in sources)
  lowered = lower_call(
    call,
    layer,
    path,
    Surroundings(
      [graph.shapes[source] for source in sources],
      masked,
      sources[0] in graph.inputs,
      _what_is_odd(call, layer),
      _arguments(call, layer) if handler_of(layer).arguments else {},
      _view(graph, layer, path),
    ),
  )
  # The call's inputs, and a value for each tensor that it makes.
  values = [*sources, *map(graph.add_value, lowered.shapes)]
  nodes = tuple(
    Node(
      op,
      tuple(values[k] for k in reads),
      tuple(values[k] for k in made),
      path,
    )
    for op, reads, made in lowered.steps
  )
  graph.nodes.extend(nodes)
  graph.held.update({values[k]: why for k, why in lowered.held.items()})
  names = {name: values[k] for name, k in lowered.names.items()}
  outputs = tuple(values[k] for k in lowered.outputs)
  tensors = tf.nest.flatten(call.outputs)
  graph.masked.update(
    value
    for value, tensor in zip(outputs, tensors, strict=True)
    if value not in sources and carries_mask(layer, tensor, masked)
  )
  return Call(call, path, tuple(sources), outputs, nodes, names, lowered.inside)
