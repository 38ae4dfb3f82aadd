"""What tests are spared, in their own processes and in the programs they run.

Nothing that a user gets is another for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def timed() -> Iterator[None]:
  """Files are timed for a moment: whose times they are, no test can say."""
  # What imports TensorFlow is imported here, later than this file.
  from tfmot_paoding.pruning import budget_search
  from tfmot_paoding.tflite.profile import profile_tflite

  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(profile_tflite.__kwdefaults__, 'seconds', 0.02)
    patch.setattr(budget_search, '_SECONDS', 0.02)
    yield


@contextlib.contextmanager
def operations_made() -> Iterator[None]:
  """Operations do not look up where in the source they were made.

  TensorFlow walks through the whole stack for each, which is that of a test and
  of what runs tests, to tell of it when one fails: a twentieth of the time.
  """
  from tensorflow.python.util import tf_stack

  nowhere = tf_stack.extract_stack()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tf_stack, 'extract_stack', lambda stacklevel=1: nowhere)
    yield


@contextlib.contextmanager
def models_made() -> Iterator[None]:
  """Models are made without traces that would only tell shapes.

  Those of Keras's own layers, and the forms of LSTM and GRU for GPUs, of which
  none runs here.
  """
  from tfmot_paoding.network.told_shapes import told

  with told():
    yield
