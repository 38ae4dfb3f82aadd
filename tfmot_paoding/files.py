"""Files that are written whole or not at all.

A file is written beside its place under a temporary name, flushed to the disk,
and moved there in one step. An existing file keeps its mode, and a symbolic
link keeps pointing where it did: what it points to is replaced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import glob
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping

__all__ = ['check_writable', 'write_file', 'write_files']

try:
  import fcntl
except ImportError:  # not a POSIX system
  fcntl = None

_SUFFIX = '.paoding'
_LONGEST = 200  # bytes of a name that its temporary one still has room for
_STANDARD = (1, 2)  # output and error


def write_file(path: str, data: bytes) -> None:
  """Writes a file whole or not at all.

  Args:
    path: Where to; an existing file is replaced and keeps its mode, a symbolic
      link is followed. Character devices and pipes (/dev/null, /dev/stdout) are
      written to as they are.
    data: What to write.

  Raises:
    OSError: the folder does not exist or cannot be written to, the file is
      read-only, or what stands there is a folder, a disk or a socket.
  """
  write_files({path: data})


def write_files(files: Mapping[str, bytes]) -> None:
  """Writes several files that belong together.

  Nothing is replaced before all of them are whole. Old files then go out of the
  way before the first new one takes its place, and come back if that fails: a
  process that is killed in between leaves a set with files missing, never one
  with old and new files side by side.

  Args:
    files: What to write, by path, each as in `write_file`.

  Raises:
    OSError: as `write_file` raises it, for any of them; all are as before then.
    ValueError: two of the paths are one file.
  """
  places = _places(files)
  waiting: dict[str, str] = {}
  with contextlib.ExitStack() as stack:
    for place, data in zip(places, files.values(), strict=True):
      if place.replaced:
        waiting[place.target] = stack.enter_context(_temporary(place, data))
    for place, data in zip(places, files.values(), strict=True):
      if not place.replaced:
        _stream(place, data)
    _move(waiting)


def check_writable(paths: Iterable[str]) -> None:
  """Raises what `write_files` would raise, before there is work to lose.

  Args:
    paths: Where files are going to be written.

  Raises:
    OSError: one of them cannot be written, as in `write_file`.
    ValueError: two of the paths are one file.
  """
  for place in _places(paths):
    if place.replaced:
      # Access rights do not tell all (read-only and full disks, quotas).
      with _temporary(place, b''):
        pass


@dataclasses.dataclass(frozen=True)
class _Place:
  """Where a path leads.

  Attributes:
    path: As it was given.
    target: The file itself, behind symbolic links.
    status: Of what stands there; None for nothing.
  """

  path: str
  target: str
  status: os.stat_result | None

  @property
  def standard(self) -> int | None:
    """The number of this process's own output stream that it is, if any."""
    for number in _STANDARD:
      with contextlib.suppress(OSError):  # it is closed
        if self.status and os.path.samestat(self.status, os.fstat(number)):
          return number
    return None

  @property
  def replaced(self) -> bool:
    """Whether a new file takes its place, rather than being written to."""
    if self.status is None:
      return True
    return stat.S_ISREG(self.status.st_mode) and self.standard is None


def _places(paths: Iterable[str]) -> list[_Place]:
  """Where paths lead.

  Raises:
    OSError: one of them cannot be written.
    ValueError: two of them are one file.
  """
  found: dict[str, _Place] = {}
  for path in paths:
    place = _place(path)
    other = found.setdefault(place.target, place)
    if other is not place and place.replaced:
      raise ValueError(
        f'{other.path!r} and {path!r} are one file. Pass different paths.'
      )
    if other is not place:
      found[f'{place.target}/{len(found)}'] = place
  return list(found.values())


def _place(path: str) -> _Place:
  path = os.fspath(path)
  if not os.path.basename(path):
    raise IsADirectoryError(
      errno.EISDIR, 'This is no path of a file, which ends with its name', path
    )
  try:
    status = os.stat(path)
  except FileNotFoundError:
    status = None  # a link to nothing gets what it points to
  place = _Place(path, os.path.realpath(path), status)
  if status is None or place.standard is not None:
    return place
  mode = status.st_mode
  if stat.S_ISDIR(mode):
    raise IsADirectoryError(
      errno.EISDIR, 'This is a folder. Pass the path of a file', path
    )
  if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
    kind = 'disk' if stat.S_ISBLK(mode) else 'socket'
    raise OSError(
      errno.EINVAL, f'This is a {kind}. Pass the path of a file', path
    )
  # Root may write to anything: a file without any such right is meant to stay.
  if not os.access(path, os.W_OK) or (stat.S_ISREG(mode) and not mode & 0o222):
    raise PermissionError(
      errno.EACCES,
      'The file is read-only. Pass another path, or make it writable',
      path,
    )
  return place


