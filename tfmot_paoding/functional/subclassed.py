"""A subclassed tf_keras model as a functional one, its `call` traced.

`call` is run on symbolic tensors, which shows the layers it is made of, and
what it did is replayed on new layers. Layers and models inside whose own
`call` can be traced become nested models of the same name.
"""

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
from tfmot_paoding.functional.input_specs import call_specs
from tfmot_paoding.functional.layer_names import name_apart
from tfmot_paoding.functional.own_training import warn_of_own_training
from tfmot_paoding.network.cloning import fresh_layer, set_weights


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


def is_subclassed(model: Any) -> bool:
  """Whether a tf_keras model has a `call` of its own, to be traced."""
  return (
    isinstance(model, keras.Model)
    and not compat.is_graph_model(model)
    and compat.has_own_call(model)
  )


def from_subclassed(model: keras.Model, input_shape: Any = None) -> keras.Model:
  """A subclassed model as a functional one with the same outputs.

  Args:
    model: A tf_keras model whose `call` is made of layers and TensorFlow
      functions; not changed, but built if it was not. Or a functional or
      Sequential one with layers of somebody's own that are made of others.
    input_shape: Of one sample, (height, width, channels) for instance; a list
      or dict of such where `call` takes one, a dict by argument where it takes
      several arguments, `tf.TensorSpec`s (with the batch axis) to say a dtype
      as well. None for what the model was built with.

  Returns:
    A functional model with weights of its own, not compiled. It takes the
    first argument of `call` as it is; a list of all tensors, in order, where
    `call` takes more.

  Raises:
    TypeError: `model` is neither.
    ValueError: the shape is not known, or `call` cannot be traced; with the
      statement that cannot be.

  Warns of losses and metrics that `call` adds, of a `train_step` of the class's
  own, and of weights that `call` does not come by: the functional model is
  without them.
  """
  if _has_blocks(model):
    return retraced(model)
  if not is_subclassed(model):
    raise TypeError(
      f'Expected a subclassed tf_keras model, but got {model!r}. Sequential '
      'and functional models need no tracing where no layer of yours in them '
      'is made of others, and from_keras3 takes those of Keras 3.'
    )
  arguments = call_specs(model, input_shape)
  if not model.built:
    bound = inspect.signature(model.call).bind_partial()
    bound.arguments.update(
      {key: answers.random_inputs(x) for key, x in arguments.items()}
    )
    model(*bound.args, **bound.kwargs)
  return _made(
    model, arguments, lambda tracer: tracer.inside(model, arguments), Opening()
  )


def retraced(model: keras.Model, opening: Opening | None = None) -> keras.Model:
  """A functional model anew, with layers in it opened.

  Args:
    model: A functional or Sequential model; not changed.
    opening: Which layers are.

  Raises:
    ValueError: it cannot be, or answers otherwise then.
  """
  return _made(
    model,
    {'inputs': compat.input_structure(model)},
    lambda tracer: tracer.replay(model, model.name),
    opening or Opening(),
  )


def traced_call(layer: Any, arguments: dict[str, Any]) -> keras.Model:
  """What a layer's `call` goes through, as a model of those very layers.

  Args:
    layer: The layer.
    arguments: What `call` is told, by name.

  Raises:
    ValueError: it cannot be traced.
  """
  return _Tracer(Opening())._traced(layer, arguments, None)


def _has_blocks(model: Any) -> bool:
  """Whether layers of somebody's own in a model are made of others."""
  return (
    isinstance(model, keras.Model)
    and compat.is_graph_model(model)
    and any(map(_is_block, model._flatten_layers()))
  )


def _is_block(layer: Any) -> bool:
  return bool(layer.weights) and compat.is_made_of_layers(layer)


def _made(
  model: keras.Model,
  arguments: dict[str, Any],
  make: Callable[[_Tracer], keras.Model],
  opening: Opening,
) -> keras.Model:
  """What a tracer makes of a model, weights and all, once compared with it.

  Args:
    model: The model, which comes out as it went in.
    arguments: The tensors that its `call` takes, by argument.
    make: Has the tracer make it.
    opening: Which layers are opened.
  """
  tracer = _Tracer(opening)
  kept = tracing.undisturbed(model, compat.TRACED_ATTRIBUTES)
  with kept, answers.unchanged(model.variables):
    made = make(tracer)
    for old, new in tracer.leaves:
      set_weights(new, old.get_weights())
    for old, new in reversed(tracer.pairs):
      if new.trainable != old.trainable:
        new.trainable = old.trainable
    _compare(model, made, arguments, tracer)
    _warn(model, tracer)
  return made


