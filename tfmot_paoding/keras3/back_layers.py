"""One tf_keras layer as a Keras 3 layer: class and settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.keras3.activations import are_alike
from tfmot_paoding.keras3.held_layer import HeldLayer
from tfmot_paoding.keras3.layers import BETWEEN_WHOLE, is_default
from tfmot_paoding.layers import PaddedLayerNormalization, RMSNormalization

# Settings that say nothing of what a layer computes from given weights.
_IDLE = frozenset(
  {
    'batch_input_shape',
    'build_config',
    'experimental_autocast',
    'implementation',
    'input_length',
    'key_shape',
    'name',
    'query_shape',
    'rng_type',
    'trainable',
    'value_shape',
  }
)
_RENAMED = {'LeakyReLU': {'alpha': 'negative_slope'}}
# Values that are what Keras 3 does where it has no such setting.
_NOTHING_SAID = (None, False, 1)
# What the layer's part is called that holds another layer.
_PARTS = ('layer', 'backward_layer', 'cell', 'cells')

# What is no layer of either for all to use, but of both.
_APPLICATIONS = (
  compat.CustomScaleLayer,
  compat.LayerScale,
  compat.StochasticDepth,
)


class NoCounterpartError(ValueError):
  """A layer or function that Keras 3 does not have."""


def no_keras3_counterpart(what: Any, why: str = '') -> NoCounterpartError:
  """The error for a layer or function that Keras 3 does not have."""
  return NoCounterpartError(
    f'The tf_keras layer {type(what).__name__} {what.name!r} has no Keras 3 '
    f'counterpart{why}. Rebuild that part of the model with layers that both '
    'have, or save the model as it is: .h5, .tflite and SavedModel need none.'
  )


def keras3_layer(layer: Any, name: str) -> tuple[Any, Callable[..., Any]]:
  """The Keras 3 layer of the same meaning.

  Args:
    layer: A built tf_keras layer that is no model.
    name: The name of the layer made.

  Returns:
    The layer, not built, and a function of Keras 3 tensors that does what
    `layer` does: the layer itself, or where its activation has no counterpart,
    it and others behind it.

  Raises:
    NoCounterpartError: its class or a setting has no counterpart.
  """
  if type(layer) is PaddedLayerNormalization:
    return _padded(layer, name)
  if type(layer) is HeldLayer:
    made = layer.new(name)
    return made, made
  cls = _counterpart(layer)
  settings, behind = _translated(layer, cls)
  settings['name'] = name
  try:
    made = cls(**settings)
  except (TypeError, ValueError) as error:
    raise no_keras3_counterpart(
      layer, f' with its settings ({error})'
    ) from error
  if isinstance(layer, BETWEEN_WHOLE) and layer.interpolation != 'nearest':
    return made, _of_real_numbers(made)
  if behind is None:
    return made, made
  steps = _activation_behind(behind, name)

  def apply(*args: Any, **kwargs: Any) -> Any:
    x = made(*args, **kwargs)
    for step in steps:
      x = step(x)
    return x

  return made, apply


def _of_real_numbers(made: Any) -> Callable[..., Any]:
  """A Keras 3 layer that is not to round what lies between whole numbers."""
  import keras as keras3

  def apply(x: Any, **kwargs: Any) -> Any:
    if 'int' in keras3.backend.standardize_dtype(x.dtype):
      x = keras3.ops.cast(x, made.compute_dtype)
    return made(x, **kwargs)

  return apply


def _padded(layer: Any, name: str) -> tuple[Any, Callable[..., Any]]:
  """Layer normalization of zeros as well, which are there in Keras 3."""
  import keras as keras3

  config = layer.get_config()
  del config['width']
  plain = keras.layers.LayerNormalization.from_config(config)
  made, apply = keras3_layer(plain, name)

  def padded(x: Any) -> Any:
    channels = x.shape[-1]
    zeros = (0, layer.width - channels)
    x = keras3.ops.pad(x, [(0, 0)] * (len(x.shape) - 1) + [zeros])
    return apply(x)[..., :channels]

  return made, padded


def keras3_weights(layer: Any) -> list[np.ndarray]:
  """A layer's weights as its counterpart holds them."""
  if type(layer) is HeldLayer:
    return layer.held.get_weights()
  values = layer.get_weights()
  if type(layer) is PaddedLayerNormalization:
    width = layer.width
    return [
      np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])])
      for x in values
    ]
  return values


def _counterpart(layer: Any) -> type:
  """The Keras 3 class of the same meaning."""
  import keras as keras3

  cls = type(layer)
  if cls in _APPLICATIONS:
    return _of_applications(cls.__name__)
  known = cls is RMSNormalization
  known = known or getattr(keras.layers, cls.__name__, None) is cls
  found = getattr(keras3.layers, cls.__name__, None)
  if not known or found is None:
    raise no_keras3_counterpart(layer)
  if cls.__name__ == 'Lambda':
    raise no_keras3_counterpart(layer, ': its function is code')
  if cls is keras.layers.Bidirectional:
    _check_directions(layer)
  return found


def _of_applications(name: str) -> type:
  """A class that networks of `keras.applications` have for themselves."""
  from keras.src.applications import convnext, inception_resnet_v2

  own = convnext, inception_resnet_v2
  (found,) = [vars(module)[name] for module in own if name in vars(module)]
  return found


