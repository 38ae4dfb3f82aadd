"""Files of integers: what their ranges hold, and what is noticed of it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import convert as lib
from tfmot_paoding.tflite import litert

_layers = keras.layers


def growing(outputs: int = 1) -> keras.Model:
  """A regressor whose answers grow with its inputs."""
  model = testing.mlp((8, 24, 16, outputs))
  model.set_weights([np.abs(w) for w in model.get_weights()])
  return model


def answers(model, data, x):
  """The model's and the file's, of a model of one input and output."""
  (name,), names = model.input_names, model.output_names
  return model(x).numpy(), paoding.tflite.run_tflite(
    data, {name: x}, outputs=names
  )[0]


@pytest.mark.parametrize('quantization', ['int8', 'int16x8'])
def test_the_answers_of_a_regressor_are_not_cut_off(quantization):
  model = growing()
  x = testing.samples((8,), 200, 0.0, 1.0).astype(np.float32)
  data = paoding.convert_to_tflite(model, quantization)
  want, got = answers(model, data, x)
  assert np.mean(want > 1.01 * got.max()) < 0.01
  assert np.mean(np.square(want - got)) < 0.01 * want.var()
  found = paoding.tflite.compare_tflite(
    model, data, inputs={model.input_names[0]: x}
  )
  assert found.cut < 0.01
  assert found.apart < 0.1


def test_answers_beyond_what_a_file_can_say_are_noticed():
  model = growing()
  x = testing.samples((8,), 100, 0.0, 1.0).astype(np.float32)
  x[:130] *= 0.7  # those that the ranges come from
  with pytest.warns(UserWarning, match=r'\d+% of the answers lie beyond'):
    paoding.convert_to_tflite(model, 'int8', representative_data=x)
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    paoding.convert_to_tflite(model, 'int8', representative_data=x[130:])


def test_what_is_small_beside_the_rest_of_an_output_is_not_given_up():
  x = inputs = keras.Input((6,))
  x = _layers.Dense(12, 'relu')(x)
  one, two = _layers.Dense(1, name='one'), _layers.Dense(1, name='two')
  apart = testing.fill(keras.Model(inputs, [one(x), two(x)]))
  one.set_weights([1000 * w for w in one.get_weights()])
  joined = keras.Model(inputs, _layers.Concatenate(name='all')(apart.outputs))
  x = testing.samples((6,), 50, 0.0, 1.0).astype(np.float32)
  data = paoding.convert_to_tflite(apart, 'int8')
  found = paoding.tflite.compare_tflite(
    apart, data, inputs={apart.input_names[0]: x}
  )
  assert found.apart < 0.2
  with pytest.raises(
    ValueError, match="column 1 of output 'all' apart.* layer of its own"
  ):
    paoding.convert_to_tflite(joined, 'int8')
  assert len(paoding.convert_to_tflite(joined))
  # Columns whose weights are so unlike are no scores of classes either.
  made = testing.fill(keras.Sequential([inputs, _layers.Dense(2)]))
  kernel, bias = made.layers[-1].get_weights()
  made.layers[-1].set_weights([kernel * [1000.0, 1.0], bias])
  with pytest.raises(ValueError, match='hardly tells the answers of column 1'):
    paoding.convert_to_tflite(made, 'int8')


def test_a_range_smaller_than_a_step_is_not_accepted_as_zero():
  model = testing.mlp((6, 16, 1))
  head = model.layers[-1]
  head.set_weights([1e-12 * w for w in head.get_weights()])
  with pytest.raises(
    ValueError, match="the answers of output 'logits' apart.* prune less"
  ):
    paoding.convert_to_tflite(model, 'int8')


def test_boxes_beside_scores_are_not_accepted_with_every_score_zero():
  x = inputs = keras.Input((8, 8, 3))
  x = _layers.Conv2D(8, 3, strides=2, activation='relu')(x)
  boxes = _layers.Reshape((9, 4))(_layers.Conv2D(4, 1)(x))
  scores = _layers.Reshape((9, 2))(_layers.Conv2D(2, 1)(x))
  boxes = _layers.Rescaling(300.0)(boxes)
  scores = _layers.Activation('sigmoid')(scores)
  joined = _layers.Concatenate(name='all')([boxes, scores])
  with pytest.raises(ValueError, match=r"column [45] of output 'all' apart"):
    paoding.convert_to_tflite(testing.fill(keras.Model(inputs, joined)), 'int8')
  apart = testing.fill(keras.Model(inputs, [boxes, scores]))
  assert len(paoding.convert_to_tflite(apart, 'int8'))


def exploding() -> keras.Model:
  inputs = keras.Input((4,))
  huge = keras.initializers.Constant(50.0)
  x = _layers.Dense(3, 'exponential', kernel_initializer=huge)(inputs)
  return keras.Model(inputs, _layers.Dense(2)(x))


@pytest.mark.parametrize('quantization', ['int8', 'int16x8'])
def test_activations_that_overflow_do_not_end_the_process(quantization):
  with pytest.raises(ValueError, match=r"'.*Exp' overflows: it reaches .* inf"):
    paoding.convert_to_tflite(
      exploding(), quantization, input_range=(-1.0, 1.0)
    )


@pytest.mark.parametrize('quantization', [None, 'float16', 'dynamic'])
def test_answers_that_overflow_are_the_models_own(quantization):
  with pytest.raises(ValueError, match='model itself gives NaN or infinite'):
    paoding.convert_to_tflite(
      exploding(), quantization, input_range=(-1.0, 1.0)
    )


def test_weights_that_half_precision_cannot_hold_are_named():
  model = testing.mlp((4, 6, 2))
  kernel, bias = model.layers[0].get_weights()
  model.layers[0].set_weights([kernel * 1e5, bias])
  model.layers[1].set_weights([w * 1e-5 for w in model.layers[1].get_weights()])
  with pytest.raises(
    ValueError, match=r'hidden_0.* is beyond what float16 holds'
  ):
    paoding.convert_to_tflite(model, 'float16')
  assert len(paoding.convert_to_tflite(model))
  # Statistics are no weights of the file: they are folded into others.
  x = inputs = keras.Input((4,))
  x = _layers.BatchNormalization(moving_variance_initializer=_huge)(x)
  model = keras.Model(inputs, _layers.Dense(2)(x))
  assert len(paoding.convert_to_tflite(model, 'float16'))


def _huge(shape, dtype=None):
  return keras.backend.ones(shape, dtype) * 1e6


def test_what_ends_the_interpreter_does_not_end_python(monkeypatch):
  x = inputs = keras.Input((8,))
  x = _layers.LayerNormalization()(_layers.Dense(6)(x))
  model = testing.fill(keras.Model(inputs, _layers.Dense(2)(x)))
  monkeypatch.setattr(litert, 'check_runs', lambda _: None)
  with pytest.raises(ValueError, match='ends with its process'):
    paoding.convert_to_tflite(model, 'int16x8')


def test_a_file_run_apart_answers_as_it_does_here():
  a, b = keras.Input((3,), name='file'), keras.Input((4,), name='b')
  x = _layers.Concatenate()([a, b])
  model = testing.fill(keras.Model([a, b], [_layers.Dense(2)(x), x]))
  x = {'file': testing.draw((3,)), 'b': testing.draw((4,))}
  for quantization in ('int8', None):
    data = lib.convert_unchecked(model, quantization, input_range=(-1.0, 1.0))
    for one, two in zip(
      litert.run_apart(data, x, outputs=model.output_names),
      paoding.tflite.run_tflite(data, x, outputs=model.output_names),
      strict=True,
    ):
      np.testing.assert_array_equal(one, two)


def test_probabilities_that_hardly_change_are_no_fault():
  x = inputs = keras.Input((5,))
  sure = keras.initializers.Constant([-9.0, 9.0])
  x = _layers.Dense(2, 'softmax', bias_initializer=sure)(x)
  model = keras.Model(inputs, x)
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    # So small a network is larger in integers, which is said as well.
    warnings.filterwarnings('ignore', 'The int8 file takes .* bytes')
    unit = (0.0, 1.0)
    assert len(paoding.convert_to_tflite(model, 'int8', input_range=unit))


def test_outputs_that_never_change_are_no_difference():
  inputs = keras.Input((5,))
  zero = keras.initializers.Zeros()
  three = keras.initializers.Constant(3.0)
  x = _layers.Dense(6, 'relu')(inputs)
  fixed = _layers.Dense(
    1, kernel_initializer=zero, bias_initializer=three, name='fixed'
  )(x)
  model = keras.Model(inputs, [fixed, _layers.Dense(2)(x)])
  x = {model.input_names[0]: testing.draw((5,)).astype(np.float32)}
  for quantization in ('int8', 'int16x8', 'float16', 'dynamic'):
    data = paoding.convert_to_tflite(model, quantization)
    got = paoding.tflite.run_tflite(data, x, outputs=model.output_names)[0]
    np.testing.assert_allclose(got, 3.0, atol=0.05)


def looked_up(wiring: str, dtype: str = 'float32') -> keras.Model:
  """A table of 700 rows, read in several ways."""
  inputs = keras.Input((6,), dtype=dtype, name='ids')
  x = inputs if wiring != 'moved' else _layers.Reshape((3, 2))(inputs)
  x = _layers.Flatten()(_layers.Embedding(700, 5)(x))
  if wiring == 'twice':
    other = _layers.Flatten()(_layers.Embedding(700, 3)(inputs))
    x = _layers.Concatenate()([x, other])
  if wiring == 'beside':
    inputs = [inputs, keras.Input((4,), name='beside')]
    x = _layers.Concatenate()([x, inputs[1]])
  if wiring == 'number':
    x = _layers.Concatenate()([x, _layers.Rescaling(1 / 700)(inputs)])
  if wiring != 'bare':
    x = _layers.Dense(5)(_layers.Dense(16, 'relu')(x))
  return testing.fill(keras.Model(inputs, x))


def ids_of(model: keras.Model) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  x = {'ids': rng.integers(0, 700, (60, 6)).astype(np.float32)}
  if len(model.inputs) > 1:
    x['beside'] = rng.uniform(size=(60, 4)).astype(np.float32)
  return x


@pytest.mark.parametrize(
  ('wiring', 'quantization', 'float_io'),
  [
    *testing.paired(
      ['bare', 'flat', 'moved', 'twice', 'beside'],
      ['int8', 'int16x8'],
      [False, False, True, True],
    ),
    ('moved', 'int8', True),
    ('flat', 'int8', False),
    ('bare', 'int16x8', True),
  ],
)
def test_rows_of_a_table_are_whole_numbers(wiring, quantization, float_io):
  model = looked_up(wiring)
  data = paoding.convert_to_tflite(
    model,
    quantization,
    input_range={'ids': (0, 699)}
    | ({'beside': (0.0, 1.0)} if wiring == 'beside' else {}),
    float_io=float_io,
  )
  runner = litert.load_interpreter(data).get_signature_runner()
  kept = float_io and quantization == 'int8'
  found = runner.get_input_details()['ids']['dtype']
  assert found == (np.float32 if kept else np.int32)
  found = paoding.tflite.compare_tflite(model, data, inputs=ids_of(model))
  assert found.apart < 0.1
  assert wiring == 'bare' or found.agreement > 0.93


def test_what_is_a_row_and_a_number_too_says_what_to_do():
  model = looked_up('number')
  with pytest.raises(ValueError, match="'ids' holds rows .* `float_io=True`"):
    paoding.convert_to_tflite(model, 'int8', input_range=(0, 699))
  data = paoding.convert_to_tflite(
    model, 'int8', input_range=(0, 699), float_io=True
  )
  assert (
    paoding.tflite.compare_tflite(model, data, inputs=ids_of(model)).agreement
    > 0.93
  )


@pytest.mark.parametrize('kind', ['LSTM', 'GRU'])
@pytest.mark.parametrize('quantization', [None, 'int8'])
def test_layers_that_keep_states_are_named(kind, quantization):
  inputs = keras.Input(batch_shape=(4, 6, 3))
  layer = getattr(_layers, kind)(5, stateful=True, name='memory')
  x = _layers.Bidirectional(layer)(inputs)
  with pytest.raises(ValueError, match="memory' is stateful.*stateful=False"):
    paoding.convert_to_tflite(
      testing.fill(keras.Model(inputs, _layers.Dense(2)(x))), quantization
    )
