"""What a search for tickets leaves on disk, so that a killed one goes on."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence

import numpy as np

from tfmot_paoding.files import write_file

Array = np.ndarray


class TicketFiles:
  """The weights that each round ended with, one .npz a round.

  Args:
    directory: Where; made if need be.
    start: The weights that every round begins with.
    rate: The fraction removed each round, or those of several groups.
    kind: What the directory holds, for error messages.

  Raises:
    ValueError: the directory was begun with other weights or another rate, or
      a file in it cannot be read.
  """

  def __init__(
    self,
    directory: str,
    start: Sequence[Array],
    rate: float | Sequence[float],
    kind: str = 'tickets',
  ):
    self._directory = directory
    os.makedirs(directory, exist_ok=True)
    mine = [*start, np.asarray(rate)]
    theirs = self._read('start.npz')
    if theirs is None:
      self._write('start.npz', mine)
    elif not _alike(mine, theirs):
      raise ValueError(
        f'{directory!r} holds {kind} of another model, of other initial '
        f'weights or of another rate than {rate}. Pass what it was begun with, '
        'or another directory.'
      )
    self._shapes = [np.shape(weight) for weight in start]

  def load(self, number: int) -> list[Array] | None:
    """The weights after a round, or None where it has not been finished.

    Raises:
      ValueError: the file cannot be read or is of another model.
    """
    name = _name(number)
    found = self._read(name)
    if found is not None and [one.shape for one in found] != self._shapes:
      raise ValueError(
        f'{self._path(name)!r} holds weights of other shapes than the model '
        'has. Remove it to train the round anew.'
      )
    return found

  def save(self, number: int, weights: Sequence[Array]) -> None:
    """Writes the weights after a round."""
    self._write(_name(number), weights)

  def _path(self, name: str) -> str:
    return os.path.join(self._directory, name)

  def _write(self, name: str, arrays: Sequence[Array]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    write_file(self._path(name), buffer.getvalue())

  def _read(self, name: str) -> list[Array] | None:
    path = self._path(name)
    if not os.path.exists(path):
      return None
    try:
      with np.load(path) as file:
        return [file[f'arr_{i}'] for i in range(len(file.files))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
      raise ValueError(
        f'{path!r} cannot be read as a ticket ({e}). Remove it to train the '
        'round anew.'
      ) from e


def _name(number: int) -> str:
  return f'round_{number}.npz'


def _alike(left: Sequence[Array], right: Sequence[Array]) -> bool:
  return len(left) == len(right) and all(
    np.array_equal(a, b) for a, b in zip(left, right, strict=True)
  )
