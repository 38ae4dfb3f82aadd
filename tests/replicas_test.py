"""Replicas share work over samples: the result is that of one device."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests import distributed_test
from tfmot_paoding import replicas
from tfmot_paoding.replicas import Part

_WORKER = pathlib.Path(__file__).resolve().parent / 'replicas_worker.py'


@pytest.mark.parametrize(
  ('count', 'rows', 'shares'),
  [
    (6, [(0, 2), (2, 4), (4, 6)], [1 / 3] * 3),
    (7, [(0, 2), (2, 4), (4, 7)], [2 / 7, 2 / 7, 3 / 7]),
    # One row and three replicas: two stand by.
    (1, [(0, 1), (0, 1), (0, 1)], [0.0, 0.0, 1.0]),
  ],
)
def test_parts_by_hand(count, rows, shares):
  parts = [Part.of(count, k, 3) for k in range(3)]
  assert [(p.rows.start, p.rows.stop) for p in parts] == rows
  assert [p.share for p in parts] == pytest.approx(shares)


def test_means_of_parts_add_up():
  x = np.arange(7.0)
  parts = [Part.of(7, k, 3) for k in range(3)]
  total = sum(part.mean(np.mean(part.take([x])[0])) for part in parts)
  assert total == pytest.approx(3.0)
  assert sum(part.once(5.0) for part in parts) == pytest.approx(5.0)


def test_what_does_not_depend_on_rows_is_given_once():
  parts = [Part.of(7, k, 3) for k in range(3)]
  common, rows = tf.zeros((3, 2)), [tf.zeros((n, 2)) for n in (4, 4, 6)]
  assert [len(part.own(common)) for part in parts] == [3, 0, 3]
  assert [len(p.own(x)) for p, x in zip(parts, rows, strict=True)] == [4, 4, 6]


def test_without_a_scope_nothing_is_done():
  x = [np.arange(3), tf.range(3)]
  part = replicas.part_of(3)
  assert part == Part()
  assert all(a is b for a, b in zip(part.take(x), x, strict=True))
  assert part.mean(x[1]) is part.once(x[1]) is part.own(x[1]) is x[1]
  assert replicas.sharing() is None
  assert replicas.run(lambda a: a, x[0]) is x[0]


def test_strategies_of_another_kind_are_named():
  """What cannot share says so; one of a single replica works as it is."""
  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  with strategy.scope():
    assert replicas.sharing() is None

  class Other(tf.distribute.OneDeviceStrategy):
    num_replicas_in_sync = 8

  with (
    Other('CPU:0').scope(),
    pytest.raises(ValueError, match='that of a Other. Call this outside'),
  ):
    replicas.sharing()


def test_mirrored_on_two_devices():
  distributed_test.finish(distributed_test.start(['mirrored'], script=_WORKER))


def test_two_workers():
  distributed_test.finish_all(
    distributed_test.start(['workers'], script=_WORKER, TF_CONFIG=config)
    for config in distributed_test.cluster(2)
  )
