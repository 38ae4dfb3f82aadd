"""Export, checked in the real interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.tflite import convert as lib
from tfmot_paoding.tflite.lean import lean
from tfmot_paoding.tflite.litert import load_interpreter

X = testing.samples((64,), 20).astype(np.float32)


def model():
  return testing.mlp((64, 96, 64, 10))


def outputs(made, data):
  name, out = made.input_names[0], made.output_names[0]
  out = out.removeprefix('prune_low_saliency_')  # conversion strips wrappers
  return paoding.tflite.run_tflite(data, {name: X}, outputs=[out])[0]


@pytest.fixture(scope='module')
def forms():
  """A model on its way: original, wrapped, stripped, compact."""
  original = model()
  wrapped = paoding.prune_low_saliency(original)
  paoding.run_schedule(wrapped, verbose=0)
  stripped = strip_pruning(wrapped)
  return original, wrapped, stripped, paoding.compact(stripped)


@pytest.mark.parametrize(
  ('quantization', 'tolerance'),
  [(None, 1e-5), ('dynamic', 0.1), ('float16', 0.01)],
)
def test_only_compaction_shrinks_the_file(forms, quantization, tolerance):
  sizes = []
  for made in forms:
    data = paoding.convert_to_tflite(made, quantization, sparse=False)
    sizes.append(len(data))
    wanted = testing.answers(made, X)
    np.testing.assert_allclose(
      outputs(made, data), wanted, rtol=0, atol=tolerance * np.abs(wanted).max()
    )
  assert sizes[1] >= 0.99 * sizes[0]
  assert sizes[2] >= 0.99 * sizes[0]
  assert sizes[3] < 0.55 * sizes[0]


def test_quantization_shrinks_too():
  sizes = [
    len(paoding.convert_to_tflite(model(), q))
    for q in (None, 'float16', 'dynamic')
  ]
  assert sizes == sorted(sizes, reverse=True)


def test_several_inputs_and_outputs_keep_their_names():
  a, b = keras.Input((3,), name='zz'), keras.Input((4,), name='aa')
  x = keras.layers.Concatenate()([a, b])
  made = testing.fill(
    keras.Model(
      [a, b],
      [keras.layers.Dense(2, name='y')(x), keras.layers.Dense(3, name='b')(x)],
    )
  )
  data = paoding.convert_to_tflite(made)
  values = {
    'zz': np.ones((1, 3), np.float32),
    'aa': np.ones((1, 4), np.float32),
  }
  found = paoding.tflite.run_tflite(data, values, outputs=made.output_names)
  for one, two in zip(found, made(list(values.values())), strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-5)


@pytest.mark.parametrize('recurrent', [False, True])
def test_a_file_is_what_tensorflow_makes_of_the_model(recurrent):
  size = 1 if recurrent else None
  inputs = {
    'zz': keras.Input((6, 3), name='zz', batch_size=size),
    'aa': keras.Input((4,), batch_size=size),
  }
  kind = keras.layers.LSTM if recurrent else keras.layers.Flatten
  x = keras.layers.Concatenate()(
    [kind(*[5] * recurrent)(inputs['zz']), inputs['aa']]
  )
  outputs = {'two': keras.layers.Dense(2)(x), 'one': keras.layers.Dense(3)(x)}
  made = testing.fill(keras.Model(inputs, outputs))
  data = paoding.convert_to_tflite(made)
  theirs = tf.lite.TFLiteConverter.from_keras_model(made).convert()
  # Of cells that are not cut off a file says nothing: four bytes less, which
  # the next weights may begin behind all the same.
  assert 0 <= len(lean(theirs)) - len(data) <= (16 if recurrent else 0)
  one, two = (load_interpreter(x) for x in (data, theirs))
  assert one.get_signature_list() == two.get_signature_list()
  x = {
    name: testing.draw(tensor.shape[1:], size or 4).astype(np.float32)
    for name, tensor in zip(made.input_names, made.inputs, strict=True)
  }
  for ours, other in zip(
    paoding.tflite.run_tflite(data, x, outputs=made.output_names),
    paoding.tflite.run_tflite(theirs, x, outputs=made.output_names),
    strict=True,
  ):
    np.testing.assert_array_equal(ours, other)


@pytest.mark.parametrize(
  ('kind', 'quantization'),
  [('LSTM', 'int8'), ('GRU', 'dynamic'), ('SimpleRNN', None)],
)
def test_recurrent_layers_take_one_sample_a_call(kind, quantization):
  x = inputs = keras.Input((6, 3))
  x = getattr(keras.layers, kind)(8, return_sequences=True)(x)
  x = keras.layers.Bidirectional(getattr(keras.layers, kind)(4))(x)
  x = keras.layers.Dense(12, activation='relu')(x)
  made = testing.fill(keras.Model(inputs, keras.layers.Dense(2)(x)))
  small = paoding.prune(made, 0.5, method='l1', verbose=0)
  assert small.layers[-2].units == 6
  data = paoding.convert_to_tflite(small, quantization)
  (detail,) = load_interpreter(data).get_input_details()
  assert list(detail['shape_signature']) == [1, 6, 3]
  # What one sample leaves behind is nothing to the next.
  x = {small.input_names[0]: testing.draw((6, 3), 20).astype(np.float32)}
  found = paoding.tflite.compare_tflite(small, data, inputs=x)
  assert found.mean < (0.03 if quantization == 'int8' else 1e-4)


class Branching(keras.layers.Layer):
  """Doubles what is positive on average, by an `if` on a tensor."""

  def call(self, x):
    """The inputs or twice as much."""
    if tf.reduce_mean(x) > 0:
      return 2.0 * x
    return x


def test_layers_may_branch_on_a_tensor():
  made = testing.fill(
    keras.Sequential(
      [keras.Input((5,)), keras.layers.Dense(4), Branching(name='branching')]
    )
  )
  data = paoding.convert_to_tflite(made)
  name, out = made.input_names[0], made.output_names[0]
  # One sample a call: the layer looks at all of a batch.
  for x in testing.samples((5,), 6).astype(np.float32)[:, None]:
    (found,) = paoding.tflite.run_tflite(data, {name: x}, outputs=[out])
    np.testing.assert_allclose(found, made(x).numpy(), rtol=1e-5, atol=1e-6)


def test_a_batch_is_open_where_that_costs_nothing():
  plain = testing.conv_net()
  x = inputs = keras.Input((8, 6))
  x = keras.layers.Dense(12, activation='relu')(x)  # of every position
  x = keras.layers.LayerNormalization()(x)
  made = testing.fill(keras.Model(inputs, keras.layers.Dense(2)(x)))
  for model_, first in ((plain, -1), (made, 1)):
    data = paoding.convert_to_tflite(model_)
    (detail,) = load_interpreter(data).get_input_details()
    assert detail['shape_signature'][0] == first
    found = paoding.profile_tflite(data, micro=False, latency=False)
    assert 'SHAPE' not in found.operators
    assert found.macs == paoding.report.count_macs(model_)


@pytest.mark.parametrize('method', ['l1', 'reconstruction'])
def test_a_network_of_indices(method):
  x = inputs = keras.Input((8,), dtype='int32')
  x = keras.layers.Embedding(20, 6)(x)
  x = keras.layers.Conv1D(8, 3, activation='relu')(x)
  x = keras.layers.GlobalMaxPooling1D()(x)
  made = testing.fill(keras.Model(inputs, keras.layers.Dense(3)(x)))
  small = paoding.prune(
    made, 0.5, method=method, input_range=(0, 19), verbose=0
  )
  assert small.layers[2].filters == 4
  data = paoding.convert_to_tflite(small, 'int8', input_range=(0, 19))
  x = np.random.default_rng(0).integers(0, 20, (30, 8), np.int32)
  found = paoding.tflite.compare_tflite(
    small, data, inputs={small.input_names[0]: x}
  )
  assert found.mean < 0.03


@pytest.mark.parametrize('normalized', [False, True])
def test_a_layer_that_is_always_zero_is_refused(normalized):
  """Integer kernels break on its range, some of them with the process."""
  low = keras.initializers.Constant(-100.0)
  x = inputs = keras.Input((6,))
  if normalized:
    x = keras.layers.ReLU()(x)
    x = keras.layers.BatchNormalization(beta_initializer=low, name='d')(x)
    x = keras.layers.ReLU()(x)
  else:
    x = keras.layers.Dense(4, 'relu', bias_initializer=low, name='d')(x)
  made = keras.Model(inputs, keras.layers.Dense(2)(x))
  for mode in ('int8', 'int16x8'):
    with pytest.raises(ValueError, match='for any input that its range'):
      paoding.convert_to_tflite(made, mode)
  other = paoding.convert_to_tflite(made, 'dynamic')
  # Whichever of the files it is, and whoever made it.
  data = lib.convert_unchecked(made, 'int8', input_range=(0.0, 1.0))
  with pytest.raises(ValueError, match='for any input that its range'):
    paoding.profile_tflite(other, reference=data, micro=False)


def test_layer_normalization_has_8_bits_but_not_16():
  """On whose kernel the interpreter ends the process."""
  x = inputs = keras.Input((8,))
  x = keras.layers.LayerNormalization()(keras.layers.Dense(6)(x))
  made = testing.fill(keras.Model(inputs, keras.layers.Dense(2)(x)))
  assert len(paoding.convert_to_tflite(made, 'int8'))
  with pytest.raises(
    ValueError, match="'SQUARED_DIFFERENCE' with 16-bit activations"
  ):
    paoding.convert_to_tflite(made, 'int16x8')


@pytest.mark.parametrize('kind', ['GRU', 'SimpleRNN'])
def test_integers_for_loops_are_refused(kind):
  inputs = keras.Input((6, 3))
  x = getattr(keras.layers, kind)(4)(inputs)
  made = testing.fill(keras.Model(inputs, keras.layers.Dense(2)(x)))
  with pytest.raises(ValueError, match='no integers for loops'):
    paoding.convert_to_tflite(made, 'int8')
  unrolled = getattr(keras.layers, kind)(4, unroll=True)(inputs)
  made = testing.fill(keras.Model(inputs, unrolled))
  assert len(paoding.convert_to_tflite(made, 'int8'))


@pytest.mark.parametrize('bad', ['int3', 'none', 8])
def test_unknown_quantizations_are_named(bad):
  with pytest.raises(ValueError, match="`quantization`.*'dynamic'.*int16x8"):
    paoding.convert_to_tflite(model(), bad)


def test_other_objects_are_refused():
  with pytest.raises(TypeError, match='tf_keras model'):
    paoding.convert_to_tflite('model.h5')


def test_a_conversion_that_differs_is_refused(monkeypatch):
  made, other = model(), testing.mlp((64, 96, 64, 10), seed=9)
  data = paoding.convert_to_tflite(other)
  monkeypatch.setattr(lib, 'flatbuffer_of', lambda *_, **__: data)
  made.input_names, made.output_names = other.input_names, other.output_names
  with pytest.raises(ValueError, match='differs from the Keras model'):
    paoding.convert_to_tflite(made)


class Sampled(keras.layers.Layer):
  """Draws at inference, too, as those of variational autoencoders."""

  def call(self, x):
    return x + tf.random.normal(tf.shape(x))


class SampledBySeeds(keras.layers.Layer):
  """As those of Keras 3 draw."""

  def call(self, x):
    seed = tf.cast(tf.shape(x), tf.int32)
    return x + tf.random.stateless_normal(tf.shape(x), seed)


def test_what_tflite_cannot_draw_is_said():
  made = keras.Sequential([SampledBySeeds(input_shape=(4,))])
  for quantization in (None, 'int8'):
    with pytest.raises(ValueError, match='no operation that draws at random'):
      paoding.convert_to_tflite(made, quantization, input_range=(0.0, 1.0))


def test_a_model_that_draws_at_random_is_refused_as_such():
  made = keras.Sequential([Sampled(input_shape=(4,)), keras.layers.Dense(2)])
  with pytest.raises(ValueError, match='draws at random and answers the same'):
    paoding.convert_to_tflite(made, input_range=(0.0, 1.0))


def conv_net(seed=0):
  x = inputs = keras.Input((8, 8, 2))
  x = keras.layers.Conv2D(6, 3, activation='relu')(x)
  x = keras.layers.DepthwiseConv2D(3, padding='same')(x)
  x = keras.layers.ReLU()(x)
  x = keras.layers.GlobalAveragePooling2D()(x)
  x = keras.layers.Dense(4, activation='softmax')(x)
  return testing.fill(keras.Model(inputs, x), seed)


@pytest.mark.parametrize('quantization', ['int8', 'int16x8'])
@pytest.mark.parametrize('float_io', [True, False])
def test_integers_throughout_without_data(quantization, float_io):
  made = conv_net()
  data = paoding.convert_to_tflite(made, quantization, float_io=float_io)
  details = load_interpreter(data).get_input_details()[0]
  wanted = np.int8 if quantization == 'int8' else np.int16
  assert details['dtype'] == (np.float32 if float_io else wanted)
  x = {made.input_names[0]: testing.samples((8, 8, 2), 40, 0.0, 1.0)}
  found = paoding.tflite.compare_tflite(
    made,
    data,
    inputs={name: value.astype(np.float32) for name, value in x.items()},
  )
  assert found.count == 80
  assert found.mean < 0.02
  assert found.agreement > 0.9


def test_the_inputs_scale_spans_the_declared_range():
  """Whatever the samples are like: 256 steps from end to end."""
  for low, high in ((0.0, 1.0), (-124.0, 26.0)):
    data = paoding.convert_to_tflite(
      conv_net(), 'int8', input_range=(low, high), prior='smooth'
    )
    scale, zero = load_interpreter(data).get_input_details()[0]['quantization']
    assert abs(scale - (high - low) / 255) < 1e-3 * scale
    assert abs((-128 - zero) * scale - low) <= scale


def test_own_representative_data_set_the_ranges():
  made = conv_net()
  x = np.random.default_rng(0).uniform(0, 1, (40, 8, 8, 2)).astype(np.float32)
  one = paoding.convert_to_tflite(made, 'int8', representative_data=x)
  two = paoding.convert_to_tflite(made, 'int8', representative_data=x)
  other = paoding.convert_to_tflite(made, 'int8', representative_data=x * 0.1)
  assert one == two
  assert one != other


@pytest.mark.parametrize(
  ('x', 'message'),
  [
    (np.zeros((5, 8, 8, 3), np.float32), r'shape'),
    (
      np.full((5, 8, 8, 2), 2.0, np.float32),
      r'\[2, 2\], outside `input_range`',
    ),
    (np.full((5, 8, 8, 2), np.nan, np.float32), 'NaN'),
  ],
)
def test_bad_representative_data_are_refused(x, message):
  with pytest.raises(ValueError, match=message):
    paoding.convert_to_tflite(conv_net(), 'int8', representative_data=x)


def test_an_operator_that_tflite_lacks_is_named():
  inputs = keras.Input((4,))
  x = keras.layers.Dense(4)(inputs)
  x = keras.layers.Lambda(lambda t: t @ tf.linalg.inv(tf.transpose(t) @ t))(x)
  made = keras.Model(inputs, keras.layers.Dense(2)(x))
  with pytest.raises(ValueError, match='TFLite cannot express.*MatrixInverse'):
    paoding.convert_to_tflite(made)


def test_numbers_that_an_operator_lacks_are_told_with_those_it_may_have():
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((4, 3)),
        keras.layers.LSTM(3, return_sequences=True),
        keras.layers.LSTM(2),
      ]
    )
  )
  with pytest.raises(ValueError) as caught:
    paoding.convert_to_tflite(model, 'int16x8', input_range=(0, 1))
  message = str(caught.value)
  assert message.count('UNIDIRECTIONAL_SEQUENCE_LSTM') == 1
  assert "Another may do: None, 'dynamic', 'float16', 'int8'" in message


def sparse_net():
  model = testing.mlp((64, 96, 64, 10))
  for layer in model.layers:
    kernel, bias = layer.get_weights()
    kernel[np.random.default_rng(0).uniform(size=kernel.shape) < 0.9] = 0
    layer.set_weights([kernel, bias])
  return model


def test_zeros_are_stored_sparsely_where_that_loads():
  made = sparse_net()
  sparse = paoding.convert_to_tflite(made)
  dense = paoding.convert_to_tflite(made, sparse=False)
  assert len(sparse) < 0.5 * len(dense)
  found = paoding.tflite.compare_tflite(
    made, sparse, inputs={made.input_names[0]: X}
  )
  assert found.largest < 1e-5
  # A dense model is not stored so unless asked for, and quantized ones never.
  full = model()
  assert len(paoding.convert_to_tflite(full)) == len(
    paoding.convert_to_tflite(full, sparse=False)
  )
  with pytest.raises(ValueError, match='`sparse` goes with float32 alone'):
    paoding.convert_to_tflite(made, 'int8', sparse=True)


def test_sparse_files_that_do_not_load_are_not_given(monkeypatch):
  made, kept = sparse_net(), lib.run_apart

  def run(data, inputs, **outputs):
    if len(data) < 30000:
      raise RuntimeError('XNNPACK failed')
    return kept(data, inputs, **outputs)

  monkeypatch.setattr(lib, 'run_apart', run)
  data = paoding.convert_to_tflite(made)
  assert len(data) > 40000
  with pytest.raises(ValueError, match='sparsely stored model does not run'):
    paoding.convert_to_tflite(made, sparse=True)


def test_a_comparison_sees_what_differs():
  made = conv_net()
  other = keras.models.clone_model(made)
  other.set_weights(conv_net(5).get_weights())
  data = paoding.convert_to_tflite(other)
  x = testing.samples((8, 8, 2), 50, 0.0, 1.0).astype(np.float32)
  found = paoding.tflite.compare_tflite(
    made, data, inputs={other.input_names[0]: x}
  )
  a, b = made(x).numpy(), other(x).numpy()
  gap = np.abs(a - b) / max(np.ptp(a), a.max())
  np.testing.assert_allclose(found.largest, gap.max(), rtol=1e-3)
  np.testing.assert_allclose(found.mean, gap.mean(), rtol=1e-3)
  np.testing.assert_allclose(
    found.agreement, (a.argmax(1) == b.argmax(1)).mean()
  )


def test_ranges_come_from_varied_inputs_unless_asked_otherwise():
  made = conv_net()
  default, varied, smooth = (
    paoding.convert_to_tflite(made, 'int8', prior=prior)
    for prior in (None, 'varied', 'smooth')
  )
  assert default == varied
  assert default != smooth


@pytest.mark.parametrize(
  'layer',
  [
    keras.layers.Conv2D(3, 2, activation='relu'),
    keras.layers.MaxPooling2D(),
    keras.layers.Flatten(),
  ],
)
def test_rows_of_frames_are_those_of_one_sample(layer):
  """Of an open number of samples tflite-micro would read one frame."""
  inputs = keras.Input((3, 6, 6, 2))
  x = keras.layers.TimeDistributed(layer)(inputs)
  x = keras.layers.Dense(4)(keras.layers.Flatten()(x))
  model = testing.fill(keras.Model(inputs, x))
  data = paoding.convert_to_tflite(model, 'int8', input_range=(-1, 1))
  pytest.importorskip('tflite_micro')
  found = paoding.tflite.compare_tflite(
    model,
    data,
    inputs=np.clip(testing.draw((3, 6, 6, 2), 20), -1, 1).astype(np.float32),
    run=paoding.tflite.run_micro,
  )
  assert found.mean < 0.03
