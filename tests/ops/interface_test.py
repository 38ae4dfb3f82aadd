"""A new kind of operation is taught in its own class, and nowhere else."""

from __future__ import annotations

import ast
import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import ops
from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base as layers_base
from tfmot_paoding.numerics import intervals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops.base import Op
from tfmot_paoding.ops.channelwise import Channelwise

PACKAGE = pathlib.Path(paoding.__file__).parent

# Where each kind has a rule of its own, and no answer of the operation's would
# replace it, since the rule is about something that operations know nothing of:
# the lines between two networks (twins), differences of two units that are
# followed through several operations (joint_difference), a solver's constraints
# (marabou), bounds that gradients pass, of floats that are not rounded
# outwards (live). A kind that is not in such a table has no such bound.
RULES_BY_KIND = {
  'bounds/twins.py',
  'bounds/joint_difference.py',
  'robustness/marabou.py',
  'training/live.py',
}


def kinds_asked_for(source: str) -> set[str]:
  """The operations' classes that a module tells apart by `isinstance`."""
  kinds = {
    name
    for name in dir(ops)
    if isinstance(getattr(ops, name), type)
    and issubclass(getattr(ops, name), Op)
  }
  found = set()
  for node in ast.walk(ast.parse(source)):
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    if is_call and node.func.id == 'isinstance':
      names = {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
      found |= names & kinds
  return found


def test_only_tables_by_kind_tell_kinds_apart():
  found = {}
  for path in sorted(PACKAGE.rglob('*.py')):
    name = path.relative_to(PACKAGE).as_posix()
    if name.split('/')[0] in ('ops', 'layers'):
      continue
    kinds = kinds_asked_for(path.read_text())
    if kinds and name not in RULES_BY_KIND:
      found[name] = kinds
  assert not found, 'ask what an operation says of itself (ops/base.py)'


def test_an_operation_that_says_nothing_is_left_alone():
  op = Op()
  assert op.known
  assert not any(
    (op.makes_units, op.consumes_units, op.multiplies, op.statistics)
  )
  assert not any((op.normalizes, op.kinks, op.looks_up, op.moves_positions))
  assert op.answers == 'values'
  assert not ops.Opaque('is odd').known


@dataclasses.dataclass(frozen=True)
class Absolute(Channelwise):
  """|x|: a kind that no module of the package has heard of."""

  kinks = (0.0,)

  def bounds(self, params, x):
    low = np.maximum(np.maximum(x.low, -x.high), 0)
    return Interval(low, x.magnitude)

  def difference(self, params, d, x, y):
    moved = intervals.multiply(d, Interval(np.full((), -1.0), np.ones(())))
    apart = intervals.subtract(self.bounds(params, y), self.bounds(params, x))
    return intervals.intersect(moved, apart)

  def pullback(self, params, gain, x):
    return gain.scaled(np.ones(x.low.shape), np.ones(x.low.shape))

  def pair(self, params, gap, a, b, left, right):
    return intervals.multiply(gap, Interval(np.full((), -1.0), np.ones(())))


class Magnitude(keras.layers.Layer):
  """The layer of it."""

  def call(self, inputs):
    return tf.abs(inputs)


@pytest.fixture
def taught():
  @paoding.register_handler(Magnitude)
  class Handler(paoding.layers.LayerHandler):
    def lower(self, layer, path, in_shapes, out_shape):
      return [Absolute()]

  yield
  del layers_base._HANDLERS[Magnitude]


def network() -> keras.Model:
  hidden = keras.layers.Dense(8, name='hidden')
  layers = [keras.Input((5,)), hidden, Magnitude(), keras.layers.Dense(2)]
  return testing.fill(keras.Sequential(layers))


def test_what_a_new_kind_says_of_itself_is_heard_everywhere(taught):
  view = testing.group_view(network())
  assert view.has_bounds
  assert view.instability.max() > 0  # its kink
  for method in ('stability', 'impact', 'saliency', 'folding'):
    original = network()
    small = paoding.prune(original, 0.5, method, (-1.0, 1.0), verbose=0)
    assert small.layers[0].units == 4
    bound = paoding.deviation_bound(original, small, (-1.0, 1.0))
    x = testing.samples((5,)).astype(np.float32)
    change = np.abs(original(x) - small(x)).max(0)
    assert np.all(change <= bound + 1e-4)
