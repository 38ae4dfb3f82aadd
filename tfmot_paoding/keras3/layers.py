"""One Keras 3 layer as a tf_keras layer: class, settings and weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.keras3 import grouped_attention
from tfmot_paoding.keras3.activations import (
  NoActivationError,
  translated_activation,
)
from tfmot_paoding.keras3.held_layer import HeldLayer, held
from tfmot_paoding.layers import RMSNormalization

# What the parts of a layer are called that are layers themselves.
_PARTS = ('layer', 'forward_layer', 'backward_layer')
# Settings that say nothing of what a layer computes from given weights.
_IDLE = frozenset(
  {
    'batch_shape',
    'build_config',
    'lora_alpha',
    'lora_rank',
    'optional',
    'quantization_config',
    'seed',
  }
)
# Values that are what tf_keras does where it has no such setting.
_NOTHING_SAID = (None, False, 'channels_last', 'constant')
_RENAMED = {
  'LeakyReLU': {'negative_slope': 'alpha'},
  'MultiHeadAttention': grouped_attention.RENAMED,
}
# What gives whole numbers between whole numbers in Keras 3, others in tf_keras.
BETWEEN_WHOLE = (keras.layers.Resizing, keras.layers.UpSampling2D)
# What has its counterpart elsewhere than in the layers of tf_keras.
_ELSEWHERE = {
  'CustomScaleLayer': compat.CustomScaleLayer,
  'LayerScale': compat.LayerScale,
  'RMSNormalization': RMSNormalization,
  'StochasticDepth': compat.StochasticDepth,
}


def convert_layer(layer: Any, name: str | None = None) -> Callable[..., Any]:
  """A function of tf_keras tensors that does what a Keras 3 layer does.

  Args:
    layer: A built Keras 3 layer that is no model.
    name: The name of the layer made; None for the same one.

  Returns:
    The tf_keras layer, not built; or, where its activation has no counterpart,
    the layer and others behind it as one function; or, where its class has
    none, the layer itself inside one of tf_keras.

  Raises:
    ValueError: a setting has no tf_keras counterpart, or the layer's class has
      none and does not make a layer of its own config.
  """
  if _is_lambda(layer):
    return keras.layers.Lambda(
      layer.function,
      arguments=layer.arguments,
      mask=layer.mask,
      name=layer.name,
      dtype=_policy_name(layer.get_config()['dtype']),
    )
  cls = _counterpart(layer)
  if cls is None:
    return _held(layer, name or layer.name)
  if grouped_attention.shares_heads(layer):
    config = grouped_attention.own_settings(layer)
  else:
    config = _with_vocabulary(layer, layer.get_config())
  config, behind = _translated(config, cls, layer)
  config['name'] = name or layer.name
  # Its `from_config` wants what only a built tf_keras layer has noted.
  attends = cls is keras.layers.MultiHeadAttention
  made = cls(**config) if attends else cls.from_config(config)
  if isinstance(made, BETWEEN_WHOLE) and made.interpolation != 'nearest':
    return Rounded(made, lambda x: x)
  if behind is None:
    return made
  return Chain(made, behind(config['name']))


def _with_vocabulary(layer: Any, config: dict[str, Any]) -> dict[str, Any]:
  """The config of a layer that looks words up, with those it was adapted to.

  tf_keras gives such layers a type of its own, and counts the words by itself.
  """
  if not hasattr(layer, 'get_vocabulary'):
    return config
  words = layer.get_vocabulary(include_special_tokens=False)
  left_out = ('dtype', 'vocabulary_size')
  found = {k: value for k, value in config.items() if k not in left_out}
  return found | {'vocabulary': np.asarray(words).tolist()}


class Chain:
  """A layer, and a function of its output."""

  def __init__(self, layer: Any, behind: Callable[[Any], Any]):
    self.layer = layer
    self._behind = behind

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    """The function of the layer's output."""
    return self._behind(self.layer(*args, **kwargs))


class Rounded(Chain):
  """A layer that makes whole numbers of whole numbers, as Keras 3 does."""

  def __call__(self, x: Any, **kwargs: Any) -> Any:
    """What it makes, rounded where its input is of whole numbers."""
    found = super().__call__(x, **kwargs)
    if not x.dtype.is_integer:
      return found
    found = tf.round(found)
    if self.layer.interpolation != 'bilinear':  # which stays in their range
      found = tf.clip_by_value(found, x.dtype.min, x.dtype.max)
    return tf.cast(found, x.dtype)


def copy_weights(source: Any, target: Any) -> None:
  """Sets a tf_keras layer's weights to a Keras 3 layer's.

  Raises:
    ValueError: they differ in number or shape.
  """
  if isinstance(target, Chain):
    target = target.layer
  if isinstance(target, HeldLayer):  # the two generations sort them otherwise
    target.held.set_weights(source.get_weights())
    return
  if isinstance(target, keras.layers.SpectralNormalization):  # likewise
    copy_weights(source.layer, target.layer)
    target.vector_u.assign(np.asarray(source.vector_u))
    return
  if grouped_attention.shares_heads(source):
    values = grouped_attention.own_weights(source)
  else:
    values = [np.asarray(value) for value in source.get_weights()]
  shapes = [tuple(weight.shape) for weight in target.weights]
  if [value.shape for value in values] != shapes:
    values = [
      value.reshape(shape) if value.size == np.prod(shape) else value
      for value, shape in zip(values, shapes, strict=False)
    ]
  if [value.shape for value in values] != shapes:
    raise ValueError(
      f'The weights of Keras 3 layer {source.name!r} have the shapes '
      f'{[value.shape for value in values]}, those of its tf_keras '
      f'counterpart {shapes}. Rebuild this layer with tf_keras.'
    )
  target.set_weights(values)
  if hasattr(target, 'finalize_state'):
    target.finalize_state()


