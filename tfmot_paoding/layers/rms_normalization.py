"""Root mean square normalization, which tf_keras does not have itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras, register_serializable


@register_serializable(package='tfmot_paoding')
class RMSNormalization(keras.layers.Layer):
  """gamma x / sqrt(mean of x^2 + epsilon), as Keras 3 has it.

  Args:
    axis: The axis, or the axes, over which the mean is taken.
    epsilon: What is added to it.
    **kwargs: As for a Keras layer.

  Reference: Zhang & Sennrich 2019, arXiv 1910.07467.
  """

  def __init__(
    self, axis: int | Sequence[int] = -1, epsilon: float = 1e-6, **kwargs: Any
  ):
    super().__init__(**kwargs)
    self.axis = list(axis) if isinstance(axis, (list, tuple)) else axis
    self.epsilon = epsilon
    self.supports_masking = True

  @property
  def axes(self) -> list[int]:
    """The axes as a list."""
    return list(self.axis) if isinstance(self.axis, list) else [self.axis]

  def build(self, input_shape: Any) -> None:
    """Makes gamma, a factor for each entry along the axes."""
    rank = len(input_shape)
    self.gamma = self.add_weight(
      'gamma',
      [input_shape[axis] for axis in sorted(a % rank for a in self.axes)],
      initializer='ones',
    )
    super().build(input_shape)

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """The normalized inputs; in half precision measured in float32."""
    x = inputs
    if x.dtype in (tf.float16, tf.bfloat16):
      x = tf.cast(x, tf.float32)
    mean = tf.reduce_mean(tf.square(x), self.axes, keepdims=True)
    x *= tf.math.rsqrt(mean + tf.cast(self.epsilon, x.dtype))
    axes = [axis % x.shape.rank for axis in self.axes]
    sizes = [
      size if axis in axes else 1 for axis, size in enumerate(x.shape.as_list())
    ]
    gamma = tf.reshape(tf.cast(self.gamma, x.dtype), sizes)
    return tf.cast(x * gamma, inputs.dtype)

  def compute_output_shape(self, input_shape: Any) -> Any:
    """That of the input."""
    return input_shape

  def get_config(self) -> dict[str, Any]:
    """The arguments."""
    config = {'axis': self.axis, 'epsilon': self.epsilon}
    return {**super().get_config(), **config}
