"""A layer of Keras 3 inside a tf_keras model, run as it is."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras, register_serializable

# The classes that were held here so far, by their full name. What a file names
# beyond these is not imported: that would run its code.
_CLASSES: dict[str, type] = {}


@register_serializable(package='tfmot_paoding')
class HeldLayer(keras.layers.Layer):
  """A layer of Keras 3 that tf_keras has no counterpart of.

  It computes what that layer does, by its own code and on weights of its own.
  Units stop at it as they do at any layer that nobody taught the package.

  Args:
    class_name: The layer's class, as `held` names it.
    settings: What its `get_config` gives.
    shapes: What its `get_build_config` gives.
    parts: The classes of layers that it holds, as `held` names them.
    **kwargs: As for any layer.

  Raises:
    ValueError: nothing of that class was converted in this process.
  """

  def __init__(
    self,
    class_name: str,
    settings: dict[str, Any],
    shapes: dict[str, Any] | None,
    parts: Sequence[str] = (),
    **kwargs: Any,
  ):
    super().__init__(autocast=False, **kwargs)
    for name in (class_name, *parts):
      if name not in _CLASSES:
        raise ValueError(
          f'Layer {self.name!r} holds a Keras 3 layer of the class {name!r}, '
          'which is not known here. Convert the Keras 3 model that it comes '
          'from first (`from_keras3`), or keep the model as one of Keras 3 '
          '(`to_keras3`).'
        )
    self._spec = {
      'class_name': class_name,
      'settings': settings,
      'shapes': shapes,
      'parts': list(parts),
    }
    self.held = self.new()
    self.held.build_from_config(shapes)
    for variable in self.held.weights:
      # Keras 3 holds its weights in variables of TensorFlow's.
      known = self._trainable_weights
      if not variable.trainable:
        known = self._non_trainable_weights
      known.append(variable.value)

  def new(self, name: str | None = None) -> Any:
    """Another Keras 3 layer of the same class and settings, not built.

    Args:
      name: What it is called; None for as the one that is held.
    """
    import keras as keras3

    settings = dict(self._spec['settings'])
    if name is not None:
      settings['name'] = name
    parts = [_CLASSES[part] for part in self._spec['parts']]
    with keras3.saving.custom_object_scope({x.__name__: x for x in parts}):
      return _CLASSES[self._spec['class_name']].from_config(settings)

  def call(
    self,
    inputs: Any,
    second: Any = None,
    third: Any = None,
    training: Any = None,
    mask: Any = None,
    **kwargs: Any,
  ) -> Any:
    """What the layer of Keras 3 makes.

    tf_keras does not count arguments right behind `*args`: three go by
    position, as many as layers take, and others by name.
    """
    args = [inputs, second, third]
    while args[1:] and args[-1] is None:
      args.pop()
    taken = inspect.signature(self.held.call).parameters
    for name, value in (('training', training), ('mask', mask)):
      if name in taken and value is not None:
        kwargs[name] = value
    return self.held(*args, **kwargs)

  def get_config(self) -> dict[str, Any]:
    """The settings from which an equal layer is made."""
    return {**super().get_config(), **self._spec}


def held(layer: Any, name: str) -> HeldLayer:
  """A tf_keras layer that runs a Keras 3 layer like this one.

  Args:
    layer: A built Keras 3 layer; it is not changed.
    name: The name of the tf_keras layer.

  Returns:
    The layer, whose weights are not set yet.

  Raises:
    NotImplementedError, TypeError, ValueError: Keras 3 cannot make the layer
      anew from its `get_config`, or build it.
  """
  names = []
  for one in layer._flatten_layers():
    cls = type(one)
    if one is layer or cls.__module__.split('.')[0] != 'keras':
      names.append(f'{cls.__module__}.{cls.__qualname__}')
      _CLASSES[names[-1]] = cls
  return HeldLayer(
    names[0],
    layer.get_config(),
    layer.get_build_config(),
    sorted({*names[1:]}),
    name=name,
    dtype=tf.as_dtype(layer.compute_dtype).name,
  )
