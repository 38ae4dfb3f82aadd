"""Set-up for all tests."""

from __future__ import annotations

import os
import pathlib

# Before TensorFlow is imported: test processes share two cores.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
os.environ.setdefault('TF_NUM_INTRAOP_THREADS', '1')
os.environ.setdefault('TF_NUM_INTEROP_THREADS', '1')

import hypothesis
import pytest

hypothesis.settings.register_profile(
  'repeatable', deadline=None, derandomize=True, max_examples=25
)
hypothesis.settings.load_profile('repeatable')


def shared_folder() -> pathlib.Path | None:
  """The folder of real models and data, if this machine has it."""
  default = pathlib.Path(__file__).resolve().parent.parent.parent / 'shared'
  folder = pathlib.Path(os.environ.get('TFMOT_PAODING_SHARED', default))
  return folder if (folder / 'models').is_dir() else None


def pytest_collection_modifyitems(items):
  """Skips what needs the folder where there is none."""
  if shared_folder() is not None:
    return
  skip = pytest.mark.skip(
    reason='needs a folder `shared` with real models and data beside the '
    'repository, or its path in TFMOT_PAODING_SHARED'
  )
  for item in items:
    if 'shared' in item.keywords:
      item.add_marker(skip)


@pytest.fixture
def shared() -> pathlib.Path:
  """The folder of real models and data."""
  return shared_folder()
