"""To .tflite, checked by running it in the interpreter."""

from __future__ import annotations

import warnings
import weakref
from typing import Any

import numpy as np

from tfmot_paoding import callers, compat, extras
from tfmot_paoding.arguments import warn_idle
from tfmot_paoding.compaction.dead_units import dead_units
from tfmot_paoding.compaction.left_whole import warn_of_full_size
from tfmot_paoding.compaction.standing import standings, warn_if_short
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import InputRange, resolve_range, warn_coarse
from tfmot_paoding.inputs.samples import warn_of_two
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.inputs.user_data import calibration_samples
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.network.graph import check_model
from tfmot_paoding.network.input_shapes import with_input_shape
from tfmot_paoding.quantization import (
  Quantization,
  finer,
  listed,
  on_micro,
  quantization_of,
  that_read,
)
from tfmot_paoding.tflite.checks import check_answers, few_inputs
from tfmot_paoding.tflite.comparison import compare_tflite
from tfmot_paoding.tflite.converter import flatbuffer_of
from tfmot_paoding.tflite.end_types import end_types
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.litert import run_apart
from tfmot_paoding.tflite.micro import check_micro
from tfmot_paoding.tflite.preparation import prepared
from tfmot_paoding.tflite.real_heads import real_inputs
from tfmot_paoding.tflite.recipes import require_recipes
from tfmot_paoding.tflite.representative import MOST, a_few, representative

Array = np.ndarray

