"""Where a classifier's class scores are, in front of softmax or sigmoid."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.network.cloning import clone_with, copy_weights, fresh_layer
from tfmot_paoding.network.graph import Graph, unwrapped
from tfmot_paoding.network.network import Network
from tfmot_paoding.network.outputs import heads_of
from tfmot_paoding.ops import Op, Shape

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Scores:
  """A classifier's scores.

  Attributes:
    graph: The model's graph.
    value: The value that holds the scores, shape (classes,), or (1,) for the
      logit of class 1 against class 0.
    final: The operation that makes probabilities of them, or None.
  """

  graph: Graph
  value: int
  final: Op | None

  @property
  def is_binary(self) -> bool:
    """Whether one score stands for two classes."""
    return self.graph.shapes[self.value] == (1,)

  @property
  def classes(self) -> int:
    """How many classes there are."""
    return 2 if self.is_binary else self.graph.shapes[self.value][0]

  @property
  def only_input(self) -> Shape:
    """The shape of the one input, without the batch axis.

    Raises:
      ValueError: the model has several inputs.
    """
    if len(self.graph.inputs) != 1:
      raise ValueError(
        f'Expected a model with one input, but it has {len(self.graph.inputs)}.'
      )
    return self.graph.shapes[self.graph.inputs[0]]

  def margins(self, labels: Array) -> Array:
    """Factors of the scores for the label's lead over every other class.

    Args:
      labels: Shape (batch,).

    Returns:
      Shape (batch, classes - 1, scores).
    """
    if self.is_binary:
      return np.where(labels == 1, 1.0, -1.0)[:, None, None]
    unit = np.eye(self.classes)
    rows = unit[labels][:, None] - unit[None]
    others = np.arange(self.classes)[None] != labels[:, None]
    return rows[others].reshape(len(labels), self.classes - 1, self.classes)

  def answers(self, scores: Array) -> Array:
    """The classes that scores stand for."""
    if self.is_binary:
      return (scores[:, 0] > 0).astype(np.int64)
    return scores.argmax(-1)


def scores_of(model: Any) -> Scores:
  """The scores of a classifier with one output.

  Raises:
    TypeError: `model` is no tf_keras model.
    ValueError: it has several outputs, or its output is no vector of classes.
  """
  model = as_tf_keras(model)
  graph = Network.of(model).graph
  head = heads_of(graph)[0]
  if len(graph.outputs) != 1 or len(head.shape) != 1:
    shapes = [graph.shapes[value] for value in graph.outputs]
    raise ValueError(
      f'Expected a classifier with one output of shape (classes,), but the '
      f'model {model.name!r} has outputs of shapes {shapes}.'
    )
  value = graph.outputs[0]
  node = graph.writer().get(value)
  final = node.op if node is not None and _squashes(node.op) else None
  if final is not None and final.answers == 'sigmoid' and head.shape != (1,):
    raise ValueError(
      f'The model {model.name!r} ends in {head.shape[0]} sigmoids: it gives '
      'several answers at once, not one of several classes.'
    )
  if final is None and head.shape == (1,):
    raise ValueError(
      f'The model {model.name!r} gives one number that is no probability: it '
      'is no classifier.'
    )
  return Scores(graph, node.inputs[0] if final else value, final)


def scores_model(model: Any) -> keras.Model:
  """The same network with its class scores for output.

  Softmax saturates: where it gives exactly 1, its gradient is 0 and an attack
  that follows it goes nowhere. So attacks follow the scores.

  Raises:
    TypeError: `model` is no tf_keras model.
    ValueError: it is no classifier with one output; see `scores_of`.
  """
  model = as_tf_keras(model)
  scores = scores_of(model)
  last = None
  if scores.final is not None:
    path = scores.graph.writer()[scores.graph.outputs[0]].path
    last = scores.graph.layers[path]

  def replace(layer: Any, _: Any) -> Any:
    layer = unwrapped(layer)
    if layer is not last:
      return fresh_layer(layer)
    if not hasattr(layer, 'activation'):
      return keras.layers.Activation('linear', name=layer.name)
    config = {**layer.get_config(), 'activation': 'linear'}
    return type(layer).from_config(config)

  found = clone_with(model, replace)
  copy_weights(model, found)
  found.trainable = False
  return found


def by_class(scores: tf.Tensor) -> tf.Tensor:
  """A score for each class: of the one that stands for two, the other's is 0.

  Args:
    scores: Shape (batch, classes), or (batch, 1).
  """
  if scores.shape[-1] != 1:
    return scores
  return tf.concat([tf.zeros_like(scores), scores], -1)


def check_scores(scores: tf.Tensor) -> None:
  """Raises where scores look like probabilities.

  Raises:
    ValueError: every row is positive and adds up to 1.
  """
  rows = np.asarray(scores, np.float64)
  if rows.shape[-1] < 2 or len(rows) < 2:
    return
  if np.all(rows >= 0) and np.allclose(rows.sum(-1), 1.0, atol=1e-4):
    raise ValueError(
      'The outputs are probabilities (positive, with sum 1), but no softmax is '
      'seen at the end of the model, so that their logits are not known. End '
      'the model in a Dense layer, or in a softmax layer or activation.'
    )


def _squashes(op: Op) -> bool:
  return op.answers in ('softmax', 'sigmoid')
