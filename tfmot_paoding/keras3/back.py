"""A tf_keras model as a Keras 3 model, its graph replayed node by node."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import callers, compat
from tfmot_paoding.compat import keras
from tfmot_paoding.functional import answers
from tfmot_paoding.keras3.back_layers import (
  NoCounterpartError,
  keras3_layer,
  keras3_weights,
  no_keras3_counterpart,
)
from tfmot_paoding.keras3.back_operations import keras3_operation
from tfmot_paoding.keras3.back_sizes import of_sizes, settled
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.keras3.tracing import name_apart
from tfmot_paoding.network.graph import check_model

# The largest difference of outputs, relative to their size, by precision.
_TOLERANCES = {'float16': 2e-2, 'bfloat16': 1e-1, 'float64': 1e-5}
_CALL_ERRORS = (TypeError, AttributeError, ValueError, tf.errors.OpError)


def to_keras3(model: Any) -> Any:
  """A tf_keras model as a Keras 3 model with the same outputs.

  The way back for a Keras 3 model that was pruned here, which is a tf_keras
  model since:

      small = paoding.to_keras3(paoding.prune(model, 0.5))
      small.save('small.keras')        # keras.models.load_model takes it
      small.export('small')            # a SavedModel for serving

  Saved as it comes from `prune`, Keras 3 loads the weights of its .h5 file but
  not its .keras file. Nested models stay nested, shared layers shared, names
  are kept. The outputs are compared on random inputs before it is returned.

  Args:
    model: A tf_keras model that `prune_low_saliency` takes, not wrapped for
      pruning; not changed. A Keras 3 model is returned as it is.

  Returns:
    A functional Keras 3 model, not compiled.

  Raises:
    ImportError: Keras 3 is not installed.
    TypeError: `model` is no Keras model.
    ValueError: it is wrapped for pruning, unbuilt or cannot be traced, or a
      layer or function has no Keras 3 counterpart, which the message names.
  """
  import keras as keras3

  if keras3.__version__.startswith('2.'):
    raise ImportError('to_keras3 needs Keras 3: pip install "keras>=3".')
  if isinstance(model, keras3.Model) and compat.is_keras3(model):
    return model
  model = as_tf_keras(model)
  check_model(model)
  for layer in model._flatten_layers():
    if isinstance(layer, compat.PruneLowMagnitude):
      raise ValueError(
        f'Layer {layer.name!r} is wrapped for pruning: call '
        'tfmot.sparsity.keras.strip_pruning, and `compact`, first.'
      )
  replay = _Replay()
  made = replay.model(model)
  replay.finish()
  _compare(model, made)
  return made


class _Replay:
  """Converts models; each layer once, however often it is called."""

  def __init__(self):
    self._made: dict[int, Callable[..., Any]] = {}
    self._pairs: list[tuple[Any, Any]] = []  # parts before the whole
    self._renamed: dict[str, str] = {}

  def model(self, model: keras.Model) -> Any:
    """A functional or Sequential model."""
    import keras as keras3

    tensors: dict[int, Any] = {}

    def new(leaf: Any) -> Any:
      return tensors.get(id(leaf), leaf)

    def replaced(structure: Any) -> Any:
      return tf.nest.map_structure(new, structure)

    for node in compat.ordered_nodes(model):
      if node.is_input:
        old = tf.nest.flatten(node.outputs)[0]
        tensors[id(old)] = self._input(node.layer.name, old)
        continue
      results = self._call(node, replaced)
      for old, made in zip(
        tf.nest.flatten(node.outputs), keras3.tree.flatten(results), strict=True
      ):
        tensors[id(old)] = made
    outputs = replaced(compat.output_structure(model))
    name_apart(outputs, [made for _, made in self._pairs])
    made = keras3.Model(
      replaced(compat.input_structure(model)),
      outputs,
      name=self._name(model.name),
    )
    self._pairs.append((model, made))
    return made

  def finish(self) -> None:
    """Carries over weights and what is frozen; says what is called anew."""
    for old, made in self._pairs:
      if not compat.is_graph_model(old):
        _copy_weights(old, made)
    for old, made in reversed(self._pairs):
      if made.trainable != old.trainable:
        made.trainable = old.trainable
    if self._renamed:
      warnings.warn(
        'Keras 3 takes no "/" in names; these are others in its model: '
        f'{self._renamed}.',
        stacklevel=callers.level(),
      )

  def _call(self, node: Any, replaced: Callable[[Any], Any]) -> Any:
    """One call of a layer, on the tensors made so far."""
    layer = node.layer
    args = replaced(tuple(node.call_args))
    kwargs = {
      key: value
      for key, value in replaced(node.call_kwargs).items()
      if value is not None
    }
    if kwargs.get('training') is True:
      raise no_keras3_counterpart(
        layer,
        ' as it is called with training=True, which predict of Keras 3 '
        'overrides',
      )
    try:
      if isinstance(layer, compat.FUNCTION_LAYERS):
        sizes = of_sizes(layer, args, kwargs)
        if sizes is not None:
          return sizes
        args, kwargs = settled(layer, args), settled(layer, kwargs)
        results = keras3_operation(layer)(*args, **kwargs)
        _name_after(results, self._name(layer.name))
        return results
      args, kwargs = _as_keras3_calls(layer, args, kwargs)
      return self._layer(layer)(*args, **kwargs)
    except NoCounterpartError:
      raise
    except _CALL_ERRORS as error:
      raise no_keras3_counterpart(
        layer, f' as it is called ({error})'
      ) from error

  def _layer(self, layer: Any) -> Callable[..., Any]:
    if id(layer) not in self._made:
      if compat.is_graph_model(layer):
        self._made[id(layer)] = self.model(layer)
      elif _is_around_a_model(layer):
        import keras as keras3

        self._made[id(layer)] = keras3.layers.TimeDistributed(
          self.model(layer.layer), name=self._name(layer.name)
        )
      else:
        made, function = keras3_layer(layer, self._name(layer.name))
        self._made[id(layer)] = function
        self._pairs.append((layer, made))
    return self._made[id(layer)]

  def _input(self, name: str, tensor: Any) -> Any:
    import keras as keras3

    return keras3.Input(
      batch_shape=tuple(tensor.shape),
      dtype=tensor.dtype.name,
      name=self._name(name),
    )

  def _name(self, name: str) -> str:
    if '/' not in name:
      return name
    found = name.replace('/', '_')
    self._renamed[name] = found
    return found


def _is_around_a_model(layer: Any) -> bool:
  """Whether a layer does what a model does, step by step."""
  return type(layer) is keras.layers.TimeDistributed and compat.is_graph_model(
    layer.layer
  )


def _as_keras3_calls(
  layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
  """Arguments as Keras 3 takes them: only tensors go by position."""
  import keras as keras3

  names = list(inspect.signature(layer.call).parameters)
  first, rest = args[:1], dict(zip(names[1:], args[1:], strict=False))
  kwargs = {k: v for k, v in {**rest, **kwargs}.items() if v is not None}
  recurrent = isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional))
  if recurrent and isinstance(first[0], (list, tuple)):
    # tf_keras puts states beside the sequence.
    kwargs['initial_state'] = list(first[0][1:])
    first = first[0][:1]
  if 'initial_state' in kwargs:
    kwargs['initial_state'] = keras3.tree.flatten(kwargs['initial_state'])
  return tuple(first), kwargs


def _copy_weights(old: Any, made: Any) -> None:
  """Sets a Keras 3 layer's weights to a tf_keras layer's."""
  if isinstance(old, keras.layers.SpectralNormalization):  # sorted otherwise
    _copy_weights(old.layer, made.layer)
    made.vector_u.assign(old.vector_u.numpy())
    return
  values = keras3_weights(old)
  shapes = [tuple(weight.shape) for weight in made.weights]
  fitting = [
    value.reshape(shape) if value.size == np.prod(shape) else value
    for value, shape in zip(values, shapes, strict=False)
  ]
  if len(values) != len(shapes) or [x.shape for x in fitting] != shapes:
    raise no_keras3_counterpart(
      old, f' with weights of the shapes {[x.shape for x in values]}'
    )
  made.set_weights(fitting)
  if hasattr(made, 'finalize_state'):
    made.finalize_state()


def _name_after(results: Any, name: str) -> None:
  """Names the operation that stands for a function as that was."""
  import keras as keras3

  tensor = keras3.tree.flatten(results)[0]
  operation = getattr(tensor, '_keras_history', (None,))[0]
  if operation is not None and not isinstance(operation, keras3.layers.Layer):
    operation.name = name


def _compare(model: keras.Model, made: Any) -> None:
  """Raises unless both give the same outputs on random inputs."""
  structure = compat.input_structure(model)
  inputs = answers.random_inputs(structure)
  tolerance = max(
    _TOLERANCES.get(layer.compute_dtype, 1e-5)
    for layer in model._flatten_layers()
  )
  with answers.unchanged([*model.variables]):
    try:
      gap = answers.compare(
        lambda x: model(x, training=False),
        lambda x: made(x, training=False),
        inputs,
        tolerance,
        remembers=model.stateful,
      )
    except (ValueError, tf.errors.OpError):
      if any(None in t.shape[1:] for t in tf.nest.flatten(structure)):
        return  # a size was guessed that does not fit
      raise
  if gap:
    raise ValueError(
      f'The model {model.name!r} gives other outputs in Keras 3 (by '
      f'{gap:.3g}): one of its layers has changed its meaning between the two. '
      'Save it as .h5 or a SavedModel, which both read.'
    )
