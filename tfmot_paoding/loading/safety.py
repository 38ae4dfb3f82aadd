"""What a model file may name: nothing that could run code or read files.

Only classes that Keras, TFMOT or this package bring along, or that the caller
has registered, are allowed, and functions of TensorFlow that only compute. No
module that a file names is imported to find out.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.loading.errors import ModelFileError
from tfmot_paoding.methods.compensation import compensations
from tfmot_paoding.methods.criteria import criteria
from tfmot_paoding.methods.selection import selections

# TensorFlow functions that only compute; by prefix and by whole name, both
# without the `compat.v1.` that older ones have.
_PURE_PREFIXES = ('math.', 'nn.', '__operators__.', 'linalg.', 'image.resize')
_PURE = frozenset(
  {
    'broadcast_to',
    'cast',
    'clip_by_value',
    'concat',
    'convert_to_tensor',
    'einsum',
    'expand_dims',
    'fill',
    'gather',
    'gather_nd',
    'identity',
    'image.flip_left_right',
    'image.flip_up_down',
    'image.per_image_standardization',
    'norm',
    'one_hot',
    'ones',
    'ones_like',
    'pad',
    'range',
    'rank',
    'repeat',
    'reshape',
    'reverse',
    'roll',
    'shape',
    'size',
    'slice',
    'split',
    'squeeze',
    'stack',
    'strided_slice',
    'tensordot',
    'tile',
    'transpose',
    'unstack',
    'where',
    'zeros',
    'zeros_like',
  }
)
# Layers that hold code, call what they name, or load a file that they name.
_CODE = frozenset(
  {
    'ClassMethod',
    'FlaxLayer',
    'InstanceMethod',
    'InstanceProperty',
    'JaxLayer',
    'TFSMLayer',
    'TensorFlowOpLayer',
    'TorchModuleWrapper',
  }
)
# Ways in which Keras writes plain values.
_VALUES = frozenset(
  {
    'TensorShape',
    'TypeSpec',
    '__bytes__',
    '__ellipsis__',
    '__keras_tensor__',
    '__numpy__',
    '__slice__',
    '__tensor__',
    '__tuple__',
    'dict',
    'slice',
    'tuple',
  }
)
_TFMOT = frozenset(
  {
    'ConstantSparsity',
    'PolynomialDecay',
    'ProgressiveSparsity',
    'PruneLowMagnitude',
    'PruneLowSaliency',
  }
)
# What pruning wrappers are set up with: classes that are here already.
_METHOD_PARTS = (criteria, selections, compensations)
_OPERATIONS = frozenset({'SlicingOpLambda', 'TFOpLambda'})
_GENERATIONS = ('keras', 'tf_keras')


def check_config(config: Any, path: str) -> None:
  """Raises if a model's description names code.

  Args:
    config: The description: dicts, lists and plain values.
    path: Where it came from, for the message.

  Raises:
    ValueError: it does, naming the layer.
  """
  for part, layer in named_objects(config):
    why = _objection(part)
    if why:
      where = f' (layer {layer!r})' if layer else ''
      raise ModelFileError(
        f'{path!r} {why}{where}. Loading it could run code, or read files of '
        'yours. If you trust whoever made it, pass allow_code=True; a class of '
        'your own is allowed once it is registered with '
        'register_keras_serializable.'
      )


def named_objects(config: Any, layer: str = '') -> Iterator[tuple[dict, str]]:
  """Every dict in a description, with the name of the layer it is in."""
  waiting = [(config, layer)]
  while waiting:
    part, layer = waiting.pop()
    if isinstance(part, dict):
      inner = part.get('config')
      if isinstance(inner, dict) and isinstance(inner.get('name'), str):
        layer = inner['name']
      yield part, layer
      waiting += [(value, layer) for value in part.values()]
    elif isinstance(part, list):
      waiting += [(value, layer) for value in part]


def _objection(part: dict) -> str | None:
  """Why one dict of a description is not allowed, or None."""
  if isinstance(part.get('vocabulary'), str):
    return f'reads the file {part["vocabulary"]!r}'
  name = part.get('class_name')
  if name is None:
    return None
  if not isinstance(name, str):
    return f'names an object by {name!r}'
  if name in ('Lambda', '__lambda__'):
    return 'holds a Lambda, that is, code'
  if name in _CODE:
    return f'names the class {name!r}, which brings code along'
  if name == 'function':
    return _objection_to_function(part)
  return _objection_to_class(part, name)


def _objection_to_class(part: dict, name: str) -> str | None:
  # Keras looks a class up by `registered_name`, else in `module`; older files
  # are read by `class_name` alone. Each must lead to what is here already.
  registered, module = part.get('registered_name', name), part.get('module')
  if registered is not None and not isinstance(registered, str):
    return f'names an object by {registered!r}'
  found = registered and _registered(registered)
  if found:
    if registered == name or getattr(found, '__name__', None) == name:
      return None
    return f'names the class {name!r} as {registered!r}, which is another'
  if registered not in (None, name):
    return f'names the class {registered!r}, which is not known'
  if module is not None and not _is_own_module(module):
    return f'names the class {name!r} of module {module!r}'
  if name in _OPERATIONS:
    return _objection_to_operation(part.get('config'))
  if not _is_known(name) and not _is_keras3_operation(name, module):
    return f'names the class {name!r}, which is not known'
  return None


def _is_known(name: str) -> bool:
  """Whether a name stands for a class that Keras or this package has."""
  return (
    name in _VALUES
    or name.split('>')[-1] in _TFMOT
    or name in _own_classes()
    or _registered(name) is not None
    or any(name in parts.names() for parts in _METHOD_PARTS)
  )


def _is_keras3_operation(name: str, module: Any) -> bool:
  """Whether a class is one of keras.ops; tf_keras has no such module."""
  return (
    isinstance(module, str)
    and module.startswith('keras.src.ops.')
    and name.isidentifier()
  )


def _objection_to_function(part: dict) -> str | None:
  name, module = part.get('config'), part.get('module')
  registered = part.get('registered_name')
  if isinstance(name, str):
    if registered not in (None, 'function', name):
      if _is_registered_function(name, module, registered):
        return None
    elif _registered(name) is not None or (
      _is_module_of_functions(module) and name in _own_functions()
    ):
      return None
  return f'names the function {name!r} of module {module!r}'


def _objection_to_operation(config: Any) -> str | None:
  name = config.get('function') if isinstance(config, dict) else None
  if isinstance(name, str):
    short = name.removeprefix('compat.v1.')
    if (
      short in _PURE
      or short.startswith(_PURE_PREFIXES)
      or short.startswith('reduce_')
    ):
      return None
  return f'calls the TensorFlow function {name!r}'


def _is_own_module(module: Any) -> bool:
  return isinstance(module, str) and module.split('.')[0] in _GENERATIONS


def _is_module_of_functions(module: Any) -> bool:
  """Whether looking a function up there imports nothing but Keras."""
  if module in (None, 'builtins') or _is_own_module(module):
    return True
  return (
    isinstance(module, str)
    and module.split('.')[0] == 'tensorflow'
    and module in sys.modules
  )


def _is_registered_function(name: str, module: Any, registered: Any) -> bool:
  """Whether Keras finds what the caller has registered in its module."""
  found = _registered(registered) if isinstance(registered, str) else None
  here = sys.modules.get(module) if isinstance(module, str) else None
  return (
    found is not None and here is not None and vars(here).get(name) is found
  )


def _registered(name: str) -> Any:
  """What the caller has registered under exactly this name, or None."""
  found = keras.utils.get_registered_object(name)
  if found is None:
    found = _keras3().saving.get_registered_object(name)
  return found


@functools.cache
def _own_classes() -> frozenset[str]:
  """The classes that models of either generation are made of."""
  found = {
    'BatchNormalizationV1',
    'BatchNormalizationV2',
    'CustomScaleLayer',
    'DTypePolicy',
    'DTypePolicyMap',
    'Functional',
    'FloatDTypePolicy',
    'LayerScale',
    'Model',
    'Policy',
    'SeedGenerator',
    'Sequential',
    'StochasticDepth',
    'SyncBatchNormalization',
  }
  for root in (keras, _keras3()):
    for kind in (
      root.layers,
      root.initializers,
      root.regularizers,
      root.constraints,
      root.optimizers,
      root.optimizers.schedules,
      root.losses,
      root.metrics,
    ):
      found |= _names_in(kind, type)
  return frozenset(found - _CODE - {'Lambda'})


@functools.cache
def _own_functions() -> frozenset[str]:
  """The activations, losses and metrics of either generation."""
  found = set()
  for root in (keras, _keras3()):
    for kind in (root.activations, root.losses, root.metrics):
      found |= _names_in(kind, types.FunctionType)
  return frozenset(found - {'deserialize', 'get', 'serialize'})


def _names_in(module: Any, kind: type) -> set[str]:
  return {name for name, x in vars(module).items() if isinstance(x, kind)}


def _keras3() -> Any:
  import keras as keras3

  return keras3
