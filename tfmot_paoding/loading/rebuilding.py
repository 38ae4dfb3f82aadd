"""Builds the model of a file again, once it has been checked."""

from __future__ import annotations

import contextlib
import json
import os

from tfmot_paoding.compat import keras
from tfmot_paoding.keras3 import from_keras3
from tfmot_paoding.loading.allocation import limited_allocation
from tfmot_paoding.loading.archives import changed_copy
from tfmot_paoding.loading.errors import ModelFileError, loading
from tfmot_paoding.loading.inspection import Description, read_file
from tfmot_paoding.loading.safety import check_config
from tfmot_paoding.loading.saved_models import (
  check_saved_model,
  read_saved_model,
  stored_numbers,
  variables_prefix,
)
from tfmot_paoding.wrapper import prune_scope


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
    description = read_file(path, trusted=allow_code)
    if not allow_code:
      check_config(description.config, path)
    return _load_file(path, description, allow_code)


def _load_saved_model(path: str, allow_code: bool) -> keras.Model:
  """Loads a folder; unless code is allowed, by its description alone."""
  found, saved = read_saved_model(path)
  if allow_code:
    with loading(path):
      return keras.models.load_model(path, compile=False)
  config = check_saved_model(found, saved, path)
  with loading(path):
    with limited_allocation(path, stored_numbers(path)):
      model = keras.models.model_from_json(json.dumps(config))
    status = model.load_weights(variables_prefix(path))
    status.assert_existing_objects_matched().expect_partial()
    for layer in model.submodules:
      if hasattr(layer, 'finalize_state'):  # statistics that `adapt` has taken
        layer.finalize_state()
  return model


def _load_file(
  path: str, description: Description, allow_code: bool
) -> keras.Model:
  """Loads what has been checked."""
  import keras as keras3

  later = description.version.startswith('3')
  options = {}
  if later or path.endswith('.keras'):
    options['safe_mode'] = not allow_code
  library = keras3 if later else keras
  with contextlib.ExitStack() as stack:
    stack.enter_context(loading(path))
    source = path
    if description.backslashes:
      source = stack.enter_context(changed_copy(path, None, True))
    stack.enter_context(limited_allocation(path, description.numbers))
    model = library.models.load_model(source, compile=False, **options)
  if not isinstance(model, (keras.Model, keras3.Model)):
    raise ModelFileError(f'{path!r} holds no Keras model, but a {type(model)}.')
  with loading(path):
    return from_keras3(model)