def _check_directions(layer: Any) -> None:
  """Raises unless both directions of a Bidirectional are as wide.

  Keras 3 takes the width of both to be twice that of one.

  Raises:
    NoCounterpartError: one is wider.
  """
  units = [
    getattr(part, 'units', None)
    for part in (layer.forward_layer, layer.backward_layer)
  ]
  if units[0] != units[1]:
    raise no_keras3_counterpart(
      layer,
      f' with {units[0]} units forward and {units[1]} backward, since both of '
      "Keras 3's are as wide (scope='local', or the same sparsity for both in "
      'a dict, leaves them so)',
    )


def _translated(layer: Any, cls: type) -> tuple[dict[str, Any], Any]:
  """The settings for Keras 3, and an activation that must stand behind."""
  renamed = _RENAMED.get(cls.__name__, {})
  accepted, behind = _settings_of(cls), None
  settings = {}
  for key, value in _config_of(layer).items():
    key = renamed.get(key, key)
    if (
      key in _IDLE
      or key.endswith('_initializer')
      or key in ('name', 'trainable')
    ):
      continue
    if key == 'dtype':
      value = layer.dtype_policy.name
    elif key.endswith('activation'):
      value, behind = _activation(value, layer, key)
    elif key.endswith(('_regularizer', '_constraint')):
      value = _training_part(value)
    elif key in _PARTS:
      value = _part(layer, key)
      if value is None:
        continue
    elif isinstance(value, (list, tuple)):
      value = _plain(value)
    if key in accepted:
      settings[key] = value
    elif value not in _NOTHING_SAID and not is_default(layer, key, value):
      raise no_keras3_counterpart(layer, f' with {key}={value!r}')
  if isinstance(layer, keras.layers.BatchNormalization):
    (settings['axis'],) = _plain(np.atleast_1d(layer.axis).tolist())
  return settings, behind


def _config_of(layer: Any) -> dict[str, Any]:
  """A layer's config; of one that looks words up, with all that it knows."""
  config = layer.get_config()
  if not hasattr(layer, 'get_vocabulary'):
    return config
  config.pop('vocabulary_size', None)  # which Keras 3 counts by itself
  words = layer.get_vocabulary(include_special_tokens=False)
  return config | {'vocabulary': np.asarray(words).tolist()}


def _plain(value: Any) -> Any:
  """Lists in lists, without what tf_keras wraps around them."""
  if isinstance(value, (list, tuple)):
    kind = tuple if isinstance(value, tuple) else list
    return kind(_plain(x) for x in value)
  return value


def _settings_of(cls: type) -> set[str]:
  """The settings that a Keras 3 layer's constructor takes."""
  found = {'name', 'dtype'}
  for base in cls.__mro__:
    if '__init__' not in vars(base):
      continue
    parameters = inspect.signature(base.__init__).parameters
    found |= set(parameters)
    if all(x.kind is not x.VAR_KEYWORD for x in parameters.values()):
      break  # it hands nothing on
  return found - {'self', 'args', 'kwargs'}


def _training_part(value: Any) -> Any:
  """A regularizer or constraint, if Keras 3 has the like."""
  import keras as keras3

  if not isinstance(value, dict):
    return value
  name, config = value.get('class_name'), dict(value.get('config') or {})
  for kind in (keras3.regularizers, keras3.constraints):
    if isinstance(getattr(kind, str(name), None), type):
      return getattr(kind, name)(**config)
  return None


def _part(layer: Any, key: str) -> Any:
  """The layer, or the cells, inside a wrapper, for Keras 3."""
  if key == 'layer':
    inside = getattr(layer, 'forward_layer', None) or layer.layer
  else:
    inside = getattr(layer, key, None)
  if inside is None:
    return None
  if isinstance(inside, keras.layers.StackedRNNCells):
    inside = inside.cells
  if isinstance(inside, (list, tuple)):
    return [_inner(cell) for cell in inside]
  if isinstance(inside, keras.Model):
    raise no_keras3_counterpart(layer, f' around the model {inside.name!r}')
  return _inner(inside)


def _inner(inside: Any) -> Any:
  made, function = keras3_layer(inside, inside.name)
  if function is not made:
    raise no_keras3_counterpart(inside, ' for its activation inside a wrapper')
  return made


def _activation(value: Any, layer: Any, key: str) -> tuple[Any, Any]:
  """An activation for Keras 3, or 'linear' and what must stand behind."""
  import keras as keras3

  if value is None:
    return None, None
  wanted = keras.activations.get(value)
  name = value if isinstance(value, str) else wanted.__name__
  if value not in (name, None) and name not in vars(keras.activations):
    raise no_keras3_counterpart(layer, f' with the activation {name!r}')
  if name == 'hard_sigmoid':
    if key != 'activation' or hasattr(layer, 'recurrent_activation'):
      raise no_keras3_counterpart(layer, f' with {name!r} inside')
    return 'linear', name
  try:
    found = keras3.activations.get(name)
  except ValueError:
    raise no_keras3_counterpart(
      layer, f' with the activation {name!r}'
    ) from None
  if not are_alike(wanted, found):
    raise no_keras3_counterpart(
      layer, f' with the activation {name!r}, which has changed its meaning'
    )
  return name, None


def _activation_behind(name: str, layer: str) -> list[Any]:
  """tf_keras' piecewise linear sigmoid as layers of Keras 3."""
  import keras as keras3

  return [
    keras3.layers.Rescaling(0.2, 0.5, name=f'{layer}_{name}_0'),
    keras3.layers.ReLU(max_value=1.0, name=f'{layer}_{name}_1'),
  ]
