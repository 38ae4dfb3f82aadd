"""A model is read once, and its copies share what was read."""

import sys

import pytest

import tfmot_paoding as paoding
from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.network import network as lib
from tfmot_paoding.network.cloning import plain_copy
from tfmot_paoding.network.graph import build_graph

_layers = keras.layers


def _classifier():
  return keras.Sequential(
    [
      keras.Input((6, 6, 1)),
      _layers.Conv2D(4, 3),
      _layers.BatchNormalization(),
      _layers.ReLU(),
      _layers.Flatten(),
      _layers.Dense(8, 'relu'),
      _layers.Dense(3, 'softmax'),
    ]
  )


def _branching():
  x = keras.Input((5,))
  inner = keras.Sequential(
    [keras.Input((6,)), _layers.Dense(6, 'relu'), _layers.Dropout(0.1)],
    name='inner',
  )
  y = _layers.Dense(6, 'tanh')(x)
  z = _layers.Add()([inner(y), inner(_layers.Dense(6)(y))])
  return keras.Model(x, [_layers.Dense(2)(z), _layers.Dense(1)(z)])


def _counted(monkeypatch, name):
  """How often a function of the package is called, wherever it is named."""
  calls = []
  for module in list(sys.modules.values()):
    found = getattr(module, '__name__', '').startswith('tfmot_paoding')
    function = getattr(module, name, None) if found else None
    if callable(function):

      def counting(*args, _function=function, **kwargs):
        calls.append(args)
        return _function(*args, **kwargs)

      monkeypatch.setattr(module, name, counting)
  return calls


@pytest.mark.parametrize('prior', ['smooth', None])
def test_prune_reads_a_model_once(monkeypatch, prior):
  graphs = _counted(monkeypatch, 'build_graph')
  groups = _counted(monkeypatch, 'find_groups')
  settings = paoding.training.DistillSettings(steps=2, samples=32)
  monkeypatch.setattr(
    'tfmot_paoding.inputs.recall.RecallSettings.steps', 1, raising=False
  )
  paoding.prune(
    _classifier(),
    0.5,
    method='reconstruction',
    input_range=(0.0, 1.0),
    step_sparsity=0.25,
    prior=prior,
    distillation=settings,
    verbose=0,
  )
  assert len(graphs) <= 2  # the caller's model, and what is left of it
  assert len(groups) == 1


@pytest.mark.parametrize('make', [_classifier, _branching])
@pytest.mark.parametrize('copy', ['wrapped', 'stripped', 'plain'])
def test_copies_are_read_as_if_anew(make, copy):
  network = lib.Network.of(make())
  wrapped = paoding.prune_low_saliency(network.model, input_range=(0.0, 1.0))
  other = {
    'wrapped': wrapped,
    'stripped': compat.strip_pruning(wrapped),
    'plain': plain_copy(wrapped),
  }[copy]
  found, wanted = network.like(other), build_graph(other)
  assert found.twin is network
  assert found.graph.nodes is network.graph.nodes
  assert [n.path for n in wanted.nodes] == [n.path for n in found.graph.nodes]
  assert [type(n.op) for n in wanted.nodes] == [
    type(n.op) for n in found.graph.nodes
  ]
  assert wanted.shapes == found.graph.shapes
  assert wanted.outputs == found.graph.outputs
  for name in ('layers', 'wrappers', 'calls', 'masked', 'layer_inputs'):
    ours, theirs = getattr(found.graph, name), getattr(wanted, name)
    assert ours == theirs, name
  assert [call.keras_node for call in wanted.layer_calls] == [
    call.keras_node for call in found.graph.layer_calls
  ]
  assert found.groups is network.groups


def test_another_structure_is_read_anew():
  network = lib.Network.of(_classifier())
  found = network.like(_branching())
  assert found.twin is None
  assert found.groups is not network.groups
