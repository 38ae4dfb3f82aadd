"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping


def write_file(path: str, data: bytes) -> None:
  """Writes a file whole or not at all.

  Args:
    path: Where to; an existing file is replaced.
    data: What to write.

  Raises:
    OSError: the folder does not exist or cannot be written to.
  """
  write_files({path: data})


def write_files(files: Mapping[str, bytes]) -> None:
  """Writes several files: nothing is replaced before all of them are whole.

  Args:
    files: What to write, by path; existing files are replaced.

  Raises:
    OSError: a folder does not exist or cannot be written to.
  """
  waiting: dict[str, str] = {}
  try:
    for path, data in files.items():
      folder = os.path.dirname(os.path.abspath(path))
      if os.path.isdir(path):
        raise IsADirectoryError(f'{path!r} is a folder, not a file.')
      name = f'.{os.path.basename(path)}.{secrets.token_hex(4)}.tmp'
      temporary = os.path.join(folder, name)
      # Unlike a private temporary file, with the permissions of any other.
      handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
      waiting[path] = temporary
      with os.fdopen(handle, 'wb') as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    for path, temporary in waiting.items():
      os.replace(temporary, path)
  finally:
    for temporary in waiting.values():
      with contextlib.suppress(FileNotFoundError):  # it was moved
        os.unlink(temporary)
