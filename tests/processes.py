"""Programs that tests run as a user does."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def python(*arguments: str, **env: str) -> subprocess.CompletedProcess:
  """A Python whose environment says nothing of TensorFlow's log."""
  kept = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
  return subprocess.run(
    [sys.executable, *arguments],
    capture_output=True,
    text=True,
    check=False,
    env={**kept, 'PYTHONPATH': str(ROOT), **env},
  )
