"""The public calls: what they give, and what they refuse with advice."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import PruneLowMagnitude, keras, strip_pruning
from tfmot_paoding.pruning import pruned as pruned_lib

_sparsity = tfmot.sparsity.keras
_layers = keras.layers
X = testing.samples((5,), 100).astype(np.float32)


def run(wrapped, **more):
  return paoding.run_schedule(wrapped, verbose=0, **more)


class TestPruneLowSaliency:
  def test_nothing_is_pruned_yet_and_the_original_stays_as_it_was(self):
    model = testing.mlp()
    before, config = model.get_weights(), model.get_config()
    wrapped = paoding.prune_low_saliency(model)
    np.testing.assert_array_equal(wrapped(X), model(X))
    run(wrapped)
    for old, new in zip(before, model.get_weights(), strict=True):
      np.testing.assert_array_equal(old, new)
    assert model.get_config() == config
    ours = {id(layer.layer) for layer in wrapped.layers}
    assert not ours & {id(layer) for layer in model.layers}

  def test_layers_in_groups_are_wrapped_and_others_are_not(self):
    model = testing.with_batch_norm()
    wrapped = paoding.prune_low_saliency(model)
    found = {
      x.name.removeprefix('prune_low_saliency_'): isinstance(
        x, PruneLowMagnitude
      )
      for x in wrapped.layers
    }
    assert {name for name, wraps in found.items() if wraps} == {
      'hidden_0',
      'norm_0',
      'hidden_1',
      'norm_1',
      'logits',
    }

  def test_a_policy_excludes_layers_and_what_they_read(self):
    class NotTheSecond(_sparsity.PruningPolicy):
      def allow_pruning(self, layer):
        return layer.name != 'hidden_1'

      def ensure_model_supports_pruning(self, model):
        assert len(model.layers) == 4

    model = testing.mlp((5, 8, 8, 8, 3))
    wrapped = paoding.prune_low_saliency(model, pruning_policy=NotTheSecond())
    history = run(wrapped)
    assert history.units == 8
    assert not isinstance(wrapped.layers[1], PruneLowMagnitude)
    assert 'not wrapped' in history.left_alone['hidden_0']
    assert 'not wrapped' in history.left_alone['hidden_1']
    small = paoding.compact(strip_pruning(wrapped))
    assert [x.units for x in small.layers] == [8, 8, 4, 3]

  def test_a_dict_gives_each_layer_its_own_schedule(self):
    wrapped = paoding.prune_low_saliency(
      testing.mlp((5, 8, 8, 8, 3)),
      {
        'hidden_0': paoding.ProgressiveSparsity(0.5),
        'hidden_2': _sparsity.ConstantSparsity(0.25, 0),
      },
    )
    run(wrapped)
    small = paoding.compact(wrapped)
    assert [x.units for x in small.layers] == [4, 8, 6, 3]

  @pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
      ({'pruning_schedule': 0.5}, ValueError, '`pruning_schedule` must be'),
      (
        {'pruning_schedule': {'nope': paoding.ProgressiveSparsity(0.5)}},
        ValueError,
        "'nope' does not exist.*hidden_0, hidden_1",
      ),
      (
        {'pruning_schedule': {'logits': paoding.ProgressiveSparsity(0.5)}},
        ValueError,
        "'logits' cannot be pruned.*hidden_0",
      ),
      (
        {'method': 'magic'},
        ValueError,
        '`method`.*folding, impact, l1, lbyl',
      ),
      ({'input_range': (1, 0)}, ValueError, '`input_range`.*low < high'),
      ({'input_range': (0, np.ones(7))}, ValueError, '`input_range`.*shape'),
      ({'seed': -1}, ValueError, '`seed`'),
      ({'seed': 'x'}, ValueError, '`seed`'),
      ({'seed': 1.5}, ValueError, '`seed`'),
    ],
  )
  def test_bad_arguments_are_named(self, arguments, error, message):
    with pytest.raises(error, match=message):
      paoding.prune_low_saliency(testing.mlp(), **arguments)

  @pytest.mark.parametrize(
    'bad', [_layers.Dense(3), [_layers.Dense(3)], None, 'model.h5']
  )
  def test_only_models_are_taken(self, bad):
    with pytest.raises(TypeError, match='pass the whole model'):
      paoding.prune_low_saliency(bad)

  def test_unbuilt_models_are_refused(self):
    with pytest.raises(ValueError, match='not built'):
      paoding.prune_low_saliency(keras.Sequential([_layers.Dense(2)]))

  def test_wrapped_models_are_refused(self):
    for wrap in (paoding.prune_low_saliency, _sparsity.prune_low_magnitude):
      with pytest.raises(ValueError, match='wrapped.*strip_pruning'):
        paoding.prune_low_saliency(wrap(testing.mlp()))

  @pytest.mark.parametrize(
    ('layers', 'reason'),
    [
      ([_layers.Dense(2, name='only')], 'only: its units are outputs'),
      ([_layers.Flatten()], 'no layer with units'),
      ([_layers.LSTM(4, name='only')], 'only: its units are outputs'),
      (
        [_layers.LocallyConnected1D(4, 2, name='only')],
        "LocallyConnected1D 'only' is of a kind",
      ),
      (
        [_layers.Dense(4, name='a'), _layers.LayerNormalization(name='ln'),
         _layers.Dense(2)],
        "a: 'ln' takes the mean over its units",
      ),
    ],
  )  # fmt: skip
  def test_models_without_a_group_are_refused_with_the_reason(
    self, layers, reason
  ):
    fresh = [type(x).from_config(x.get_config()) for x in layers]
    model = keras.Sequential([keras.Input((6, 3)), *fresh])
    with pytest.raises(ValueError, match='no units that can be pruned') as info:
      paoding.prune_low_saliency(model)
    assert reason in str(info.value)

  def test_weights_must_be_finite(self):
    model = testing.mlp()
    model.get_layer('hidden_1').bias[0].assign(np.nan)
    with pytest.raises(ValueError, match="'bias' of layer 'hidden_1'"):
      paoding.prune_low_saliency(model)


class TestRunSchedule:
  def test_history_tells_each_step(self):
    wrapped = paoding.prune_low_saliency(
      testing.mlp((5, 10, 20, 3)), paoding.ProgressiveSparsity(0.5, 0.1)
    )
    history = run(wrapped)
    assert history.units == 30
    assert history.units_removed == [3, 6, 9, 12, 15]
    np.testing.assert_allclose(history.sparsity, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert history.step == [0, 1, 2, 3, 4]
    assert all(seconds > 0 for seconds in history.seconds)
    assert history.left_alone == {
      'logits': 'its units are outputs of the model'
    }

  def test_its_bound_is_sound_and_that_of_deviation_bound(self):
    model = testing.mlp((5, 16, 24, 12))
    wrapped = paoding.prune_low_saliency(
      model, method='impact', input_range=(-1.0, 1.0)
    )
    history = run(wrapped)
    assert np.all(np.diff(history.bound) >= 0) or history.bound[-1] > 0
    moved = np.abs(testing.answers(wrapped, X) - testing.answers(model, X))
    assert moved.max() <= history.bound[-1] + 1e-4
    bound = paoding.deviation_bound(model, wrapped, (-1.0, 1.0)).max()
    assert history.bound[-1] <= bound * (1 + 1e-6)

  @pytest.mark.parametrize(
    'schedule',
    [
      _sparsity.ConstantSparsity(0.5, 3),
      _sparsity.PolynomialDecay(0.1, 0.5, 0, 20, frequency=5),
      paoding.ProgressiveSparsity(0.5, 0.5),
    ],
  )
  def test_every_schedule_reaches_its_end(self, schedule):
    wrapped = paoding.prune_low_saliency(testing.mlp((5, 8, 6, 3)), schedule)
    assert run(wrapped).units_removed[-1] == 4 + 3
    assert run(wrapped).step == []  # nothing is left to do

  def test_without_bounds_the_bound_is_nan(self):
    inputs = keras.Input((5,))
    x = _layers.Lambda(tf.sin)(inputs)
    x = _layers.Dense(8, 'relu')(x)
    model = keras.Model(inputs, _layers.Dense(2)(x))
    history = run(paoding.prune_low_saliency(model, method='impact'))
    assert np.isnan(history.bound).all()
    assert history.units_removed[-1] == 4

  def test_plain_models_are_refused(self):
    with pytest.raises(ValueError, match='no group that is wrapped'):
      run(testing.mlp())

  @pytest.mark.parametrize('method', paoding.methods.method_names())
  def test_same_seed_same_weights(self, method):
    results = []
    for _ in range(2):
      wrapped = paoding.prune_low_saliency(
        testing.mlp((5, 16, 12, 3)), method=method, seed=5
      )
      run(wrapped)
      results.append(wrapped.get_weights())
    for one, two in zip(*results, strict=True):
      np.testing.assert_array_equal(one, two)

  def test_a_progress_bar_is_shown_on_request(self, capsys):
    wrapped = paoding.prune_low_saliency(testing.mlp())
    paoding.run_schedule(wrapped, verbose=1)
    assert '20/20' in capsys.readouterr().out
    run(paoding.prune_low_saliency(testing.mlp()))
    assert capsys.readouterr().out == ''


class TestPrune:
  @pytest.mark.parametrize('method', paoding.methods.method_names())
  def test_it_is_the_long_way_in_one_call(self, method):
    model = testing.mlp((5, 16, 12, 3))
    small = paoding.prune(model, 0.5, method=method, seed=3, verbose=0)
    fits = paoding.methods.get_method(method).needs_samples
    wrapped = paoding.prune_low_saliency(
      model,
      paoding.ProgressiveSparsity(0.5, step_sparsity=0.1 if fits else 0.025),
      method,
      seed=3,
    )
    run(wrapped)
    long = paoding.compact(strip_pruning(wrapped))
    if fits:
      long = paoding.training.distill(model, long, seed=3, verbose=0)
    for one, two in zip(small.get_weights(), long.get_weights(), strict=True):
      np.testing.assert_array_equal(one, two)
    assert [x.units for x in small.layers] == [8, 6, 3]

  def test_a_dict_of_fractions(self):
    small = paoding.prune(
      testing.mlp((5, 10, 10, 3)), {'hidden_1': 0.3}, method='l1', verbose=0
    )
    assert [x.units for x in small.layers] == [10, 7, 3]

  def test_sparsity_0_changes_nothing(self):
    model = testing.mlp()
    small = paoding.prune(model, 0.0, verbose=0)
    np.testing.assert_array_equal(small(X), model(X))

  @pytest.mark.parametrize(
    ('sparsity', 'message'),
    [
      (1.0, r'`sparsity` must lie in \[0, 1\)'),
      (-0.1, '`sparsity`'),
      (float('nan'), '`sparsity`'),
      ('half', '`sparsity` must be a number'),
      (True, '`sparsity` must be a number'),
      (None, 'either `sparsity` or `budget`'),
      ({'hidden_0': 2.0}, r"`sparsity\['hidden_0'\]`"),
      ({'nope': 0.5}, "'nope' does not exist"),
      ({'*': 1.5}, r"`sparsity\['\*'\]`"),
    ],
  )
  def test_bad_sparsities_are_named(self, sparsity, message):
    with pytest.raises(ValueError, match=message):
      paoding.prune(testing.mlp(), sparsity, verbose=0)

  def test_a_star_stands_for_all_layers_that_are_not_named(self):
    model = testing.mlp((5, 8, 8, 8, 3))
    fractions = {'hidden_1': 0.0, '*': 0.5}
    small = paoding.prune(model, fractions, method='l1', verbose=0)
    assert [x.units for x in small.layers] == [4, 8, 4, 3]

  def test_a_star_that_stands_for_no_layer_says_so(self):
    fractions = {'hidden_0': 0.5, '*': 0.25}
    with pytest.warns(UserWarning, match=r"'\*'.*no effect") as caught:
      paoding.prune(testing.mlp((5, 8, 3)), fractions, method='l1', verbose=0)
    assert caught[0].filename == __file__

  @pytest.mark.parametrize(
    ('method', 'case'),
    testing.paired(
      paoding.methods.method_names(),
      ['zero biases', 'all dead', 'single unit', 'no bias', 'f16'],
    )
    + testing.paired(paoding.methods.method_names(), ['duplicates']),
  )
  def test_odd_networks_work(self, method, case):
    widths = (5, 1, 8, 3) if case == 'single unit' else (5, 8, 6, 3)
    model = testing.mlp(widths, use_bias=case != 'no bias')
    if case == 'f16':
      model = testing.fill(_float16_model())
    for layer in model.layers[:-1]:
      kernel, *bias = layer.get_weights()
      if case == 'zero biases':
        bias = [np.zeros_like(bias[0])]
      elif case == 'duplicates':
        kernel = np.repeat(kernel[:, :1], kernel.shape[1], 1)
        bias = [np.full_like(bias[0], bias[0][0])]
      elif case == 'all dead':
        kernel, bias = kernel * 0, [bias[0] * 0]
      layer.set_weights([kernel, *bias])
    small = paoding.prune(model, 0.5, method=method, verbose=0)
    assert np.all(np.isfinite(testing.answers(small, X)))
    assert small.count_params() < model.count_params()
    exact = paoding.methods.get_method(method).twins_are_exact
    if case == 'duplicates' and exact:
      np.testing.assert_allclose(small(X), model(X), rtol=1e-4, atol=1e-5)


def _float16_model() -> keras.Model:
  dense = _layers.Dense
  return keras.Sequential(
    [
      keras.Input((5,), dtype='float16'),
      dense(8, 'relu', dtype='float16'),
      dense(6, 'relu', dtype='float16'),
      dense(3, dtype='float16'),
    ]
  )


@pytest.mark.parametrize('outputs', [1, 3])
@pytest.mark.parametrize(
  ('method', 'is_taught'), [('reconstruction', True), ('saliency', False)]
)
def test_who_fits_distills_unasked(outputs, method, is_taught, monkeypatch):
  calls = []
  monkeypatch.setattr(
    pruned_lib, 'taught', lambda _, small, *args: calls.append(1) or small
  )
  paoding.prune(numbers_net(6, outputs), 0.5, method=method, verbose=0)
  assert len(calls) == is_taught


def numbers_net(entries: int, outputs: int) -> keras.Model:
  inputs = keras.Input((entries,))
  x = keras.layers.Dense(12, activation='relu')(inputs)
  return testing.fill(keras.Model(inputs, keras.layers.Dense(outputs)(x)))


def test_numbers_stay_undistilled_unless_they_come_nearer(monkeypatch):
  model = numbers_net(6, 1)
  x = testing.samples((6,), 20).astype(np.float32)
  plain = paoding.prune(model, 0.5, verbose=0, distillation=False)
  for student in (plain, model):
    monkeypatch.setattr(pruned_lib, 'taught', lambda *_, s=student: s)
    found = paoding.prune(model, 0.5, verbose=0)
    assert (found is student) == (student is model)
    np.testing.assert_allclose(found(x), student(x), rtol=1e-5, atol=1e-6)


def test_a_table_of_numbers_keeps_more_by_default():
  model = testing.mlp((6, 32, 16, 1))
  x = np.random.default_rng(5).random((400, 6)).astype(np.float32)
  y = model(x).numpy()
  left = [
    paoding.prune(model, 0.7, verbose=0, distillation=wanted)
    for wanted in (False, None)
  ]
  plain, taught = (np.square(one(x).numpy() - y).mean() for one in left)
  assert taught < plain / 1.5
