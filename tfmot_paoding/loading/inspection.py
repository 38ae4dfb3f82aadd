"""What a model file says of itself: its description and its version."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py

_LARGEST_CONFIG = 256 * 2**20


@contextlib.contextmanager
def reading(path: str, kind: str) -> Iterator[None]:
  """Turns what a broken file raises, of whatever class, into one error."""
  try:
    yield
  except Exception as error:
    raise ValueError(
      f'{path!r} is no {kind}, or is damaged: {type(error).__name__}: {error}'
    ) from error


def read_file(path: str) -> tuple[dict, str]:
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
  with reading(path, '.keras file'), zipfile.ZipFile(path) as file:
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
  with reading(path, '.h5 file'), h5py.File(path, 'r') as file:
    config = file.attrs.get('model_config')
    version = file.attrs.get('keras_version', '2')
  if config is None:
    raise ValueError(
      f'{path!r} holds weights but no model. Save the whole model, with '
      'model.save.'
    )
  with reading(path, '.h5 file'):
    version = version.decode('utf-8') if isinstance(version, bytes) else version
    return json.loads(config), str(version)
