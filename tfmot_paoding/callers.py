"""Who called the package: where its warnings point."""

from __future__ import annotations

import os
import sys
import types

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
# Who calls the package on a user's behalf, as `fit` calls a callback.
_HOSTS = ('keras', 'tensorflow', 'tensorflow_model_optimization', 'tf_keras')


def level() -> int:
  """What `warnings.warn` takes as `stacklevel` to name the package's caller.

  For whoever calls this and `warn` in one breath: the nearest frame outside of
  the package and of what hosts it, Keras and TensorFlow.
  """
  frame, count = sys._getframe(1), 1
  while frame.f_back is not None and _is_between(frame):
    frame, count = frame.f_back, count + 1
  return count


def _is_between(frame: types.FrameType) -> bool:
  """Whether a call is the package's, or one that hands on a user's."""
  if frame.f_code.co_filename.startswith(_HERE):
    return True
  return frame.f_globals.get('__name__', '').partition('.')[0] in _HOSTS
