"""Set-up for all tests.

`pytest -m fast` runs the tests that a developer waits for after each change:
the modules that `tests.fast` chooses by what they import, so that nobody marks
a test by hand. They are in a minute or two what the whole suite is in a quarter
of an hour, for numbers, operations, layers, graphs, bounds and choices; what
prunes, trains, converts or runs programs is left to the whole suite. Of other
modules nothing is imported then.
"""

from __future__ import annotations

import functools
import gc
import os
import pathlib
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
# Before NumPy and TensorFlow are imported: test processes share two cores, and
# threads of one that wait for each other take the other's time; a small inverse
# takes ten times its own.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
os.environ.setdefault('TF_NUM_INTRAOP_THREADS', '1')
os.environ.setdefault('TF_NUM_INTEROP_THREADS', '1')

import hypothesis
import pytest

from tests import shortly
from tests.fast import Fast

hypothesis.settings.register_profile(
  'repeatable', deadline=None, derandomize=True, max_examples=25
)
hypothesis.settings.load_profile('repeatable')


@functools.cache
def _fast(root: pathlib.Path) -> Fast:
  """The sources are read where somebody asks, and once."""
  return Fast(root)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
  """Test processes halve the modules, and an idle one takes half of the rest.

  Few modules are divided then, whose fixtures are made in both; what xdist does
  by itself gives out the last tests one by one.
  """
  option = config.option
  if getattr(option, 'numprocesses', None) and option.dist == 'no':
    option.dist = 'worksteal'


def pytest_collection_finish():
  """Looks for cyclic garbage less often, and never in what is imported.

  Graphs are made of many small objects, and looking through all of TensorFlow's
  after every so many took a twentieth of the time.
  """
  gc.collect()
  gc.freeze()
  gc.set_threshold(50_000, 20, 50)


@pytest.fixture(autouse=True, scope='session')
def _shortly():
  """Of what never imports TensorFlow there is nothing to spare."""
  if 'tfmot_paoding' not in sys.modules:
    yield
    return
  with shortly.timed(), shortly.operations_made(), shortly.called():
    yield


@pytest.fixture(autouse=True, scope='module')
def _models_made_shortly(request):
  """Files of other people's go their whole way as users take it."""
  if 'tfmot_paoding' not in sys.modules or 'field' in request.module.__name__:
    yield
    return
  with shortly.models_made():
    yield


@pytest.fixture(autouse=True, scope='module')
def _compared_shortly(request):
  """What is said of answers is tested on as many as users have."""
  if 'tfmot_paoding' not in sys.modules or 'answers' in request.module.__name__:
    yield
    return
  with shortly.compared():
    yield


@pytest.fixture
def roughly(monkeypatch):
  """A search for a budget takes a third of the files; it meets the limits."""
  from tfmot_paoding.pruning import budget_search

  monkeypatch.setattr(budget_search, '_HALVINGS', 2)


def shared_folder() -> pathlib.Path | None:
  """The folder of real models and data, if this machine has it."""
  default = pathlib.Path(__file__).resolve().parent.parent.parent / 'shared'
  folder = pathlib.Path(os.environ.get('TFMOT_PAODING_SHARED', default))
  return folder if (folder / 'models').is_dir() else None


def pytest_ignore_collect(collection_path, config):
  """Does not even import what `-m fast` leaves out."""
  if config.option.markexpr == 'fast' and collection_path.name.endswith(
    '_test.py'
  ):
    # None leaves it to pytest's own rules.
    return None if _fast(config.rootpath).holds(collection_path) else True
  return None


def pytest_collection_modifyitems(items, config):
  """Marks what is fast, and skips what lacks the folder that it needs."""
  if 'fast' in config.option.markexpr:
    for item in items:
      if _fast(config.rootpath).holds(item.path):
        item.add_marker(pytest.mark.fast)
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
