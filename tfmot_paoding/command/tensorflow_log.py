"""Keeps back TensorFlow's log lines that say that all is well."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import subprocess
import sys

__all__ = ['LEVEL', 'NOISE', 'hide']

LEVEL = 'TF_CPP_MIN_LOG_LEVEL'
# '2' hides information and warnings; errors are shown.
_QUIET = '2'
# What that level does not reach: lines from before it counts, those of the
# converter and the interpreter, and CUDA where there is no GPU, which
# TensorFlow calls an error and does without.
NOISE = re.compile(
  r'[IW]\d{4} \d\d:'
  r'|E\d{4} \d\d:\S+ +\d+ cuda\w*\.cc:'
  r'|WARNING: All log messages before absl::InitializeLog\(\)'
  r'|INFO: '
  r'|fully_quantize: '
)
# A process of its own: a thread would wait for C++ code that holds Python's
# lock and waits for somebody to read, and would end with what it has to tell.
_FILTER = """
import re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
noise = re.compile(sys.argv[1].encode())
for line in sys.stdin.buffer:
  if not noise.match(line):
    sys.stderr.buffer.write(line)
    sys.stderr.buffer.flush()
"""
_SECONDS = 5  # for what is left of it at the end


def hide() -> None:
  """From here on, shows only errors, and what is no log line of TensorFlow.

  Call it before TensorFlow is loaded. Nothing is kept back where the user has
  set `TF_CPP_MIN_LOG_LEVEL` to 0 or 1, to see it all.
  """
  if os.environ.setdefault(LEVEL, _QUIET) in ('0', '1'):
    return
  try:
    shown = os.dup(2)
  except OSError:  # nobody sees it anyway
    return
  process = subprocess.Popen(
    [sys.executable, '-S', '-E', '-c', _FILTER, NOISE.pattern],
    stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
  )
  os.dup2(process.stdin.fileno(), 2)
  process.stdin.close()
  atexit.register(_end, process, shown)


def _end(process: subprocess.Popen, shown: int) -> None:
  """Waits until all has been shown."""
  if sys.stderr is not None:
    sys.stderr.flush()
  os.dup2(shown, 2)  # the last end that is written to is closed
  # A process that this one has started may go on, and write to it.
  with contextlib.suppress(subprocess.TimeoutExpired):
    process.wait(_SECONDS)
