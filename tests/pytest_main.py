"""Runs the tests of the files that it is told, as `pytest` does."""

from __future__ import annotations

import sys

import pytest

if __name__ == '__main__':
  # The folders that Bazel runs tests in are not for writing caches.
  sys.exit(pytest.main(['-p', 'no:cacheprovider', *sys.argv[1:]]))
