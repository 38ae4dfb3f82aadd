"""Scores of weights and units: gradients, what stays, and going on."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import distributed_test, testing
from tests.training import trainer_test
from tfmot_paoding import methods, robustness, training
from tfmot_paoding.compat import UpdatePruningStep, keras, strip_pruning
from tfmot_paoding.network.network import Network
from tfmot_paoding.training import mask_learner as lib
from tfmot_paoding.training.score_training import _readers
from tfmot_paoding.training.tickets import masked_weights

L = keras.layers
_WORKER = pathlib.Path(__file__).resolve().parent / 'score_training_worker.py'
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def small():
  return testing.mlp((5, 8, 6, 3))


def recurrent():
  return testing.fill(
    keras.Sequential(
      [
        keras.Input((4, 3)),
        L.LSTM(6, return_sequences=True),
        L.GRU(4),
        L.Dense(2),
      ]
    )
  )


def fit(model, objective='natural', epochs=1, callbacks=()):
  """Trains a model or its scores, the same way each time."""
  keras.utils.set_random_seed(0)
  trainee = training.robust_model(model, objective, (0.0, 1.0))
  trainee.compile(keras.optimizers.Adam(0.01), LOSS)
  x, y = trainer_test.blobs()
  return trainee.fit(
    x,
    y,
    batch_size=100,
    epochs=epochs,
    verbose=0,
    callbacks=[UpdatePruningStep(), *callbacks],
  )


def learner_of_weights(model, share=0.5):
  wrapped = training.with_fixed_masks(model)
  scored = []
  for weight, _ in masked_weights(wrapped):
    value = keras.backend.get_value(weight)
    kept = max(1, int(value.size * share))
    scored.append(lib.Scored(value + 0.1, kept, (lib.Gate(weight),)))
  return wrapped, lib.MaskLearner(scored)


def learner_of_units(model, share=0.5):
  network = Network.of(model)
  rng = np.random.default_rng(0)
  scored = [
    lib.Scored(
      rng.uniform(0.1, 1, group.size),
      max(1, int(group.size * share)),
      tuple(_readers(network.graph, group)),
    )
    for group in network.groups.groups
  ]
  return model, lib.MaskLearner(scored)


class TestPieces:
  def test_highest_by_hand(self):
    found = lib.highest(tf.constant([[3.0, 1.0, 3.0], [0.0, 3.0, 2.0]]), 2)
    np.testing.assert_array_equal(found, [[1, 0, 1], [0, 0, 0]])

  @pytest.mark.parametrize('seed', range(5))
  def test_highest_against_sorting(self, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (5, 3)).astype(np.float32)  # with many ties
    for count in (1, 7, 15):
      kept = sorted(range(15), key=lambda k: (-scores.ravel()[k], k))[:count]
      found = np.ravel(lib.highest(tf.constant(scores), count))
      assert np.flatnonzero(found).tolist() == sorted(kept)

  def test_scores_begin_at_the_weights_scaled(self):
    found = lib.scaled(np.array([[1.0, -4.0], [2.0, 0.0]]), 2)
    np.testing.assert_allclose(
      found, np.sqrt(3) * np.array([[1, -4], [2, 0]]) / 4
    )
    np.testing.assert_array_equal(lib.scaled(np.zeros(3), 1), np.zeros(3))

  def test_what_gates_collect_by_hand(self):
    gate = lib.Gate(tf.Variable(tf.zeros((3, 2))), 0, np.array([1, -1, 1]))
    slopes = tf.constant([[1.0, 2.0], [50.0, 50.0], [4.0, 8.0]])
    np.testing.assert_array_equal(gate.collect(slopes, 2), [0.0, 15.0])
    kept = gate.mask(tf.constant([1.0, 0.0]))
    np.testing.assert_array_equal(kept, [[0], [1], [0]])


@pytest.mark.parametrize(
  'make', [learner_of_weights, learner_of_units], ids=['weights', 'units']
)
class TestGradients:
  def test_they_are_those_of_masks_that_are_numbers(self, make):
    """Against differences of the loss where one mask moves a little."""
    model, learner = make(small())
    x, y = (tf.constant(a) for a in trainer_test.blobs())
    with tf.GradientTape() as tape:
      loss = LOSS(y, model(x, training=False))
    found = learner.gradients(tape.gradient(loss, learner.weights_read))
    for k, scores in enumerate(learner.scores):
      masks = [m.numpy() for m in learner.masks()]
      wanted = np.zeros(scores.shape)
      for at in np.ndindex(*scores.shape):
        ends = []
        for step in (1e-2, -1e-2):
          masks[k][at] += step
          _set(learner, masks)
          ends.append(float(LOSS(y, model(x))))
          masks[k][at] -= step
        wanted[at] = (ends[0] - ends[1]) / 2e-2
      wanted *= np.sign(scores.numpy())
      np.testing.assert_allclose(found[k], wanted, atol=2e-4)
      learner.update()

  def test_a_score_that_rises_brings_its_part_back(self, make):
    _, learner = make(small())
    gone = np.argwhere(learner.masks()[0].numpy() == 0)[0]
    value = learner.scores[0].numpy()
    value[tuple(gone)] = 100.0
    learner.scores[0].assign(value)
    learner.update()
    assert learner.masks()[0].numpy()[tuple(gone)] == 1
    weight, origin = learner.weights_read[0], learner.origins[0]
    if weight.shape == learner.scores[0].shape:
      assert weight.numpy()[tuple(gone)] == origin.numpy()[tuple(gone)]
    else:
      np.testing.assert_array_equal(
        weight.numpy()[gone[0]], origin.numpy()[gone[0]]
      )


def _set(learner, masks):
  """Sets weights to what masks of any numbers leave, entry by entry."""
  values = {
    id(w): o.numpy()
    for w, o in zip(learner.weights_read, learner.origins, strict=True)
  }
  for one, mask in zip(learner._masked, masks, strict=True):
    for gate in one.gates:
      value = values[id(gate.weight)]
      for at in np.ndindex(*value.shape):
        if gate.axis is None:
          value[at] *= mask[at]
        elif gate.units[at[gate.axis]] >= 0:
          value[at] *= mask[gate.units[at[gate.axis]]]
  for weight in learner.weights_read:
    weight.assign(values[id(weight)])


class TestRamp:
  def test_what_is_kept_by_hand(self):
    scored = lib.Scored(np.arange(1.0, 9.0), 2, ())
    learner = lib.MaskLearner([scored], 4)
    left = []
    for step in range(6):
      learner.step.assign(step)
      left.append(int(tf.reduce_sum(learner.masks()[0])))
    # 2 and 6 times (1 - step / 4) cubed
    assert left == [8, 4, 2, 2, 2, 2]

  def test_sparsity_grows_as_scores_train(self):
    left = []

    def train(model):
      count = keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: left.append(
          sum(int(tf.reduce_sum(m)) for m in model.learner.masks())
        )
      )
      fit(model, epochs=2, callbacks=[count])

    wrapped = training.with_fixed_masks(small())
    masks = training.learned_masks(wrapped, train, 0.75, ramp_steps=6)
    # 40, 48 and 18 weights
    assert left[0] > left[2] > left[3] > left[5] == left[-1] == 26
    assert len(left) == 12
    assert [mask.sum() for mask in masks] == [10, 12, 4]

  def test_units_leave_step_by_step(self):
    kept = []

    def train(model):
      kept.append([int(tf.reduce_sum(m)) for m in model.learner.masks()])
      fit(model, epochs=2)
      kept.append([int(tf.reduce_sum(m)) for m in model.learner.masks()])

    training.learned_scores(small(), train, 0.5, ramp_steps=2)
    assert kept == [[8, 6], [4, 3]]

  def test_a_network_that_comes_apart_at_once_learns_while_it_shrinks(self):
    model = small()
    for k, layer in enumerate(model.layers):
      kernel, bias = layer.get_weights()
      kernel[k, k] = 9.0  # of each layer the largest, and no path
      layer.set_weights([kernel, 0 * bias])
    wrapped = training.with_fixed_masks(model)
    with pytest.raises(ValueError, match='or let it grow: `ramp_steps`'):
      training.learned_masks(wrapped, fit, 0.97)
    masks = training.learned_masks(wrapped, fit, 0.97, ramp_steps=3)
    assert [mask.sum() for mask in masks] == [1, 1, 1]

  def test_training_that_ends_before(self):
    wrapped = training.with_fixed_masks(small())
    with pytest.raises(ValueError, match='took 6 steps.*ramp_steps=9'):
      training.learned_masks(wrapped, fit, 0.5, ramp_steps=9)
    with pytest.raises(ValueError, match='`ramp_steps` must be an integer'):
      training.learned_masks(wrapped, fit, 0.5, ramp_steps=0.5)


class TestWeights:
  @pytest.mark.parametrize(
    'name', ['natural', 'adversarial', 'verifiable', 'smoothing']
  )
  def test_every_objective_trains_scores_alone(self, name):
    wrapped = training.with_fixed_masks(trainer_test.net())
    before = [w.copy() for w in wrapped.get_weights()]
    seen = []

    def train(model):
      fit(model, trainer_test.OBJECTIVES[name], 2)
      seen.append(model)

    masks = training.learned_masks(wrapped, train, 0.75)
    assert [mask.sum() for mask in masks] == [30, 96, 12]
    for old, new in zip(before, wrapped.get_weights(), strict=True):
      np.testing.assert_array_equal(old, new)
    (model,) = seen
    for old, new in zip(
      wrapped.layers, model.layers[-len(wrapped.layers) :], strict=True
    ):
      kernel, bias = (w.numpy() for w in new.layer.weights)
      np.testing.assert_array_equal(bias, old.layer.weights[1])
      gone = kernel == 0
      np.testing.assert_array_equal(
        kernel[~gone], old.layer.weights[0].numpy()[~gone]
      )

  def test_they_leave_more_than_magnitude_does(self):
    model = trainer_test.net()
    objective = trainer_test.OBJECTIVES['adversarial']
    trainer_test.fit(model, objective)
    wrapped = training.with_fixed_masks(model)
    x, y = trainer_test.blobs()
    right = []
    for masks in (
      training.learned_masks(wrapped, lambda m: fit(m, objective, 15), 0.85),
      training.magnitude_masks(wrapped, 0.85),
    ):
      thin = training.with_fixed_masks(model)
      training.set_masks(thin, masks)
      right.append(robustness.answered_right(strip_pruning(thin), x, y).mean())
    assert right[0] > right[1] + 0.05

  def test_what_is_gone_stays_gone(self):
    wrapped = training.with_fixed_masks(small())
    first = training.magnitude_masks(wrapped, 0.5)
    training.set_masks(wrapped, first)
    masks = training.learned_masks(wrapped, fit, 0.6)
    for mask, alive in zip(masks, first, strict=True):
      assert not (mask & ~alive).any()

  def test_the_compiled_loss_alone(self):
    def train(model):
      model.compile('adam', LOSS, metrics=['accuracy'])
      x, y = trainer_test.blobs()
      history = model.fit(x, y, verbose=0, callbacks=[UpdatePruningStep()])
      assert {'loss', 'accuracy'} <= set(history.history)

    wrapped = training.with_fixed_masks(small())
    masks = training.learned_masks(wrapped, train, 0.5)
    assert [mask.sum() for mask in masks] == [20, 24, 9]

  def test_normalization_trains_along(self):
    seen = []

    def train(model):
      seen.append(model)
      fit(model)

    wrapped = training.with_fixed_masks(testing.with_batch_norm())
    training.learned_masks(wrapped, train, 0.5)
    (new,) = (n for n in seen[0].layers if n.name.endswith('norm_0'))
    (old,) = (n for n in wrapped.layers if n.name.endswith('norm_0'))
    for a, b in zip(new.layer.weights, old.layer.weights, strict=True):
      assert np.abs(a.numpy() - b.numpy()).max() > 0

  def test_mixed_precision(self):
    keras.mixed_precision.set_global_policy('mixed_float16')
    try:
      model = trainer_test.net()
    finally:
      keras.mixed_precision.set_global_policy('float32')

    def train(scored):
      trainee = training.robust_model(scored, 'natural')
      trainee.compile(
        keras.mixed_precision.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
        LOSS,
      )
      x, y = trainer_test.blobs()
      trainee.fit(x, y, verbose=0, callbacks=[UpdatePruningStep()])

    masks = training.learned_masks(training.with_fixed_masks(model), train, 0.5)
    assert [mask.sum() for mask in masks] == [60, 192, 24]


class TestUnits:
  def test_they_go_through_tfmots_wrappers_and_compact(self):
    model = trainer_test.net()
    trainer_test.fit(model, 'natural')
    before = model.get_weights()
    scores = training.learned_scores(model, fit, 0.5)
    for old, new in zip(before, model.get_weights(), strict=True):
      np.testing.assert_array_equal(old, new)
    method = paoding.Method(methods.GivenScores(scores), compensation='none')
    wrapped = paoding.prune_low_saliency(
      model, paoding.ProgressiveSparsity(0.5, 0.5), method, (0.0, 1.0)
    )
    paoding.run_schedule(wrapped, verbose=0)
    fit(wrapped)
    x, _ = trainer_test.blobs()
    stripped = strip_pruning(wrapped)
    tiny = paoding.compact(stripped)
    assert [layer.units for layer in tiny.layers] == [12, 8, 3]
    np.testing.assert_allclose(tiny(x), stripped(x), atol=1e-5)
    kernel = stripped.layers[0].get_weights()[0]
    own = scores[model.layers[0].name]
    np.testing.assert_array_equal(
      np.flatnonzero(kernel.any(0)), np.sort(np.argsort(-own)[:12])
    )

  @pytest.mark.parametrize(
    'make',
    [
      small,
      testing.with_batch_norm,
      testing.conv_net,
      testing.pooled,
      recurrent,
    ],
  )
  @pytest.mark.filterwarnings('ignore::UserWarning')
  def test_the_trained_network_is_the_pruned_one(self, make):
    """What scores mask answers as what is left when units are removed."""
    model = make()
    seen = []

    def train(scored):
      scored.learner.scores[0].assign_add(
        np.random.default_rng(0).uniform(0, 9, scored.learner.scores[0].shape)
      )
      scored.learner.update()
      seen.append(scored)

    scores = training.learned_scores(model, train, 0.5)
    method = paoding.Method(methods.GivenScores(scores), compensation='none')
    tiny = paoding.prune(
      model, 0.5, method=method, input_range=(-1.0, 1.0), verbose=0
    )
    x = testing.draw(model.input_shape[1:])
    np.testing.assert_allclose(tiny(x), seen[0](x, training=False), atol=1e-5)
    assert tiny.count_params() < model.count_params()

  def test_shares_by_layer(self):
    scores = training.learned_scores(small(), fit, {'hidden_1': 0.5})
    assert {name: len(row) for name, row in scores.items()} == {'hidden_1': 6}
    scores = training.learned_scores(small(), fit, {'*': 0.5})
    assert [*scores] == ['hidden_0', 'hidden_1']

  def test_scores_that_are_not_there_are_asked_for(self):
    method = paoding.Method(
      methods.GivenScores({'hidden_1': range(6)}), compensation='none'
    )
    with pytest.raises(ValueError, match="units of 'hidden_0'.*Score them"):
      paoding.prune(small(), 0.5, method=method, input_range=(0.0, 1.0))
    method = paoding.Method(methods.GivenScores({'hidden_0': range(6)}))
    shares = {'hidden_0': 0.5}
    with pytest.raises(ValueError, match='8 units, but 6 scores'):
      paoding.prune(small(), shares, method=method, input_range=(0.0, 1.0))
    for row in ([-1.0], [float('nan')], []):
      with pytest.raises(ValueError, match='finite and at least 0'):
        methods.GivenScores({'hidden_0': row})
    with pytest.raises(ValueError, match=r"'given' has settings.*\(units\)"):
      paoding.Method('given')


class TestGoingOn:
  def test_learned_scores_are_read(self, tmp_path):
    calls = []

    def train(model):
      calls.append(1)
      fit(model)

    wrapped = training.with_fixed_masks(small())
    found = [
      training.learned_masks(wrapped, train, 0.5, str(tmp_path))
      for _ in range(2)
    ]
    assert len(calls) == 1
    for one, other in zip(*found, strict=True):
      np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match='scores of another model'):
      training.learned_masks(wrapped, train, 0.6, str(tmp_path))
    units = [
      training.learned_scores(small(), train, 0.5, str(tmp_path / 'units'))
      for _ in range(2)
    ]
    assert len(calls) == 2
    assert units[0].keys() == units[1].keys()

  def test_training_that_is_killed_goes_on(self, tmp_path):
    class Kill(keras.callbacks.Callback):
      def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
          raise KeyboardInterrupt

    def train(*more, backup):
      folder = str(tmp_path / backup)
      return lambda model: fit(
        model,
        epochs=4,
        callbacks=[keras.callbacks.BackupAndRestore(folder), *more],
      )

    def learn(*more, backup):
      wrapped = training.with_fixed_masks(small())
      return training.learned_masks(wrapped, train(*more, backup=backup), 0.7)

    whole = learn(backup='whole')
    with pytest.raises(KeyboardInterrupt):
      learn(Kill(), backup='killed')
    trained = []
    counted = keras.callbacks.LambdaCallback(
      on_epoch_end=lambda epoch, logs: trained.append(epoch)
    )
    again = learn(counted, backup='killed')
    assert trained[0] > 0
    agree = np.mean(
      [np.mean(a == b) for a, b in zip(whole, again, strict=True)]
    )
    assert agree > 0.9  # batches are shuffled anew


def test_two_devices_learn_what_one_does():
  distributed_test.finish(distributed_test.start([], script=_WORKER))


class TestBadInput:
  def test_models_without_wrappers(self):
    with pytest.raises(ValueError, match=r'Wrap it first: .*with_fixed_masks'):
      training.learned_masks(small(), fit, 0.5)

  def test_training_that_trains_no_score(self):
    wrapped = training.with_fixed_masks(small())
    with pytest.raises(ValueError, match='has trained no score'):
      training.learned_masks(wrapped, lambda model: None, 0.5)

  def test_optimizers_of_old(self):
    def train(model):
      trainee = training.robust_model(model, 'natural')
      trainee.compile(keras.optimizers.legacy.Adam(), LOSS)
      x, y = trainer_test.blobs()
      trainee.fit(x, y, verbose=0, callbacks=[UpdatePruningStep()])

    with pytest.raises(ValueError, match='of keras.optimizers.legacy'):
      training.learned_masks(training.with_fixed_masks(small()), train, 0.5)

  @pytest.mark.parametrize('sparsity', [1.0, -0.1, float('nan')])
  def test_sparsity(self, sparsity):
    with pytest.raises(ValueError, match='`sparsity` must lie'):
      training.learned_scores(small(), fit, sparsity)
    with pytest.raises(ValueError, match='`sparsity` must lie'):
      training.learned_masks(training.with_fixed_masks(small()), fit, sparsity)

  @pytest.mark.parametrize(
    ('sparsity', 'message'),
    [
      ({}, 'must name a layer.*hidden_0'),
      ({'logits': 0.5}, "'logits' cannot be pruned.*hidden_0"),
    ],
  )
  def test_layers(self, sparsity, message):
    with pytest.raises(ValueError, match=message):
      training.learned_scores(small(), fit, sparsity)

  def test_models_without_units(self):
    with pytest.raises(ValueError, match='No units of the model'):
      training.learned_scores(testing.mlp((5, 3)), fit, 0.5)
