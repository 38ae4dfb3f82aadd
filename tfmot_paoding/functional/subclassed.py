"""A subclassed tf_keras model as a functional one, its `call` traced.

What its `call` goes through is replayed on new layers (`replay`), given the
weights, and compared with what was before.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from tfmot_paoding import callers, compat
from tfmot_paoding.compat import keras
from tfmot_paoding.functional import answers, tracing
from tfmot_paoding.functional.input_specs import call_specs
from tfmot_paoding.functional.own_training import warn_of_own_training
from tfmot_paoding.functional.replay import Opening, Tracer, packed_inputs
from tfmot_paoding.functional.sizes import asks_for_sizes
from tfmot_paoding.network.cloning import set_weights
from tfmot_paoding.network.told_tasks import hand_on


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
  """What a layer's `call` goes through, as a model; of those layers or copies.

  Args:
    layer: The layer.
    arguments: What `call` is told, by name.

  Raises:
    ValueError: it cannot be traced.
  """
  tracer = Tracer(Opening())
  traced = tracer.traced(layer, arguments, None)
  return tracer.replay(traced, layer.name) if asks_for_sizes(traced) else traced


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
  make: Callable[[Tracer], keras.Model],
  opening: Opening,
) -> keras.Model:
  """What a tracer makes of a model, weights and all, once compared with it.

  Args:
    model: The model, which comes out as it went in.
    arguments: The tensors that its `call` takes, by argument.
    make: Has the tracer make it.
    opening: Which layers are opened.
  """
  tracer = Tracer(opening)
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
  hand_on(model, made)
  return made


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
    remembers=model.stateful,
  )
  if gap and tracer.in_training:
    owner = tracer.in_training[0]
    raise tracing.depends_on_training(owner, owner.call)
  if gap:
    raise tracing.differs(model)


def _warn(model: keras.Model, tracer: Tracer) -> None:
  """Says what is not as it was in the model."""
  warn_of_own_training(model)
  if tracer.renamed:
    warnings.warn(
      f'Layers of {model.name!r} share names; some go by others now: '
      f'{tracer.renamed}.',
      stacklevel=callers.level(),
    )
  found = [*(old for old, _ in tracer.leaves), *tracer.stepped]
  reached = {id(weight) for layer in found for weight in layer.weights}
  missing = [w.name for w in model.weights if id(w) not in reached]
  if missing:
    warnings.warn(
      f'The `call` of {model.name!r} does not come by these weights, which '
      f'are left out: {missing}.',
      stacklevel=callers.level(),
    )