class _Tracer:
  """Traces models and layers; each once, however often it is called."""

  def __init__(self, opening: Opening):
    self._opening = opening
    # By the identity of a layer: what stands behind it.
    self._behind: dict[int, keras.Model] = {}
    # By the identity of what was called: how, and what it became.
    self._made: dict[int, tuple[Any, Any]] = {}
    self._kept: list[Any] = []  # identities stay theirs while they are here
    self.pairs: list[tuple[Any, Any]] = []  # parts before the whole
    self.leaves: list[tuple[Any, Any]] = []
    # Whose function in training was traced, as it is not the other one.
    self.in_training: list[Any] = []
    self.renamed: dict[str, str] = {}

  def inside(self, owner: Any, arguments: dict[str, Any]) -> keras.Model:
    """What a model or layer does in its `call`, as a functional model."""
    with tracing.noting_losses(owner):
      traced = self._traced(owner, arguments, None)
      if tracing.is_told(owner, arguments):
        other = self._traced(owner, arguments, tracing.IN_TRAINING)
        if _calls(other) != _calls(traced):
          self.in_training.append(owner)
          traced = other
    made = self.replay(traced, owner.name)
    self.pairs.append((owner, made))
    return made

  def _traced(
    self, owner: Any, arguments: dict[str, Any], training: Any
  ) -> keras.Model:
    """The layers that a `call` goes through, as a model of those layers."""
    symbols = {
      key: tf.nest.map_structure(_symbol, value)
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

  def replay(self, traced: keras.Model, name: str) -> keras.Model:
    """The same calls of new layers."""
    tensors: dict[int, Any] = {}

    def new(leaf: Any) -> Any:
      return tensors.get(id(leaf), tracing.without_flags(leaf))

    for node in compat.ordered_nodes(traced):
      if node.is_input:
        old = tf.nest.flatten(node.outputs)[0]
        tensors[id(old)] = _symbol(old, node.layer.name)
        continue
      results = self._call(node, new)
      for old, made in zip(
        tf.nest.flatten(node.outputs), tf.nest.flatten(results), strict=True
      ):
        tensors[id(old)] = made
    return keras.Model(
      tf.nest.map_structure(new, compat.input_structure(traced)),
      tf.nest.map_structure(new, compat.output_structure(traced)),
      name=name,
    )

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
      training = arguments.get('training')
      own = {'training': training} if isinstance(training, bool) else {}
      return made(inputs, **own)
    kwargs = {
      key: value
      for key, value in kwargs.items()
      if not isinstance(value, tracing.TrainingFlag)
    }
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
    way = _way_of(layer, args, kwargs) if traced else None
    if id(layer) not in self._made:
      self._made[id(layer)] = (way, self._new(layer, args, kwargs, traced))
    known, (made, is_inside) = self._made[id(layer)]
    if is_inside and known != way:
      raise ValueError(
        f'The layer {layer.name!r} is called with different arguments in '
        'different places. Use one layer for each, or one way to call it.'
      )
    return made, is_inside

  def _new(
    self, layer: Any, args: Any, kwargs: Any, traced: bool
  ) -> tuple[Any, bool]:
    if compat.is_graph_model(layer):
      made = self.replay(layer, layer.name)
      self.pairs.append((layer, made))
      return made, False
    reason = None
    if traced:
      try:
        return self.inside(layer, arguments_of(layer, args, kwargs)), True
      except ValueError as error:
        if isinstance(layer, keras.Model):
          raise
        reason = error
    behind, config = self._opening.behind(layer), None
    if behind is not None:
      self._behind[id(layer)] = self.replay(behind, behind.name)
      config = {**layer.get_config(), 'activation': 'linear'}
    try:
      made = fresh_layer(layer, config)
    except ValueError as error:
      if reason is None:
        raise
      raise reason from error  # why it had to be copied whole
    made._name = layer.name
    self.pairs.append((layer, made))
    self.leaves.append((layer, made))
    return made, False


def _symbol(leaf: Any, name: str | None = None) -> Any:
  """A symbolic input for a tensor or its description; else what it is."""
  if not isinstance(leaf, tf.TensorSpec) and not compat.is_keras_tensor(leaf):
    return leaf
  batch, *sizes = leaf.shape
  return keras.Input(shape=sizes, batch_size=batch, dtype=leaf.dtype, name=name)


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


def _compare(
  model: keras.Model, made: keras.Model, arguments: dict[str, Any], tracer: Any
) -> None:
  """Raises unless both give the same outputs on random inputs."""
  inputs = {
    key: answers.random_inputs(value) for key, value in arguments.items()
  }
  extra = {}
  if tracing.takes(model.call, 'training'):
    extra['training'] = False
  bound = inspect.signature(model.call).bind_partial()
  bound.arguments.update({**inputs, **extra})
  gap = answers.compare(
    lambda _: model(*bound.args, **bound.kwargs),
    lambda _: made(packed_inputs(inputs), training=False),
    None,
  )
  if gap and tracer.in_training:
    owner = tracer.in_training[0]
    raise tracing.depends_on_training(owner, owner.call)
  if gap:
    raise tracing.differs(model)


def _warn(model: keras.Model, tracer: _Tracer) -> None:
  """Says what is not as it was in the model."""
  warn_of_own_training(model)
  if tracer.renamed:
    warnings.warn(
      f'Layers of {model.name!r} share names; some go by others now: '
      f'{tracer.renamed}.',
      stacklevel=callers.level(),
    )
  reached = {id(weight) for old, _ in tracer.leaves for weight in old.weights}
  missing = [w.name for w in model.weights if id(w) not in reached]
  if missing:
    warnings.warn(
      f'The `call` of {model.name!r} does not come by these weights, which '
      f'are left out: {missing}.',
      stacklevel=callers.level(),
    )
