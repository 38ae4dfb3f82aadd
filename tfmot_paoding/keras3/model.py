"""A Keras 3 model as a tf_keras model, its graph replayed node by node."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import callers, compat
from tfmot_paoding.compat import keras
from tfmot_paoding.functional import answers, tracing
from tfmot_paoding.functional.layer_names import SafeNames, name_apart
from tfmot_paoding.functional.opening import opened
from tfmot_paoding.functional.own_training import warn_of_own_training
from tfmot_paoding.functional.replay import packed_inputs
from tfmot_paoding.functional.subclassed import from_subclassed, is_subclassed
from tfmot_paoding.keras3 import tracing as keras3_tracing
from tfmot_paoding.keras3.held_layer import HeldLayer, held
from tfmot_paoding.keras3.layers import (
  Chain,
  convert_layer,
  copy_weights,
  no_counterpart,
)
from tfmot_paoding.keras3.operations import convert_operation
from tfmot_paoding.network.input_shapes import with_input_shape
from tfmot_paoding.network.told_shapes import told
from tfmot_paoding.network.told_tasks import hand_on

# What tf_keras and TensorFlow raise at arguments that they do not take.
_CALL_ERRORS = (TypeError, AttributeError, ValueError, tf.errors.OpError)


def from_keras3(model: Any, input_shape: Any = None) -> keras.Model:
  """A Keras 3 model as a tf_keras (Keras 2) model with the same outputs.

  Nested models stay nested, shared layers shared, and names are kept. The
  result is compared with the original on random inputs before it is returned.

  Args:
    model: A Keras 3 model, not changed: a built Sequential, a functional, or
      a subclassed one whose `call` is made of layers and functions, which is
      traced. A tf_keras model is returned as it is.
    input_shape: Of one sample, where a subclassed model was not built or
      called yet, as `from_subclassed` takes it; the sizes that another one
      leaves open, which are fixed.

  Returns:
    The tf_keras model, not compiled.

  Raises:
    TypeError: `model` is no Keras model.
    ValueError: it is not built or cannot be traced, or an operation, or a
      layer's setting, has no tf_keras counterpart; the message names what it
      is. A layer whose class has none is run as it is, and its units stay.
  """
  if isinstance(model, keras.Model):
    return model
  if not compat.is_keras3(model):
    raise TypeError(f'Expected a Keras model, but got {model!r}.')
  import keras as keras3

  replay = _Replay()
  if not (isinstance(model, keras3.Model) and keras3_tracing.is_traced(model)):
    with keras3_tracing.undisturbed(model):
      converted = replay.model(model)
    structure = getattr(model, '_functional', model)._inputs_struct
    arguments = {'inputs': structure}
  else:
    arguments = keras3_tracing.call_specs(model, input_shape)
    if not model.built:
      model(**_samples(arguments))
    with keras3_tracing.undisturbed(model):
      converted = replay.inside(model, arguments)
  replay.set_trainable()
  replay.warn(model)
  _compare(model, converted, arguments, replay)
  hand_on(model, converted)
  if keras3_tracing.is_traced(model):
    return converted
  return with_input_shape(converted, input_shape)


def is_keras3_model(thing: Any) -> bool:
  """Whether `thing` is a Keras 3 model, of whatever kind."""
  if not compat.is_keras3(thing):
    return False
  import keras as keras3

  return isinstance(thing, keras3.Model)


def as_tf_keras(model: Any, input_shape: Any = None) -> Any:
  """What a public function works on.

  Keras 3 models converted, subclassed models traced, anything else as it is.

  Args:
    model: What it was given.
    input_shape: Of one sample: what a subclassed model takes, or the sizes
      that another one leaves open, which are fixed.

  Raises:
    ValueError: the shape does not fit the model.
  """
  if compat.is_keras3(model):
    return from_keras3(model, input_shape)
  if is_subclassed(model):
    return from_subclassed(model, input_shape)
  return model if input_shape is None else with_input_shape(model, input_shape)


def as_opened(model: Any, input_shape: Any = None) -> Any:
  """`as_tf_keras`, with functions of somebody's own opened where they can be.

  Args:
    model: What a public function was given.
    input_shape: As for `as_tf_keras`.

  Raises:
    ValueError: as `as_tf_keras`.
  """
  return opened(as_tf_keras(model, input_shape))


class _Replay:
  """Converts models; each layer once, however often it is called."""

  def __init__(self):
    self._made: dict[int, Callable[..., Any]] = {}
    # What was converted and what it became; parts come before the whole.
    self._pairs: list[tuple[Any, Any]] = []
    self._names = SafeNames()
    # The names of layers that are called with training=True.
    self._training: list[str] = []
    # By the identity of what was traced, and how it is called.
    self._insides: dict[tuple[int, str], keras.Model] = {}
    self._kept: list[Any] = []  # identities stay theirs while they are here
    # Whose function in training was traced, as it is not the other one.
    self.in_training: list[Any] = []

  def model(self, model: Any) -> keras.Model:
    """A whole model, weights and all."""
    import keras as keras3

    if isinstance(model, keras3.Sequential):
      if model._functional is None:
        raise ValueError(
          f'The Keras 3 model {model.name!r} is not built. Give it an Input, '
          'or call it once, first.'
        )
      graph, name = model._functional, model.name
    elif isinstance(model, keras3.Model) and hasattr(model, '_nodes_by_depth'):
      graph, name = model, model.name
    else:
      raise ValueError(
        f'The Keras 3 object {type(model).__name__} '
        f'{getattr(model, "name", "")!r} is no Sequential or functional '
        'model: its layers cannot be walked. Express it with the functional '
        'API, keras.Model(inputs, outputs).'
      )
    made = self._functional(graph, name)
    self._pairs.append((model, made))
    return made

  def inside(self, owner: Any, arguments: dict[str, Any]) -> keras.Model:
    """What a subclassed model or layer does in its `call`."""
    traced = keras3_tracing.Traced(owner, arguments)
    if traced.in_training:
      self.in_training.append(owner)
    made = self._functional(traced.graph, owner.name)
    self._pairs.append((owner, made))
    self._kept.append(traced)
    return made

  def set_trainable(self) -> None:
    """Carries over what is frozen, in the models and in their parts."""
    # tf_keras sets all parts of a model with it: the whole comes first.
    for old, new in reversed(self._pairs):
      if new.trainable != old.trainable:
        new.trainable = old.trainable

  def warn(self, model: Any) -> None:
    """Says what is other in the tf_keras model than in the Keras 3 one."""
    warn_of_own_training(model)
    self._names.warn(model.name)
    if self._training:
      warnings.warn(
        f'Layers of {model.name!r} are called with training=True: '
        f'{sorted(set(self._training))}. Keras 3 itself overrides that in '
        'predict, evaluate and fit, and the tf_keras model does as they do. '
        'Only a direct call model(x) with no `training` differs.',
        stacklevel=callers.level(),
      )

  def _functional(self, graph: Any, name: str) -> keras.Model:
    tensors: dict[int, Any] = {}
    with told():
      used = self._called(graph, tensors)

    def replaced(structure: Any) -> Any:
      return tf.nest.map_structure(lambda t: tensors[id(t)], structure)

    outputs = replaced(graph._outputs_struct)
    name_apart(outputs, [new for _, new in self._pairs])
    made = keras.Model(
      replaced(graph._inputs_struct), outputs, name=self._names.safe(name)
    )
    for operation in used:
      self._fill(operation)
    return made

  def _called(self, graph: Any, tensors: dict[int, Any]) -> list[Any]:
    """Calls what a graph calls, notes what comes of it; which those were."""
    used = []
    for depth in sorted(graph._nodes_by_depth, reverse=True):
      for node in graph._nodes_by_depth[depth]:
        if node.is_input:
          tensors[id(node.output_tensors[0])] = self._input(node.operation)
          continue
        results = self._call(node, tensors)
        for old, new in zip(
          node.output_tensors, tf.nest.flatten(results), strict=True
        ):
          tensors[id(old)] = new
        used.append(node.operation)
    return used

  def _call(self, node: Any, tensors: dict[int, Any]) -> Any:
    """One node's operation on the tensors made so far."""
    operation, arguments = node.operation, node.arguments

    def replaced(value: Any) -> Any:
      return tf.nest.map_structure(
        lambda leaf: tensors.get(id(leaf), leaf), value
      )

    args = replaced(tuple(arguments.args))
    kwargs = replaced(
      {
        key: value
        for key, value in arguments.kwargs.items()
        if not _is_left_to_layer(key, value, operation)
        and not _is_implicit_mask(key, value, arguments)
      }
    )
    if isinstance(kwargs.get('training'), tracing.TrainingFlag):
      del kwargs['training']
    if kwargs.get('training') is True:
      # What calls the model says it, and that overrides the node's own.
      del kwargs['training']
      self._training.append(operation.name)
    _check_constants(operation, arguments)
    if self._is_opened(operation, arguments):
      return self._call_inside(operation, arguments, replaced)
    function = self._function(operation)
    try:
      results = function(*args, **kwargs)
    except _CALL_ERRORS as error:
      raise no_counterpart(operation, f' as it is called ({error})') from error
    if not _is_layer(operation):
      _name_after(results, operation.name)
    return results

  def _is_opened(self, operation: Any, arguments: Any) -> bool:
    """Whether what a layer's `call` is made of takes its place.

    One that cannot be traced is run as it is, if Keras 3 can make it anew.
    """
    if not keras3_tracing.is_traced(operation):
      return False
    bound = _by_name(operation, arguments)
    way = id(operation), _way_of(bound)
    if id(operation) not in self._made and way not in self._insides:
      try:
        self._insides[way] = self.inside(operation, bound)
      except ValueError as error:
        self._made[id(operation)] = self._run_as_it_is(operation, error)
    return way in self._insides

  def _call_inside(
    self, operation: Any, arguments: Any, replaced: Callable[[Any], Any]
  ) -> Any:
    """A call of what is traced, which takes tensors alone."""
    bound = _by_name(operation, arguments)
    made = self._insides[id(operation), _way_of(bound)]
    return made(packed_inputs(replaced(bound)))

  def _run_as_it_is(self, layer: Any, reason: ValueError) -> HeldLayer:
    """A layer that cannot be opened, and was not opened elsewhere."""
    import keras as keras3

    opened_before = any(known == id(layer) for known, _ in self._insides)
    if isinstance(layer, keras3.Model) or (opened_before and layer.weights):
      raise reason  # what is held has weights of its own
    try:
      made = held(layer, self._names.safe(layer.name))
    except (NotImplementedError, TypeError, ValueError) as error:
      raise reason from error
    self._pairs.append((layer, made))
    return made

  def _function(self, operation: Any) -> Callable[..., Any]:
    import keras as keras3

    if id(operation) not in self._made:
      if isinstance(operation, keras3.Model):
        made = self.model(operation)
      elif _is_around_a_model(operation):
        made = keras.layers.TimeDistributed(
          self.model(operation.layer), name=self._names.safe(operation.name)
        )
        self._pairs.append((operation, made))
      elif _is_layer(operation):
        made = _converted(operation, self._names)
        new = made.layer if isinstance(made, Chain) else made
        self._pairs.append((operation, new))
      else:
        made = convert_operation(operation)
      self._made[id(operation)] = made
    return self._made[id(operation)]

  def _input(self, layer: Any) -> Any:
    shape = layer.batch_shape
    return keras.Input(
      shape=shape[1:],
      batch_size=shape[0],
      dtype=str(layer.dtype),
      name=self._names.safe(layer.name),
    )

  def _fill(self, operation: Any) -> None:
    import keras as keras3

    if not isinstance(operation, keras3.layers.Layer):
      return
    # A model's layers have theirs already.
    made = self._made.get(id(operation))
    if not (
      made is None  # it was opened, and its layers have theirs
      or isinstance(operation, keras3.Model)
      or _is_around_a_model(operation)
    ):
      copy_weights(operation, made)


