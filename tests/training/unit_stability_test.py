"""NRS scores: by hand, against a double loop, and through pruning."""

from __future__ import annotations

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import methods, robustness, training
from tfmot_paoding.bounds import build_program, walks
from tfmot_paoding.compat import keras
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.numerics.intervals import Interval

L = keras.layers


def test_by_hand():
  """Bounds [-0.5, 1.5], [1.5, 3.5], [-3.5, -1.5] and [-1, 1] of one input."""
  model = testing.two_layer(
    [[1.0, 1.0, 1.0, 1.0]], [0.0, 2.0, -3.0, -0.5], np.ones((4, 2))
  )
  found = training.stability_scores(model, [[0.5]], 1.0, (-5.0, 5.0))
  wanted = 1 + np.tanh([1 - 0.75, 1 + 5.25, 0.0, 1 - 1.0])
  wanted[2] = 0.0  # never on: worth nothing
  np.testing.assert_allclose(found['hidden'], wanted, rtol=1e-5)


@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.parametrize('make', [testing.with_batch_norm, testing.conv_net])
def test_against_a_loop(make):
  model = make()
  x = testing.draw(model.input_shape[1:], 5)
  graph = build_graph(model)
  params, grouping = read_params(graph), find_groups(graph)
  program = build_program(graph, params)
  box = Interval(np.maximum(x - 0.1, -1), np.minimum(x + 0.1, 1))
  ((_, walk),) = walks(program, [box], 'ibp', None, 5, 0)
  terms, on = {}, set()
  for node in graph.nodes:
    if not node.op.kinks:
      continue
    before = graph.writer()[node.inputs[0]].op
    low, high = walk.bounds(node.inputs[0])
    for sample, *at in np.ndindex(low.shape):
      gamma = params[before.gamma][at[-1]] if before.normalizes else 1.0
      unit = int(grouping.units[node.inputs[0]][tuple(at)])
      place = (sample, *at)
      term = 1 + np.tanh(1 + low[place] * high[place] / gamma**2)
      terms.setdefault(unit, []).append(term)
      if high[place] > 0:
        on.add(unit)
  found = training.stability_scores(model, x, 0.1, (-1.0, 1.0))
  wanted = [np.mean(terms[k]) if k in on else 0.0 for k in sorted(terms)]
  np.testing.assert_allclose(np.concatenate([*found.values()]), wanted, 1e-3)


def test_batches_do_not_matter():
  model, x = testing.mlp(), testing.draw((5,), 7)
  one, other = (
    training.stability_scores(model, x, 0.1, (-1.0, 1.0), batch_size=size)
    for size in (2, 7)
  )
  for name in one:
    np.testing.assert_allclose(one[name], other[name], rtol=1e-5)


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_what_they_leave_is_more_stable():
  model = testing.mlp((5, 40, 40, 3))
  x = testing.draw((5,), 20)
  scores = training.stability_scores(model, x, 0.2, (-1.0, 1.0))
  shares = []
  for row in (scores, {name: row.max() - row for name, row in scores.items()}):
    small = paoding.compact(_cut(model, row))
    layers = robustness.neuron_stability(small, x, 0.2, (-1.0, 1.0))
    shares.append(
      sum(n.unstable for n in layers) / sum(n.neurons for n in layers)
    )
  assert shares[0] < 0.8 * shares[1]


def _cut(model, scores):
  method = paoding.Method(methods.GivenScores(scores), compensation='none')
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5, 0.5), method, (-1.0, 1.0)
  )
  paoding.run_schedule(wrapped, verbose=0)
  return paoding.compat.strip_pruning(wrapped)


def test_batch_size():
  with pytest.raises(ValueError, match='`batch_size`'):
    training.stability_scores(
      testing.mlp(), testing.draw((5,)), 0.1, (-1.0, 1.0), batch_size=0
    )


def test_groups_without_a_kink_are_named():
  inputs = keras.Input((5,))
  x = L.Dense(6, 'relu', name='first')(inputs)
  x = L.Dense(4, 'tanh', name='smooth')(x)
  model = testing.fill(keras.Model(inputs, L.Dense(3)(x)))
  x = testing.draw((5,))
  with pytest.warns(UserWarning, match="units of 'smooth' pass no"):
    found = training.stability_scores(model, x, 0.1, (-1.0, 1.0))
  assert list(found) == ['first']
  with pytest.raises(ValueError, match='No unit of the model'):
    training.stability_scores(testing.mlp(hidden='tanh'), x, 0.1, (-1.0, 1.0))
