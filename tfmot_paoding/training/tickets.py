"""Masks that are found by training, and sub-networks that train well.

Iterative magnitude pruning with rewinding (Frankle and Carbin 2019, arXiv
1803.03635); its tickets are certified ones where training and what is measured
are robust (Li et al. 2022, arXiv 2206.07311). Masks live in wrappers of TFMOT's
kind, under a schedule that never changes them.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import callers, compat
from tfmot_paoding.arguments import check_sparsity, check_whole, is_number
from tfmot_paoding.compat import keras, register_serializable
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.layers.base import Path
from tfmot_paoding.network.cloning import (
  clone_with,
  copied,
  copy_weights,
  fresh_layer,
)
from tfmot_paoding.network.graph import check_model
from tfmot_paoding.network.layer_wrapper import LayerWrapper
from tfmot_paoding.network.sound_convolutions import sound_convolutions
from tfmot_paoding.training.ticket_files import TicketFiles

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Ticket:
  """A sub-network after training.

  Attributes:
    round: 0 for the dense network.
    sparsity: The fraction of prunable weights that are gone.
    model: It, stripped of wrappers.
    masks: One array of bool a prunable weight, True where it is left.
  """

  round: int
  sparsity: float
  model: keras.Model
  masks: list[Array]


@register_serializable(package='tfmot_paoding')
class FixedMasks(LayerWrapper):
  """A wrapper of single weights whose masks stay as they are set."""


def with_fixed_masks(model: keras.Model) -> keras.Model:
  """A copy of a model in wrappers whose masks stay as they are set.

  Layers that TFMOT's `prune_low_magnitude` takes are wrapped; with all masks 1
  the copy is the same function, Keras masks and all. Warns of other layers that
  have weights: none of those is masked.

  Args:
    model: A model that `prune_low_saliency` takes; it is not changed.

  Returns:
    The wrapped copy, all masks 1; train it with TFMOT's `UpdatePruningStep`.

  Raises:
    TypeError: `model` is no tf_keras model.
    ValueError: it is subclassed or not built.
  """
  wrapped, left = wrap_weights(model)
  if left:
    warnings.warn(
      f'No weight of these layers is masked, since TFMOT knows none to mask: '
      f'{", ".join(map(repr, left))}. Give their classes a '
      '`get_prunable_weights` that names them.',
      stacklevel=callers.level(),
    )
  return wrapped


def wrap_weights(model: keras.Model) -> tuple[keras.Model, list[str]]:
  """`with_fixed_masks`, and the names of layers that it would warn of."""
  model = as_tf_keras(model)
  check_model(model)
  schedule = compat.ConstantSparsity(0.5, compat.NEVER - 1, compat.NEVER)
  left: list[str] = []

  def make_layer(layer: Any, _: Path) -> Any:
    fresh = fresh_layer(layer)
    if compat.is_registered(fresh):
      return FixedMasks(fresh, schedule)
    if layer.trainable_weights:
      left.append(layer.name)
    return fresh

  wrapped = clone_with(model, make_layer)
  copy_weights(model, wrapped)
  return wrapped, left


def masks_of(wrapped: keras.Model) -> list[Array]:
  """What is left of every prunable weight, arrays of bool."""
  return [
    keras.backend.get_value(mask) != 0 for _, mask in masked_weights(wrapped)
  ]


def set_masks(wrapped: keras.Model, masks: Sequence[Array]) -> None:
  """Sets the masks, and zeroes what they take away.

  Args:
    wrapped: From `with_fixed_masks`; changed in place.
    masks: One array a prunable weight, of its shape.

  Raises:
    ValueError: their number or shapes do not fit.
  """
  pairs = masked_weights(wrapped)
  shapes = [tuple(weight.shape) for weight, _ in pairs]
  if [np.shape(mask) for mask in masks] != shapes:
    raise ValueError(
      f'Expected masks of shapes {shapes}, one a prunable weight, but got '
      f'{[np.shape(mask) for mask in masks]}.'
    )
  for (weight, variable), mask in zip(pairs, masks, strict=True):
    value = np.asarray(mask, np.float32)
    keras.backend.set_value(variable, value)
    keras.backend.set_value(weight, keras.backend.get_value(weight) * value)


def magnitude_masks(wrapped: keras.Model, sparsity: float) -> list[Array]:
  """Masks that leave the largest weights of all layers together.

  Args:
    wrapped: From `with_fixed_masks`; weights that are gone stay so.
    sparsity: The fraction of prunable weights to be gone, in [0, 1).
  """
  scores = [
    np.abs(keras.backend.get_value(w)) for w, _ in masked_weights(wrapped)
  ]
  return _largest(scores, masks_of(wrapped), sparsity)


def snip_masks(
  wrapped: keras.Model,
  x: Any,
  y: Any,
  sparsity: float,
) -> list[Array]:
  """Masks that leave the weights that the loss feels most: |gradient weight|.

  SNIP (Lee et al. 2019, arXiv 1810.02340), in one shot, of all layers
  together.

  Args:
    wrapped: From `with_fixed_masks`, compiled; it is not trained.
    x: A batch of inputs.
    y: Its labels.
    sparsity: The fraction of prunable weights to be gone, in [0, 1).

  Raises:
    ValueError: nothing in the model is wrapped, it is not compiled, the
      fraction is out of range, or the loss has no finite gradient.
  """
  if getattr(wrapped, 'compiled_loss', None) is None:
    raise ValueError(
      'SNIP asks the loss what each weight is worth, but the model is not '
      'compiled. Compile it first: wrapped.compile(optimizer, loss).'
    )
  weights = [weight for weight, _ in masked_weights(wrapped)]
  with sound_convolutions(wrapped), tf.GradientTape() as tape:
    outputs = wrapped(tf.convert_to_tensor(x), training=False)
    loss = wrapped.compiled_loss(tf.convert_to_tensor(y), outputs)
  gradients = tape.gradient(loss, weights)
  scores = [
    np.abs(keras.backend.get_value(weight) * gradient.numpy())
    for weight, gradient in zip(weights, gradients, strict=True)
  ]
  if not all(np.all(np.isfinite(own)) for own in scores):
    raise ValueError(
      'The loss of this batch has a gradient that is no number. Look for NaN '
      'or infinite values in x, y and the weights.'
    )
  return _largest(scores, masks_of(wrapped), sparsity)


def find_tickets(
  model: keras.Model,
  train: Callable[[keras.Model], Any],
  rounds: int = 16,
  rate: float = 0.2,
  directory: str | None = None,
) -> Iterator[Ticket]:
  """Trains, removes the smallest weights, rewinds the others, and again.

  Args:
    model: The network at the weights to rewind to: as it was initialised, or
      after a few epochs; it is not changed.
    train: Trains a wrapped model in place, under whatever objective, with
      TFMOT's `UpdatePruningStep` among the callbacks.
    rounds: How often weights are removed.
    rate: The fraction removed each time of those that are left.
    directory: Where each round is written down when it is done. A later call
      with the same model and rate yields what is there without training, and
      goes on from it.

  Yields:
    The dense network after training, then a ticket a round; what was yielded
    is whole, however early the rest is broken off.

  Raises:
    TypeError: `model` is no tf_keras model.
    ValueError: it is subclassed or not built, a setting is out of range, or the
      directory was begun with another model or rate.
  """
  check_whole('rounds', rounds, 0)
  if not (is_number(rate) and 0 < rate < 1):
    raise ValueError(
      f'`rate` must be a number in (0, 1), but got {rate!r}. For 20 % a round '
      'pass 0.2.'
    )
  wrapped = with_fixed_masks(model)
  start = wrapped.get_weights()
  files = TicketFiles(directory, start, rate) if directory else None
  done = files is not None
  for number in range(rounds + 1):
    found = files.load(number) if done else None
    done = found is not None
    if done:
      wrapped.set_weights(found)
    else:
      _thin(wrapped, start, rate if number else 0.0)
      _train(wrapped, train)
      if files:
        files.save(number, wrapped.get_weights())
    masks = masks_of(wrapped)
    yield Ticket(number, 1.0 - _left(masks), copy_of(wrapped), masks)


def _thin(wrapped: keras.Model, start: Sequence[Array], rate: float) -> None:
  """Removes the smallest of what is left, and rewinds the others."""
  left = _left(masks_of(wrapped))
  masks = magnitude_masks(wrapped, 1.0 - left * (1.0 - rate))
  wrapped.set_weights(start)
  set_masks(wrapped, masks)


def _train(wrapped: keras.Model, train: Callable[[keras.Model], Any]) -> None:
  """Trains, and holds the masks whatever `train` did with them."""
  masks = masks_of(wrapped)
  train(wrapped)
  set_masks(wrapped, masks)


def _left(masks: Sequence[Array]) -> float:
  """The fraction of prunable weights that is left."""
  return float(np.mean(np.concatenate([mask.ravel() for mask in masks])))


def copy_of(wrapped: keras.Model) -> keras.Model:
  """A stripped copy that further training does not touch."""
  return copied(compat.strip_pruning(wrapped))


def masked_weights(wrapped: keras.Model) -> list[tuple[Any, Any]]:
  """Every prunable weight and its mask."""
  pairs = [
    (weight, mask)
    for layer in compat.collect_prunable_layers(wrapped)
    for weight, mask, _ in layer.pruning_vars
  ]
  if not pairs:
    raise ValueError(
      'Expected a model from with_fixed_masks, but nothing in it is wrapped. '
      'Wrap it first: training.with_fixed_masks(model).'
    )
  return pairs


def _largest(
  scores: Sequence[Array], masks: Sequence[Array], sparsity: float
) -> list[Array]:
  """The highest scores of all that is left; ties go by order."""
  check_sparsity(sparsity, 'sparsity', 'the fraction of weights to remove')
  flat = np.concatenate([score.ravel() for score in scores]).astype(float)
  alive = np.concatenate([mask.ravel() for mask in masks])
  kept = max(1, round(len(flat) * (1.0 - sparsity)))
  order = np.argsort(-np.where(alive, flat, -1.0), kind='stable')[:kept]
  found = np.zeros(len(flat), bool)
  found[order] = True
  found &= alive
  ends = np.cumsum([score.size for score in scores])[:-1]
  return [
    part.reshape(score.shape)
    for part, score in zip(np.split(found, ends), scores, strict=True)
  ]
