"""How near networks are to an original."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.network.agreement import judge
from tfmot_paoding.network.nearness import Nearness
from tfmot_paoding.network.network import Network


def nearness(model, samples):
  network = Network.of(model)
  return Nearness(network, network.params(), [samples])


def test_without_batch_norm_it_is_the_divergence_of_answers():
  model = testing.mlp((6, 12, 4))
  x = testing.samples((6,), 40).astype(np.float32)
  small = paoding.prune(model, 0.5, method='l1', input_range=(-1, 1), verbose=0)
  found = nearness(model, x).gap_of(small)
  assert found == pytest.approx(judge(model, small, [x]).divergence, rel=1e-4)
  assert found > 0


def test_the_original_itself_is_no_way_off():
  model = testing.with_batch_norm(True)
  x = testing.samples(model.input_shape[1:], 20).astype(np.float32)
  found = nearness(model, x)
  assert found.gap(Network.of(model).params()) == 0
  assert found.gap_of(model) == 0


def test_batch_norm_takes_the_statistics_of_the_inputs():
  """Otherwise far inputs would tell of nothing but their distance."""
  model = testing.with_batch_norm(True)
  x = testing.samples(model.input_shape[1:], 40).astype(np.float32)
  params = Network.of(model).params()
  changed = {
    ref: value * (1.1 if ref.name == 'kernel' else 1.0)
    for ref, value in params.items()
  }
  near, far = (nearness(model, one).gap(changed) for one in (x, x + 50.0))
  assert far == pytest.approx(near, rel=0.05)


def test_answers_that_overflow_are_infinitely_far():
  model = testing.mlp((6, 12, 4))
  x = testing.samples((6,), 10).astype(np.float32)
  params = Network.of(model).params()
  huge = {ref: value * 1e30 for ref, value in params.items()}
  assert nearness(model, x).gap(huge) == float('inf')
