"""Who called the package: where its warnings point."""

from __future__ import annotations

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def level() -> int:
  """What `warnings.warn` takes as `stacklevel` to name the package's caller.

  For whoever calls this and `warn` in one breath: the nearest frame outside of
  the package.
  """
  frame, count = sys._getframe(1), 1
  while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
    frame, count = frame.f_back, count + 1
  return count
