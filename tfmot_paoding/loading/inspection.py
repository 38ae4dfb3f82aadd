"""What a model file says of itself: its description and its version."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile
from typing import Any

import h5py

from tfmot_paoding.loading.archives import (
  CONFIG,
  METADATA,
  WEIGHTS,
  check_archive,
  check_contents,
)
from tfmot_paoding.loading.errors import ModelFileError, reading
from tfmot_paoding.loading.hdf5 import check_hdf5, has_backslashes


@dataclasses.dataclass(frozen=True)
class Description:
  """What is known of a model file before anything is built of it.

  Attributes:
    config: The model as Keras describes it.
    version: The version of Keras that wrote it.
    numbers: How many numbers it holds as weights; None if that was not asked.
    is_archive: Whether it is a .keras file and no .h5.
    losses: What it was trained by, as Keras writes it; None if nothing is said.
    backslashes: Whether the names of its weights are divided by backslashes,
      as Keras 2.15 wrote them on Windows, and can read them nowhere.
  """

  config: dict
  version: str
  numbers: int | None
  is_archive: bool
  losses: Any = None
  backslashes: bool = False


def read_file(path: str, trusted: bool = False) -> Description:
  """Reads the description in a file, which is checked first.

  A file may be a zip and HDF5 at once, and Keras decides by the name which it
  reads: what is read here must be what is loaded later.

  Args:
    path: A .h5 or .keras file.
    trusted: Whether it may take its weights from other files, or be of any
      size once it is unpacked.

  Raises:
    ModelFileError: it is none, is damaged, or does what it must not.
  """
  if not os.path.isfile(path):
    raise ModelFileError(f'{path!r} is neither a plain file nor a folder.')
  with open(path, 'rb') as file:
    start = file.read(2)
  if zipfile.is_zipfile(path):
    if start != b'PK' or not path.endswith('.keras'):
      raise ModelFileError(
        f'{path!r} holds a zip file, but not as a .keras file does. Expected '
        'a file that begins with the zip, with a name that ends in .keras.'
      )
    description = _read_zip(path, trusted)
  elif h5py.is_hdf5(path):
    description = _read_h5(path, trusted)
  else:
    raise ModelFileError(
      f'{path!r} is no model file: expected .keras or .h5, or the folder of a '
      'SavedModel.'
    )
  config = description.config
  if not isinstance(config, dict) or 'class_name' not in config:
    raise ModelFileError(
      f'The model in {path!r} is damaged: its description is {config!r:.200}.'
    )
  return description


def _read_zip(path: str, trusted: bool) -> Description:
  """What a .keras file says of itself."""
  with reading(path, '.keras file'), zipfile.ZipFile(path) as file:
    if not trusted:
      check_archive(file, path)
    check_contents(file, path)
    config = json.loads(file.read(CONFIG))
    # How it was trained is not loaded, and may name functions of the writer's.
    training = None
    if isinstance(config, dict):
      training = config.pop('compile_config', None)
    version = json.loads(file.read(METADATA))['keras_version']
    content = file.read(WEIGHTS)
    with h5py.File(io.BytesIO(content), 'r') as weights:
      numbers = None if trusted else check_hdf5(weights, path, len(content))
      backslashes = has_backslashes(weights)
  return Description(
    config, str(version), numbers, True, losses_in(training), backslashes
  )


def _read_h5(path: str, trusted: bool) -> Description:
  """What an .h5 file says of itself."""
  with reading(path, '.h5 file'), h5py.File(path, 'r') as file:
    size = os.path.getsize(path)
    numbers = None if trusted else check_hdf5(file, path, size)
    config = file.attrs.get('model_config')
    version = _text(file.attrs.get('keras_version', '2'))
    if config is None:
      raise ModelFileError(
        f'{path!r} holds weights but no model. Save the whole model, with '
        'model.save.'
      )
    losses = losses_in(_training(file))
    return Description(json.loads(config), version, numbers, False, losses)


def losses_in(training: Any) -> Any:
  """The losses in a description of how a model was trained, or None."""
  return training.get('loss') if isinstance(training, dict) else None


def _training(file: h5py.File) -> Any:
  """How a model was trained; None where that cannot be read."""
  try:
    return json.loads(file.attrs.get('training_config', 'null'))
  except (TypeError, ValueError):  # what nobody needs does not hinder
    return None


def _text(value: Any) -> str:
  return value.decode('utf-8') if isinstance(value, bytes) else str(value)
