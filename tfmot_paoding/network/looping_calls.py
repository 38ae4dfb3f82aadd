"""Calls of layers that loop over steps, traced once they come again.

Outside of a graph a recurrent layer runs every operation of every step from
Python, in a hundred times what it takes in one.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras

# A trace takes as long as one or two calls.
_EAGER = 2


def loops(layer: Any) -> bool:
  """Whether a layer or model is, or holds, a recurrent layer of Keras's."""
  return not compat.may_branch(layer) and any(
    isinstance(inner, keras.layers.RNN) for inner in layer._flatten_layers()
  )


class LoopingCalls:
  """Calls of layers again, those of recurrent ones by graphs."""

  def __init__(self):
    self._asked: collections.Counter[int] = collections.Counter()
    self._loops: dict[int, bool] = {}
    self._traced: dict[tuple, Callable] = {}

  def __call__(
    self, number: int, node: Any, sources: list[Any], training: bool | None
  ) -> list[Any]:
    """What a layer makes of other tensors, as by `compat.call_again`.

    Args:
      number: The call's, among those of one model.
      node: The call in the graph.
      sources: What stands for each of its Keras tensors, masks and all.
      training: What to pass as `training`; None to leave it as it was.

    Returns:
      One tensor an output, masks and all.
    """
    if number not in self._loops:
      self._loops[number] = loops(node.layer)
    self._asked[number] += 1
    if not self._loops[number] or self._stays_eager(number):
      return tf.nest.flatten(compat.call_again(node, sources, training))
    masks = [getattr(x, '_keras_mask', None) for x in sources]
    key = number, training, *(mask is None for mask in masks)
    if key not in self._traced:
      self._traced[key] = _trace(node, sources, masks, training)
    made, masks = self._traced[key](sources, masks)
    return [_masked(x, mask) for x, mask in zip(made, masks, strict=True)]

  def _stays_eager(self, number: int) -> bool:
    return (
      self._asked[number] <= _EAGER
      or not tf.executing_eagerly()
      or tf.distribute.has_strategy()
    )


def _trace(
  node: Any, sources: list[Any], masks: list[Any], training: bool | None
) -> Callable:
  def call(sources: list[Any], masks: list[Any]) -> tuple[list, list]:
    given = [_masked(x, mask) for x, mask in zip(sources, masks, strict=True)]
    made = tf.nest.flatten(compat.call_again(node, given, training))
    return made, [getattr(x, '_keras_mask', None) for x in made]

  specs = [[_spec(x) for x in tensors] for tensors in (sources, masks)]
  function = tf.function(call, autograph=False)
  with compat.without_forms_for_gpus():
    function.get_concrete_function(*specs)
  return function


def _spec(x: tf.Tensor | None) -> tf.TensorSpec | None:
  return x if x is None else tf.TensorSpec((None, *x.shape[1:]), x.dtype)


def _masked(made: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
  if mask is not None:
    made._keras_mask = mask
  return made