def _converted(layer: Any, names: SafeNames) -> Callable[..., Any]:
  """The layer for tf_keras, or an error that names it."""
  try:
    return convert_layer(layer, name=names.safe(layer.name))
  except TypeError as error:  # its class takes other settings
    raise no_counterpart(layer, f' with its settings ({error})') from error


def _by_name(operation: Any, arguments: Any) -> dict[str, Any]:
  """What an operation is called with, by the name of the argument."""
  signature = inspect.signature(operation.call)
  return dict(signature.bind(*arguments.args, **arguments.kwargs).arguments)


def _way_of(bound: dict[str, Any]) -> str:
  """How it is called: what is a tensor where, and what else there is."""
  return repr(
    {
      key: tf.nest.map_structure(
        lambda x: 'tensor' if hasattr(x, '_keras_history') else repr(x), value
      )
      for key, value in bound.items()
    }
  )


def _is_layer(operation: Any) -> bool:
  import keras as keras3

  return isinstance(operation, keras3.layers.Layer)


def _name_after(results: Any, name: str) -> None:
  """Names the layer that stands for an operation as the operation was."""
  tensor = tf.nest.flatten(results)[0]
  if not compat.is_keras_tensor(tensor):
    return
  layer = compat.tensor_position(tensor)[0]
  # Those of functions are named by TensorFlow, after the function.
  if not isinstance(layer, compat.FUNCTION_LAYERS):
    layer._name = name


