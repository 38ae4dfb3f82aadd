"""Name -> class, for the parts of a method and for layer handlers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar('T')


class Configurable:
  """A frozen dataclass whose settings make a round trip through a config."""

  def get_config(self) -> dict[str, Any]:
    """The settings as plain values, by field name."""
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
    }

  @classmethod
  def from_config(cls, config: Mapping[str, Any]) -> Configurable:
    """The object whose `get_config` gave `config`."""
    return cls(**config)


class Registry(Generic[T]):
  """Classes of one kind by name, open to a user's own.

  Args:
    kind: What the registry holds, for error messages: 'criterion'.
    base: The class that members derive from.
  """

  def __init__(self, kind: str, base: type[T]):
    self._kind = kind
    self._base = base
    self._classes: dict[str, type[T]] = {}

  def register(self, name: str) -> Callable[[type[T]], type[T]]:
    """A class decorator that files the class under `name`.

    Raises:
      ValueError: `name` belongs to another class.
      TypeError: the class does not derive from the registry's base.
    """

    def add(cls: type[T]) -> type[T]:
      if not (isinstance(cls, type) and issubclass(cls, self._base)):
        raise TypeError(
          f'A {self._kind} must derive from {self._base.__name__}, but got '
          f'{cls!r}.'
        )
      taken = self._classes.get(name)
      # The same definition run again, as in a notebook, may replace itself.
      if taken is not None and _definition(taken) != _definition(cls):
        raise ValueError(
          f'The {self._kind} name {name!r} is taken by {taken.__name__}; '
          'choose another one.'
        )
      self._classes[name] = cls
      return cls

    return add

  def names(self) -> list[str]:
    """The registered names, sorted."""
    return sorted(self._classes)

  def name_of(self, member: T) -> str:
    """The name under which a member's class is registered.

    Raises:
      ValueError: the class is not registered.
    """
    for name, cls in self._classes.items():
      if type(member) is cls:
        return name
    raise ValueError(
      f'{type(member).__name__} is not a registered {self._kind}; decorate the '
      f'class with the {self._kind} registry first.'
    )

  def serialize(self, member: T) -> dict[str, Any]:
    """The member as `{'class_name': ..., 'config': ...}`."""
    return {'class_name': self.name_of(member), 'config': member.get_config()}

  def get(self, identifier: str | Mapping[str, Any] | T) -> T:
    """The member that a name, a config or the member itself stands for.

    Raises:
      ValueError: the name is unknown, its class has settings without a default,
        or `identifier` is none of the three.
    """
    if isinstance(identifier, self._base):
      return identifier
    if isinstance(identifier, str):
      settings = needed_settings(self._class(identifier))
      if settings:
        raise ValueError(
          f'The {self._kind} {identifier!r} has settings that were not given '
          f'({", ".join(settings)}): pass an object of it, or a config with '
          'them.'
        )
      identifier = {'class_name': identifier, 'config': {}}
    if isinstance(identifier, Mapping) and 'class_name' in identifier:
      return self._class(identifier['class_name']).from_config(
        identifier.get('config', {})
      )
    article = 'An' if self._kind[0] in 'aeiou' else 'A'
    raise ValueError(
      f'{article} {self._kind} must be a name ({", ".join(self.names())}), a '
      f'config or an object of {self._base.__name__}, but got {identifier!r}.'
    )

  def names_alone(self) -> list[str]:
    """The names that stand for a member by themselves, without settings."""
    return [
      name for name in self.names() if not needed_settings(self._classes[name])
    ]

  def _class(self, name: str) -> type[T]:
    if name not in self._classes:
      raise ValueError(
        f'Unknown {self._kind} {name!r}. Known: {", ".join(self.names())}.'
      )
    return self._classes[name]


def needed_settings(cls: type) -> list[str]:
  """The fields of a dataclass that have no default."""
  if not dataclasses.is_dataclass(cls):
    return []
  return [
    field.name
    for field in dataclasses.fields(cls)
    if field.init
    and field.default is dataclasses.MISSING
    and field.default_factory is dataclasses.MISSING
  ]


def _definition(cls: type) -> tuple[str, str]:
  return cls.__module__, cls.__qualname__
