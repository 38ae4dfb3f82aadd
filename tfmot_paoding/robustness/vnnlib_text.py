"""VNN-LIB as text: commands in brackets, as nested lists."""

from __future__ import annotations

import gzip
import re
import zlib
from typing import Any

_TOKENS = re.compile(r'\s+|;[^\n]*|([()]|[^\s();]+)')
# Files may come from anybody: more than these is a mistake, or a bomb.
_CHARACTERS = 100_000_000
_DEPTH = 200


class PropertyFileError(ValueError):
  """A file is no VNN-LIB, or says what is not read here."""


def read_text(path: str) -> str:
  """What a file holds; one whose name ends in .gz is unpacked.

  Raises:
    OSError: it cannot be read.
    PropertyFileError: it is no text, no gzip file, or too long.
  """
  opened = gzip.open if path.endswith('.gz') else open
  try:
    with opened(path, 'rt', encoding='utf-8') as file:
      text = file.read(_CHARACTERS + 1)
  except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
    raise PropertyFileError(
      f'it is damaged, or of another kind: {error}'
    ) from None
  if len(text) > _CHARACTERS:
    raise PropertyFileError(
      f'it is longer than the {_CHARACTERS} characters that are read'
    )
  return text


def as_lists(text: str) -> list[Any]:
  """The commands as nested lists of words.

  Raises:
    PropertyFileError: brackets do not match, or are too deep.
  """
  stack: list[list[Any]] = [[]]
  for match in _TOKENS.finditer(text):
    token = match.group(1)
    if token == '(':
      stack.append([])
      if len(stack) > _DEPTH:
        raise PropertyFileError(
          f'its brackets are deeper than the {_DEPTH} that are read'
        )
    elif token == ')':
      if len(stack) == 1:
        raise PropertyFileError('a bracket closes that was never opened')
      inner = stack.pop()
      stack[-1].append(inner)
    elif token is not None:
      stack[-1].append(token)
  if len(stack) > 1:
    raise PropertyFileError('a bracket is never closed')
  return stack[0]


def refused(what: Any, read: str) -> PropertyFileError:
  """The error that says what of a file is not read, and what is."""
  return PropertyFileError(f'{_shown(what)!r} is not read here: {read}')


def _shown(what: Any) -> str:
  """As it stands in the file, its beginning."""
  if isinstance(what, str):
    return what
  text = f'({" ".join(map(_shown, what))})'
  return text if len(text) <= 60 else f'{text[:57]}...'
