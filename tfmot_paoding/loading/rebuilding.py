"""Builds the model of a file again, once it has been checked."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.keras3.model import from_keras3
from tfmot_paoding.loading.allocation import (
  check_activations,
  limited_allocation,
)
from tfmot_paoding.loading.archives import changed_archive
from tfmot_paoding.loading.errors import ModelFileError, loading
from tfmot_paoding.loading.functions import (
  advice,
  check_functions,
  functions_in_place,
  lambda_layers,
  refuse_lambdas,
  unknown_names,
  with_functions,
)
from tfmot_paoding.loading.hdf5 import changed_hdf5
from tfmot_paoding.loading.inspection import Description, read_file
from tfmot_paoding.loading.keras1 import from_keras1
from tfmot_paoding.loading.keras3_hdf5 import operations_known, readable
from tfmot_paoding.loading.safety import check_config
from tfmot_paoding.loading.saved_models import (
  check_description,
  check_graph,
  read_saved_model,
  stored_numbers,
  variables_prefix,
)
from tfmot_paoding.loading.tfmot_files import refuse_wrapped
from tfmot_paoding.network.told_tasks import output_keys, tasks_of, tell
from tfmot_paoding.pruning.wrapper import prune_scope


def load_model(
  path: str | os.PathLike,
  allow_code: bool = False,
  *,
  functions: Mapping[str, Callable[..., Any]] | None = None,
) -> keras.Model:
  """Loads a model file as a tf_keras model.

  Lambda layers are Python bytecode, which runs with your rights and under the
  version of Python alone that wrote it. Where you know what they compute, say
  so: `load_model(path, functions={'lambda_1': lambda x: x / 127.5 - 1})`.

  Args:
    path: A .h5 or .keras file of either Keras generation, or the folder of a
      SavedModel that tf_keras has written.
    allow_code: Whether the file may bring code along (Lambda layers, pickled
      functions, layers of unknown classes), take its weights from other files,
      or unpack to any size. Only for files that you trust: it runs with your
      rights.
    functions: What Lambda layers compute, by their names: functions of the
      layer's input and its arguments. No code of the file's runs for these.

  Returns:
    The model, not compiled. What its loss says of its outputs, that they are
    classes or numbers, pruning goes by all the same.

  Raises:
    FileNotFoundError: there is nothing at `path`.
    TypeError: `functions` is no dict of functions.
    ValueError: the file holds no Keras model, is damaged, or does what is not
      allowed: brings code along, takes weights from elsewhere, unpacks to far
      more than it holds; or `functions` names a layer that is none of its
      Lambda layers. The message names the file.
  """
  path, given = os.fspath(path), check_functions(functions)
  if not os.path.exists(path):
    raise FileNotFoundError(f'There is no model file {path!r}.')
  with prune_scope(), compat.with_whole_constants():
    if os.path.isdir(path):
      return _load_saved_model(path, allow_code, given)
    description = read_file(path, trusted=allow_code)
    later = description.version.startswith('3')
    config = description.config
    refuse_wrapped(config, path)
    if description.version.startswith('1') and not description.is_archive:
      with loading(path):
        config = from_keras1(config, path)
    with contextlib.ExitStack() as stack:
      stack.enter_context(functions_in_place(_library(later), given))
      if later and not description.is_archive:
        config = readable(config)
        stack.enter_context(operations_known())
      config = _checked(config, path, allow_code, given)
      return _load_file(path, description, config, allow_code)


def _library(later: bool) -> Any:
  """The Keras of a generation."""
  import keras as keras3

  return keras3 if later else keras


def _checked(config: Any, path: str, allow_code: bool, given: dict) -> Any:
  """A description with the given functions in it, if it is safe."""
  with loading(path):
    layers = lambda_layers(config)
    unknown_names(given, layers, path)
    if not allow_code:
      refuse_lambdas(layers, given, path)
    config = with_functions(config, given, path) if given else config
    if not allow_code:
      check_config(config, path)
  return config


def _load_saved_model(path: str, allow_code: bool, given: dict) -> keras.Model:
  """Loads a folder; unless code is allowed, by its description alone."""
  parts, graph, losses = read_saved_model(path)
  refuse_wrapped(list(parts.values()), path)
  if allow_code and not given:
    return _taught_by(losses, _load_with_code(path, parts))
  with functions_in_place(keras, given):
    config = _checked(list(parts.values()), path, allow_code, given)[0]
    check_description(config, path)
    if not allow_code:
      check_graph(graph, path)
    with loading(path, advice(lambda_layers(config))):
      with (
        limited_allocation(path, stored_numbers(path)),
        compat.SafeModeScope(not allow_code),
      ):
        model = keras.models.model_from_json(json.dumps(config))
      status = model.load_weights(variables_prefix(path))
      status.assert_existing_objects_matched().expect_partial()
      for layer in model._flatten_layers():
        if hasattr(layer, 'finalize_state'):  # what `adapt` has taken
          layer.finalize_state()
  return _taught_by(losses, model)


def _taught_by(losses: Any, model: Any) -> Any:
  """The model, of which is known now what its outputs mean."""
  tell(model, tasks_of(losses, output_keys(model)))
  return model


def _load_with_code(path: str, parts: dict[str, dict]) -> keras.Model:
  """Loads a folder as tf_keras does, its code and all."""
  with loading(path, advice(lambda_layers(list(parts.values())))):
    model = keras.models.load_model(path, compile=False)
  _refuse_revived(model, path)
  return model


def _refuse_revived(model: Any, path: str) -> None:
  """Raises if layers are left of which only traced functions are known."""
  if not isinstance(model, keras.Model):
    raise ModelFileError(f'{path!r} holds no Keras model, but a {type(model)}.')
  revived = [
    layer
    for layer in model._flatten_layers()
    if isinstance(layer, keras.layers.Layer) and compat.is_revived(layer)
  ]
  if revived:
    listed = ', '.join(
      f'{layer.name!r} of the class {type(layer).__name__!r}'
      for layer in revived
    )
    raise ModelFileError(
      f'The SavedModel {path!r} has layers of classes that are not known here: '
      f'{listed}. Only functions traced from them are in the file, and a layer '
      'cannot be made anew from those. Register the classes with '
      'register_keras_serializable, or load in a '
      'keras.utils.custom_object_scope that holds them.'
    )


def _changed(
  path: str, config: dict, description: Description
) -> contextlib.AbstractContextManager[str]:
  """A copy of a file, for a while, with another description or names."""
  if description.is_archive:
    return changed_archive(path, config, description.backslashes)
  return changed_hdf5(path, config)


def _load_file(
  path: str, description: Description, config: dict, allow_code: bool
) -> keras.Model:
  """Loads what has been checked."""
  later = description.version.startswith('3')
  options = {}
  if later or path.endswith('.keras'):
    options['safe_mode'] = not allow_code
  help_with = advice(lambda_layers(config))
  with contextlib.ExitStack() as stack:
    stack.enter_context(loading(path, help_with))
    source = path
    if config is not description.config or description.backslashes:
      source = stack.enter_context(_changed(path, config, description))
    stack.enter_context(limited_allocation(path, description.numbers))
    model = _library(later).models.load_model(source, compile=False, **options)
  if not isinstance(model, (keras.Model, _library(True).Model)):
    raise ModelFileError(f'{path!r} holds no Keras model, but a {type(model)}.')
  if later and not allow_code:
    check_activations(model, path)
  with loading(path):
    return from_keras3(_taught_by(description.losses, model))
