"""Loads model files of either Keras generation without running code from them.

A model file may come from a stranger. Its description is read and checked
before anything in it is built: only classes that Keras, TFMOT or this package
bring along, or that the caller has registered, may be named in it.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py
from tensorflow.core.protobuf import saved_model_pb2

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.compensation import compensations
from tfmot_paoding.criteria import criteria
from tfmot_paoding.keras3 import from_keras3
from tfmot_paoding.selection import selections
from tfmot_paoding.wrapper import prune_scope

# TensorFlow functions that only compute; by prefix and by whole name.
_PURE_PREFIXES = ('math.', 'nn.', '__operators__.', 'linalg.', 'image.resize')
_PURE = frozenset(
  {
    'cast',
    'clip_by_value',
    'concat',
    'convert_to_tensor',
    'expand_dims',
    'gather',
    'identity',
    'ones_like',
    'pad',
    'reshape',
    'shape',
    'slice',
    'split',
    'squeeze',
    'stack',
    'strided_slice',
    'tile',
    'transpose',
    'unstack',
    'where',
    'zeros_like',
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
    '__tensor__',
    '__tuple__',
    '__typespec__',
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
_LARGEST_CONFIG = 256 * 2**20


def load_model(
  path: str | os.PathLike, allow_code: bool = False
) -> keras.Model:
  """Loads a model file as a tf_keras model.

  Args:
    path: A .h5 or .keras file of either Keras generation, or the folder of a
      SavedModel that tf_keras has written.
    allow_code: Whether the file may bring code along (Lambda layers, pickled
      functions, layers of unknown classes). Only for files that you trust: it
      runs with your rights.

  Returns:
    The model, not compiled.

  Raises:
    FileNotFoundError: there is nothing at `path`.
    ValueError: the file holds no Keras model, is damaged, or brings code along
      that is not allowed.
  """
  path = os.fspath(path)
  if not os.path.exists(path):
    raise FileNotFoundError(f'There is no model file {path!r}.')
  if os.path.isdir(path):
    _check_saved_model(path, allow_code)
    return _loaded(path, later=False, allow_code=allow_code)
  if zipfile.is_zipfile(path):
    config, version = _read_zip(path)
  elif h5py.is_hdf5(path):
    config, version = _read_h5(path)
  else:
    raise ValueError(
      f'{path!r} is no model file: expected .keras or .h5, or the folder of a '
      'SavedModel.'
    )
  if not allow_code:
    check_config(config, path)
  return _loaded(path, later=version.startswith('3'), allow_code=allow_code)


def check_config(config: Any, path: str) -> None:
  """Raises if a model's description names code.

  Args:
    config: The description: dicts, lists and plain values.
    path: Where it came from, for the message.

  Raises:
    ValueError: it does, naming the layer.
  """
  for part, layer in _objects(config):
    why = _objection(part)
    if why:
      where = f' (layer {layer!r})' if layer else ''
      raise ValueError(
        f'{path!r} {why}{where}. Loading it would run code from the file. If '
        'you trust whoever made it, pass allow_code=True; a class of your own '
        'is allowed once it is registered with register_keras_serializable.'
      )


def _objects(config: Any, layer: str = '') -> Iterator[tuple[dict, str]]:
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
  name = part.get('class_name')
  if name is None:
    return None
  if not isinstance(name, str):
    return f'names an object by {name!r}'
  if name in ('Lambda', '__lambda__'):
    return 'holds a Lambda, that is, code'
  if name == 'function' or part.get('registered_name') == 'function':
    return _objection_to_function(part)
  registered = part.get('registered_name')
  if _is_registered(name) or (
    isinstance(registered, str) and _is_registered(registered)
  ):
    return None
  module = part.get('module')
  if module is not None and not _is_own_module(module):
    return f'names the class {name!r} of module {module!r}'
  if name in _OPERATIONS:
    return _objection_to_operation(part.get('config'))
  if name in _VALUES or name.split('>')[-1] in _TFMOT or name in _own_names():
    return None
  if any(name in parts.names() for parts in _METHOD_PARTS):
    return None
  return f'names the class {name!r}, which is not known'


def _objection_to_function(part: dict) -> str | None:
  name = part.get('config')
  if isinstance(name, dict):
    name = name.get('name')
  if isinstance(name, str) and (
    name in _names_in(keras.activations)
    or name in _names_in(keras.losses)
    or name in _names_in(keras.metrics)
    or _is_registered(name)
    or name in _names_in(_keras3().activations)
  ):
    return None
  return f'names the function {name!r}'


def _objection_to_operation(config: Any) -> str | None:
  name = config.get('function') if isinstance(config, dict) else None
  if isinstance(name, str) and (
    name in _PURE
    or name.startswith(_PURE_PREFIXES)
    or name.split('.')[-1].startswith('reduce_')
  ):
    return None
  return f'calls the TensorFlow function {name!r}'


def _is_own_module(module: Any) -> bool:
  return isinstance(module, str) and (
    module.split('.')[0] in ('keras', 'tf_keras') or module == 'builtins'
  )


def _is_registered(name: str) -> bool:
  """Whether the caller has registered a class or function of this name."""
  short = name.split('>')[-1]
  for registry in (
    keras.utils.get_custom_objects(),
    _keras3().saving.get_custom_objects(),
  ):
    if name in registry or any(k.split('>')[-1] == short for k in registry):
      return True
  return False


def _own_names() -> frozenset[str]:
  """The classes that models of either generation are made of."""
  found = {
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
  }
  for root in (keras, _keras3()):
    for kind in (
      'layers',
      'initializers',
      'regularizers',
      'constraints',
      'optimizers',
      'losses',
      'metrics',
    ):
      found |= _names_in(getattr(root, kind))
  return frozenset(found - {'Lambda', 'TFSMLayer', 'TorchModuleWrapper'})


def _names_in(module: Any) -> set[str]:
  return {name for name in dir(module) if not name.startswith('_')}


def _keras3() -> Any:
  import keras as keras3

  return keras3


def _read_zip(path: str) -> tuple[Any, str]:
  """The description in a .keras file, and the version that wrote it."""
  try:
    with zipfile.ZipFile(path) as file:
      for name in ('config.json', 'metadata.json'):
        if file.getinfo(name).file_size > _LARGEST_CONFIG:
          raise ValueError(f'{path!r}: its {name} is absurdly large.')
      config = json.loads(file.read('config.json'))
      version = json.loads(file.read('metadata.json'))['keras_version']
  except (KeyError, json.JSONDecodeError, zipfile.BadZipFile) as error:
    raise ValueError(
      f'{path!r} is no .keras file, or is damaged: {error}.'
    ) from error
  return config, str(version)


def _read_h5(path: str) -> tuple[Any, str]:
  """The description in an .h5 file, and the version that wrote it."""
  with h5py.File(path, 'r') as file:
    config = file.attrs.get('model_config')
    version = file.attrs.get('keras_version', '2')
  if config is None:
    raise ValueError(
      f'{path!r} holds weights but no model. Save the whole model, with '
      'model.save.'
    )
  config = config.decode('utf-8') if isinstance(config, bytes) else config
  version = version.decode('utf-8') if isinstance(version, bytes) else version
  try:
    return json.loads(config), version
  except json.JSONDecodeError as error:
    raise ValueError(f'The model in {path!r} is damaged: {error}.') from error


def _check_saved_model(path: str, allow_code: bool) -> None:
  """Raises unless a folder is a tf_keras SavedModel that runs no code."""
  metadata = os.path.join(path, 'keras_metadata.pb')
  graph = os.path.join(path, 'saved_model.pb')
  if not os.path.isfile(metadata) or not os.path.isfile(graph):
    raise ValueError(
      f'The folder {path!r} holds no Keras model. Expected a SavedModel of '
      'tf_keras; an exported inference graph cannot be taken apart again, so '
      'save the model as .keras.'
    )
  if allow_code:
    return
  nodes = compat.SavedMetadata()
  with open(metadata, 'rb') as file:
    nodes.ParseFromString(file.read())
  for node in nodes.nodes:
    check_config(json.loads(node.metadata), path)
  saved = saved_model_pb2.SavedModel()
  with open(graph, 'rb') as file:
    saved.ParseFromString(file.read())
  for part in saved.meta_graphs:
    for node in part.object_graph_def.nodes:
      # What sets up a resource (a table, say) is run while loading.
      if node.WhichOneof('kind') == 'resource':
        raise ValueError(
          f'{path!r} holds a resource with code of its own to set it up. '
          'Loading it would run that. If you trust whoever made it, pass '
          'allow_code=True.'
        )


def _loaded(path: str, later: bool, allow_code: bool) -> keras.Model:
  """Loads what has been checked."""
  if later:
    model = _keras3().saving.load_model(
      path, compile=False, safe_mode=not allow_code
    )
    return from_keras3(model)
  options = {}
  if path.endswith('.keras') or zipfile.is_zipfile(path):
    options['safe_mode'] = not allow_code
  with prune_scope():
    model = keras.models.load_model(path, compile=False, **options)
  if not isinstance(model, keras.Model):
    raise ValueError(f'{path!r} holds no Keras model, but a {type(model)}.')
  return model
