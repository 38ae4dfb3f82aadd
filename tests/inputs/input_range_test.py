"""`input_range` left out or contradicted, at every public door."""

from __future__ import annotations

import contextlib
import inspect
import json
import warnings

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import InputRange, resolve_range
from tfmot_paoding.pruning.driver import Driver

L = keras.layers


def bytes_net(seed=0):
  """A classifier of small images of bytes."""
  model = keras.Sequential(
    [
      keras.Input((6, 6, 1), name='image'),
      L.Rescaling(1 / 127.5, -1, name='scaling'),
      L.Conv2D(4, 3, activation='relu', name='conv'),
      L.Flatten(name='flat'),
      L.Dense(6, activation='relu', name='hidden'),
      L.Dense(3, name='logits'),
    ]
  )
  return testing.fill(model, seed)


def tabular(seed=0):
  """Features around 100 and 5, normalized."""
  norm = L.Normalization(mean=[100.0, 5.0], variance=[100.0, 0.01])
  model = keras.Sequential(
    [
      keras.Input((2,), name='row'),
      norm,
      L.Dense(8, activation='relu'),
      L.Dense(3),
    ]
  )
  dense = model.layers[-2:]
  rng = np.random.default_rng(seed)
  for layer in dense:
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
  return model


def words():
  model = keras.Sequential(
    [
      keras.Input((5,), dtype='int32', name='ids'),
      L.Embedding(50, 4),
      L.GlobalAveragePooling1D(),
      L.Dense(6, activation='relu'),
      L.Dense(3),
    ]
  )
  return testing.fill(model)


def said(function, *args, **kwargs):
  """What a call warns of ranges, and what it returns."""
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    found = function(*args, **kwargs)
  return [
    str(w.message) for w in caught if 'input_range' in str(w.message)
  ], found


X = np.random.default_rng(0).uniform(0, 255, (4, 6, 6, 1)).astype(np.float32)
Y = np.zeros(4, int)
TINY = {'method': 'saliency', 'verbose': 0}
DOORS = {
  'prune_low_saliency': lambda m: paoding.prune_low_saliency(m),
  'prune': lambda m: paoding.prune(m, 0.3, **TINY),
  'prune_distilled': lambda m: paoding.prune(
    m,
    0.3,
    method='reconstruction',
    step_sparsity=0.3,
    verbose=0,
    distillation=paoding.training.DistillSettings(steps=1),
  ),
  'prune_to_budget': lambda m: paoding.prune_to_budget(
    m, paoding.Budget(flash_bytes=10**6), **TINY
  ),
  'convert_to_tflite': lambda m: paoding.convert_to_tflite(m, 'int8'),
  'recall_inputs': lambda m: paoding.recall_inputs(
    m, 2, settings=paoding.inputs.RecallSettings(steps=1), verbose=0
  ),
  'draw_samples': lambda m: paoding.inputs.draw_samples(m, None, 4),
  'distill': lambda m: paoding.training.distill(
    m,
    bytes_net(1),
    settings=paoding.training.DistillSettings(steps=1),
    verbose=0,
  ),
  'deviation_bound': lambda m: paoding.deviation_bound(m, bytes_net(1)),
  'fgsm': lambda m: paoding.robustness.fgsm(m, X, Y, 1.0),
  'pgd': lambda m: paoding.robustness.pgd(m, X, Y, 1.0, steps=1),
  'output_bounds': lambda m: paoding.robustness.output_bounds(m, X, 1.0),
  'certified': lambda m: paoding.robustness.certified(m, X, Y, 1.0),
  'certified_agreement': lambda m: paoding.robustness.certified_agreement(
    m, bytes_net(1), X, 1.0
  ),
  'robust_instances': lambda m: paoding.robustness.robust_instances(
    m, X, Y, 1.0
  ),
  'preserved_robustness': lambda m: paoding.robustness.preserved_robustness(
    m, bytes_net(1), X, Y, 1.0
  ),
  'neuron_stability': lambda m: paoding.robustness.neuron_stability(m),
  'robust_model': lambda m: paoding.training.robust_model(
    m, 'natural', stability=paoding.training.StabilityRegularizer(0.1, 1.0)
  ),
}


@pytest.mark.parametrize('door', list(DOORS))
def test_every_door_takes_the_models_own_range_and_says_so_once(door):
  messages, _ = said(DOORS[door], bytes_net())
  assert len(messages) == 1, messages
  assert "0 to 255 for input 'image' (by Rescaling" in messages[0]


def test_every_public_function_leaves_the_range_to_the_model():
  for home in (paoding, paoding.robustness, paoding.training):
    for name in home.__all__:
      thing = getattr(home, name)
      if not inspect.isfunction(thing):
        continue
      given = inspect.signature(thing).parameters.get('input_range')
      if given is not None and given.default is not inspect.Parameter.empty:
        assert given.default is None, name


