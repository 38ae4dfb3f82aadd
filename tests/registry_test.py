"""Registries: names, configs and errors."""

from __future__ import annotations

import dataclasses

import pytest

from tfmot_paoding.registry import Configurable, Registry


class Animal(Configurable):
  """What the registry holds."""


@dataclasses.dataclass(frozen=True)
class Cat(Animal):
  lives: int = 9


def registry() -> Registry:
  made = Registry('animal', Animal)
  made.register('cat')(Cat)
  return made


def test_names_objects_and_configs_are_found():
  animals = registry()
  assert animals.get('cat') == Cat()
  assert animals.get(Cat(3)) == Cat(3)
  config = animals.serialize(Cat(4))
  assert config == {'class_name': 'cat', 'config': {'lives': 4}}
  assert animals.get(config) == Cat(4)
  assert animals.names() == ['cat']


def test_errors_say_what_is_known():
  animals = registry()
  with pytest.raises(ValueError, match=r"Unknown animal 'dog'. Known: cat"):
    animals.get('dog')
  with pytest.raises(
    ValueError, match=r'An animal must be a name .cat., a con'
  ):
    animals.get(3)

  class Stray(Animal):
    pass

  with pytest.raises(ValueError, match='Stray is not a registered animal'):
    animals.serialize(Stray())


def test_a_taken_name_and_a_stranger_are_refused():
  animals = registry()

  class Dog(Animal):
    pass

  with pytest.raises(ValueError, match="'cat' is taken by Cat"):
    animals.register('cat')(Dog)
  with pytest.raises(TypeError, match='derive from Animal'):
    animals.register('rock')(int)


def test_a_namesake_from_another_module_is_refused():
  animals = registry()
  namesake = type(
    'Cat', (Animal,), {'__module__': 'elsewhere', '__qualname__': 'Cat'}
  )
  with pytest.raises(ValueError, match="'cat' is taken by Cat"):
    animals.register('cat')(namesake)
  assert animals.get('cat') == Cat()


def test_the_same_class_may_be_defined_again():
  # A notebook cell that is run twice.
  animals = registry()
  again = type(
    'Cat', (Cat,), {'__module__': Cat.__module__, '__qualname__': 'Cat'}
  )
  assert animals.register('cat')(again) is again
  assert type(animals.get('cat')) is again