def no_counterpart(what: Any, why: str = '') -> ValueError:
  """The error for a layer or operation that tf_keras does not have."""
  return ValueError(
    f'The Keras 3 layer or operation {type(what).__name__} {what.name!r} has '
    f'no tf_keras counterpart{why}. Rebuild that part of the model with layers '
    'that both have.'
  )


def _is_lambda(layer: Any) -> bool:
  import keras as keras3

  return type(layer) is keras3.layers.Lambda


def _held(layer: Any, name: str) -> HeldLayer:
  """The layer itself, inside one of tf_keras."""
  try:
    return held(layer, name)
  except (NotImplementedError, TypeError, ValueError) as error:
    raise no_counterpart(
      layer,
      ', nor can Keras 3 make it anew from what its `get_config` and '
      f'`get_build_config` give, to be run as it is ({error})',
    ) from error


def _counterpart(layer: Any) -> type | None:
  """The tf_keras class of the same meaning, if there is one."""
  import keras as keras3

  cls = type(layer)
  if grouped_attention.shares_heads(layer):
    return keras.layers.MultiHeadAttention
  own = cls.__module__.split('.')[0] == 'keras'
  if own and cls.__name__ in _ELSEWHERE:
    return _ELSEWHERE[cls.__name__]
  known = getattr(keras3.layers, cls.__name__, None) is cls
  found = getattr(keras.layers, cls.__name__, None)
  return found if known and all(map(_counterpart, _parts(layer))) else None


def _parts(layer: Any) -> list[Any]:
  """The layers of Keras 3 that a layer holds, and makes its config of."""
  import keras as keras3

  # Other recurrent layers make their cells by themselves.
  names = (*_PARTS, 'cell') if type(layer) is keras3.layers.RNN else _PARTS
  found = [getattr(layer, name, None) for name in names]
  found += getattr(layer, 'cells', None) or []
  return [part for part in found if isinstance(part, keras3.layers.Layer)]


def _translated(
  config: dict[str, Any], cls: type, layer: Any
) -> tuple[dict[str, Any], Any]:
  """The settings for tf_keras, and an activation that must stand behind."""
  renamed = _RENAMED.get(cls.__name__, {})
  accepted, behind = _arguments(cls), None
  found = {}
  for key, value in config.items():
    key = renamed.get(key, key)
    if key in _IDLE or key.endswith('_initializer'):
      continue
    if key == 'dtype':
      value = _policy_name(value)
    elif key.endswith('activation'):
      try:
        value, behind = translated_activation(value, key, layer)
      except NoActivationError as error:
        raise no_counterpart(layer, str(error)) from None
    elif key.endswith(('_regularizer', '_constraint')):
      value = _training_part(value)
    elif key == 'cells' or (key == 'cell' and isinstance(value, list)):
      value = [_inner_config(cell) for cell in _cells(layer)]
    elif key in ('layer', 'backward_layer', 'cell') and value is not None:
      value = _inner(value, layer, key)
    if key in accepted:
      found[key] = value
    elif value not in _NOTHING_SAID and not is_default(layer, key, value):
      raise no_counterpart(layer, f' with {key}={value!r}')
  return found, behind


def _arguments(cls: type) -> set[str]:
  """The settings that a tf_keras layer's constructor takes."""
  found = {'name', 'trainable', 'dtype'}
  for base in cls.__mro__:
    if '__init__' in vars(base):
      found |= set(inspect.signature(base.__init__).parameters)
  if issubclass(cls, keras.layers.RNN):
    found.add('zero_output_for_mask')  # among its keyword arguments
  return found - {'self', 'args', 'kwargs'}


def is_default(layer: Any, key: str, value: Any) -> bool:
  """Whether a setting has the value that nobody chose."""
  for base in type(layer).__mro__:
    if '__init__' in vars(base):
      parameter = inspect.signature(base.__init__).parameters.get(key)
      if parameter is not None:
        return parameter.default == value
  return False


def _policy_name(value: Any) -> Any:
  if isinstance(value, dict):
    return value.get('config', {}).get('name')
  return value


def _training_part(value: Any) -> Any:
  """A regularizer or constraint, if tf_keras has the like."""
  if not isinstance(value, dict):
    return value
  name = value.get('class_name')
  for kind in (keras.regularizers, keras.constraints):
    if isinstance(getattr(kind, name, None), type):
      return {'class_name': name, 'config': value.get('config', {})}
  return None


def _inner(value: Any, layer: Any, key: str) -> Any:
  """The layer inside a wrapper, as a tf_keras config."""
  inside = getattr(layer, 'forward_layer' if key == 'layer' else key, None)
  return _inner_config(inside if inside is not None else layer.layer)


def _cells(layer: Any) -> list[Any]:
  """The cells of stacked cells, or of the recurrent layer they are in."""
  return getattr(layer, 'cell', layer).cells


def _inner_config(inside: Any) -> dict[str, Any]:
  made = convert_layer(inside)
  if isinstance(made, Chain):
    raise no_counterpart(inside, ' for its activation inside a wrapper')
  return {'class_name': type(made).__name__, 'config': made.get_config()}