def test_left_out_is_as_given_by_hand():
  model = bytes_net()
  _, left = said(paoding.prune, model, 0.5, **TINY)
  messages, given = said(
    paoding.prune, model, 0.5, input_range=(0, 255), **TINY
  )
  assert not messages
  for one, two in zip(left.weights, given.weights, strict=True):
    assert np.array_equal(one, two)
  _, left = said(paoding.inputs.draw_samples, model, None, 8)
  given = paoding.inputs.draw_samples(model, (0, 255), 8)
  assert np.array_equal(left[0], given[0])
  assert left[0].max() > 100


def test_models_that_say_nothing_are_as_with_the_unit_range():
  model = testing.mlp((5, 8, 6, 3))
  messages, left = said(
    paoding.prune, model, 0.5, 'reconstruction', verbose=0, distillation=False
  )
  assert len(messages) == 1
  assert '(0, 1) is taken' in messages[0]
  messages, given = said(
    paoding.prune,
    model,
    0.5,
    'reconstruction',
    input_range=(0.0, 1.0),
    verbose=0,
    distillation=False,
  )
  assert not messages
  for one, two in zip(left.weights, given.weights, strict=True):
    assert np.array_equal(one, two)


def test_a_file_of_real_numbers_needs_no_range():
  model = testing.mlp((5, 8, 6, 3))
  messages, _ = said(paoding.convert_to_tflite, model)
  assert not messages
  messages, _ = said(paoding.convert_to_tflite, model, 'int8')
  assert len(messages) == 1


@pytest.mark.parametrize(
  ('make', 'given', 'numbers'),
  [
    (bytes_net, (0, 1), '0 to 1 .*0 to 255'),
    (bytes_net, (-1, 1), '-1 to 1 .*0 to 255'),
    (bytes_net, (0, 65535), '0 to 65535 .*0 to 255'),
    (tabular, (0, 1), '0 to 1 .*4.7 to 130'),
    (tabular, (0, 255), '0 to 255 .*4.7 to 130'),  # the second is far narrower
    (tabular, ([300, 4], [400, 6]), '4 to 400.*4.7 to 130'),
    (words, (0, 1), '0 to 1 .*50 rows.*0 to 49'),
  ],
)
def test_a_range_that_contradicts_is_doubted_with_both(make, given, numbers):
  with pytest.warns(UserWarning, match=f'`input_range` is not.*{numbers}'):
    settled = resolve_range(make(), given)
  assert settled.ends == given  # the user's word is taken


@pytest.mark.parametrize(
  ('make', 'given'),
  [
    (bytes_net, (0, 255)),
    (bytes_net, (0, 100)),
    (bytes_net, (-20, 300)),
    (tabular, ([60, 4.5], [140, 5.5])),
    (words, (0, 49)),
    (words, (1, 30)),
  ],
)
def test_a_range_that_fits_is_not(make, given):
  assert said(resolve_range, make(), given)[0] == []


@pytest.mark.parametrize('given', [(0, 50), (-1, 49), (0, 1000)])
def test_a_range_beyond_the_table_is_refused(given):
  with pytest.raises(ValueError, match='beyond.*50 rows.*0 to 49'):
    paoding.prune_low_saliency(words(), input_range=given)


def test_wrappers_keep_the_range_and_history_says_it():
  _, wrapped = said(paoding.prune_low_saliency, tabular())
  wrappers = compat.collect_prunable_layers(wrapped)
  config = json.loads(json.dumps(wrappers[0].get_config()['input_range']))
  assert np.allclose(config, [[70, 4.7], [130, 5.3]])
  again = keras.models.clone_model(wrapped)
  again.set_weights(wrapped.get_weights())
  for model in (wrapped, again):
    messages, history = said(paoding.run_schedule, model, verbose=0)
    assert not messages
    assert history.input_range == {
      'row': '4.7 to 130 over all entries, each its own (Normalization '
      f"'{model.layers[0].name}')"
    }
  _, wrapped = said(paoding.prune_low_saliency, tabular(), input_range=(0, 200))
  history = Driver(wrapped).history
  assert history.input_range == {'row': '0 to 200 (as given)'}


def test_a_layer_wrapped_by_hand_asks_the_model():
  model = bytes_net()
  wrapped = keras.models.clone_model(
    model,
    clone_function=lambda layer: (
      paoding.PruneLowSaliency(type(layer).from_config(layer.get_config()))
      if isinstance(layer, (L.Conv2D, L.Dense))
      else layer
    ),
  )
  assert compat.collect_prunable_layers(wrapped)[0].input_range is None
  messages, driver = said(Driver, wrapped)
  assert len(messages) == 1
  assert driver.history.input_range['image'].startswith('0 to 255')


