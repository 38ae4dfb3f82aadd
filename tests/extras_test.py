"""Packages of extras: what is said without them, and who brings them."""

from __future__ import annotations

import importlib.metadata
import pathlib
import re
import sys

import pytest

from tfmot_paoding import extras
from tfmot_paoding.extras import OptionalPackage

PACKAGES = {
  name: one
  for name, one in vars(extras).items()
  if isinstance(one, OptionalPackage)
}


def _setup() -> str:
  root = pathlib.Path(__file__).resolve().parent.parent
  return (root / 'setup.py').read_text(encoding='utf-8')


@pytest.mark.parametrize('name', PACKAGES)
def test_its_extra_brings_it(name):
  one = PACKAGES[name]
  brought = re.search(rf"'{one.extra}': \[(.*?)\]", _setup(), re.DOTALL)
  assert re.search(rf'[\'"]{one.package}[>;]', brought.group(1))


@pytest.mark.parametrize('name', PACKAGES)
def test_without_it_the_extra_is_named(name, monkeypatch):
  one = PACKAGES[name]
  for module in {one.module, one.module.partition('.')[0]}:
    monkeypatch.setitem(sys.modules, module, None)
  assert not one.is_installed
  with pytest.raises(ImportError, match=rf'\[{one.extra}\]') as e:
    one.require()
  assert one.package in str(e.value)
  assert one.advice in str(e.value)
  with pytest.raises(ImportError, match='^This step takes'):
    one.require('This step')


@pytest.mark.parametrize('name', PACKAGES)
def test_what_is_installed_is_found(name):
  one = PACKAGES[name]
  try:
    importlib.metadata.version(one.package)
  except importlib.metadata.PackageNotFoundError:
    assert not one.is_installed
  else:
    assert one.is_installed
    one.require()