@contextlib.contextmanager
def _temporary(place: _Place, data: bytes) -> Iterator[str]:
  """A whole file beside its place, locked while this process has it in hand."""
  prefix = _prefix(place.target)
  _remove_stale(prefix)
  temporary, handle = _open_locked(prefix, place.path)
  try:
    with os.fdopen(handle, 'wb') as file:
      file.write(data)
      file.flush()
      if place.status is not None:
        _keep_rights(file.fileno(), place.status)
      os.fsync(file.fileno())
      yield temporary
  finally:
    with contextlib.suppress(FileNotFoundError):  # it was moved
      os.unlink(temporary)


def _prefix(target: str) -> str:
  """How a file's temporary ones begin."""
  folder, name = os.path.split(target)
  if len(os.fsencode(name)) > _LONGEST:
    name = hashlib.sha256(os.fsencode(name)).hexdigest()
  return os.path.join(folder, f'.{name}.')


def _open_locked(prefix: str, path: str) -> tuple[str, int]:
  """A new temporary file that no other process takes for a stale one."""
  while True:
    temporary = f'{prefix}{secrets.token_hex(4)}{_SUFFIX}'
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, 'O_BINARY', 0)
    try:
      # Unlike a private temporary file, with the permissions of any other.
      handle = os.open(temporary, flags, 0o666)
    except FileExistsError:
      continue
    except OSError as error:
      text = f'{error.strerror}, in the folder of'
      raise OSError(error.errno, text, path) from error
    if not _lock(handle) or os.path.exists(temporary):
      return temporary, handle
    os.close(handle)  # another process took it away before it was locked


def _lock(handle: int) -> bool:
  """Locks a file; False where the file system or the platform has no locks."""
  if fcntl is None:
    return False
  try:
    # Who looks whether it is stale holds it for an instant, no longer.
    fcntl.flock(handle, fcntl.LOCK_EX)
  except OSError:
    return False
  return True


def _remove_stale(prefix: str) -> None:
  """Removes what killed processes left: nobody holds its lock any more."""
  if fcntl is None:
    return
  ours = re.compile(re.escape(prefix) + r'[0-9a-f]{8}' + re.escape(_SUFFIX))
  for path in glob.glob(f'{glob.escape(prefix)}*{_SUFFIX}'):
    if not ours.fullmatch(path):
      continue
    with contextlib.suppress(OSError):  # in use, gone, or another user's
      handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
      try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
      finally:
        os.close(handle)


def _keep_rights(handle: int, status: os.stat_result) -> None:
  """Gives a new file the mode, and where that is allowed the owner, of one."""
  if not hasattr(os, 'fchmod'):
    return
  made = os.fstat(handle)
  if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
    with contextlib.suppress(PermissionError):  # only root gives files away
      os.fchown(handle, status.st_uid, status.st_gid)
  os.fchmod(handle, stat.S_IMODE(status.st_mode))


def _stream(place: _Place, data: bytes) -> None:
  """Writes to a device or a pipe, or to what this process prints to."""
  number = place.standard
  if number is not None:
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.dup(number)
  else:
    try:
      # Nothing waits for a reader of a pipe who may never come.
      flags = os.O_WRONLY | getattr(os, 'O_NONBLOCK', 0)
      handle = os.open(place.path, flags)
    except OSError as error:
      if error.errno != errno.ENXIO:
        raise
      raise OSError(
        errno.ENXIO, 'Nobody reads from this pipe or device', place.path
      ) from error
    if fcntl is not None:
      os.set_blocking(handle, True)
  with os.fdopen(handle, 'wb') as file:
    file.write(data)


def _move(waiting: Mapping[str, str]) -> None:
  """Puts temporary files into their places, all or none.

  Args:
    waiting: The temporary file by the place that it is for.
  """
  if len(waiting) == 1:
    ((target, temporary),) = waiting.items()
    os.replace(temporary, target)
    _sync_folders(waiting)
    return
  old: dict[str, str] = {}
  moved: list[str] = []
  try:
    for target in waiting:
      aside = f'{_prefix(target)}{secrets.token_hex(4)}{_SUFFIX}'
      with contextlib.suppress(FileNotFoundError):
        old[target] = aside  # first: an interrupt may come after the move
        os.rename(target, aside)
    for target, temporary in waiting.items():
      moved.append(target)
      os.rename(temporary, target)
  except BaseException:  # an interrupt too
    for target in moved:
      with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    for target, aside in old.items():
      with contextlib.suppress(FileNotFoundError):  # it never went
        os.replace(aside, target)
    raise
  _sync_folders(waiting)
  for aside in old.values():
    with contextlib.suppress(FileNotFoundError):
      os.unlink(aside)


def _sync_folders(targets: Iterable[str]) -> None:
  """Asks the disk to remember the moves, where a platform can ask."""
  if not hasattr(os, 'O_DIRECTORY'):
    return
  for folder in {os.path.dirname(target) for target in targets}:
    with contextlib.suppress(OSError):  # some file systems cannot
      handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
      try:
        os.fsync(handle)
      finally:
        os.close(handle)
