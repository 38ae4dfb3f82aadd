"""Lambda layers of a file, with functions of the caller's in their place.

A Lambda layer is Python bytecode: it runs with the reader's rights, and only
under the version of Python that wrote it. What it does the reader often knows
(a rescaling, an image resized): given as a function, none of the file's code
is so much as unpacked.
"""

from __future__ import annotations

import collections
import contextlib
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tfmot_paoding.loading.errors import ModelFileError
from tfmot_paoding.loading.known_objects import known_for_now

Functions = Mapping[str, Callable[..., Any]]
# What a Lambda layer with a function of the caller's goes by while it loads.
_GIVEN = 'tfmot_paoding>GivenFunction'
# Settings of a Lambda layer that are no code.
_PLAIN = ('name', 'trainable', 'dtype', 'batch_input_shape', 'batch_shape')


def check_functions(functions: Functions | None) -> dict:
  """The functions by layer name, {} for None.

  Raises:
    TypeError: they are no mapping of names to functions.
  """
  if functions is None:
    return {}
  if not isinstance(functions, Mapping) or not all(
    isinstance(name, str) and callable(function)
    for name, function in functions.items()
  ):
    raise TypeError(
      '`functions` must be a dict of layer name to function, but got '
      f'{functions!r}.'
    )
  return dict(functions)


def lambda_layers(config: Any) -> dict[str, str]:
  """What each Lambda layer in a description takes, by its name."""
  found, waiting = {}, collections.deque([(config, None)])
  while waiting:
    part, before = waiting.popleft()
    if isinstance(part, list):
      for k, value in enumerate(part):
        waiting.append((value, _name(part[k - 1]) if k else None))
    elif isinstance(part, dict):
      if _is_lambda(part):
        found[str(_name(part))] = _taken(part, before)
      waiting += [(value, None) for value in part.values()]
  return found


def unknown_names(
  functions: Functions, layers: dict[str, str], path: str
) -> None:
  """Raises if a function is meant for no Lambda layer of a file."""
  unknown = sorted(set(functions) - set(layers))
  if unknown:
    raise ModelFileError(
      f'`functions` names {unknown}, but {path!r} holds '
      f'{_listed(layers) or "no Lambda layer"}.'
    )


def refuse_lambdas(
  layers: dict[str, str], functions: Functions, path: str
) -> None:
  """Raises if there are Lambda layers for which no function was given."""
  left = {name: layers[name] for name in layers if name not in functions}
  if left:
    raise ModelFileError(f'{path!r} holds {_listed(left)}.{advice(left)}')


def advice(layers: dict[str, str]) -> str:
  """What to do about Lambda layers; '' if there are none."""
  if not layers:
    return ''
  given = ', '.join(f'{name!r}: f' for name in layers)
  return (
    ' Lambda layers are code of whoever made the file, for one version of '
    'Python. If you know what they compute, give functions that do the same, '
    f'load_model(path, functions={{{given}}}), and none of it runs; or, if '
    'you trust them, and save and load with the same Python, pass '
    'allow_code=True.'
  )


def with_functions(config: Any, functions: Functions, path: str) -> Any:
  """A description with the given functions in place of Lambda layers.

  Args:
    config: The description; it is not changed.
    functions: By the names of Lambda layers.
    path: Where it came from, for the message.

  Raises:
    ModelFileError: the mask of such a layer is code as well.
  """
  if isinstance(config, list):
    return [with_functions(part, functions, path) for part in config]
  if not isinstance(config, dict):
    return config
  if _is_lambda(config) and _name(config) in functions:
    return _described(config, path)
  return {
    key: with_functions(part, functions, path) for key, part in config.items()
  }


@contextlib.contextmanager
def functions_in_place(library: Any, functions: Functions) -> Iterator[None]:
  """While it lasts, Keras makes Lambda layers of the given functions.

  Args:
    library: The Keras that loads, of either generation.
    functions: By the names of the layers.
  """

  class GivenFunction:
    """Stands for the Lambda layer that its description makes."""

    @classmethod
    def from_config(cls, config: dict) -> Any:
      given = dict(config)
      given['arguments'] = {
        key: _value(value) for key, value in given['arguments'].items()
      }
      function = _plain_function(functions[given['name']])
      return library.layers.Lambda(function, **given)

  with known_for_now(library, {_GIVEN: GivenFunction}):
    yield


def _is_lambda(part: dict) -> bool:
  return part.get('class_name') == 'Lambda' and isinstance(
    part.get('config'), dict
  )


def _name(part: Any) -> str | None:
  inner = part.get('config') if isinstance(part, dict) else None
  name = inner.get('name') if isinstance(inner, dict) else None
  return name if isinstance(name, str) else None


def _listed(layers: dict[str, str]) -> str:
  if not layers:
    return ''
  return 'Lambda layers, ' + '; '.join(
    f'{name!r} {taken}'.rstrip() for name, taken in layers.items()
  )


def _taken(part: dict, before: str | None) -> str:
  """What a Lambda layer is called with, as far as its description says."""
  config, said = part['config'], []
  sources = list(dict.fromkeys(_sources(part.get('inbound_nodes'))))
  sources = sources or ([before] if before else [])
  if sources:
    said.append(f'takes the output of {", ".join(map(repr, sources))}')
  build = part.get('build_config')
  shape = config.get('batch_input_shape') or config.get('batch_shape')
  if shape is None and isinstance(build, dict):
    shape = build.get('input_shape')
  if shape is not None:
    said.append(f'of shape {shape!r:.100}')
  if config.get('arguments'):
    said.append(f'with the arguments {config["arguments"]!r:.200}')
  return f'({" ".join(said)})' if said else ''


def _sources(nodes: Any) -> Iterator[str]:
  """The names of the layers that a layer is called on."""
  if isinstance(nodes, dict):
    history = nodes.get('keras_history')
    if isinstance(history, list) and history:
      yield str(history[0])
    nodes = list(nodes.values())
  if isinstance(nodes, list):
    if len(nodes) > 2 and isinstance(nodes[0], str):
      yield nodes[0]
      return
    for part in nodes:
      yield from _sources(part)


def _described(part: dict, path: str) -> dict:
  """A Lambda layer's description without its code."""
  config = part['config']
  if config.get('mask') is not None:
    raise ModelFileError(
      f'The Lambda layer {_name(part)!r} of {path!r} computes its mask by code '
      'as well, which `functions` does not replace. Rebuild the model without '
      'it.'
    )
  inner = {key: config[key] for key in _PLAIN if config.get(key) is not None}
  inner['arguments'] = config.get('arguments') or {}
  replaced = {
    key: value
    for key, value in part.items()
    if key in ('name', 'inbound_nodes', 'build_config')
  }
  return {
    **replaced,
    'module': None,
    'class_name': _GIVEN,
    'registered_name': _GIVEN,
    'config': inner,
  }


def _value(value: Any) -> Any:
  """An argument of a Lambda layer; arrays are written as dicts."""
  is_array = isinstance(value, dict) and value.get('type') == 'ndarray'
  return np.array(value['value']) if is_array else value


def _plain_function(function: Callable[..., Any]) -> types.FunctionType:
  """A Python function, as only these survive what Keras does to a Lambda."""
  if isinstance(function, types.FunctionType):
    return function

  def call(inputs: Any, **arguments: Any) -> Any:
    return function(inputs, **arguments)

  return call
