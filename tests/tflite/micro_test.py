"""tflite-micro: the same answers, the arena, what it lacks."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import micro as lib
from tfmot_paoding.tflite import micro_process as process
from tfmot_paoding.tflite import micro_worker as worker

pytest.importorskip('tflite_micro', reason='tflite-micro is not installed')


def two_in_two_out():
  a, b = keras.Input((3,), name='zz'), keras.Input((4,), name='aa')
  x = keras.layers.Concatenate()([a, b])
  x = keras.layers.Dense(9, activation='relu')(x)
  outputs = [keras.layers.Dense(n, name=f'out{n}')(x) for n in (2, 3)]
  return testing.fill(keras.Model([a, b], outputs))


@pytest.mark.parametrize('quantization', [None, 'int8', 'int16x8'])
def test_it_answers_as_litert_does(quantization):
  model = two_in_two_out()
  data = paoding.convert_to_tflite(model, quantization)
  rng = np.random.default_rng(0)
  x = {
    name: rng.uniform(size=(5, *tensor.shape[1:])).astype(np.float32)
    for name, tensor in zip(model.input_names, model.inputs, strict=True)
  }
  ours = paoding.tflite.run_micro(data, x, outputs=model.output_names)
  theirs = paoding.tflite.run_tflite(data, x, outputs=model.output_names)
  for a, b in zip(ours, theirs, strict=True):
    assert a.shape == b.shape
    step = 1e-5 if quantization is None else 0.02
    np.testing.assert_allclose(a, b, atol=step * np.abs(b).max())


def test_the_arena_is_the_least_that_does():
  model = testing.mlp((16, 40, 30, 4))
  data = paoding.convert_to_tflite(model, 'int8')
  arena = lib.measure_arena(data)
  assert arena % 16 == 0
  x = {model.input_names[0]: np.ones((1, 16), np.float32)}
  paoding.tflite.run_micro(
    data, x, outputs=model.output_names, arena_bytes=arena
  )
  with pytest.raises(paoding.tflite.MicroError, match='in an arena of'):
    paoding.tflite.run_micro(
      data, x, outputs=model.output_names, arena_bytes=arena - 64
    )


def test_planning_may_take_more_than_is_kept():
  """Many small layers: the planner's lists outgrow the activations."""
  x = inputs = keras.Input((8,))
  for _ in range(12):
    x = keras.layers.Dense(8, activation='relu')(x)
  model = testing.fill(keras.Model(inputs, x))
  data = paoding.convert_to_tflite(model, 'int8')
  arena = lib.measure_arena(data)
  given = {model.input_names[0]: np.ones((1, 8), np.float32)}
  paoding.tflite.run_micro(
    data, given, outputs=model.output_names, arena_bytes=arena
  )
  with pytest.raises(paoding.tflite.MicroError, match='in an arena of'):
    paoding.tflite.run_micro(
      data, given, outputs=model.output_names, arena_bytes=arena - 16
    )


@pytest.mark.parametrize('guess', [1, 7, 8, 9, 10, 11, 40, 200])
def test_the_least_is_found_and_nothing_tried_twice(guess):
  tried = []

  def runs(steps):
    tried.append(steps)
    return steps >= 9

  assert worker.least(runs, guess) == 9
  assert len(tried) == len(set(tried))
  assert {8, 9} <= set(tried)


@pytest.mark.parametrize('layers', [1, 12])
def test_arenas_are_tried_in_one_process_and_the_least_in_its_own(
  monkeypatch, layers
):
  x = inputs = keras.Input((8,))
  for _ in range(layers):
    x = keras.layers.Dense(8, activation='relu')(x)
  data = paoding.convert_to_tflite(testing.fill(keras.Model(inputs, x)))
  jobs, kept = [], process.run_script

  def run_script(script, arguments, seconds):
    done = kept(script, arguments, seconds)
    job, _, arena, _, made = arguments
    tried = worker.arenas(made) if job == 'search' else {int(arena): True}
    jobs.append((job, tried))
    return done

  monkeypatch.setattr(process, 'run_script', run_script)
  arena = lib.measure_arena(data)
  assert [job for job, _ in jobs] == ['run', 'search', 'run']
  searched, confirmed = jobs[1][1], jobs[2][1]
  assert searched[arena]
  assert not searched[arena - 16]
  assert list(confirmed) == [arena]


