"""Functions as what devices have kernels for, where that is the same.

TensorFlow's converter makes tiles of repeated entries, which tflite-micro
lacks, has no operator that rolls or takes patches, and takes apart activations
that one of its operators is near to. What is not known before there are inputs
is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras

# Of what tflite-micro puts together at a time.
PARTS = 10
# Of selu: what it multiplies, and its limit below zero over that.
_SELU, _SELU_LIMIT = 1.0507009873554805, 1.6732632423543772


def repeated(x: tf.Tensor, axis: int, times: int) -> tf.Tensor:
  """Every entry of an axis so many times in a row.

  Args:
    x: Shape (samples, *sizes), of known sizes.
    axis: Of the sizes.
    times: How often.
  """
  sizes = x.shape[1:]
  rows, rest = math.prod(sizes[: axis + 1]), math.prod(sizes[axis + 1 :])
  # Halves of a pixel keep rounding away from the edges.
  y = tf.raw_ops.ResizeNearestNeighbor(
    images=tf.reshape(x, (-1, rows, 1, rest)),
    size=(rows * times, 1),
    half_pixel_centers=True,
  )
  made = (*sizes[:axis], sizes[axis] * times, *sizes[axis + 1 :])
  return tf.reshape(y, (-1, *made))


def _repeat(
  input: Any,
  repeats: Any,
  axis: int | None = None,
  name: str | None = None,
) -> tf.Tensor:
  """`tf.repeat`."""
  rank = tf.convert_to_tensor(input).shape.rank
  count = _whole_number(repeats)
  if count is None or axis is None or axis % rank == 0 or _is_open(input):
    return tf.repeat(input, repeats, axis, name)
  return repeated(input, axis % rank - 1, count)


def _tile(
  input: Any,
  multiples: Any,
  name: str | None = None,
) -> tf.Tensor:
  """`tf.tile`: copies one behind the other."""
  if tf.is_tensor(multiples):
    return tf.tile(input, multiples, name)
  counts = [_whole_number(count) for count in multiples]
  if any(count is None or count < 1 for count in counts):
    return tf.tile(input, multiples, name)
  for axis, count in enumerate(counts):
    input = joined([input] * count, axis)
  return input


def joined(parts: Sequence[tf.Tensor], axis: int) -> tf.Tensor:
  """Concatenated, as many at a time as tflite-micro takes."""
  while len(parts) > 1:
    parts = [
      tf.concat(parts[start : start + PARTS], axis)
      for start in range(0, len(parts), PARTS)
    ]
  return parts[0]


def _roll(
  input: Any,
  shift: Any,
  axis: Any,
  name: str | None = None,
) -> tf.Tensor:
  """`tf.roll`: two parts that change places."""
  x = tf.convert_to_tensor(input)
  by, along = _whole_number(shift), _whole_number(axis)
  if by is None or along is None or along % x.shape.rank == 0 or _is_open(x):
    return tf.roll(input, shift, axis, name)
  along %= x.shape.rank
  size = x.shape[along]
  by %= size
  return tf.concat(tf.split(x, [size - by, by], along)[::-1], along)


def _patches(
  images: Any,
  sizes: Any,
  strides: Any,
  rates: Any,
  padding: Any,
  name: str | None = None,
) -> tf.Tensor:
  """`tf.image.extract_patches`.

  Square ones that lie side by side are space to depth, others a convolution
  that takes every entry once.
  """
  x = tf.convert_to_tensor(images)
  tall, wide = sizes[1:3]
  beside = list(sizes) == list(strides) and list(rates) == [1, 1, 1, 1]
  whole = not _is_open(x) and not (x.shape[1] % tall or x.shape[2] % wide)
  if beside and whole and tall == wide:
    return tf.nn.space_to_depth(x, tall)
  channels = x.shape[-1]
  if channels is None:
    return tf.image.extract_patches(x, sizes, strides, rates, padding, name)
  count = tall * wide * channels
  taken = tf.reshape(tf.eye(count), (tall, wide, channels, count))
  return tf.nn.conv2d(x, taken, strides[1:3], padding, dilations=rates[1:3])


def _selu(features: Any, name: str | None = None) -> tf.Tensor:
  """`selu` by `elu`, which devices have.

  Nothing on the way has a range of its own that could come to nothing.
  """
  del name
  above = (_SELU_LIMIT - 1.0) * tf.nn.relu(features)
  return _SELU * (_SELU_LIMIT * tf.nn.elu(features) - above)


def _mish(x: Any) -> tf.Tensor:
  """`mish`: tanh(log(1 + e^x)) is (1 - t^2) / (1 + t^2), t = sigmoid(-x)."""
  square = tf.square(tf.sigmoid(-x))
  return x * (1.0 - square) / (1.0 + square)


def _softplus(features: Any, name: str | None = None) -> tf.Tensor:
  """`softplus`: nothing on the way grows beyond what comes out.

  The converter takes log(1 + e^x), whose e^x overflows, and leaves integers no
  steps for the rest.
  """
  del name
  below = tf.math.log(tf.sigmoid(tf.abs(features)))
  return tf.nn.relu(features) - below


def _whole_number(value: Any) -> int | None:
  """Of what is one, known now."""
  known = not tf.is_tensor(value) and np.ndim(value) == 0
  return int(value) if known else None


def _is_open(x: tf.Tensor) -> bool:
  return None in x.shape[1:]


_KNOWN: dict[Callable, Callable] = {
  keras.activations.mish: _mish,
  keras.activations.selu: _selu,
  keras.activations.softplus: _softplus,
  tf.image.extract_patches: _patches,
  tf.nn.selu: _selu,
  tf.nn.softplus: _softplus,
  tf.repeat: _repeat,
  tf.roll: _roll,
  tf.tile: _tile,
}


def _all_within(function: Callable) -> Iterator[Callable]:
  """A function and those that it wraps: layers hold one or another."""
  yield function
  while hasattr(function, '__wrapped__'):
    function = function.__wrapped__
    yield function


_FUNCTIONS: dict[Callable, Callable] = {
  held: form
  for function, form in _KNOWN.items()
  for held in _all_within(function)
}
# Where a layer keeps a function.
_PLACES = ('activation', 'function')


def has_function_form(layer: Any) -> bool:
  """Whether a layer computes one of these."""
  return any(_form(layer, place) for place in _PLACES)


def set_function_form(layer: Any) -> None:
  """Lets a layer, which is changed, compute them in the other way."""
  for place in _PLACES:
    form = _form(layer, place)
    if form is not None:
      setattr(layer, place, form)


def _form(layer: Any, place: str) -> Callable | None:
  function = (
    vars(layer).get(place) if isinstance(layer, keras.layers.Layer) else None
  )
  try:
    return _FUNCTIONS.get(function)
  except TypeError:  # what has no hash is none of them
    return None
