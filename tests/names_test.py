"""The names on top: few, typed, and the old ones lead to where they are."""

from __future__ import annotations

import importlib
import pathlib
import types

import pytest

import tfmot_paoding as paoding


def test_what_stands_on_top_is_there_and_is_little():
  found = {name: getattr(paoding, name) for name in paoding.__all__}
  spaces = {n for n, v in found.items() if isinstance(v, types.ModuleType)}
  assert len(set(found) - spaces - {'__version__'}) <= 26
  for name in spaces:
    assert found[name].__doc__
    for inner in found[name].__all__:
      assert hasattr(found[name], inner), f'{name}.{inner}'


def test_no_function_on_top_hides_a_module():
  folder = pathlib.Path(paoding.__file__).parent
  inside = {path.stem for path in folder.iterdir()}
  found = {
    name
    for name in paoding.__all__
    if not isinstance(getattr(paoding, name), types.ModuleType)
  }
  assert not found & inside


@pytest.mark.parametrize('name', sorted(paoding._PLACES))
def test_old_names_lead_to_where_they_are(name):
  place = paoding._PLACES[name]
  with pytest.warns(DeprecationWarning, match=rf'{place}\.{name} now'):
    found = getattr(paoding, name)
  space = importlib.import_module(f'tfmot_paoding.{place}')
  assert found is getattr(space, name)
  assert name not in paoding.__all__
  assert name in space.__all__


def test_what_never_was_is_an_attribute_error():
  with pytest.raises(AttributeError, match='no attribute .nonsense.'):
    paoding.nonsense()


def test_the_package_says_that_it_is_typed():
  assert (pathlib.Path(paoding.__file__).parent / 'py.typed').is_file()
