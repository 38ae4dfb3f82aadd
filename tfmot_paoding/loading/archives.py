"""The zip that a .keras file is: what it may hold, and changed copies of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath

import h5py

from tfmot_paoding.loading.errors import ModelFileError
from tfmot_paoding.loading.hdf5 import copy_with_slashes, largest_unpacked

CONFIG = 'config.json'
METADATA = 'metadata.json'
WEIGHTS = 'model.weights.h5'
_LARGEST_CONFIG = 2**26
_MOST_FILES = 10000
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


def check_archive(archive: zipfile.ZipFile, path: str) -> None:
  """Raises if a .keras file would unpack to much more, or elsewhere.

  `zipfile` never unpacks more of a file than it is said to hold, so the sizes
  that are said are the ones to check.

  Raises:
    ModelFileError: it would, naming the file inside.
  """
  entries = archive.infolist()
  names = {entry.filename for entry in entries}
  if len(entries) > _MOST_FILES or len(names) < len(entries):
    raise ModelFileError(
      f'{path!r} is damaged: it holds {len(entries)} files of {len(names)} '
      f'names. Expected at most {_MOST_FILES}, each once.'
    )
  for entry in entries:
    _check_entry(entry, path)
  unpacked = sum(entry.file_size for entry in entries)
  if unpacked > largest_unpacked(os.path.getsize(path)):
    raise ModelFileError(
      f'{path!r} has {os.path.getsize(path)} bytes and would unpack to '
      f'{unpacked}. If you trust whoever made it, pass allow_code=True.'
    )


def check_contents(archive: zipfile.ZipFile, path: str) -> None:
  """Raises if a .keras file lacks one of its parts, or a part is absurd."""
  names = archive.namelist()
  if WEIGHTS not in names and CONFIG in names:
    raise ModelFileError(
      f'{path!r} holds no {WEIGHTS}, but {sorted(names)[:10]}. Save the model '
      'again with model.save.'
    )
  for name in (CONFIG, METADATA):
    size = archive.getinfo(name).file_size
    if size > _LARGEST_CONFIG:
      raise ModelFileError(
        f'{path!r} is damaged: {name} is absurdly large ({size} bytes).'
      )


def _check_entry(entry: zipfile.ZipInfo, path: str) -> None:
  name = entry.filename
  parts = PurePosixPath(name.replace('\\', '/')).parts
  why = None
  if '..' in parts or parts[:1] == ('/',) or ':' in name.split('/')[0]:
    why = 'lies outside of the folder that it unpacks to'
  elif stat.S_ISLNK(entry.external_attr >> 16):
    why = 'is a symbolic link'
  elif entry.compress_type not in _METHODS or entry.flag_bits & 1:
    why = 'is encrypted, or packed in a way that Keras does not use'
  if why:
    raise ModelFileError(f'{path!r} holds {name!r}, which {why}.')


@contextlib.contextmanager
def changed_archive(
  path: str, config: dict, with_slashes: bool
) -> Iterator[str]:
  """A .keras file for a while, with another description or other names.

  Args:
    path: The file, not changed.
    config: The new description.
    with_slashes: Whether the backslashes in names of weights divide them.
  """
  with tempfile.TemporaryDirectory() as folder:
    copy = os.path.join(folder, 'model.keras')
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, 'w') as new:
      for name in old.namelist():
        if name == CONFIG:
          new.writestr(name, json.dumps(config))
        elif name == WEIGHTS and with_slashes:
          new.writestr(name, _weights_with_slashes(old.read(name)))
        elif not name.endswith('/'):
          new.writestr(name.replace('\\', '/'), old.read(name))
    yield copy


def _weights_with_slashes(content: bytes) -> bytes:
  target = io.BytesIO()
  with (
    h5py.File(io.BytesIO(content), 'r') as old,
    h5py.File(target, 'w') as new,
  ):
    copy_with_slashes(old, new)
  return target.getvalue()
