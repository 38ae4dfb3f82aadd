"""Roots: within the tolerance, with fewer evaluations than bisection."""

from __future__ import annotations

import math

import pytest

from tfmot_paoding.numerics.roots import least_root

_TOLERANCE = 2.0**-7


def counted(function):
  """The root, and how often the function was asked."""
  asked = []

  def noted(x):
    asked.append(x)
    return function(x)

  return least_root(noted, _TOLERANCE), len(asked)


@pytest.mark.parametrize('root', [0.003, 0.1, 0.35, 0.5, 0.77, 0.96, 0.999])
@pytest.mark.parametrize(
  'shape',
  [
    lambda x: -x,
    lambda x: (1 - x) ** 2,
    lambda x: (1 - x) ** 4 + 0.2 * (1 - x),
    lambda x: -math.floor(40 * x) / 40,
    lambda x: -(x**9),
  ],
)
def test_it_is_the_least_within_the_tolerance(shape, root):
  def function(x):
    return -1e-12 if x == root else shape(x) - shape(root) or -1e-12

  found, asked = counted(function)
  assert function(found) <= 0
  assert found == 0 or function(max(found - _TOLERANCE, 0)) > 0 or found <= root
  assert asked <= 2 + 7 + 1


@pytest.mark.parametrize('root', [0.003, 0.3, 0.9])
def test_what_is_not_known_is_halved(root):
  def function(x):
    return math.inf if x < root else root - x - 1e-12

  found, asked = counted(function)
  assert root <= found <= root + _TOLERANCE
  assert asked <= 2 + 7 + 1


def test_smooth_functions_take_few():
  total = sum(
    counted(lambda x, root=k / 40: (1 - x) ** 2 - (1 - root) ** 2)[1]
    for k in range(1, 40)
  )
  assert total / 39 < 2 + 4.5  # bisection: 2 + 7


def test_no_root_and_a_root_at_once():
  assert counted(lambda x: 1.0) == (None, 1)
  assert counted(lambda x: -1.0) == (0.0, 2)