# What was said of a model's input range, so that several files of one model do
# not say it each; models that are gone leave nothing behind.
_SAID: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def convert_to_tflite(
  model: keras.Model,
  quantization: str | None = None,
  *,
  input_range: Any = None,
  seed: int = 0,
  representative_data: Any = None,
  float_io: bool = False,
  sparse: bool | None = None,
  prior: Any = None,
  verbose: int | str = 'auto',
  input_shape: Any = None,
  inference_input_type: Any = None,
  inference_output_type: Any = None,
  micro: bool = False,
) -> bytes:
  """Converts a model to TFLite and checks the result by running it.

  No data is needed: the ranges of activations that integer modes ask for are
  taken from inputs that are recalled from the model or drawn from a prior. A
  batch may have any size where that costs nothing; models whose operators would
  have to work it out (Dense on sequences, recurrent and reshaping layers) take
  one sample a call, which microcontrollers can run.

  Args:
    model: A Keras model; pruning wrappers are stripped off. Only a compact
      model gives a smaller file. Mixed precision, float16, bfloat16 and float64
      become float32.
    quantization: What numbers the file holds: None for float32, or another
      name of `tflite.QUANTIZATIONS`, such as 'int8', integers throughout, or
      'int4', weights of four bits where the outputs hardly move for it and of
      eight elsewhere, which runs in LiteRT alone; 'int4x8' has such weights
      between integers, and runs in tflite-micro as well.
    input_range: The range of the inputs that the model was trained on: a pair
      (low, high) of numbers or arrays, or a dict of input name to such a pair.
      None: what the first layers say, with a warning that names it, and (0, 1)
      where they say nothing.
    seed: Of inputs that are drawn.
    representative_data: Inputs that integer modes take their ranges from,
      within `input_range`: an array, a list or dict of arrays for several
      inputs, or a batched `tf.data.Dataset`.
    float_io: Whether integer modes take and give real numbers all the same.
      What normalizes inputs entry by entry, before any weights, then stays in
      real numbers under 'int8', so that entries may be of unlike scale.
      Otherwise inputs that only embeddings look up become int32, whatever they
      are in the model; under 'int16x8' they do so in any case.
    sparse: Whether to store zeros of a stripped model sparsely; float32 only,
      and not for tflite-micro. None: where that makes the file smaller and it
      loads.
    prior: Where integer modes have their inputs from otherwise: 'smooth',
      'varied', 'recalled' (by `recall_inputs`), a `Prior` of your own, or a
      dict of input name to one, or what `inputs.find_inputs` returned. None:
      for models of up to 6e7 multiply-accumulates that have batch normalization
      'mixed', if they are classifiers of pictures, or what the first of it
      tells of inputs, if that explains it well, or inputs that are recalled in
      a few steps; 'varied' for others.
    verbose: Whether to show a progress bar where inputs are recalled: 'auto'
      (on a terminal and in a notebook), 1 or 0.
    input_shape: The sizes that the model leaves open, without the batch axis,
      such as (224, 224, 3), or a dict of input name to sizes.
    inference_input_type: What integer modes take, by name or as a `tf.DType`:
      their own integers (None), 'float32', or, where these are 'int8', 'uint8',
      as cameras give. One operator more; the same scale.
    inference_output_type: What they give, likewise.
    micro: Whether the file is for tflite-micro: GELU, exponentials, logarithms
      and roots of integers, convolutions of volumes and loops of recurrent
      layers, which LiteRT and NPUs have and it has not, are then written in
      what it has, which those run more slowly. Where it is installed (the
      extra `[micro]`) it is asked whether it runs the file.

  Returns:
    The flatbuffer.

  Raises:
    ImportError: the mode takes ai-edge-quantizer (the extra `[quantize]`), and
      that is not installed.
    MicroError: a file for tflite-micro does not run there.
    TypeError: `model` is no Keras model.
    ValueError: an argument is not as described, TFLite has no operator for
      something in the model, or the converted model's outputs differ from the
      Keras model's by more than quantization explains.

  Warns of arguments that the mode does not look at.
  """
  mode = quantization_of(quantization)
  require_recipes(mode)
  ends = end_types(mode, float_io, inference_input_type, inference_output_type)
  _check_read(
    mode,
    sparse,
    representative_data=representative_data,
    prior=prior,
    float_io=float_io,
  )
  if micro:
    _check_micro_mode(mode, sparse)
    sparse = False
  original, model = model, as_tf_keras(model)
  check_model(model)
  if not sparse:
    warn_of_full_size(model, dead_units(model))
    warn_if_short(model.name, standings(model))
  if compat.collect_prunable_layers(model):
    model = compat.strip_pruning(model)
  _check_stripped(model)
  model = prepared(with_input_shape(model, input_shape), mode, ends.takes_real)
  given = representative_data
  if given is not None:
    given = calibration_samples(model, given, MOST)
  elif isinstance(prior, InputSource) and input_range is None:
    input_range = prior.range
  said = _SAID.setdefault(original, set())
  input_range = resolve_range(
    model, input_range, given, said=said, is_used=mode.takes_inputs
  )
  if mode.takes_inputs:
    drawn = representative(
      model,
      input_range,
      seed=seed,
      data=given,
      prior=prior,
      verbose=verbose,
      coarse=mode.is_coarse,
    )
    data = flatbuffer_of(model, mode, drawn=drawn, ends=ends, micro=micro)
    if mode.is_calibrated:
      _warn_if_coarse(model, data, mode, input_range, ends.takes_real)
      ends.warn_if_without(data)
    _warn_if_eight(model, data, mode)
    checked = drawn.checked
  else:
    data = flatbuffer_of(model, mode, micro=micro)
    checked = few_inputs(model, input_range, seed)
    if mode.name is None and sparse is not False:
      data = _sparser(model, data, checked, bool(sparse))
  if micro and extras.MICRO.is_installed:
    check_micro(data)
  check_answers(model, data, mode, checked)
  _warn_if_larger(model, data, mode)
  return data


def _check_stripped(model: keras.Model) -> None:
  """Raises where a wrapper that copies lose is still there.

  Raises:
    ValueError: one is.
  """
  for layer in model._flatten_layers():
    if isinstance(layer, compat.ClusterWeights):
      raise ValueError(
        f'Layer {layer.name!r} of {model.name!r} is wrapped for clustering. '
        'Convert tfmot.clustering.keras.strip_clustering(model).'
      )


def _check_read(mode: Quantization, sparse: bool | None, **given: Any) -> None:
  """Raises or warns of what a user passed and the mode does not look at.

  Args:
    mode: What numbers the file shall hold.
    sparse: Whether zeros shall be stored sparsely.
    **given: Other arguments, by name.

  Raises:
    ValueError: `sparse` cannot be had.
  """
  if sparse and 'sparse' not in mode.reads:
    raise ValueError(
      f'`sparse` goes with float32 alone, but `quantization` is '
      f'{mode.name!r}: files with both do not load.'
    )
  for name, value in given.items():
    if name not in mode.reads:
      warn_idle(
        {name: value},
        f'since `quantization` is {mode.name!r}: {mode.text}',
        f'Leave it out, or use {listed(that_read(name))}.',
      )
  if 'prior' in mode.reads:
    name = 'representative_data'
    warn_of_two(given[name], given['prior'], name)