def test_an_arena_that_ends_the_process_is_too_small(monkeypatch):
  data = paoding.convert_to_tflite(testing.mlp((16, 40, 30, 4)))
  least, starts, kept = lib.measure_arena(data), [], process.run_script

  def run_script(script, arguments, seconds):
    if arguments[0] == 'search':
      starts.append(1)
      if len(starts) == 1:
        with open(arguments[-1], 'w', encoding='utf-8') as file:
          file.write(f'[{least}]\n')
        return subprocess.CompletedProcess([], -11, '', '')
    return kept(script, arguments, seconds)

  monkeypatch.setattr(process, 'run_script', run_script)
  assert lib.measure_arena(data) == least + 16
  assert len(starts) == 2


@pytest.mark.parametrize('returncode', [-11, 1])
def test_a_search_that_gets_nowhere_is_an_error(monkeypatch, returncode):
  data = paoding.convert_to_tflite(testing.mlp())
  starts, kept = [], process.run_script

  def run_script(script, arguments, seconds):
    if arguments[0] != 'search':
      return kept(script, arguments, seconds)
    starts.append(1)
    return subprocess.CompletedProcess([], returncode, '', 'it burnt down')

  monkeypatch.setattr(process, 'run_script', run_script)
  with pytest.raises(paoding.tflite.MicroError, match='it burnt down'):
    lib.measure_arena(data)
  assert len(starts) == 1


def test_what_is_found_and_does_not_do_is_not_the_arena(monkeypatch):
  """A process that has tried others may be in a state of its own."""
  data = paoding.convert_to_tflite(testing.mlp((16, 40, 30, 4)))
  least = lib.measure_arena(data)
  monkeypatch.setattr(lib, 'search_arena', lambda *_: least - 48)
  assert lib.measure_arena(data) == least


def test_a_smaller_model_needs_a_smaller_arena():
  model = testing.mlp((16, 200, 300, 4))
  small = paoding.prune(model, 0.5, method='l1', verbose=0)
  sizes = [
    lib.measure_arena(paoding.convert_to_tflite(m)) for m in (model, small)
  ]
  assert sizes[1] < sizes[0]


def test_an_arena_far_too_small_is_an_error_and_no_crash():
  """It brings tflite-micro down, in a process of its own."""
  model = testing.mlp()
  data = paoding.convert_to_tflite(model)
  x = {model.input_names[0]: np.ones((1, 5), np.float32)}
  with pytest.raises(paoding.tflite.MicroError, match='arena of 64 bytes'):
    paoding.tflite.run_micro(
      data, x, outputs=model.output_names, arena_bytes=64
    )


def test_operators_that_it_lacks_are_all_named():
  inputs = keras.Input((6, 4))
  x = keras.layers.Dense(4)(inputs)
  x = tf.math.cos(x)
  x = tf.math.cumprod(x, axis=1) if False else tf.sort(x)
  model = keras.Model(inputs, keras.layers.Dense(2)(tf.math.cos(x)))
  data = paoding.convert_to_tflite(model)
  found = paoding.profile_tflite(data, latency=False)
  assert found.arena_bytes is None
  assert 'TOPK_V2' in found.missing_operators
  assert set(found.missing_operators) <= set(found.operators)
  assert 'does not have the operator' in found.micro_error


@pytest.mark.parametrize('quantization', ['dynamic', 'float16'])
def test_files_that_it_refuses_are_errors(quantization):
  x = inputs = keras.Input((8, 8, 2))
  x = keras.layers.Conv2D(40, 3)(x)
  x = keras.layers.Conv2D(40, 3)(x)
  data = paoding.convert_to_tflite(
    testing.fill(keras.Model(inputs, x)), quantization
  )
  with pytest.raises(paoding.tflite.MicroError, match='tflite-micro'):
    lib.measure_arena(data)


def test_a_missing_extra_is_named(monkeypatch):
  data = paoding.convert_to_tflite(testing.mlp())
  monkeypatch.setitem(sys.modules, 'tflite_micro', None)
  with pytest.raises(ImportError, match=r'tfmot_paoding\[micro\]'):
    paoding.profile_tflite(data)
  assert paoding.profile_tflite(data, micro=False).arena_bytes is None


