"""The version is one that packaging tools understand."""

import re

import tfmot_paoding
from tfmot_paoding import version


def test_version():
  assert re.fullmatch(r'\d+\.\d+\.\d+', version.__version__)
  assert tfmot_paoding.__version__ == version.__version__


def test_public_names_exist_and_nothing_else_is_exported():
  for name in tfmot_paoding.__all__:
    assert getattr(tfmot_paoding, name) is not None
  assert len(set(tfmot_paoding.__all__)) == len(tfmot_paoding.__all__)
