"""What goes wrong with a model file is one kind of error that names it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class ModelFileError(ValueError):
  """Why a model file is not loaded; the message names the file."""


@contextlib.contextmanager
def reading(path: str, kind: str) -> Iterator[None]:
  """Turns what a broken file raises, of whatever class, into one error."""
  try:
    yield
  except ModelFileError:
    raise
  except Exception as error:
    raise ModelFileError(
      f'{path!r} is no {kind}, or is damaged: {type(error).__name__}: {error}'
    ) from error


@contextlib.contextmanager
def loading(path: str, advice: str = '') -> Iterator[None]:
  """Turns what a description that does not fit raises into one error."""
  try:
    yield
  except ModelFileError:
    raise
  except Exception as error:
    raise ModelFileError(
      f'{path!r} could not be loaded: {type(error).__name__}: {error}'
      + (advice and f'.{advice}')
    ) from error