def _check_micro_mode(mode: Quantization, sparse: bool | None) -> None:
  """Raises where a file for tflite-micro is asked for as it does not read it.

  Raises:
    ValueError: so it is.
  """
  if not mode.on_micro:
    raise ValueError(
      f'`micro` asks for a file for tflite-micro, which does not run '
      f'{mode.text}: `quantization` must be {on_micro()}, but got '
      f'{mode.name!r}.'
    )
  if sparse:
    raise ValueError(
      '`micro` asks for a file for tflite-micro, which does not read weights '
      'that are stored sparsely. Leave `sparse` out.'
    )


def _warn_if_coarse(
  model: keras.Model,
  data: bytes,
  mode: Quantization,
  input_range: InputRange,
  takes_real: bool,
) -> None:
  """Warns where an input's entries share too few steps in the file."""
  advice = f'take as `quantization` {finer(mode)}'
  if mode.keeps_real and not takes_real:
    advice += (
      ', or pass `float_io=True`: a Normalization layer that reads them first '
      'then stays in real numbers'
    )
  warn_coarse(
    input_range, model, mode.activation_bits, advice, real_inputs(data)
  )


def _warn_if_eight(model: keras.Model, data: bytes, mode: Quantization) -> None:
  """Warns where four bits were asked for, and no layer bears them."""
  kinds = {tensor.type for tensor in TFLiteFile(data).tensors}
  if mode.weight_bits < 8 and mode.weights not in kinds:
    warnings.warn(
      f'No layer of {model.name!r} bears weights of {mode.weight_bits} bits: '
      'the outputs would move too far, so that all have 8. Take as '
      "`quantization` 'int8', which more devices run.",
      stacklevel=callers.level(),
    )


def _warn_if_larger(
  model: keras.Model, data: bytes, mode: Quantization
) -> None:
  """Warns where quantization costs bytes, as it does in tiny models."""
  plain = quantization_of(None)
  least = plain.weight_bits // 8 * model.count_params()
  if mode is plain or len(data) <= least:
    return
  size = len(flatbuffer_of(model, plain))
  if len(data) > size:
    warnings.warn(
      f'The {mode.name} file takes {len(data)} bytes and the float32 one '
      f'{size}: the model {model.name!r} has so few weights that scales and '
      'conversions outweigh them. Leave `quantization` out where bytes count.',
      stacklevel=callers.level(),
    )


def convert_unchecked(
  model: keras.Model,
  quantization: str | None,
  *,
  input_range: Any,
  seed: int = 0,
  micro: bool = False,
) -> bytes:
  """A file of the right size and shape, for what it costs.

  Ranges of activations are those of a few inputs, and nothing is compared.

  Args:
    model: A plain tf_keras model.
    quantization: A name of `QUANTIZATIONS`.
    input_range: The range of the inputs.
    seed: Of the inputs.
    micro: Whether it is for tflite-micro.
  """
  mode, drawn = quantization_of(quantization), None
  model = prepared(model, mode, False)
  if mode.takes_inputs:
    drawn = a_few(model, resolve_range(model, input_range), seed=seed, count=8)
  return flatbuffer_of(model, mode, drawn=drawn, micro=micro)


def _sparser(
  model: keras.Model, data: bytes, inputs: dict[str, Array], must: bool
) -> bytes:
  """The sparse form where it is smaller, loads, and gives the same.

  Raises:
    ValueError: it `must` be sparse, but that form does not load.
  """
  kernels = [w.numpy() for w in model.weights if len(w.shape) > 1]
  if not must and not any(np.mean(kernel == 0) > 0.5 for kernel in kernels):
    return data
  mode = quantization_of(None)
  found = flatbuffer_of(model, mode, sparse=True)
  try:
    compared = compare_tflite(model, found, inputs=inputs, run=run_apart)
    loads = compared.largest <= mode.tolerance
  except (RuntimeError, ValueError):
    loads = False
  if must and not loads:
    raise ValueError(
      'The sparsely stored model does not run in the interpreter. Leave '
      '`sparse` out, or use a compact model.'
    )
  return found if loads and (must or len(found) < len(data)) else data
