"""Files of four-bit weights: what they take, and where they run."""

from __future__ import annotations

import dataclasses
import importlib.util

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import quantization as lib
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import recipes
from tfmot_paoding.tflite.flatbuffer import TFLiteFile

FOUR_BITS = [name for name, mode in lib.QUANTIZATIONS.items() if mode.recipe]


def net() -> keras.Model:
  layers = keras.layers
  model = testing.fill(
    keras.Sequential(
      [
        keras.Input((8, 8, 2)),
        layers.Conv2D(16, 3, activation='relu'),
        layers.DepthwiseConv2D(3, activation='relu'),
        layers.Conv2D(128, 1, activation='relu'),
        layers.Flatten(),
        layers.Dense(24),
      ]
    )
  )
  return testing.on_steps(model)


@pytest.mark.parametrize('name', FOUR_BITS)
def test_they_run_where_the_mode_says(name):
  model, mode = net(), lib.QUANTIZATIONS[name]
  data = paoding.convert_to_tflite(model, name, input_range=(0, 1))
  x = {model.input_names[0]: testing.draw((8, 8, 2), 40).astype(np.float32)}
  found = paoding.tflite.compare_tflite(model, data, inputs=x)
  assert found.mean < 0.08
  file = TFLiteFile(data)
  kinds = {tensor.type for tensor in file.tensors if tensor.stored}
  assert {'int4', 'int8'} <= kinds
  profile = paoding.profile_tflite(data, latency=False)
  assert profile.bytes == len(data)
  assert mode.on_micro == (not profile.micro_error)
  assert mode.on_micro == ('not in tflite-micro' not in mode.runs_in)
  if not mode.on_micro:
    with pytest.raises(paoding.tflite.MicroError):
      paoding.tflite.run_micro(data, x, outputs=model.output_names)
    return
  micro, phone = (
    run(data, x, outputs=model.output_names)[0]
    for run in (paoding.tflite.run_micro, paoding.tflite.run_tflite)
  )
  assert np.abs(micro - phone).mean() < 0.01 * np.ptp(phone)


def test_dense_layers_for_microcontrollers_have_one_step():
  """And convolutions one a unit: what tflite-micro has kernels for."""
  data = paoding.convert_to_tflite(net(), 'int4x8', input_range=(0, 1))
  file = TFLiteFile(data)
  steps = {}
  for op in file.operators:
    if op.name in ('CONV_2D', 'FULLY_CONNECTED'):
      weights = file.object.subgraphs[0].tensors[op.inputs[1]]
      narrow = file.tensors[op.inputs[1]].type == 'int4'
      found = steps.setdefault((op.name, narrow), set())
      found.add(len(weights.quantization.scale))
  assert steps['FULLY_CONNECTED', True] == {1}
  assert 128 in steps['CONV_2D', True]


def test_they_take_two_thirds_of_eight_bits():
  model = testing.on_steps(testing.mlp((64, 256, 128, 10)))
  four = paoding.convert_to_tflite(model, 'int4')
  eight = paoding.convert_to_tflite(model, 'int8', input_range=(0, 1))
  assert len(eight) > 30000
  assert len(four) < 0.65 * len(eight)


@pytest.mark.parametrize('float_io', [False, True])
def test_activations_are_of_eight_bits_or_real_at_the_ends(float_io):
  data = paoding.convert_to_tflite(
    net(), 'int4x8', input_range=(0, 1), float_io=float_io
  )
  file = TFLiteFile(data)
  ends = {file.tensors[index].type for index in (*file.inputs, *file.outputs)}
  assert ends == {'float32' if float_io else 'int8'}


def with_far_ends(layer: keras.layers.Dense) -> None:
  """Makes most weights small beside the largest of their unit."""
  kernel, bias = layer.get_weights()
  made = kernel**3
  made *= np.linalg.norm(kernel) / np.linalg.norm(made)
  layer.set_weights([made, bias])


