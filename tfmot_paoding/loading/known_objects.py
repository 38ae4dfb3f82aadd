"""Objects that a Keras finds by name while a file is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any


@contextlib.contextmanager
def known_for_now(library: Any, objects: Mapping[str, Any]) -> Iterator[None]:
  """Lets a Keras find objects, beside those of the scopes around.

  A scope of Keras 3 would hide the caller's own.

  Args:
    library: The Keras that loads, of either generation.
    objects: By names that nobody else gives.
  """
  there = library.utils.get_custom_objects()
  there.update(objects)
  try:
    yield
  finally:
    for name in objects:
      there.pop(name, None)
