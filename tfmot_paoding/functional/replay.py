"""Layers and models traced, and what they did replayed on new layers.

`call` is run on symbolic tensors, which shows the layers it is made of. Layers
and models inside whose own `call` can be traced become nested models of the
same name; what cannot be opened is copied whole.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.functional import sizes, tracing
from tfmot_paoding.functional.layer_names import name_apart
from tfmot_paoding.network.cloning import fresh_layer
from tfmot_paoding.network.told_shapes import told


class Opening:
  """Which layers of a model that is replayed are shown to be made of what."""

  def opens(self, layer: Any, args: Any, kwargs: Any) -> bool:
    """Whether its `call` is traced: of somebody's own layers, made of others.

    Args:
      layer: A layer that is no functional model.
      args: What it is called with.
      kwargs: What it is called with by name.
    """
    del args, kwargs
    return compat.is_made_of_layers(layer)

  def behind(self, layer: Any) -> keras.Model | None:
    """What its activation does, to stand behind a layer without; None: stays.

    Args:
      layer: A layer that is not opened.
    """
    del layer
    return None

  def plain(self, layer: Any) -> Any:
    """The layer that it answers as, once trained: itself, or one inside it.

    Args:
      layer: A layer that is not opened.
    """
    return layer

  def steps(self, layer: Any) -> keras.Model | None:
    """What a model at each step of time does; None: it stays.

    Args:
      layer: A layer that is not opened.
    """
    del layer
    return None


class Tracer:
  """Traces models and layers; each once, however often it is called."""

  def __init__(self, opening: Opening):
    self._opening = opening
    # By the identity of a layer: what stands behind it.
    self._behind: dict[int, keras.Model] = {}
    # By the identity of what was called: what it became.
    self._made: dict[int, Any] = {}
    # By that, and by how it was called: what a trace of it became.
    self._insides: dict[tuple[int, str | None], keras.Model] = {}
    self._kept: list[Any] = []  # identities stay theirs while they are here
    self.pairs: list[tuple[Any, Any]] = []  # parts before the whole
    self.leaves: list[tuple[Any, Any]] = []
    # Whose function in training was traced, as it is not the other one.
    self.in_training: list[Any] = []
    # Of which copies, made elsewhere, were replayed.
    self.stepped: list[Any] = []
    self.renamed: dict[str, str] = {}

  def inside(
    self, owner: Any, arguments: dict[str, Any], *, nested: bool = False
  ) -> keras.Model:
    """What a model or layer does in its `call`, as a functional model.

    Args:
      owner: The model or layer.
      arguments: What `call` is told, by name.
      nested: Whether it is to stand in another model; see `replay`.
    """
    with tracing.noting_losses(owner):
      traced = self.traced(owner, arguments, None)
      if tracing.is_told(owner, arguments):
        other = self.traced(owner, arguments, tracing.IN_TRAINING)
        if _calls(other) != _calls(traced):
          self.in_training.append(owner)
          traced = other
    made = self.replay(traced, owner.name, nested=nested)
    self.pairs.append((owner, made))
    return made

  def traced(
    self, owner: Any, arguments: dict[str, Any], training: Any
  ) -> keras.Model:
    """The layers that a `call` goes through, as a model of those layers."""
    # By its place, as Keras names what subclassed models take in its files;
    # its count goes on all over the process.
    names = (f'input_{number}' for number in itertools.count(1))
    symbols = {
      key: tf.nest.map_structure(lambda leaf: _symbol(leaf, names), value)
      for key, value in arguments.items()
    }
    told = tracing.is_told(owner, arguments)
    outputs = tracing.call_with(owner, symbols, told, training)
    if not all(map(compat.is_keras_tensor, tf.nest.flatten(outputs))):
      raise tracing.differs(owner)
    self.renamed.update(name_apart(outputs))
    inputs = packed_inputs(symbols)
    traced = keras.Model(inputs, outputs)
    self._kept.append(traced)
    return traced

  def replay(
    self, traced: keras.Model, name: str, *, nested: bool = False
  ) -> keras.Model:
    """The same calls of new layers.

    Args:
      traced: A functional model.
      name: What the new one is called.
      nested: Whether it takes and gives tensors in a list where the other has
        them in a dict, say, which no one sees of a model in another.
    """
    tensors: dict[int, Any] = {}
    # By the same: what is a number, and the call for who needs a tensor of it.
    numbers: dict[int, Any] = {}
    waiting: dict[int, Any] = {}

    def new(leaf: Any) -> Any:
      if id(leaf) in waiting:
        make(waiting[id(leaf)], new)
      return tensors.get(id(leaf), tracing.without_flags(leaf))

    def make(node: Any, told_by: Callable[[Any], Any]) -> None:
      with told():
        results = self._call(node, told_by)
      for old, made in zip(
        tf.nest.flatten(node.outputs), tf.nest.flatten(results), strict=True
      ):
        tensors[id(old)] = made
        waiting.pop(id(old), None)

    for node in compat.ordered_nodes(traced):
      olds = tf.nest.flatten(node.outputs)
      if node.is_input:
        tensors[id(olds[0])] = _symbol(olds[0], iter([node.layer.name]))
      elif not isinstance(node.layer, compat.FUNCTION_LAYERS):
        make(node, new)
      elif sizes.note_numbers(node, numbers):
        waiting.update((id(old), node) for old in olds)
      else:
        make(node, sizes.in_numbers(node, numbers, new))
    outputs = tf.nest.map_structure(new, compat.output_structure(traced))
    if len({known for known, _ in self._insides}) < len(self._insides):
      self.renamed.update(name_apart(outputs, [new for _, new in self.pairs]))
    inputs = tf.nest.map_structure(new, compat.input_structure(traced))
    if nested:
      inputs, outputs = plain_tensors(inputs), plain_tensors(outputs)
    return keras.Model(inputs, outputs, name=name)

  def _call(self, node: Any, new: Callable[[Any], Any]) -> Any:
    """One call of a layer, on the new tensors."""
    layer, args, kwargs = node.layer, node.call_args, node.call_kwargs
    _check_constants(node)
    if isinstance(layer, compat.SlicingOpLambda):
      args, kwargs = _of_every_axis(node), {}
    made, is_inside = self._layer(layer, args, kwargs)
    if is_inside:
      arguments = arguments_of(layer, args, kwargs)
      inputs = tf.nest.map_structure(new, packed_inputs(arguments))
      inputs = plain_tensors(inputs)
      training = arguments.get('training')
      own = {'training': training} if isinstance(training, bool) else {}
      return made(inputs, **own)
    kwargs = {
      key: value
      for key, value in kwargs.items()
      if not isinstance(value, tracing.TrainingFlag)
    }
    if compat.is_graph_model(layer):
      args = (plain_tensors(args[0]), *args[1:])
    outputs = made(
      *tf.nest.map_structure(new, tuple(args)),
      **tf.nest.map_structure(new, kwargs),
    )
    behind = self._behind.get(id(layer))
    return outputs if behind is None else behind(outputs)

  def _layer(self, layer: Any, args: Any, kwargs: Any) -> tuple[Any, bool]:
    """What stands for a layer, and whether it was made of its inside."""
    traced = not compat.is_graph_model(layer) and self._opening.opens(
      layer, args, kwargs
    )
    if id(layer) in self._made:
      return self._made[id(layer)], False
    way = id(layer), _way_of(layer, args, kwargs) if traced else None
    if way in self._insides:
      return self._insides[way], True
    made, is_inside = self._new(layer, args, kwargs, traced)
    if is_inside:
      self._insides[way] = made
    else:
      self._made[id(layer)] = made
    return made, is_inside

  def _new(
    self, layer: Any, args: Any, kwargs: Any, traced: bool
  ) -> tuple[Any, bool]:
    if compat.is_graph_model(layer):
      made = self.replay(layer, layer.name, nested=True)
      self.pairs.append((layer, made))
      return made, False
    reason = None
    if traced:
      try:
        arguments = arguments_of(layer, args, kwargs)
        return self.inside(layer, arguments, nested=True), True
      except ValueError as error:
        opened_before = any(known == id(layer) for known, _ in self._insides)
        if isinstance(layer, keras.Model) or (opened_before and layer.weights):
          raise  # another copy would have weights of its own
        reason = error
    steps = self._opening.steps(layer)
    if steps is not None:
      made = self.replay(steps, layer.name)
      self.stepped.append(layer)
      return made, False
    plain = self._opening.plain(layer)
    behind, config = self._opening.behind(plain), None
    if behind is not None:
      self._behind[id(layer)] = self.replay(behind, behind.name)
      config = {**plain.get_config(), 'activation': 'linear'}
    try:
      made = fresh_layer(plain, config)
    except ValueError as error:
      if reason is None:
        raise
      raise reason from error  # why it had to be copied whole
    made._name = layer.name
    self.pairs.append((layer, made))
    self.leaves.append((plain, made))
    return made, False


def _symbol(leaf: Any, names: Iterator[str]) -> Any:
  """A symbolic input for a tensor or its description; else what it is."""
  if not isinstance(leaf, tf.TensorSpec) and not compat.is_keras_tensor(leaf):
    return leaf
  batch, *sizes = leaf.shape
  return keras.Input(
    shape=sizes, batch_size=batch, dtype=leaf.dtype, name=next(names)
  )


def packed_inputs(arguments: dict[str, Any]) -> Any:
  """What a functional model takes for the arguments of a `call`.

  The first argument as it is if it alone holds tensors, else a list of all
  tensors in order.
  """
  first = next(iter(arguments.values()))
  tensors = [x for x in tf.nest.flatten(first) if _is_tensor(x)]
  everything = [
    x
    for value in arguments.values()
    for x in tf.nest.flatten(value)
    if _is_tensor(x)
  ]
  if len(tensors) == len(everything) == len(tf.nest.flatten(first)):
    return first
  return everything


def plain_tensors(structure: Any) -> Any:
  """A tensor, or a list of them, as it is; else a list of all there are."""
  leaves = tf.nest.flatten(structure)
  if structure is leaves[0] or (
    isinstance(structure, (list, tuple)) and len(structure) == len(leaves)
  ):
    return structure
  return leaves if len(leaves) > 1 else leaves[0]


def _is_tensor(leaf: Any) -> bool:
  return isinstance(
    leaf, (tf.TensorSpec, np.ndarray, tf.Tensor)
  ) or compat.is_keras_tensor(leaf)


def arguments_of(layer: Any, args: Any, kwargs: Any) -> dict[str, Any]:
  """The arguments of a call by name, in the order of the signature."""
  signature = inspect.signature(layer.call)
  return dict(signature.bind(*args, **kwargs).arguments)


def _way_of(layer: Any, args: Any, kwargs: Any) -> str:
  """How a layer is called: what is a tensor where, and what else it is."""
  return repr(
    {
      key: tf.nest.map_structure(
        lambda x: 'tensor' if _is_tensor(x) else repr(tracing.without_flags(x)),
        value,
      )
      for key, value in arguments_of(layer, args, kwargs).items()
    }
  )


def _check_constants(node: Any) -> None:
  """Raises where a weight is used outside of all layers."""
  for leaf in tf.nest.flatten([list(node.call_args), node.call_kwargs]):
    if isinstance(leaf, tf.Variable):
      raise ValueError(
        f'The weight {leaf.name!r} is used in {node.layer.name!r}, outside of '
        'all layers: a model without that `call` has no place for it. Put it, '
        'and what is done with it, into a layer that has a `get_config`.'
      )


def _of_every_axis(node: Any) -> tuple[Any, Any]:
  """What is sliced, and how, without `...`: .keras files cannot hold that."""
  given = compat.call_arguments(node)
  tensor, spec = given['tensor'], given['slice_spec']
  if not isinstance(spec, (list, tuple)) or Ellipsis not in spec:
    return tensor, spec
  whole = {'start': None, 'stop': None, 'step': None}
  named = [x for x in spec if x not in (Ellipsis, tf.newaxis)]
  at = spec.index(Ellipsis)
  missing = len(tensor.shape) - len(named)
  return tensor, (*spec[:at], *[whole] * missing, *spec[at + 1 :])


def _calls(traced: keras.Model) -> list[Any]:
  """Which layers are called on what, to tell two traces apart."""
  numbers: dict[int, int] = {}
  calls = []
  for node in compat.ordered_nodes(traced):
    for tensor in tf.nest.flatten(node.outputs):
      numbers[id(tensor)] = len(numbers)
    if node.is_input:
      continue
    if isinstance(node.layer, compat.FUNCTION_LAYERS):
      layer = {**node.layer.get_config(), 'name': None}
    else:
      layer = id(node.layer)
    calls.append(
      tf.nest.map_structure(
        lambda x: numbers.get(id(x), repr(tracing.without_flags(x))),
        [repr(layer), list(node.call_args), node.call_kwargs],
      )
    )
  return calls
