"""Builds the model of a file again, once it has been checked."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

from tfmot_paoding.compat import keras
from tfmot_paoding.keras3 import from_keras3
from tfmot_paoding.loading.inspection import read_file
from tfmot_paoding.loading.safety import check_config
from tfmot_paoding.loading.saved_models import check_graph, read_saved_model
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
    config, version = read_file(path)
    if not allow_code:
      check_config(config, path)
    return _load_file(path, version.startswith('3'), allow_code)


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
  config = read_saved_model(path, metadata)
  check_config(config, path)
  check_graph(path, graph)
  with _loading(path):
    model = keras.models.model_from_json(json.dumps(config))
    status = model.load_weights(os.path.join(path, 'variables', 'variables'))
    status.assert_existing_objects_matched().expect_partial()
    for layer in model.submodules:
      if hasattr(layer, 'finalize_state'):  # statistics that `adapt` has taken
        layer.finalize_state()
  return model


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
  import keras as keras3

  options = {}
  if later or path.endswith('.keras'):
    options['safe_mode'] = not allow_code
  library = keras3 if later else keras
  with _loading(path):
    model = library.models.load_model(path, compile=False, **options)
  if not isinstance(model, (keras.Model, keras3.Model)):
    raise ValueError(f'{path!r} holds no Keras model, but a {type(model)}.')
  return from_keras3(model)
