"""Layer normalization that measures zeros where pruning took channels out."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras, register_serializable


@register_serializable(package='tfmot_paoding')
class PaddedLayerNormalization(keras.layers.LayerNormalization):
  """Layer normalization of more channels than there are, the others zero.

  The same as to pad the last axis with zeros up to `width`, to normalize, and
  to take the first channels of that; nothing of the zeros is stored or
  computed. With s the share of channels that there are, and m and q the mean
  of what there is and its mean square about s m, the mean of all is s m and
  the variance s q + (1 - s) (s m)^2.

  Args:
    width: How many channels are measured.
    **kwargs: As for `LayerNormalization`, whose axes must be the last ones.

  Raises:
    ValueError: `width` is no positive whole number, or less than the channels
      of the input.
  """

  def __init__(self, width: int, **kwargs: Any):
    super().__init__(**kwargs)
    if not isinstance(width, int) or width < 1:
      raise ValueError(
        '`width` must be the number of channels that are measured, a positive '
        f'whole number, but got {width!r}.'
      )
    self.width = width

  def build(self, input_shape: Any) -> None:
    """Makes gamma and beta for the channels that there are."""
    channels = input_shape[-1]
    if channels > self.width:
      raise ValueError(
        f'Layer {self.name!r} measures {self.width} channels, but its input '
        f'has {channels}: `width` counts these and the zeros beside them.'
      )
    super().build(input_shape)

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """The normalized inputs; in half precision measured in float32."""
    x = inputs
    if x.dtype in (tf.float16, tf.bfloat16):
      x = tf.cast(x, tf.float32)
    share = x.shape[-1] / self.width
    mean = share * tf.reduce_mean(x, self.axis, keepdims=True)
    x -= mean
    squares = share * tf.reduce_mean(tf.square(x), self.axis, keepdims=True)
    squares += (1 - share) * tf.square(mean)
    x *= tf.math.rsqrt(squares + tf.cast(self.epsilon, x.dtype))
    if self.gamma is not None:
      x *= tf.cast(self.gamma, x.dtype)
    if self.beta is not None:
      x += tf.cast(self.beta, x.dtype)
    return tf.cast(x, inputs.dtype)

  def get_config(self) -> dict[str, Any]:
    """The arguments."""
    return {**super().get_config(), 'width': self.width}
