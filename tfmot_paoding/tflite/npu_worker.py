"""Runs Vela, Arm's compiler for Ethos-U, in a process of its own.

Started by `npu` as a script: it imports nothing of the package. Its arguments
are Vela's.
"""

from __future__ import annotations

import importlib
import sys


def prepare() -> None:
  """Imports what it needs."""
  importlib.import_module('ethosu.vela.vela')


if __name__ == '__main__':
  from ethosu.vela import vela

  sys.exit(vela.main(sys.argv[1:]))
