"""Variables that the first step of `fit` would make, made before it.

tf.function traces what makes variables again, without them. An optimizer's
slots and a metric's sums are made in a first step: most of the time before the
second is that trace.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras

# What of a model makes no other variables than Keras's own.
_OWN = ('train_step', 'compute_loss', 'compute_metrics', 'make_train_function')


def trace_once(model: keras.Model) -> None:
  """Has a `fit` that has begun make a model's variables before the first step.

  Does nothing where a step is a user's own, or was traced before.

  Args:
    model: A compiled functional or Sequential model; its `train_function` is
      replaced until it is called.
  """
  train = model.train_function
  if train is None or not compat.is_graph_model(model):
    return
  if any(
    getattr(type(model), name) is not getattr(keras.Model, name)
    for name in _OWN
  ):
    return

  def ready_to_train(iterator: Any) -> Any:
    model.train_function = train
    make_variables(model, iterator)
    return train(iterator)

  model.train_function = ready_to_train


def make_variables(model: keras.Model, iterator: Any) -> None:
  """Makes what a first step would, where one replica takes all of it.

  Args:
    model: A compiled model, functional or with one output.
    iterator: Over the batches of `fit`.
  """
  if model.compiled_metrics.built or model.run_eagerly:
    return
  # A legacy optimizer has no such method.
  builds = hasattr(model.optimizer, 'build')
  if not builds or not isinstance(iterator, tf.data.Iterator):
    return
  _, y, _ = keras.utils.unpack_x_y_sample_weight(iterator.element_spec)
  if y is None:  # who trains will say what they lack
    return
  outputs = (
    compat.output_structure(model)
    if compat.is_graph_model(model)
    else model.output
  )
  model.optimizer.build(model.trainable_variables)
  model.compiled_loss.build(outputs)
  metrics = model.compiled_metrics
  metrics.build(outputs, metrics._conform_to_outputs(outputs, y))