def test_layers_that_do_not_bear_four_bits_keep_eight():
  """The first moves the outputs far, as it is rounded; the second does not."""
  model = testing.on_steps(testing.mlp((64, 128, 96, 10)))
  with_far_ends(model.layers[0])
  file = TFLiteFile(paoding.convert_to_tflite(model, 'int4'))
  kinds = {t.size: t.type for t in file.tensors if t.stored}
  assert kinds[64 * 128] == 'int8'
  assert kinds[128 * 96] == 'int4'


def test_none_that_bears_them_is_told_of():
  """What units have in common leaves again, and with it most of the steps."""
  layers = keras.layers
  model = testing.fill(
    keras.Sequential(
      [keras.Input((16,)), layers.Dense(40), layers.LayerNormalization()]
    )
  )
  kernel, bias = model.layers[0].get_weights()
  model.layers[0].set_weights([kernel[:, :1] + 0.06 * kernel, 0 * bias])
  with pytest.warns(UserWarning, match='bears weights of 4 bits'):
    data = paoding.convert_to_tflite(model, 'int4')
  assert 'int4' not in {tensor.type for tensor in TFLiteFile(data).tensors}


@pytest.mark.parametrize('name', ['int4', 'int4x8'])
def test_the_quantizer_writes_what_was_fitted(name, monkeypatch):
  """Of a network none of whose weights are on a grid."""
  kept, layers = recipes.narrow_layers, []

  def spied(*args):
    plain, made = kept(*args)
    layers.extend(made)
    return plain, made

  monkeypatch.setattr(recipes, 'narrow_layers', spied)
  model = testing.mlp((24, 48, 32, 4))
  file = TFLiteFile(paoding.convert_to_tflite(model, name))
  fitted = {
    one.size: max(one.contents.values(), key=len).view(np.float32)
    for one in layers
  }
  narrow = [index for index, t in enumerate(file.tensors) if t.type == 'int4']
  assert len(narrow) >= 2
  for index in narrow:
    tensor = file.object.subgraphs[0].tensors[index]
    pairs = file.object.buffers[tensor.buffer].data.astype(np.int8)
    steps = np.stack([(pairs << 4) >> 4, pairs >> 4], -1).ravel()
    scales = np.asarray(tensor.quantization.scale)
    assert (len(scales) == 1) == bool(lib.QUANTIZATIONS[name].one_step)
    made = steps.reshape(len(scales), -1) * scales[:, None]
    np.testing.assert_allclose(made.ravel(), fitted[made.size], rtol=1e-5)


def test_integers_of_eight_bits_are_as_those_of_tensorflow(monkeypatch):
  mode = dataclasses.replace(
    lib.QUANTIZATIONS['int8'], name='eight', quantizer='', recipe='static'
  )
  monkeypatch.setitem(lib.QUANTIZATIONS, mode.name, mode)
  model = net()
  x = {model.input_names[0]: testing.draw((8, 8, 2), 40).astype(np.float32)}
  ours, theirs = (
    paoding.tflite.run_tflite(
      paoding.convert_to_tflite(model, name, input_range=(0, 1)),
      x,
      outputs=model.output_names,
    )[0]
    for name in ('int8', 'eight')
  )
  assert np.abs(ours - theirs).mean() < 0.01 * np.ptp(ours)


@pytest.mark.parametrize('name', FOUR_BITS)
def test_a_missing_extra_is_named_before_any_work(name, monkeypatch):
  kept = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    'find_spec',
    lambda one, *rest: None if one == 'ai_edge_quantizer' else kept(one, *rest),
  )
  with pytest.raises(ImportError, match=r'tfmot_paoding\[quantize\]'):
    paoding.convert_to_tflite('no model', name)
  with pytest.raises(ImportError, match=r'tfmot_paoding\[quantize\]'):
    paoding.prune_to_budget(
      testing.mlp(), paoding.Budget(macs=9, quantization=name), verbose=0
    )
