"""What a `call` of Keras 3 is made of, as a functional Keras 3 model."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.functional import tracing
from tfmot_paoding.functional.input_specs import (
  as_specs,
  by_argument,
  unknown_shape,
)
from tfmot_paoding.functional.layer_names import free_name

# What a symbolic call of a layer leaves on it.
_TRACED_ATTRIBUTES = frozenset(
  {'_inbound_nodes', '_losses', '_outbound_nodes', 'name'}
)


def is_traced(operation: Any) -> bool:
  """Whether someone's own code says what a layer or model of Keras 3 does."""
  import keras as keras3

  if not isinstance(operation, keras3.layers.Layer):
    return False
  where = next(x for x in type(operation).__mro__ if 'call' in vars(x))
  if where.__module__.split('.')[0] == 'keras':
    return False
  inner = operation._flatten_layers(include_self=False)
  held = {id(weight) for part in inner for weight in part.weights}
  return isinstance(operation, keras3.Model) or all(
    id(weight) in held for weight in operation.weights
  )


def call_specs(model: Any, input_shape: Any = None) -> dict[str, Any]:
  """The tensors that a Keras 3 model's `call` takes, by argument.

  Args:
    model: A subclassed model.
    input_shape: Of one sample; None for what the model was built with.

  Returns:
    Structures of `tf.TensorSpec` by the name of the argument.

  Raises:
    ValueError: the model was not built, and no shape is given.
  """
  parameters = inspect.signature(model.call).parameters
  names, dtype = list(parameters), model.input_dtype
  if input_shape is not None:
    return by_argument(model, input_shape, dtype)
  shapes = getattr(model, '_build_shapes_dict', None)
  if not shapes:
    raise unknown_shape(model)
  specs = {
    # Where `build` takes one shape, it is the first argument's.
    key if key in names else names[0]: as_specs(shape, dtype, batched=True)
    for key, shape in (
      (key.removesuffix('_shape'), shape) for key, shape in shapes.items()
    )
  }
  for name, parameter in parameters.items():
    if parameter.default is parameter.empty and name not in specs:
      raise unknown_shape(model)  # Keras 3 keeps the first argument's alone
  return specs


class Traced:
  """A `call` as a functional model of the layers that it calls.

  Attributes:
    graph: The model, of the owner's own layers.
    in_training: Whether it is the function in training, as the other one
      lacks something of it.
  """

  def __init__(self, owner: Any, arguments: dict[str, Any]):
    self.in_training = False
    with tracing.noting_losses(owner):
      self.graph = _traced(owner, arguments, None)
      if tracing.is_told(owner, arguments):
        other = _traced(owner, arguments, tracing.IN_TRAINING)
        if _calls(other) != _calls(self.graph):
          self.graph, self.in_training = other, True


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
  """Leaves no trace of the tracing on a model's layers."""
  kept = tracing.undisturbed(model, _TRACED_ATTRIBUTES)
  with kept, compat.dispatching(_Dispatcher()):
    yield


class _Dispatcher(compat.GlobalOpDispatcher):
  """Makes operations of TensorFlow's functions on Keras 3 tensors."""

  def handle(self, op: Any, args: Any, kwargs: Any) -> Any:
    """The operation's output, if there is such a tensor among the inputs."""
    import keras as keras3

    if any(
      isinstance(leaf, keras3.KerasTensor)
      for leaf in tf.nest.flatten([list(args), kwargs])
    ):
      return _function_operation(op)(*args, **kwargs)
    return self.NOT_SUPPORTED


def _function_operation(function: Any) -> Any:
  """TensorFlow's function as an operation of Keras 3."""
  import keras as keras3

  class TensorFlowFunction(keras3.Operation):
    def call(self, *args: Any, **kwargs: Any) -> Any:
      return function(*args, **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
      return keras3.src.backend.compute_output_spec(self.call, *args, **kwargs)

  operation = TensorFlowFunction()
  operation.function = function
  return operation


def _traced(owner: Any, arguments: dict[str, Any], training: Any) -> Any:
  import keras as keras3

  inputs: list[Any] = []

  def symbol(leaf: Any) -> Any:
    if not isinstance(leaf, (tf.TensorSpec, keras3.KerasTensor)):
      return leaf
    made = keras3.Input(
      batch_shape=tuple(leaf.shape),
      dtype=tf.as_dtype(leaf.dtype).name,
      # By its place: Keras counts names all over the process.
      name=f'input_{len(inputs) + 1}',
    )
    inputs.append(made)
    return made

  symbols = {
    key: tf.nest.map_structure(symbol, value)
    for key, value in arguments.items()
  }
  first = next(iter(symbols.values()))
  told = tracing.is_told(owner, arguments)
  outputs = tracing.call_with(owner, symbols, told, training)
  leaves = tf.nest.flatten(outputs)
  if not all(isinstance(leaf, keras3.KerasTensor) for leaf in leaves):
    raise tracing.differs(owner)
  name_apart(outputs)
  whole = len(tf.nest.flatten(first)) == len(inputs)
  return keras3.Model(first if whole else inputs, outputs)


def name_apart(outputs: Any, kept: list[Any] | None = None) -> None:
  """Renames operations on the way to some tensors that share a name.

  Args:
    outputs: Keras 3 tensors in any structure.
    kept: Layers whose names are to be kept if possible.
  """
  import keras as keras3

  found: dict[int, Any] = {}
  stack = list(keras3.tree.flatten(outputs))
  while stack:
    operation, position, _ = stack.pop()._keras_history
    node = operation._inbound_nodes[position]
    if id(node) in found:
      continue
    found[id(node)] = operation
    stack.extend(node.input_tensors)
  operations = {id(x): x for x in reversed(found.values())}
  layers = {id(layer) for layer in kept or []}
  taken: set[str] = set()
  for operation in sorted(
    operations.values(), key=lambda x: id(x) not in layers
  ):
    name = free_name(operation.name, taken)
    if name != operation.name:
      operation.name = name
    taken.add(name)


def _calls(graph: Any) -> list[Any]:
  """Which operations are called on what, to tell two traces apart."""
  import keras as keras3

  numbers: dict[int, int] = {}
  calls = []
  for depth in sorted(graph._nodes_by_depth, reverse=True):
    for node in graph._nodes_by_depth[depth]:
      for tensor in node.output_tensors:
        numbers[id(tensor)] = len(numbers)
      if node.is_input:
        continue
      operation = node.operation
      if isinstance(operation, keras3.layers.Layer):
        what: Any = id(operation)
      else:
        what = (
          type(operation).__name__,
          {
            key: repr(value)
            for key, value in vars(operation).items()
            if not key.startswith('_') and key != 'name'
          },
        )
      calls.append(
        (
          what,
          tf.nest.map_structure(
            lambda x: numbers.get(id(x), repr(tracing.without_flags(x))),
            [list(node.arguments.args), dict(node.arguments.kwargs)],
          ),
        )
      )
  return calls
