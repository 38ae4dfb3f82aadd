"""Rows of a table, kept as JSON so that an interrupted run can go on."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tfmot_paoding.files import write_file

Row = TypeVar('Row')


def load_rows(path: str | None, kind: type[Row]) -> list[Row]:
  """The rows that an earlier run has left; none without a path.

  Args:
    path: The file.
    kind: The dataclass of a row.
  """
  if not path or not os.path.exists(path):
    return []
  with open(path, encoding='utf-8') as file:
    return [kind(**fields) for fields in json.load(file)]


def keep_rows(
  path: str | None,
  rows: Iterable[Row],
  known: Iterable[Row],
  key: Callable[[Row], Any],
) -> list[Row]:
  """Prints rows as they come, and writes them down one by one.

  Args:
    path: The file; nothing is written without.
    rows: The rows of this run, measured as they are asked for.
    known: Those of earlier runs, of which the others stay in the file.
    key: What tells a row from others.

  Returns:
    The rows of this run.
  """
  known, found = list(known), []
  for row in rows:
    found.append(row)
    print(row, flush=True)
    seen = {key(one) for one in found}
    later = [one for one in known if key(one) not in seen]
    save_rows(path, [*found, *later])
  return found


def save_rows(path: str | None, rows: Iterable[Any]) -> None:
  """Writes rows, which are dataclasses; nothing without a path."""
  if path:
    text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1)
    write_file(path, text.encode())
