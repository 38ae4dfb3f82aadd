"""Loads model files of either Keras generation without running code from them.

A model file may come from a stranger. Its description is read and checked
before anything in it is built: only classes that Keras, TFMOT or this package
bring along, or that the caller has registered, may be named in it. No module
that it names is imported. Of a SavedModel the description and the weights are
taken; its graph, which may hold anything, is not loaded.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import types
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
# Operations of a graph that run Python or reach for files.
_CODE_OPS = frozenset(
  {
    'EagerPyFunc',
    'MatchingFiles',
    'PyFunc',
    'PyFuncStateless',
    'ReadFile',
    'WriteFile',
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
# What tf_keras calls layers and models in a SavedModel.
_SAVED_LAYERS = frozenset(
  {
    '_tf_keras_input_layer',
    '_tf_keras_layer',
    '_tf_keras_model',
    '_tf_keras_network',
    '_tf_keras_rnn_layer',
    '_tf_keras_sequential',
  }
)
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
  with prune_scope():
    if os.path.isdir(path):
      return _load_saved_model(path, allow_code)
    config, version = _read_file(path)
    if not allow_code:
      check_config(config, path)
    return _load_file(path, version.startswith('3'), allow_code)


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
        f'{path!r} {why}{where}. Loading it could run code, or read files of '
        'yours. If you trust whoever made it, pass allow_code=True; a class of '
        'your own is allowed once it is registered with '
        'register_keras_serializable.'
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


@contextlib.contextmanager
def _reading(path: str, kind: str) -> Iterator[None]:
  """Turns what a broken file raises, of whatever class, into one error."""
  try:
    yield
  except Exception as error:
    raise ValueError(
      f'{path!r} is no {kind}, or is damaged: {type(error).__name__}: {error}'
    ) from error


def _read_file(path: str) -> tuple[dict, str]:
  """The description in a file, and the version that wrote it.

  A file may be a zip and HDF5 at once, and Keras decides by the name which it
  reads: what is read here must be what is loaded later.
  """
  with open(path, 'rb') as file:
    start = file.read(2)
  if zipfile.is_zipfile(path):
    if start != b'PK' or not path.endswith('.keras'):
      raise ValueError(
        f'{path!r} holds a zip file, but not as a .keras file does. Expected '
        'a file that begins with the zip, with a name that ends in .keras.'
      )
    config, version = _read_zip(path)
  elif h5py.is_hdf5(path):
    config, version = _read_h5(path)
  else:
    raise ValueError(
      f'{path!r} is no model file: expected .keras or .h5, or the folder of a '
      'SavedModel.'
    )
  if not isinstance(config, dict) or 'class_name' not in config:
    raise ValueError(
      f'The model in {path!r} is damaged: its description is {config!r}.'
    )
  return config, version


def _read_zip(path: str) -> tuple[Any, str]:
  """The description in a .keras file, and the version that wrote it."""
  with _reading(path, '.keras file'), zipfile.ZipFile(path) as file:
    for name in ('config.json', 'metadata.json'):
      if file.getinfo(name).file_size > _LARGEST_CONFIG:
        raise ValueError(f'{name} is absurdly large')
    config = json.loads(file.read('config.json'))
    # How it was trained is not loaded, and may name functions of the writer's.
    if isinstance(config, dict):
      config.pop('compile_config', None)
    version = json.loads(file.read('metadata.json'))['keras_version']
  return config, str(version)


def _read_h5(path: str) -> tuple[Any, str]:
  """The description in an .h5 file, and the version that wrote it."""
  with _reading(path, '.h5 file'), h5py.File(path, 'r') as file:
    config = file.attrs.get('model_config')
    version = file.attrs.get('keras_version', '2')
  if config is None:
    raise ValueError(
      f'{path!r} holds weights but no model. Save the whole model, with '
      'model.save.'
    )
  with _reading(path, '.h5 file'):
    version = version.decode('utf-8') if isinstance(version, bytes) else version
    return json.loads(config), str(version)


def _load_saved_model(path: str, allow_code: bool) -> keras.Model:
  """Loads a folder; unless code is allowed, by its description alone."""
  metadata = os.path.join(path, 'keras_metadata.pb')
  graph = os.path.join(path, 'saved_model.pb')
  if not os.path.isfile(metadata) or not os.path.isfile(graph):
    raise ValueError(
      f'The folder {path!r} holds no Keras model. Expected a SavedModel of '
      'tf_keras; an exported inference graph cannot be taken apart again, so '
      'save the model as .keras.'
    )
  if allow_code:
    return _load_file(path, later=False, allow_code=True)
  config = _read_saved_model(path, metadata)
  check_config(config, path)
  _check_graph(path, graph)
  with _loading(path):
    model = keras.models.model_from_json(json.dumps(config))
    status = model.load_weights(os.path.join(path, 'variables', 'variables'))
    status.assert_existing_objects_matched().expect_partial()
    for layer in model.submodules:
      if hasattr(layer, 'finalize_state'):  # statistics that `adapt` has taken
        layer.finalize_state()
  return model


def _read_saved_model(path: str, metadata: str) -> dict:
  """The description of the model in a SavedModel.

  Raises:
    ValueError: there is none, so that only the graph could make its layers.
  """
  nodes = compat.SavedMetadata()
  with _reading(path, 'SavedModel'):
    with open(metadata, 'rb') as file:
      nodes.ParseFromString(file.read())
    found = {
      node.node_path: json.loads(node.metadata)
      for node in reversed(nodes.nodes)
      if node.identifier in _SAVED_LAYERS
    }
    root = found['root']
    parts = [
      {key: part[key] for key in ('class_name', 'config') if key in part}
      for part in found.values()
    ]
  for part in parts:
    check_config(part, path)
  if not isinstance(root.get('config'), dict) or 'class_name' not in root:
    raise ValueError(
      f'The SavedModel {path!r} has no description of its model, which is '
      'subclassed or has layers without one. Only its traced functions could '
      'be loaded, that is, code. Express the model with the functional API '
      'and save it as .keras; or, if you trust whoever made it, pass '
      'allow_code=True.'
    )
  return {'class_name': root['class_name'], 'config': root['config']}


def _check_graph(path: str, graph: str) -> None:
  """Raises if a SavedModel does more than compute."""
  saved = saved_model_pb2.SavedModel()
  with _reading(path, 'SavedModel'), open(graph, 'rb') as file:
    saved.ParseFromString(file.read())
  for part in saved.meta_graphs:
    for node in part.object_graph_def.nodes:
      if node.WhichOneof('kind') == 'resource':
        raise ValueError(
          f'{path!r} holds a resource (a table, say) with code of its own to '
          'set it up. Loading it would run that. If you trust whoever made '
          'it, pass allow_code=True.'
        )
    library = part.graph_def.library.function
    for nodes in (part.graph_def.node, *(f.node_def for f in library)):
      for node in nodes:
        if node.op in _CODE_OPS:
          raise ValueError(
            f'{path!r} holds the operation {node.op!r} ({node.name!r}), which '
            'runs Python or reaches for files. If you trust whoever made it, '
            'pass allow_code=True.'
          )


@contextlib.contextmanager
def _loading(path: str) -> Iterator[None]:
  """Turns what a description that does not fit raises into one error."""
  try:
    yield
  except ValueError:
    raise
  except Exception as error:
    raise ValueError(
      f'{path!r} could not be loaded: {type(error).__name__}: {error}'
    ) from error


def _load_file(path: str, later: bool, allow_code: bool) -> keras.Model:
  """Loads what has been checked."""
  options = {}
  if later or path.endswith('.keras'):
    options['safe_mode'] = not allow_code
  library = _keras3() if later else keras
  with _loading(path):
    model = library.models.load_model(path, compile=False, **options)
  if not isinstance(model, (keras.Model, _keras3().Model)):
    raise ValueError(f'{path!r} holds no Keras model, but a {type(model)}.')
  return from_keras3(model)
