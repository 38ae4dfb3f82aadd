"""A model's outputs: for one batch, and for many, which a graph makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.network.looping_calls import loops
from tfmot_paoding.network.sound_convolutions import sound_convolutions

Array = np.ndarray

# A graph takes half of the time, as activations go into what they stand behind;
# to trace it takes as long as some batches, or as one or two of a recurrent
# layer, all of whose steps are run one by one without it.
_EAGER, _EAGER_LOOPS = 16, 2


def outputs_of(model: keras.Model, x: Sequence[Array]) -> list[tf.Tensor]:
  """Every output for one batch, at inference."""
  x = [tf.convert_to_tensor(a) for a in x]
  with sound_convolutions(model):
    made = model(x if len(x) > 1 else x[0], training=False)
  return tf.nest.flatten(made)


class Answering:
  """A model's outputs at inference, traced once it has been asked often.

  Args:
    model: What answers; its weights may change meanwhile.
  """

  def __init__(self, model: keras.Model):
    self._model = model
    self._asked = 0
    self._eager = _EAGER_LOOPS if loops(model) else _EAGER
    self._traced: Callable | None = None

  def __call__(self, x: Sequence[Array | tf.Tensor]) -> list[tf.Tensor]:
    """Every output for one batch.

    Args:
      x: One array an input, with a batch axis.
    """
    x = [tf.convert_to_tensor(a) for a in x]
    self._asked += 1
    if self._asked <= self._eager or self._stays_eager():
      return outputs_of(self._model, x)
    if self._traced is None:
      self._traced = self._trace(x)
    return self._traced(*x)

  def _stays_eager(self) -> bool:
    """Whether no graph will do, as for a layer that runs Python each time."""
    return (
      not tf.executing_eagerly()
      or tf.distribute.has_strategy()
      or self._model.dynamic
      or self._model.run_eagerly
    )

  def _trace(self, x: list[tf.Tensor]) -> Callable:
    specs = [tf.TensorSpec((None, *a.shape[1:]), a.dtype) for a in x]
    traced = tf.function(
      lambda *x: outputs_of(self._model, x),
      specs,
      autograph=compat.may_branch(self._model),
    )
    with compat.without_forms_for_gpus():
      return traced.get_concrete_function()