@pytest.mark.parametrize('kind', ['LSTM', 'GRU'])
def test_a_recurrent_layer_runs(kind):
  inputs = keras.Input((6, 3))
  x = getattr(keras.layers, kind)(5)(inputs)
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(2)(x)))
  data = paoding.convert_to_tflite(model)
  x = {model.input_names[0]: testing.draw((6, 3), 9).astype(np.float32)}
  (ours,) = paoding.tflite.run_micro(data, x, outputs=model.output_names)
  (theirs,) = paoding.tflite.run_tflite(data, x, outputs=model.output_names)
  np.testing.assert_allclose(ours, theirs, atol=1e-5)
  wanted = model(list(x.values()))
  np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_what_does_not_end_is_told(monkeypatch):
  monkeypatch.setattr(process, '_SECONDS', 1e-3)
  data = paoding.convert_to_tflite(testing.mlp((4, 5, 2)))
  found = paoding.profile_tflite(data, latency=False)
  assert found.arena_bytes is None
  assert 'not through with the model after 0.001 sec' in found.micro_error


def test_layers_on_sequences_need_no_shapes_at_run_time():
  """Whose operators tflite-micro has not."""
  x = inputs = keras.Input((8, 6))
  x = keras.layers.Dense(12, activation='relu')(x)
  x = keras.layers.Conv1D(5, 3)(keras.layers.Permute((2, 1))(x))
  x = keras.layers.TimeDistributed(keras.layers.Dense(4))(x)
  x = keras.layers.MultiHeadAttention(2, 3)(x, x)
  x = keras.layers.Flatten()(keras.layers.LayerNormalization()(x))
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(2)(x)))
  data = paoding.convert_to_tflite(model)
  x = {model.input_names[0]: testing.draw((8, 6), 5).astype(np.float32)}
  (ours,) = paoding.tflite.run_micro(data, x, outputs=model.output_names)
  (theirs,) = paoding.tflite.run_tflite(data, x, outputs=model.output_names)
  np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def indices():
  """Ids first and real numbers second, which the file takes the other way."""
  ids = keras.Input((10,), dtype='int32', name='words')
  rest = keras.Input((3,), name='age')
  x = keras.layers.Flatten()(keras.layers.Embedding(50, 8)(ids))
  x = keras.layers.Concatenate()([x, rest])
  return testing.fill(keras.Model([ids, rest], keras.layers.Dense(4)(x)))


def indices_alone():
  inputs = keras.Input((10,), dtype='int32')
  x = keras.layers.Flatten()(keras.layers.Embedding(50, 8)(inputs))
  return testing.fill(keras.Model(inputs, keras.layers.Dense(4)(x)))


@pytest.mark.parametrize(
  ('make', 'quantization'), [(indices, None), (indices_alone, 'int8')]
)
def test_the_arena_of_indices_is_the_least_too(make, quantization):
  model = make()
  ranges = {
    tensor.name.split(':')[0]: (0, 49 if tensor.dtype.is_integer else 1)
    for tensor in model.inputs
  }
  data = paoding.convert_to_tflite(
    model, quantization, input_range=ranges if len(ranges) > 1 else (0, 49)
  )
  arena = lib.measure_arena(data)
  x = {
    name: np.ones((1, *tensor.shape[1:]), tensor.dtype.as_numpy_dtype)
    for name, tensor in zip(model.input_names, model.inputs, strict=True)
  }
  paoding.tflite.run_micro(
    data, x, outputs=model.output_names, arena_bytes=arena
  )
  with pytest.raises(paoding.tflite.MicroError) as caught:
    paoding.tflite.run_micro(
      data, x, outputs=model.output_names, arena_bytes=arena - 16
    )
  assert caught.value.stage == 'allocate'


def test_inputs_that_fail_are_told_from_an_arena_that_is_too_small():
  model = indices_alone()
  data = paoding.convert_to_tflite(model, None, input_range=(0, 49))
  x = {model.input_names[0]: np.full((1, 10), 50, np.int32)}
  with pytest.raises(
    paoding.tflite.MicroError, match='on these inputs'
  ) as caught:
    paoding.tflite.run_micro(
      data, x, outputs=model.output_names, arena_bytes=100000
    )
  assert caught.value.stage == 'invoke'
