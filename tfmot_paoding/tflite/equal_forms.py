"""Layers as what devices have kernels for, where that is the same function.

TensorFlow's converter turns repeated entries into one tensor each and puts them
together again, or into tiles, which tflite-micro lacks; of slices it takes four
axes at most, and of pooling two; dilated convolutions it spreads over the
batch, and volumes have convolutions of their own, without integers. The nearest
neighbour of an enlarged grid is a repeated entry as well,
and axes that lie side by side can be read as one. Counts of categories, which
LiteRT has no operator for, are rows of a table that are added up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.network.cloning import clone_with, copy_weights, fresh_layer
from tfmot_paoding.tflite.dilations import dilate_natively, is_dilated
from tfmot_paoding.tflite.function_forms import (
  has_function_form,
  repeated,
  set_function_form,
)
from tfmot_paoding.tflite.volume_convolutions import (
  convolve_as_images,
  has_no_operator,
  is_volume_convolution,
)

Form = Callable[[Any, tf.Tensor], tf.Tensor]
_DROPS = 'recurrent_dropout'


def with_equal_forms(
  model: keras.Model, *, volumes: bool = True
) -> keras.Model:
  """The model with such layers replaced; itself where it has none.

  Args:
    model: A plain tf_keras model, not changed.
    volumes: Whether their convolutions are among them, for which LiteRT has an
      operator of real numbers.
  """

  def by_images(layer: Any) -> bool:
    if not is_volume_convolution(layer):
      return False
    return volumes or has_no_operator(layer)

  if not any(
    _form_of(layer)
    or is_dilated(layer)
    or by_images(layer)
    or has_function_form(layer)
    or getattr(layer, _DROPS, 0)
    for layer in model._flatten_layers()
  ):
    return model

  def make_layer(layer: Any, _: Any) -> Any:
    form, made = _form_of(layer), fresh_layer(layer, _at_inference(layer))
    for inner in made._flatten_layers():
      if is_dilated(inner):
        dilate_natively(inner)
      if by_images(inner):
        convolve_as_images(inner)
      set_function_form(inner)
    return made if form is None else _Replaced(made, form)

  made = clone_with(model, make_layer)
  copy_weights(model, made)
  return made


def _at_inference(layer: Any) -> dict[str, Any] | None:
  """The config of a layer that drops parts of its states in training alone.

  Keras runs such an LSTM step by step at inference, too: a loop, which takes
  more room than the operator and has no integers.

  Args:
    layer: A layer; None comes of others.
  """
  if not any(getattr(part, _DROPS, 0) for part in layer._flatten_layers()):
    return None
  return _without_drops(layer.get_config())


def _without_drops(config: Any) -> Any:
  if isinstance(config, (list, tuple)):
    return type(config)(map(_without_drops, config))
  if not isinstance(config, dict):
    return config
  return {
    key: 0.0 if key == _DROPS else _without_drops(value)
    for key, value in config.items()
  }


class _Replaced(keras.layers.Layer):
  """A layer without weights, computed in another way.

  Args:
    layer: The layer.
    form: The other way, for inputs of known sizes.
  """

  def __init__(self, layer: keras.layers.Layer, form: Form):
    super().__init__(name=layer.name, dtype=layer.dtype_policy)
    self._layer, self._form = layer, form

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """The same as the layer gives."""
    if None in inputs.shape[1:]:
      return self._layer(inputs)
    return self._form(self._layer, inputs)


def _upsampled(layer: Any, x: tf.Tensor) -> tf.Tensor:
  """`UpSampling1D` and `UpSampling3D`."""
  times = layer.size if isinstance(layer.size, tuple) else (layer.size,)
  for axis, count in enumerate(times):
    if count > 1:
      x = repeated(x, axis, count)
  return x


def _vector_repeated(layer: keras.layers.RepeatVector, x: tf.Tensor):
  """`RepeatVector`."""
  return repeated(tf.reshape(x, (-1, 1, *x.shape[1:])), 0, layer.n)


def _cropped(x: tf.Tensor, ends: tuple[tuple[int, int], ...]) -> tf.Tensor:
  """A volume without what lies outside of these ends.

  Args:
    x: Shape (samples, depth, height, width, channels).
    ends: Where each axis begins and ends.
  """
  depth, height, width, channels = x.shape[1:]
  (front, back), (top, bottom), (left, right) = ends
  x = tf.reshape(x, (-1, depth, height * width * channels))[:, front:back]
  x = tf.reshape(x, (-1, back - front, height, width * channels))
  x = x[:, :, top:bottom, left * channels : right * channels]
  made = (back - front, bottom - top, right - left, channels)
  return tf.reshape(x, (-1, *made))


def _cropped_volume(layer: keras.layers.Cropping3D, x: tf.Tensor) -> tf.Tensor:
  """`Cropping3D`."""
  ends = tuple(
    (before, size - after)
    for (before, after), size in zip(layer.cropping, x.shape[1:], strict=False)
  )
  return _cropped(x, ends)


def _pooled(layer: Any, x: tf.Tensor) -> tf.Tensor:
  """Pooling of volumes: of heights and widths, and of what comes of depths."""
  if layer.padding == 'valid' and layer.strides == layer.pool_size:
    return _pooled_side_by_side(layer, x)
  pool, padding = _POOLS[type(layer)], layer.padding.upper()
  window, steps = layer.pool_size, layer.strides
  depth, *sizes = x.shape[1:]
  x = pool(tf.reshape(x, (-1, *sizes)), window[1:], steps[1:], padding)
  height, width, channels = x.shape[1:]
  x = tf.reshape(x, (-1, depth, height * width, channels))
  x = pool(x, (window[0], 1), (steps[0], 1), padding)
  return tf.reshape(x, (-1, x.shape[1], height, width, channels))


def _pooled_side_by_side(layer: Any, x: tf.Tensor) -> tf.Tensor:
  """Pooling of volumes by windows that lie so, of any number of samples."""
  sizes = layer.pool_size
  counts = [
    size // window for size, window in zip(x.shape[1:], sizes, strict=False)
  ]
  ends = tuple(
    (0, count * window) for count, window in zip(counts, sizes, strict=True)
  )
  if any(end < size for (_, end), size in zip(ends, x.shape[1:], strict=False)):
    x = _cropped(x, ends)
  depth, height, width, channels = x.shape[1:]
  pool = _POOLS[type(layer)]
  # Windows of rows end where the next depth begins.
  x = tf.reshape(x, (-1, depth * height, width, channels))
  x = pool(x, sizes[1:], sizes[1:], 'VALID')
  x = tf.reshape(x, (-1, depth, counts[1] * counts[2], channels))
  x = pool(x, (sizes[0], 1), (sizes[0], 1), 'VALID')
  return tf.reshape(x, (-1, *counts, channels))


def _encoded(layer: keras.layers.CategoryEncoding, x: tf.Tensor) -> tf.Tensor:
  """`CategoryEncoding` without weights of its counts."""
  rows = tf.eye(layer.num_tokens, dtype=layer.compute_dtype)
  if x.shape.rank == 1 or layer.output_mode == 'one_hot':
    x = tf.reshape(x, (-1, 1))
  found = tf.gather(rows, tf.cast(x, tf.int32))
  if x.shape[1] == 1:
    return tf.reshape(found, (-1, layer.num_tokens))
  reduce = tf.reduce_sum if layer.output_mode == 'count' else tf.reduce_max
  return reduce(found, 1)


_POOLS = {
  keras.layers.AveragePooling3D: tf.nn.avg_pool2d,
  keras.layers.MaxPooling3D: tf.nn.max_pool2d,
}
_FORMS: dict[type, Form] = {
  keras.layers.AveragePooling3D: _pooled,
  keras.layers.CategoryEncoding: _encoded,
  keras.layers.Cropping3D: _cropped_volume,
  keras.layers.MaxPooling3D: _pooled,
  keras.layers.RepeatVector: _vector_repeated,
  keras.layers.UpSampling1D: _upsampled,
  keras.layers.UpSampling3D: _upsampled,
}


def _form_of(layer: Any) -> Form | None:
  """How else a layer can be computed; None for others.

  Not by subclasses, which may compute anything.
  """
  form = _FORMS.get(type(layer))
  if getattr(layer, 'data_format', None) == 'channels_first':
    return None
  if getattr(layer, 'sparse', False):
    return None
  if any(call.call_kwargs for call in layer.inbound_nodes):
    return None  # told more than what it is called on, as weights of counts
  return form