def test_the_report_says_the_range(tmp_path):
  model, small = bytes_net(), bytes_net(1)
  files = [
    paoding.convert_to_tflite(m, None, input_range=(0, 255))
    for m in (model, small)
  ]
  messages, report = said(
    paoding.report.make_report, model, small, tuple(files), micro=False
  )
  assert len(messages) == 1
  text = report.input_range['image']
  assert text.startswith('0 to 255 (Rescaling')
  page, data = paoding.report.write_report(report, str(tmp_path / 'r'))
  with open(data) as file:
    assert json.load(file)['input_range']['image'] == text
  with open(page) as file:
    assert '0 to 255 (Rescaling' in file.read()


def test_samples_begin_at_the_mean_of_statistics():
  _, (x,) = said(paoding.inputs.draw_samples, tabular(), None, 2000)
  assert x.mean(0) == pytest.approx([100, 5], rel=0.02)
  assert x.std(0) == pytest.approx([10, 0.1], rel=0.1)
  own = paoding.inputs.GaussianPrior([90.0, 4.9], [1.0, 1e-4])
  _, (x,) = said(paoding.inputs.draw_samples, tabular(), None, 500, prior=own)
  assert x.mean(0) == pytest.approx([90, 4.9], rel=0.01)  # in its own units


def test_ids_are_whole_numbers_of_the_table():
  _, (x,) = said(paoding.inputs.draw_samples, words(), None, 500)
  assert (x.min(), x.max()) == (0, 49)
  assert np.array_equal(x, np.rint(x))


def test_ids_given_as_real_numbers_are_whole_too():
  x = keras.Input((4,), name='x')  # the first two are rows, the rest is not
  parts = [L.Flatten()(L.Embedding(9, 3)(x[:, k : k + 1])) for k in (0, 1)]
  y = L.Dense(6, activation='relu')(L.Concatenate()([*parts, x[:, 2:]]))
  y = L.BatchNormalization()(y)
  model = testing.fill(keras.Model(x, L.Dense(2)(y)))
  settings = paoding.inputs.RecallSettings(steps=3)
  for draw in (
    lambda: paoding.inputs.draw_samples(model, None, 300, prior='smooth'),
    lambda: paoding.inputs.draw_samples(model, None, 300, prior='varied'),
    lambda: [paoding.recall_inputs(model, 300, settings=settings, verbose=0)],
  ):
    (drawn,) = said(draw)[1]
    rows, others = drawn[:, :2], drawn[:, 2:]
    assert np.array_equal(rows, np.rint(rows))
    assert (rows.min(), rows.max()) == (0, 8)
    assert not np.array_equal(others, np.rint(others))
  words = keras.Sequential(
    [
      keras.Input((5,)),
      L.Embedding(50, 4),
      L.GlobalAveragePooling1D(),
      L.Dense(6, activation='relu'),
      L.Dense(3),
    ]
  )
  _, small = said(
    paoding.prune, words, 0.5, 'reconstruction', step_sparsity=0.5, verbose=0
  )
  assert np.all(np.isfinite(small(drawn[:, :1] + np.zeros((1, 5)))))


def test_data_outside_a_given_range_are_told_with_figures():
  data = np.random.default_rng(0).uniform(0, 255, (20, 5)).astype(np.float32)
  model = testing.mlp((5, 8, 3))
  figures = r'99.* % of the values of input .* run from .* to 25.* 0 to 1 '
  with pytest.warns(UserWarning, match=figures):
    paoding.prune(model, 0.3, data=data, **TINY)
  wrapped = paoding.prune_low_saliency(model, method='saliency')
  with pytest.warns(UserWarning, match=figures):
    paoding.run_schedule(wrapped, verbose=0, data=data)
  messages, _ = said(
    paoding.prune,
    model,
    0.3,
    input_range=(0, 255),
    data=data,
    **TINY,
  )
  assert not messages


def test_a_range_by_statistics_is_widened_to_hold_the_data():
  rng = np.random.default_rng(0)
  data = rng.normal([100, 5], [10, 0.1], (50, 2)).astype(np.float32)
  data[3] = 190, 5
  messages, _ = said(paoding.prune, tabular(), 0.3, data=data, **TINY)
  assert len(messages) == 1
  assert 'widened to hold the data' in messages[0]
  assert '190' in messages[0]
  y = np.zeros(50, int)
  _, found = said(paoding.robustness.fgsm, tabular(), data, y, 0.01)
  assert found[3, 0] >= 189.9
  model = tabular()
  _, file = said(
    paoding.convert_to_tflite, model, 'int8', representative_data=data
  )
  largest = np.array([[190.0, 5.0]], np.float32)
  (inside,), (edge,) = (
    paoding.tflite.run_tflite(file, {'row': x}, outputs=model.output_names)
    for x in (data[:1], largest)
  )
  assert not np.array_equal(inside, edge)


