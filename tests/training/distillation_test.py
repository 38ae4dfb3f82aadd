"""Distillation: nearer to the original, removed units stay removed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.inputs.familiarity import families_for
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.network.agreement import judge
from tfmot_paoding.network.network import Network
from tfmot_paoding.training import distillation as lib
from tfmot_paoding.training import steps as steps_lib
from tfmot_paoding.training.distillation import _drawn_entries

QUICK = paoding.training.DistillSettings(steps=150, samples=512, batch_size=64)


def halved(model, method='l1'):
  return paoding.prune(
    model,
    0.5,
    method=method,
    input_range=(-1.0, 1.0),
    step_sparsity=0.25,
    verbose=0,
  )


def distilled(pruned, model, **settings):
  settings = {'settings': QUICK, **settings}
  return paoding.training.distill(
    model, pruned, input_range=(-1.0, 1.0), verbose=0, **settings
  )


def error(pruned, model, x):
  return float(np.mean(np.square(pruned(x).numpy() - model(x).numpy())))


def test_comes_nearer_on_inputs_it_has_not_seen():
  model = testing.mlp((5, 16, 12, 1), seed=1)
  pruned = halved(model)
  x = testing.samples((5,), 300, seed=9).astype(np.float32)
  better = distilled(pruned, model)
  assert error(better, model, x) < 0.5 * error(pruned, model, x)


def test_with_batch_norm_softmax_and_several_outputs():
  model = testing.with_batch_norm(seed=2)
  outputs = [
    keras.layers.Softmax(name='classes')(model.output),
    keras.layers.Dense(
      2, name='values', kernel_initializer=keras.initializers.GlorotUniform(0)
    )(model.layers[-2].output),
  ]
  model = keras.Model(model.inputs, outputs)
  pruned = halved(model)
  x = testing.samples((5,), 300, seed=9).astype(np.float32)
  better = distilled(pruned, model)
  for new, old, goal in zip(better(x), pruned(x), model(x), strict=True):
    new, old, goal = new.numpy(), old.numpy(), goal.numpy()
    assert np.square(new - goal).mean() < np.square(old - goal).mean()
  kept = [w for w in pruned.weights if 'moving' in w.name]
  for one, two in zip(
    kept, [w for w in better.weights if 'moving' in w.name], strict=True
  ):
    np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_named_inputs_and_outputs():
  inputs = {'b': keras.Input((4,), name='b'), 'a': keras.Input((3,), name='a')}
  x = keras.layers.Concatenate()(list(inputs.values()))
  x = keras.layers.Dense(16, activation='relu')(x)
  outputs = {'z': keras.layers.Dense(3)(x), 'y': keras.layers.Dense(2)(x)}
  model = testing.fill(keras.Model(inputs, outputs))
  small = halved(model, 'reconstruction')
  drawn = {'a': testing.draw((3,)), 'b': testing.draw((4,))}
  one, two = model(drawn), small(drawn)
  assert {name: x.shape for name, x in two.items()} == {
    'z': (4, 3),
    'y': (4, 2),
  }
  for name, x in two.items():
    spread = np.ptp(one[name])
    assert np.abs(x - one[name]).mean() < 0.3 * spread


def test_removed_units_of_a_stripped_model_stay_removed():
  model = testing.mlp((5, 16, 12, 3), seed=1)
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5, 0.25), 'l1', (-1.0, 1.0)
  )
  paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  better = distilled(stripped, model)
  small = paoding.compact(better)
  assert [layer.units for layer in small.layers] == [8, 6, 3]
  x = testing.samples((5,), 50).astype(np.float32)
  np.testing.assert_allclose(small(x), better(x), atol=1e-5)
  assert error(better, model, x) < error(stripped, model, x)


def test_neither_model_changes_and_frozen_layers_stay():
  model = testing.mlp((5, 8, 6, 3))
  pruned = halved(model)
  pruned.layers[0].trainable = False
  before = [m.get_weights() for m in (model, pruned)]
  better = distilled(pruned, model)
  for values, one in zip(before, (model, pruned), strict=True):
    for old, new in zip(values, one.get_weights(), strict=True):
      np.testing.assert_array_equal(old, new)
  np.testing.assert_array_equal(better.layers[0].get_weights()[0], before[1][0])
  assert np.abs(better.layers[1].get_weights()[0] - before[1][2]).max() > 0


def test_what_does_not_help_is_not_kept():
  model = testing.mlp((5, 8, 6, 3))
  wild = paoding.training.DistillSettings(
    steps=3, samples=64, learning_rate=100.0
  )
  kept = distilled(model, model, settings=wild)
  for old, new in zip(model.get_weights(), kept.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)


def _noted_steps(monkeypatch):
  """The numbers of steps that bars are told of."""
  done = []

  class Bar:
    def add(self, count):
      done.append(count)

    def update(self, *_, **__):
      pass

  monkeypatch.setattr(lib, 'progress_bar', lambda *_: Bar())
  return done


def test_a_lesson_ends_when_it_leads_away(monkeypatch):
  model = testing.mlp((5, 16, 12, 3), seed=1)
  pruned, done = halved(model), _noted_steps(monkeypatch)
  away = iter(range(1, 100))
  monkeypatch.setattr(lib.Lesson, 'distance', lambda *_: float(next(away)))
  settings = dataclasses.replace(QUICK, learning_rate=1e-3)
  kept = distilled(pruned, model, settings=settings)
  assert sum(done) == 75  # of 150, at the third of the looks
  for old, new in zip(pruned.get_weights(), kept.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)


def test_a_lesson_ends_when_all_is_learned(monkeypatch):
  model = testing.mlp((5, 16, 12, 3), seed=1)
  pruned, done = halved(model), _noted_steps(monkeypatch)
  distances = iter([1.0, 0.5, 1e-9, 1e-9])
  monkeypatch.setattr(lib.Lesson, 'distance', lambda *_: next(distances))
  settings = dataclasses.replace(QUICK, learning_rate=1e-3)
  learned = distilled(pruned, model, settings=settings)
  assert sum(done) == 50
  assert np.any(learned.get_weights()[0] != pruned.get_weights()[0])


def test_looking_changes_nothing(monkeypatch):
  model = testing.mlp((5, 16, 12, 3), seed=1)
  pruned = halved(model)
  found = [distilled(pruned, model).get_weights()]
  monkeypatch.setattr(lib, 'looks', lambda _: [])
  found.append(distilled(pruned, model).get_weights())
  for one, two in zip(*found, strict=True):
    np.testing.assert_array_equal(one, two)


def test_more_effort_takes_more_steps(monkeypatch):
  model = testing.mlp((5, 16, 12, 3), seed=1)
  pruned, done = halved(model), _noted_steps(monkeypatch)
  steps = []
  for effort in (0.04, 0.02):
    settings = paoding.training.DistillSettings(
      samples=128, learning_rate=1e-3, effort=effort
    )
    distilled(pruned, model, settings=settings)
    steps.append(sum(done))
    done.clear()
  assert steps[1] > 4
  assert abs(steps[0] - 2 * steps[1]) <= 1


def test_same_seed_same_weights():
  model = testing.mlp((5, 8, 6, 3))
  pruned = halved(model)
  one, two, other = (
    distilled(pruned, model, seed=seed).get_weights() for seed in (1, 1, 2)
  )
  for a, b in zip(one, two, strict=True):
    np.testing.assert_array_equal(a, b)
  assert any(np.any(a != b) for a, b in zip(one, other, strict=True))


class Branching(keras.layers.Layer):
  """A layer that only autograph can trace."""

  def call(self, x):
    if tf.reduce_mean(x) > 0:
      return x
    return 0.5 * x


@pytest.mark.parametrize('adversarial', [0.0, 0.15])
def test_layers_that_branch_on_a_tensor_are_taught(adversarial):
  inputs = keras.Input((4,))
  x = keras.layers.Dense(12, activation='relu')(inputs)
  x = Branching()(keras.layers.Dense(4)(x))
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(3)(x)), seed=1)
  small = halved(model)
  settings = dataclasses.replace(QUICK, adversarial=adversarial)
  found = paoding.distill(
    model, small, input_range=(-1.0, 1.0), settings=settings, verbose=0
  )
  assert not np.array_equal(found.get_weights()[0], small.get_weights()[0])


def test_trials_and_lesson_are_traced_once(monkeypatch):
  model = testing.mlp((5, 16, 12, 3), seed=1)
  made, real = [], lib.Steps
  monkeypatch.setattr(lib, 'Steps', lambda *a: made.append(real(*a)) or made[0])
  settings = dataclasses.replace(QUICK, steps=10)
  paoding.distill(
    model,
    halved(model),
    input_range=(-1.0, 1.0),
    settings=settings,
    verbose=0,
  )
  assert len(made) == 1


def test_steps_are_the_same_however_many_go_in_one_call(monkeypatch):
  model = testing.mlp((5, 16, 12, 3), seed=1)
  pruned = halved(model)
  settings = dataclasses.replace(QUICK, steps=7)
  found = []
  for together, most in ((1, 1 << 20), (3, 1 << 20), (50, 1 << 20), (50, 1)):
    monkeypatch.setattr(steps_lib, '_STEPS', together)
    monkeypatch.setattr(steps_lib, '_BYTES', most)
    found.append(distilled(pruned, model, settings=settings).get_weights())
  for other in found[1:]:
    for one, two in zip(found[0], other, strict=True):
      np.testing.assert_array_equal(one, two)


def test_a_users_inputs_are_what_it_learns_on():
  model = testing.mlp((5, 16, 12, 1), seed=1)
  pruned = halved(model)
  x = testing.samples((5,), 400, seed=3).astype(np.float32)
  corner = np.abs(x)  # one corner of the box
  better = distilled(pruned, model, data=corner)
  assert error(better, model, corner) < 0.5 * error(pruned, model, corner)


def test_prune_distills_where_the_method_fits():
  model = testing.mlp((5, 16, 12, 3), seed=1)
  x = testing.samples((5,), 300, seed=9).astype(np.float32)

  def pruned(**kwargs):
    return paoding.prune(
      model,
      0.5,
      method='reconstruction',
      input_range=(-1.0, 1.0),
      verbose=0,
      **kwargs,
    )

  # By what both the fits and the lesson go by of classes.
  plain, better = (
    judge(model, pruned(distillation=how), [x]).divergence
    for how in (False, QUICK)
  )
  assert better < plain


def test_wrapped_and_unlike_models_are_refused():
  model = testing.mlp((5, 8, 6, 3))
  with pytest.raises(ValueError, match='strip_pruning'):
    distilled(paoding.prune_low_saliency(model), model)
  with pytest.raises(ValueError, match='outputs'):
    distilled(testing.mlp((5, 8, 6, 2)), model)
  with pytest.raises(ValueError, match='at least 2 inputs'):
    distilled(
      model,
      model,
      settings=paoding.training.DistillSettings(steps=1, samples=1),
    )


@pytest.mark.parametrize(
  ('setting', 'name'),
  [
    ({'steps': 0}, 'steps'),
    ({'batch_size': 0}, 'batch_size'),
    ({'samples': True}, 'samples'),
    ({'learning_rate': -1.0}, 'learning_rate'),
  ],
)
def test_bad_settings_are_named(setting, name):
  with pytest.raises(ValueError, match=f'`{name}` must be'):
    paoding.training.DistillSettings(**setting)


def test_models_of_other_rows_than_their_inputs_have():
  inputs = keras.Input((6, 2))
  x = tf.reshape(inputs, (-1, 2))
  x = keras.layers.Dense(8, 'relu', name='hidden')(x)
  model = testing.fill(
    keras.Model(inputs, keras.layers.Dense(3, activation='softmax')(x))
  )
  settings = {'input_range': (-1.0, 1.0), 'verbose': 0}
  with pytest.warns(UserWarning, match='without distillation.*rows of answers'):
    small = paoding.prune(model, 0.5, **settings)
  assert small.get_layer('hidden').units == 4
  with pytest.raises(ValueError, match='rows of answers for .* inputs'):
    paoding.prune(model, 0.5, distillation=True, **settings)


@pytest.mark.parametrize('stripped', [False, True])
def test_models_in_the_old_order_are_told_apart(stripped):
  model = testing.mlp((5, 16, 12, 3))
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5, 0.5), 'l1', (-1.0, 1.0)
  )
  paoding.run_schedule(wrapped, verbose=0)
  small = strip_pruning(wrapped)
  if not stripped:
    small = paoding.compact(small)
  with pytest.raises(ValueError, match='the two are swapped'):
    paoding.training.distill(small, model, input_range=(-1.0, 1.0), verbose=0)


def test_settings_of_the_loss_are_checked():
  with pytest.raises(ValueError, match="'divergence', 'squares'"):
    paoding.training.DistillSettings(loss='kl')
  with pytest.raises(ValueError, match='`temperature` must be positive'):
    paoding.training.DistillSettings(temperature=0.0)


@pytest.mark.parametrize('unit', [0.01, 1.0, 100.0])
def test_the_unit_of_logits_does_not_matter(unit):
  """Class scores and numbers of any size are learned alike."""
  model = testing.mlp((5, 16, 12, 3), seed=1)
  kernel, bias = model.layers[-1].get_weights()
  model.layers[-1].set_weights([kernel * unit, bias * unit])
  pruned = halved(model)
  x = testing.samples((5,), 300, seed=9).astype(np.float32)
  # At one rate: the one that is best for the divergence differs by unit.
  settings = dataclasses.replace(QUICK, learning_rate=1e-3)
  better = distilled(pruned, model, settings=settings)

  def gap(other):
    gaps = other(x).numpy() - model(x).numpy()
    gaps -= gaps.mean(1, keepdims=True)
    return np.square(gaps).mean() / model(x).numpy().var()

  assert gap(better) < 0.6 * gap(pruned)


@pytest.mark.parametrize(
  ('shape', 'units', 'families'),
  [
    ((28, 28, 1), 3, 'mixed'),
    ((32, 32, 3), 3, 'mixed'),
    ((28, 28, 1), 1, 'varied'),  # a number, no classes
    ((49, 10, 1), 3, 'varied'),  # coefficients of speech
    ((20, 20, 7), 3, 'varied'),
    ((20, 3), 3, 'varied'),
  ],
)
def test_classifiers_of_pictures_choose_among_families(shape, units, families):
  model = keras.Sequential(
    [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(units)]
  )
  assert families_for(Network.of(model)) == families


def test_inputs_that_are_passed_are_all_taken():
  shape = (512, 512, 3)
  model = keras.Sequential(
    [
      keras.Input(shape),
      keras.layers.GlobalAveragePooling2D(),
      keras.layers.Dense(3),
    ]
  )
  network = Network.of(model)
  own = InputSource(None, data=np.zeros((2, *shape), np.float32))
  assert _drawn_entries(network, own) == 1
  assert _drawn_entries(network, InputSource(None)) == 512 * 512 * 3


SEEN = []


class Noting(keras.layers.Layer):
  """Notes in what precision it is called."""

  def call(self, x):
    SEEN.append(x.dtype.name)
    return x


def test_halves_are_taught_in_float32():
  policy = 'mixed_float16'

  def layer(kind, *args, **kwargs):
    return kind(*args, dtype=policy, **kwargs)

  inputs = keras.Input((4,))
  x = layer(keras.layers.Dense, 8, activation='relu', name='hidden')(inputs)
  x = layer(Noting)(layer(keras.layers.Dense, 6)(x))
  model = testing.fill(keras.Model(inputs, layer(keras.layers.Dense, 3)(x)))
  pruned = halved(model)
  SEEN.clear()
  taught = distilled(pruned, model)
  assert 'float32' in SEEN
  hidden = taught.get_layer('hidden')
  assert hidden.dtype_policy.name == policy
  assert hidden.kernel.dtype == model.get_layer('hidden').kernel.dtype
  SEEN.clear()
  quick = paoding.inputs.RecallSettings(steps=2)
  paoding.recall_inputs(model, 4, (0.0, 1.0), settings=quick, verbose=0)
  assert SEEN[-1] == 'float32'
