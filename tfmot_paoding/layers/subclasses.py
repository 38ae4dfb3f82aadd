"""Subclasses of known layers: which compute what their parent computes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

# What a subclass may write anew: none of it takes part in a call.
_FREE = {'__init__', 'get_config', 'from_config', 'get_prunable_weights'}
# Double underscores that do take part in one.
_SPECIAL = {'__call__', '__new__', '__getattribute__', '__setattr__'}


def parent_of(cls: type, known: Iterable[type]) -> type | None:
  """The nearest class that a class derives from, of those known."""
  known = set(known)
  return next((base for base in cls.__mro__[1:] if base in known), None)


def what_differs(layer: Any, parent: type) -> str | None:
  """Why a layer is not what its parent is, or None.

  Args:
    layer: The layer, of a subclass of `parent`.
    parent: A class whose call, weights and config are known.
  """
  own = sorted(
    name
    for name in dir(parent)
    if name not in _FREE
    and (name in _SPECIAL or not name.startswith('__'))
    and not name.startswith(('_abc_', '_keras_api_'))
    and inspect.getattr_static(type(layer), name)
    is not inspect.getattr_static(parent, name)
  )
  if own:
    return f'overrides {", ".join(own[:3])} of {parent.__name__}'
  return _what_is_lost(layer, parent)


def _what_is_lost(layer: Any, parent: type) -> str | None:
  """What a layer's config loses of its parent's, or None."""
  advice = (
    "let `get_config` hold its parent's settings, and `__init__` take them"
  )
  wanted = parent.get_config(layer)
  try:
    config = layer.get_config()
    found = parent.get_config(type(layer).from_config(config))
  except (TypeError, NotImplementedError) as error:
    return f'cannot be made again from its config ({error}): {advice}'
  lost = [
    key
    for key, value in wanted.items()
    if key not in config or config[key] != value or found[key] != value
  ]
  if lost:
    return f'loses {lost[0]!r} of its config when made again: {advice}'
  return None
