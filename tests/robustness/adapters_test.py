"""Other libraries attack the same models and find the same weaknesses."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests import testing
from tests.testing import draw
from tfmot_paoding import robustness

RANGE = (-1.0, 1.0)


def attacked():
  model = testing.mlp((5, 16, 16, 3), activation='softmax', seed=1)
  x = draw((5,), 60).astype(np.float32)
  return model, x, model(x).numpy().argmax(-1)


def broken(model, x, y):
  return (model(np.asarray(x)).numpy().argmax(-1) != y).sum()


def test_art_fgsm_is_ours():
  evasion = pytest.importorskip('art.attacks.evasion')
  model, x, y = attacked()
  attack = evasion.FastGradientMethod(
    robustness.as_art(model, RANGE), eps=0.1, batch_size=64
  )
  found = attack.generate(x, y)
  ours = robustness.fgsm(model, x, y, 0.1, RANGE)
  np.testing.assert_allclose(found, ours, atol=1e-6)


def test_art_auto_attack_runs_and_breaks_no_certificate():
  evasion = pytest.importorskip('art.attacks.evasion')
  model, x, y = attacked()
  classifier = robustness.as_art(model, RANGE)
  attacks = [
    evasion.AutoProjectedGradientDescent(
      classifier,
      eps=0.1,
      eps_step=0.02,
      max_iter=10,
      loss_type=loss,
      verbose=False,
    )
    for loss in ('cross_entropy', 'difference_logits_ratio')
  ]
  auto = evasion.AutoAttack(
    classifier, eps=0.1, eps_step=0.02, batch_size=64, attacks=attacks
  )
  found = auto.generate(x, y)
  assert np.abs(found - x).max() <= 0.1 + 1e-6
  proved = robustness.certified(model, x, y, 0.1, RANGE)
  wrong = model(found).numpy().argmax(-1) != y
  assert wrong.any()
  assert not (proved & wrong).any()


def test_foolbox_pgd_breaks_about_what_ours_does():
  attacks = pytest.importorskip('foolbox.attacks')
  tf = pytest.importorskip('tensorflow')
  model, x, y = attacked()
  inner = robustness.as_foolbox(model, RANGE)
  _, found, _ = attacks.LinfPGD(steps=40, random_start=False)(
    inner, tf.constant(x), tf.constant(y), epsilons=0.15
  )
  theirs = broken(model, found.numpy(), y)
  ours = broken(model, robustness.pgd(model, x, y, 0.15, RANGE), y)
  assert 0 < theirs <= ours + 1


@pytest.mark.parametrize('adapter', ['as_art', 'as_foolbox'])
def test_a_missing_library_names_its_extra(adapter, monkeypatch):
  name = {'as_art': 'art', 'as_foolbox': 'foolbox'}[adapter]
  for module in list(sys.modules):
    if module.split('.')[0] == name:
      monkeypatch.delitem(sys.modules, module)
  monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(ImportError, match=r'tfmot_paoding\[attacks\]'):
    getattr(robustness, adapter)(testing.mlp((5, 8, 3)), RANGE)


@pytest.mark.parametrize('adapter', ['as_art', 'as_foolbox'])
def test_models_that_these_libraries_cannot_take(adapter):
  pytest.importorskip({'as_art': 'art', 'as_foolbox': 'foolbox'}[adapter])
  model = testing.mlp((5, 8, 1), activation='sigmoid')
  with pytest.raises(ValueError, match='one sigmoid'):
    getattr(robustness, adapter)(model, RANGE)
