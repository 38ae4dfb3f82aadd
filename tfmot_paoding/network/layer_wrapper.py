"""A pruning wrapper that calls its layer as a layer, Keras masks and all."""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras

_ONLY_SHAPES = contextvars.ContextVar('only_shapes', default=False)


@contextmanager
def only_shapes() -> Iterator[None]:
  """Has wrappers leave out what masks and counts, here and in this thread.

  In a graph that only tells shapes that is most of their time.
  """
  token = _ONLY_SHAPES.set(True)
  try:
    yield
  finally:
    _ONLY_SHAPES.reset(token)


class LayerWrapper(compat.PruneLowMagnitude):
  """TFMOT's wrapper, but wrapped at no sparsity it is the layer itself.

  TFMOT's reaches for the layer's `call`, which drops Keras masks, activity
  regularization and the layer's own precision.

  Args:
    layer: The layer to wrap.
    pruning_schedule: Any TFMOT `PruningSchedule`.
    **kwargs: As for TFMOT's wrapper.

  Raises:
    ValueError: the layer cannot be wrapped.
  """

  def __init__(
    self,
    layer: keras.layers.Layer,
    pruning_schedule: compat.PruningSchedule,
    **kwargs: Any,
  ):
    # The layer casts its inputs itself, by its own policy: a cast to the
    # global one first would round them, and lose their mask.
    kwargs.update(dtype=layer.dtype_policy, autocast=False)
    super().__init__(layer, pruning_schedule, **kwargs)
    self.supports_masking = layer.supports_masking
    self.stateful = layer.stateful

  def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls by names alone: configs of models keep no other arguments."""
    if args:
      kwargs.update(zip(_further_names(self.layer), args, strict=False))
    return super().__call__(inputs, **kwargs)

  def _should_use_autograph(self) -> bool:
    """Whether tf_keras rewrites `call`: not where nothing in it branches."""
    return compat.may_branch(self.layer)

  def call(
    self,
    inputs: Any,
    *args: Any,
    training: Any = None,
    mask: Any = None,
    **kwargs: Any,
  ) -> Any:
    """What the layer makes of the same arguments, its weights masked.

    Raises:
      ValueError: TFMOT is about to quantize it.
    """
    if isinstance(compat.calling_layer(), compat.QuantizeAnnotate):
      raise ValueError(
        f'quantize_model was given a model whose layer {self.layer.name!r} is '
        'still wrapped for pruning. Finish pruning first: '
        'quantize_model(paoding.compact(strip_pruning(wrapped))).'
      )
    if training is None:
      training = keras.backend.learning_phase()
    if not _ONLY_SHAPES.get():
      compat.smart_cond(
        training, self._count_step, lambda: tf.no_op('no_update')
      )
      self.pruning_obj.weight_mask_op()
    offered = {'training': training, 'mask': mask}
    spec = _arguments(type(self.layer).call)
    names = [name for name in spec.args if name != 'self']
    for name, value in offered.items():
      taken = spec.varkw or name in names[len(args) + 1 :] + spec.kwonlyargs
      if taken and value is not None:
        kwargs[name] = value
    return self.layer(inputs, *args, **kwargs)

  def _count_step(self) -> Any:
    """Counts a training step, if the callback is there that prunes."""
    step = self.pruning_step.assign(self.pruning_step + 1)
    # Not by `tf.debugging`, which traces a branch for each layer to print in.
    counted = tf.raw_ops.Assert(
      condition=step >= np.int64(1),
      data=[self._PRUNE_CALLBACK_ERROR_MSG],
    )
    with tf.control_dependencies([counted]):
      return tf.no_op('update')

  def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
    """The layer's."""
    return self.layer.compute_mask(inputs, mask)

  def reset_states(self, states: Any = None) -> None:
    """The layer's, where it keeps states."""
    self.layer.reset_states(states)


def _further_names(layer: Any) -> list[str]:
  """The names of what a layer takes by position behind its first argument."""
  for function in (type(layer).__call__, type(layer).call):
    names = _arguments(function).args[2:]
    if names:
      return names
  return []


@functools.lru_cache(maxsize=512)
def _arguments(function: Callable) -> inspect.FullArgSpec:
  """What a function of a class takes; Python's own answer takes its time."""
  return inspect.getfullargspec(function)
