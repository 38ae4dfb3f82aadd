"""Rows of a table, kept as JSON so that an interrupted run can go on."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
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


def save_rows(path: str | None, rows: Iterable[Any]) -> None:
  """Writes rows, which are dataclasses; nothing without a path."""
  if path:
    text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1)
    write_file(path, text.encode())