def _is_around_a_model(operation: Any) -> bool:
  """Whether a layer of Keras 3 does what a model does, step by step."""
  import keras as keras3

  return type(operation) is keras3.layers.TimeDistributed and _has_graph(
    operation.layer
  )


def _has_graph(thing: Any) -> bool:
  """Whether it is a model of Keras 3 whose layers can be walked."""
  import keras as keras3

  return isinstance(thing, keras3.Model) and not keras3_tracing.is_traced(thing)


def _is_left_to_layer(key: str, value: Any, operation: Any) -> bool:
  """Whether an argument was not given, or filled in by Keras.

  Layers that augment images have `training=True` for a default, which Keras
  notes down; given to a tf_keras layer, it would hold at inference too.
  """
  if value is None:
    return True
  if key != 'training':
    return False
  parameter = inspect.signature(operation.call).parameters.get(key)
  return parameter is not None and parameter.default is value


def _is_implicit_mask(key: str, value: Any, arguments: Any) -> bool:
  """Whether a mask came along with the tensors, as it does in tf_keras."""
  if not key.endswith('mask'):
    return False
  carried = {
    id(getattr(tensor, '_keras_mask', None))
    for tensor in tf.nest.flatten([arguments.args, arguments.kwargs])
  }
  return all(
    mask is None or id(mask) in carried for mask in tf.nest.flatten(value)
  )