def test_several_inputs_have_a_range_each():
  a = keras.Input((6, 6, 1), name='a')
  b = keras.Input((3,), name='b')
  x = L.Flatten()(L.Conv2D(3, 3)(a / 255.0))
  x = L.Dense(6, activation='relu')(L.Concatenate()([x, b]))
  model = testing.fill(keras.Model([a, b], L.Dense(2)(x)))
  messages, drawn = said(paoding.inputs.draw_samples, model, None, 8)
  assert len(messages) == 1
  assert "0 to 1 for input 'b' is the default" in messages[0]
  assert drawn[0].max() > 100
  assert drawn[1].max() < 5
  _, wrapped = said(paoding.prune_low_saliency, model)
  config = compat.collect_prunable_layers(wrapped)[0].input_range
  assert config == {'a': [0.0, 255.0], 'b': [0.0, 1.0]}
  messages, _ = said(
    paoding.inputs.draw_samples, model, {'a': (0, 1), 'b': (0, 1)}, 8
  )
  assert len(messages) == 1
  assert "input 'a'" in messages[0]


def test_a_settled_range_serves_where_a_pair_does():
  settled = InputRange((0.0, 255.0), {'image': 'as given'})
  low, high = settled
  assert (low, high) == (0.0, 255.0)
  seen = []

  def attack(model, x, y, epsilon, input_range):
    seen.append(np.clip(x, *input_range))
    return x

  _, found = said(
    paoding.robustness.robust_instances, bytes_net(), X, Y, 1.0, attack=attack
  )
  assert found.shape == (4,)
  assert np.array_equal(seen[0], X)


def test_int8_files_agree_with_the_model_on_what_it_was_made_for():
  model = bytes_net()
  _, data = said(paoding.convert_to_tflite, model, 'int8')
  x = np.random.default_rng(1).uniform(0, 255, (64, 6, 6, 1))
  found = paoding.tflite.compare_tflite(
    model, data, inputs={'image': x.astype(np.float32)}
  )
  assert found.agreement > 0.9
  _, data = said(paoding.convert_to_tflite, model, 'int8', input_range=(0, 1))
  wrong = paoding.tflite.compare_tflite(
    model, data, inputs={'image': x.astype(np.float32)}
  )
  assert wrong.mean > 3 * found.mean


def test_a_keras_3_model_says_it_too():
  keras3 = pytest.importorskip('keras')
  model = keras3.Sequential(
    [
      keras3.Input((6, 6, 1)),
      keras3.layers.Rescaling(1 / 255.0),
      keras3.layers.Flatten(),
      keras3.layers.Dense(6, activation='relu'),
      keras3.layers.Dense(3),
    ]
  )
  messages, _ = said(paoding.prune, model, 0.3, **TINY)
  assert len(messages) == 1
  assert '0 to 255' in messages[0]


def test_tf_data_is_looked_at_too():
  x = tf.data.Dataset.from_tensor_slices(X).batch(2)
  messages, _ = said(
    paoding.prune,
    bytes_net(),
    0.3,
    input_range=(0, 50),
    data=x,
    **TINY,
  )
  assert len(messages) == 1
  assert 'do not fit' in messages[0]


def test_features_that_share_too_few_steps_are_told():
  scales = np.array([1000.0, 1.0, 0.5, 500.0])
  norm = L.Normalization(mean=2 * scales, variance=scales**2)
  model = keras.Sequential(
    [keras.Input((4,), name='row'), norm, L.Dense(6, 'relu'), L.Dense(3)]
  )
  told = r'share 255 steps of 23.5, too few for 2 of 4 entries .number 2 has'
  with (
    contextlib.suppress(ValueError),  # whether the file passes or not
    pytest.warns(UserWarning, match=told),
  ):
    paoding.convert_to_tflite(model, 'int8')
  for other, quantization in (
    (model, 'int16x8'),
    (model, None),
    (tabular(), 'int8'),
    (bytes_net(), 'int8'),
  ):
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter('always')
      paoding.convert_to_tflite(other, quantization)
    few = [w for w in caught if 'too few' in str(w.message)]
    assert bool(few) == (other.inputs[0].shape[1] == 2)


def test_several_files_of_one_model_say_once_what_range_was_taken():
  model = testing.fill(
    keras.Sequential(
      [keras.Input((4,)), L.Rescaling(1 / 255), L.Dense(6), L.Dense(3)]
    )
  )
  taken = []
  for made in (model, model, keras.models.clone_model(model)):
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter('always')
      paoding.convert_to_tflite(made)
    taken.append(sum('was not given' in str(w.message) for w in caught))
  assert taken == [1, 0, 1]
