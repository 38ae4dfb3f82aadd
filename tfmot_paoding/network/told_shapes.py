"""Shapes that classes of Keras's tell without being traced.

A layer that is called on Keras tensors puts all its operations into a graph
that is thrown away: only the shapes of what comes out are kept. In a copy of a
model that is most of the time, and Keras's own classes know those shapes.
"""

from __future__ import annotations

import contextvars
import functools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.network.layer_wrapper import LayerWrapper, only_shapes

_L = keras.layers
# What they build, they build in `build`; what they answer is of the type that
# they compute in. Layers that draw are not here: calls count their draws.
_CLASSES = frozenset(
  {
    *(_L.Dense, _L.Conv1D, _L.Conv2D, _L.Conv3D),
    *(_L.DepthwiseConv1D, _L.DepthwiseConv2D),
    *(_L.SeparableConv1D, _L.SeparableConv2D),
    *(_L.Conv2DTranspose, _L.LSTM, _L.GRU, _L.SimpleRNN),
    *(_L.BatchNormalization, _L.LayerNormalization),
    *(_L.Activation, _L.ReLU, _L.LeakyReLU, _L.ELU, _L.PReLU, _L.Softmax),
    *(_L.MaxPooling1D, _L.MaxPooling2D),
    *(_L.AveragePooling1D, _L.AveragePooling2D),
    *(_L.GlobalAveragePooling1D, _L.GlobalAveragePooling2D),
    *(_L.GlobalMaxPooling1D, _L.GlobalMaxPooling2D),
    *(_L.Flatten, _L.Reshape, _L.Permute, _L.RepeatVector),
    *(_L.ZeroPadding1D, _L.ZeroPadding2D, _L.Cropping1D, _L.Cropping2D),
    *(_L.Add, _L.Subtract, _L.Multiply, _L.Average, _L.Maximum, _L.Minimum),
    *(_L.Concatenate, _L.UpSampling1D),
  }
)


@contextmanager
def untraced() -> Iterator[Callable[[Any, Any], None]]:
  """Spares layers their trace while models are made of them.

  Yields:
    What to give each layer to, before its first call, and what it is a copy of;
    one of another class stays what it is. All are as they were at the end.
  """
  spared: list[tuple[Any, Callable | None]] = []

  def spare(layer: Any, old: Any) -> None:
    if isinstance(layer, LayerWrapper):
      layer = layer.layer
    own = vars(layer).get('call')
    if type(layer) in _CLASSES and own is None:
      told = _teller(layer, layer.call)
    elif type(layer) in compat.FUNCTION_LAYERS and len(old.inbound_nodes) == 1:
      told = _recaller(old.inbound_nodes[0], layer.call)
    else:
      return
    # Not by `setattr`, in which Keras looks for variables to keep.
    vars(layer)['call'] = told
    spared.append((layer, own))

  with only_shapes():
    try:
      yield spare
    finally:
      for layer, own in spared:
        if own is None:
          del vars(layer)['call']
        else:
          vars(layer)['call'] = own


_TOLD = contextvars.ContextVar('told', default=False)


def _told_if_asked(infer: Callable) -> Callable:
  @functools.wraps(infer)
  def inferred(layer: Any, *args: Any) -> Any:
    if not _TOLD.get() or type(layer) not in _CLASSES or 'call' in vars(layer):
      return infer(layer, *args)
    vars(layer)['call'] = _teller(layer, layer.call)
    try:
      return infer(layer, *args)
    finally:
      del vars(layer)['call']

  return inferred


_L.Layer._infer_output_signature = _told_if_asked(
  _L.Layer._infer_output_signature
)


@contextmanager
def told() -> Iterator[None]:
  """Spares layers of Keras's own their trace, here and in this thread.

  What is traced all the same, such as an LSTM in a layer of another class, is
  without forms for GPUs. For models that are made call by call of one that is
  known to work: sizes that do not fit are not found as well as by a trace.
  """
  token = _TOLD.set(True)
  try:
    with compat.without_forms_for_gpus():
      yield
  finally:
    _TOLD.reset(token)


def _teller(layer: Any, call: Callable) -> Callable:
  """A `call` that answers with placeholders where the layer knows of which."""

  def told(inputs: Any, *args: Any, **kwargs: Any) -> Any:
    if not _is_known(layer, inputs):
      return call(inputs, *args, **kwargs)
    several = isinstance(inputs, (list, tuple))
    first = inputs[0] if several else inputs
    shapes = layer.compute_output_shape(
      [x.shape for x in inputs] if several else first.shape
    )
    if isinstance(shapes, list):  # a recurrent layer and its states
      return [_placeholder(first.dtype, shape) for shape in shapes]
    return _placeholder(first.dtype, shapes)

  return told


def _recaller(node: Any, call: Callable) -> Callable:
  """A `call` that answers as a function did for tensors of the same shapes.

  Whole numbers may be shapes themselves, which Keras follows by their values:
  they may be others in a copy, where they were known.
  """
  known = [*map(_spec, node.keras_inputs)]
  is_real = all(x.dtype.is_floating for x in tf.nest.flatten(node.outputs))
  is_told = is_real and not any(map(compat.value_is_known, node.keras_inputs))

  def told(*args: Any, **kwargs: Any) -> Any:
    # Constants, which hold values, are those of `node`.
    given = [
      x
      for x in tf.nest.flatten((args, kwargs))
      if tf.is_tensor(x) and not hasattr(x, 'numpy')
    ]
    if not is_told or [*map(_spec, given)] != known:
      return call(*args, **kwargs)
    return tf.nest.map_structure(
      lambda x: _placeholder(x.dtype, x.shape), node.outputs
    )

  return told


def _spec(x: Any) -> tuple:
  return type(x.shape), x.dtype, x.shape.rank and x.shape.as_list()


def _placeholder(dtype: tf.DType, shape: Any) -> tf.Tensor:
  return tf.compat.v1.placeholder(dtype, shape)


def _is_known(layer: Any, inputs: Any) -> bool:
  """Whether the class says what `call` would come to for these inputs."""
  tensors = tf.nest.flatten(inputs)
  return (
    all(
      isinstance(x, tf.Tensor)
      and x.dtype.base_dtype == layer._compute_dtype_object
      and x.shape.rank == tensors[0].shape.rank
      and x.shape[1:].is_fully_defined()
      for x in tensors
    )
    and not getattr(layer, 'stateful', False)
    and not getattr(layer, 'time_major', False)
    and _is_own(getattr(layer, 'activation', None))
  )


def _is_own(activation: Any) -> bool:
  """Whether an activation is a function of Keras's own, or none.

  Another one, or a layer, might do anything.
  """
  return activation is None or (
    isinstance(activation, types.FunctionType)
    and activation.__module__ == keras.activations.relu.__module__
  )
