"""Trained models of other people, from their files to a microcontroller."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tfmot_paoding import compat
from tfmot_paoding.network.told_shapes import told

pytestmark = pytest.mark.shared


@dataclasses.dataclass(frozen=True)
class Case:
  """What is known of a model, and where it cannot go on.

  Attributes:
    input_range: What its inputs lie in.
    functions: For its Lambda layers.
    whole: Why none of its units can go, None where some can.
    int8: Why it has no int8 file, None where it has one.
    micro: Whether it has to be written for tflite-micro.
    quantizations: Into what it is converted.
    ends: Whether tflite-micro comes to an end.
    method: By which units are chosen.
    step: How much of them goes at once.
  """

  input_range: tuple[float, float] = (0.0, 1.0)
  functions: Mapping[str, Callable] | None = None
  whole: str | None = None
  int8: str | None = None
  micro: bool = False
  quantizations: tuple[str | None, ...] = (None, 'int8')
  ends: bool = True
  method: str = 'saliency'
  step: float = 0.15


CENTRED = Case((-1.0, 1.0))
BOUNDED = {'method': 'impact', 'step': 0.3}
CASES = {
  'field/dtln_part2_lstm.h5': CENTRED,
  'field/kv_keypoint.hdf5': CENTRED,
  'field/lambda_py35_pilotnet.h5': Case(
    (0.0, 255.0), {'lambda_1': lambda x: x / 127.5 - 1}
  ),
  'field/legacy_savedmodel_kws': Case((-30.0, 30.0)),
  'field/ml_tflite_micro_magic_wand.h5': CENTRED,
  'field/oa_mini_xception.hdf5': CENTRED,
  # Its anchors are of tens of thousands of numbers: long to convert.
  'field/st_ssd_mobilenet_v1_025_192.h5': Case(
    (-1.0, 1.0), quantizations=(None,)
  ),
  'field/st_stmnist_v1.h5': Case(),
  'field/st_yamnet_256_64x96.h5': CENTRED,
  'field/windows_backslash_mlp.keras': CENTRED,
  'mlperf_tiny/ad01.h5': Case((-20.0, 20.0), **BOUNDED),
  'mlperf_tiny/ic_resnet8.h5': Case((0.0, 255.0), **BOUNDED),
  'mlperf_tiny/kws.h5': Case((-123.0, 26.0), **BOUNDED),
  'cifar_vgg_bn.h5': Case(**BOUNDED),
  'cifar_vgg_nobn.h5': Case(),
  'mnist_cnn.h5': Case(**BOUNDED),
  'mnist_mlp5_sigmoid.h5': Case(),
  'mnist_mlp_wide.h5': Case(),
  'mnist_rows_gru.h5': Case(
    int8='no integers for loops',
    ends=False,
  ),
  'mnist_rows_lstm.h5': Case(),
  'mnist_rows_transformer.h5': Case(micro=True),
}


def answers(model, x):
  return [np.asarray(out) for out in tf.nest.flatten(model(x))]


def assert_close(got, want):
  """Outputs agree to 1e-5 of their size."""
  for a, b in zip(got, want, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max(), rtol=0)


def pruned(model, case, x):
  """The compact model; the same answers on the way to it."""
  wrapped = paoding.prune_low_saliency(
    model,
    paoding.ProgressiveSparsity(0.3, case.step),
    method=case.method,
    input_range=case.input_range,
  )
  paoding.run_schedule(wrapped, verbose=0)
  # A detector's anchors stay one array in it, and shapes are told; else this
  # takes longer than all that is done here with the model, and gives the same.
  with compat.with_whole_constants(), told():
    stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  small = paoding.compact(stripped)
  want = answers(wrapped, x)
  assert_close(answers(stripped, x), want)
  assert_close(answers(small, x), want)
  assert small.count_params() < model.count_params()
  return small


def convert(model, case, quantization, x):
  return paoding.convert_to_tflite(
    model,
    quantization,
    input_range=case.input_range,
    representative_data=x if quantization else None,
    micro=case.micro,
  )


@pytest.mark.parametrize('name', CASES)
def test_from_file_to_microcontroller(name, shared, tmp_path):
  pytest.importorskip('tflite_micro')
  case = CASES[name]
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', message='.*written by Keras 1')
    model = paoding.load_model(
      shared / 'models' / name, functions=case.functions
    )
  (shape,) = [tensor.shape[1:] for tensor in model.inputs]
  rng = np.random.default_rng(0)
  x = rng.uniform(*case.input_range, (16, *shape)).astype(np.float32)
  weights = model.count_params()
  if case.whole is None:
    model = pruned(model, case, x[:2])
  else:
    with pytest.raises(ValueError, match=case.whole):
      paoding.prune(model, 0.3, input_range=case.input_range, verbose=0)
  for quantization in case.quantizations:
    if quantization and case.int8:
      with pytest.raises(ValueError, match=case.int8):
        convert(model, case, quantization, x)
      continue
    data = convert(model, case, quantization, x)
    # Of smaller files most is not weights.
    if quantization is None and case.whole is None and weights > 20_000:
      assert len(data) < 0.85 * 4 * weights
    paoding.write_c_array(data, str(tmp_path / 'model.cc'), arena_bytes=2**20)
    if case.ends:
      profile = paoding.profile_tflite(data, latency=False)
      assert not profile.micro_error
      assert profile.arena_bytes > 0