def _compare(
  model: Any,
  converted: keras.Model,
  arguments: dict[str, Any],
  replay: _Replay,
) -> None:
  """Raises unless both give the same outputs on random inputs."""
  inputs = _samples(arguments)
  states = _states(model)
  takes = tracing.takes(model.call, 'training')
  extra = {'training': False} if takes else {}
  with answers.unchanged([*model.variables, *states]):
    for state in states:  # new layers begin at zero
      state.assign(np.zeros(state.shape))
    try:
      gap = answers.compare(
        lambda x: model(**x, **extra),
        lambda x: converted(packed_inputs(x), training=False),
        inputs,
        remembers=bool(states),
      )
    except (ValueError, tf.errors.OpError):
      if any(None in t.shape[1:] for t in tf.nest.flatten(arguments)):
        return  # a size was guessed that does not fit; nothing to compare with
      raise
  converted.reset_states()
  if gap and replay.in_training:
    owner = replay.in_training[0]
    raise tracing.depends_on_training(owner, owner.call)
  if gap and keras3_tracing.is_traced(model):
    raise tracing.differs(model)
  if gap:
    raise ValueError(
      f'The Keras 3 model {model.name!r} gives other outputs as a tf_keras '
      f'model (by {gap:.3g}): one of its layers has changed its meaning '
      'between the two. Rebuild the model with tf_keras.'
    )


def _samples(arguments: dict[str, Any]) -> dict[str, Any]:
  return {key: answers.random_inputs(x) for key, x in arguments.items()}


def _check_constants(operation: Any, arguments: Any) -> None:
  """Raises where a weight is used outside of all layers."""
  import keras as keras3

  for leaf in tf.nest.flatten([list(arguments.args), dict(arguments.kwargs)]):
    if isinstance(leaf, keras3.Variable):
      raise no_counterpart(
        operation, f', as it uses the weight {leaf.path!r} outside of a layer'
      )


def _states(model: Any) -> list[Any]:
  """What stateful recurrent layers remember, which are no weights."""
  import keras as keras3

  states = []
  for layer in model._flatten_layers():
    if getattr(layer, 'stateful', False):
      states += keras3.tree.flatten(getattr(layer, 'states', None))
  return [state for state in states if state is not None]
