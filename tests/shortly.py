"""What tests are spared, in their own processes and in the programs they run.

Nothing that a user gets is another for it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any

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
def called() -> Iterator[None]:
  """Functions are not asked for their arguments each time they are called.

  Keras asks at each call of a layer, for an error that may come, and Python up
  to 3.11 asks a protocol for its members each time an object may be of it: a
  fiftieth of the time.
  """
  import tensorflow as tf
  from tf_keras.src.utils import traceback_utils

  inject = traceback_utils.inject_argument_info_in_traceback
  # The same function, whose decorators say nothing of what is inside.
  plain = types.SimpleNamespace(
    make_decorator=lambda function, decorated: decorated
  )
  seen = types.SimpleNamespace(
    __internal__=types.SimpleNamespace(decorator=plain),
    **{name: getattr(tf, name) for name in ('Tensor', 'errors', 'nest')},
  )
  known = {**inject.__globals__, 'tf': seen}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      traceback_utils,
      inject.__name__,
      types.FunctionType(
        inject.__code__, known, inject.__name__, inject.__defaults__
      ),
    )
    if sys.version_info < (3, 12):
      members = functools.cache(typing._get_protocol_attrs)
      patch.setattr(typing, '_get_protocol_attrs', members)
    yield


@contextlib.contextmanager
def compared() -> Iterator[None]:
  """What pruning leaves is compared with the original on fewer inputs.

  Nearly all that is pruned is compared, and few tests say of how many: a tenth
  of the time.
  """
  from tfmot_paoding.pruning import few_answers

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(few_answers, '_MOST', 64)
    patch.setattr(few_answers, '_RECALLED', 16)
    patch.setattr(few_answers, '_MULTIPLY_ACCUMULATES', 1e8)
    yield


@contextlib.contextmanager
def taught() -> Iterator[None]:
  """Lessons are a tenth of one, unless somebody says how long they are.

  A small network's is of thousands of steps.
  """
  from tfmot_paoding.training import DistillSettings, distill_settings

  length = DistillSettings.length

  def short(self: DistillSettings, *args: Any, **kwargs: Any) -> int:
    steps = length(self, *args, **kwargs)
    return max(1, steps // 10) if self.steps is None else steps

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(DistillSettings, 'length', short)
    patch.setattr(distill_settings, '_INPUTS', 1024)
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
