"""To .tflite, checked by running it in the interpreter."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding import compat
from tfmot_paoding.compaction.dead_units import dead_units
from tfmot_paoding.compaction.left_whole import warn_of_full_size
from tfmot_paoding.compaction.standing import standings, warn_if_short
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import input_boxes, resolve_range, warn_coarse
from tfmot_paoding.inputs.user_data import calibration_samples
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.network.graph import check_model
from tfmot_paoding.network.input_shapes import with_input_shape
from tfmot_paoding.tflite.comparison import compare_tflite
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.integers import (
  TYPES,
  check_half,
  check_ranges,
  quantized_file,
  ranged_file,
  with_reach,
)
from tfmot_paoding.tflite.litert import (
  load_interpreter,
  run_apart,
  run_tflite,
)
from tfmot_paoding.tflite.preparation import prepared
from tfmot_paoding.tflite.representative import (
  MOST,
  Representative,
  a_few,
  representative,
)
from tfmot_paoding.tflite.serving import (
  LOOPS,
  converter_of,
  operations,
  serving,
)

Array = np.ndarray

QUANTIZATIONS = (None, 'dynamic', 'float16', 'int8', 'int16x8')
# What the check takes for a size that the model leaves open.
_OPEN_SIZE = 32
# How far a conversion may be from the Keras model, as a fraction of the
# outputs' spread: by its largest difference, for integers by the mean one.
_TOLERANCE = {
  None: 1e-4,
  'dynamic': 0.1,
  'float16': 0.02,
  'int8': 0.1,
  'int16x8': 0.05,
}
_FEW = 4  # of real numbers, where one wrong operator shows at once
# The most that a file may be off in units of an output's own deviation (1 is
# to say nothing), and the most of its answers that may be cut off in silence.
_APART = 0.5
_CUT = 0.01


def convert_to_tflite(
  model: keras.Model,
  quantization: str | None = None,
  input_range: Any = None,
  seed: int = 0,
  representative_data: Any = None,
  float_io: bool = False,
  sparse: bool | None = None,
  prior: Any = None,
  verbose: int | str = 0,
  input_shape: Any = None,
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
    quantization: None for float32; 'dynamic' for int8 weights and float
      activations; 'float16' for float16 weights; 'int8' for integers
      throughout; 'int16x8' for int16 activations and int8 weights.
    input_range: The range of the inputs, as in `prune_low_saliency`.
    seed: Of inputs that are drawn.
    representative_data: Inputs that integer modes take their ranges from, as
      `calibration_data` in `run_schedule`, within `input_range`.
    float_io: Whether integer modes take and give real numbers all the same.
      Otherwise inputs that only embeddings look up become int32, whatever they
      are in the model; under 'int16x8' they do so in any case.
    sparse: Whether to store zeros of a stripped model sparsely; float32 only,
      and not for tflite-micro. None: where that makes the file smaller and it
      loads.
    prior: Where inputs come from without `representative_data`, as in
      `run_schedule`; 'varied' takes the place of 'smooth' where it is None.
    verbose: Whether to show a progress bar where inputs are recalled: 'auto'
      (on a terminal and in a notebook), 1 or 0.
    input_shape: The sizes that the model leaves open, as in `count_macs`.

  Returns:
    The flatbuffer.

  Raises:
    TypeError: `model` is no Keras model.
    ValueError: an argument is not as described, TFLite has no operator for
      something in the model, or the converted model's outputs differ from the
      Keras model's by more than quantization explains.
  """
  if quantization not in QUANTIZATIONS:
    raise ValueError(
      "`quantization` must be None, 'dynamic', 'float16', 'int8' or 'int16x8', "
      f'but got {quantization!r}.'
    )
  if sparse and quantization is not None:
    raise ValueError(
      f'`sparse` goes with float32 alone, but `quantization` is '
      f'{quantization!r}: files with both do not load.'
    )
  model = as_tf_keras(model)
  check_model(model)
  if not sparse:
    warn_of_full_size(model, dead_units(model))
    warn_if_short(model.name, standings(model), stacklevel=2)
  if compat.collect_prunable_layers(model):
    model = compat.strip_pruning(model)
  model = with_input_shape(model, input_shape)
  model = prepared(model, quantization, float_io)
  given = representative_data
  if given is not None:
    given = calibration_samples(model, given, MOST)
  input_range = resolve_range(model, input_range, given)
  if quantization in TYPES:
    steps = TYPES[quantization].max - TYPES[quantization].min
    warn_coarse(input_range, model, steps, quantization)
    drawn = representative(
      model,
      input_range,
      seed,
      given,
      prior,
      verbose,
      coarse=quantization == 'int8',
    )
    data = _convert(model, quantization, drawn, float_io)
    checked = drawn.checked
  else:
    data = _convert(model, quantization)
    if quantization == 'float16':
      check_half(data)
    checked = _samples(model, input_range, seed)
    if quantization is None and sparse is not False:
      data = _sparser(model, data, checked, bool(sparse))
  _check(model, data, quantization, checked)
  _warn_if_larger(model, data, quantization)
  return data


def _warn_if_larger(
  model: keras.Model, data: bytes, quantization: str | None
) -> None:
  """Warns where quantization costs bytes, as it does in tiny models."""
  # A float32 file holds four bytes a weight at least.
  if quantization is None or len(data) <= 4 * model.count_params():
    return
  plain = len(_convert(model, None))
  if len(data) > plain:
    warnings.warn(
      f'The {quantization} file takes {len(data)} bytes and the float32 one '
      f'{plain}: the model {model.name!r} has so few weights that scales and '
      'conversions outweigh them. Leave `quantization` out where bytes count.',
      stacklevel=3,
    )


def convert_unchecked(
  model: keras.Model, quantization: str | None, input_range: Any, seed: int = 0
) -> bytes:
  """A file of the right size and shape, for what it costs.

  Ranges of activations are those of a few inputs, and nothing is compared.

  Args:
    model: A plain tf_keras model.
    quantization: As in `convert_to_tflite`.
    input_range: The range of the inputs.
    seed: Of the inputs.
  """
  drawn, model = None, prepared(model, quantization, False)
  if quantization in TYPES:
    drawn = a_few(model, resolve_range(model, input_range), seed, 8)
  return _convert(model, quantization, drawn)


def _convert(
  model: keras.Model,
  quantization: str | None,
  drawn: Representative | None = None,
  float_io: bool = False,
  sparse: bool = False,
) -> bytes:
  """The flatbuffer.

  Raises:
    ValueError: TFLite cannot express the model.
  """
  function = serving(model)
  if quantization in TYPES and operations(function) & LOOPS:
    _check_loops(model, quantization)
  with _explained(quantization):
    converter = converter_of(model, function)
    if quantization not in TYPES:
      return _choose(converter, quantization, sparse).convert()
    ranged = ranged_file(converter, quantization, drawn.ranging)
  check_ranges(ranged)
  ranged = with_reach(ranged, drawn.reach)
  with _explained(quantization):
    return quantized_file(ranged, quantization, float_io)


@contextlib.contextmanager
def _explained(quantization: str | None) -> Iterator[None]:
  """Raises what the converter does in the words of this package.

  Raises:
    ValueError: TFLite cannot express the model.
  """
  with warnings.catch_warnings():
    # Of TensorFlow's own use of its interpreter, and of integer modes that
    # are given no statistics of inputs, which is what they are for.
    warnings.filterwarnings('ignore', message='.*tf.lite.Interpreter is depr')
    warnings.filterwarnings('ignore', message='Statistics for quantized inp')
    try:
      yield
    except Exception as error:  # the converter raises what it likes
      raise ValueError(
        'TFLite cannot express the model with `quantization` '
        f'{quantization!r}: {_gist(str(error))}'
      ) from error


def _check_loops(model: keras.Model, quantization: str) -> None:
  """Raises where the quantizer would meet a loop: it brings Python down."""
  if 'WHILE' in TFLiteFile(_convert(model, None)).operator_counts:
    raise ValueError(
      'TFLite has no integers for loops, as in GRU and SimpleRNN layers, but '
      f"`quantization` is {quantization!r}. Use 'dynamic' or None, or LSTM "
      'layers.'
    )


def _choose(
  converter: tf.lite.TFLiteConverter,
  quantization: str | None,
  sparse: bool,
) -> tf.lite.TFLiteConverter:
  """Sets what a file of real numbers shall be like."""
  if quantization is not None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
  if sparse:
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
  if quantization == 'float16':
    converter.target_spec.supported_types = [tf.float16]
  return converter


def _gist(text: str) -> str:
  """What a converter's message says of operators, or its first lines."""
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  named = [
    line
    for line in lines
    if re.match(r'(TF Select|Custom|Flex) ops?:|.*neither a custom op', line)
  ]
  return ' '.join(named or lines[:3])[:500]


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
  found = _convert(model, None, sparse=True)
  try:
    load_interpreter(found).allocate_tensors()
    loads = compare_tflite(model, found, inputs).largest <= _TOLERANCE[None]
  except (RuntimeError, ValueError):
    loads = False
  if must and not loads:
    raise ValueError(
      'The sparsely stored model does not run in the interpreter. Leave '
      '`sparse` out, or use a compact model.'
    )
  return found if loads and (must or len(found) < len(data)) else data


def _check(
  model: keras.Model,
  data: bytes,
  quantization: str | None,
  inputs: dict[str, Array],
) -> None:
  """Raises unless the flatbuffer gives what the Keras model gives."""
  try:
    found = compare_tflite(
      model, data, inputs, run_apart if quantization in TYPES else run_tflite
    )
  except RuntimeError as error:
    raise ValueError(
      f'The converted model does not run in the interpreter: {error}'
    ) from error
  gap = found.mean if quantization in TYPES else found.largest
  if not gap <= _TOLERANCE[quantization]:
    raise ValueError(
      f'The converted model differs from the Keras model by {gap:.3g} of the '
      f"outputs' spread, where {quantization or 'float32'} explains "
      f'{_TOLERANCE[quantization]:g}. Try another `quantization`, and see that '
      '`input_range` is the range the model was trained on.'
    )
  # Floats are as fine for what is small; steps of integers are not.
  if quantization not in (None, 'float16') and not found.apart <= _APART:
    text = (
      f'The converted model hardly tells the answers of {found.where} apart: '
      f"they differ from the Keras model's by {found.apart:.2g} of their own "
      'deviation. One scale holds for a whole output, so that what is small '
      'beside the rest of it is lost: give that an output layer of its own, '
      'scale the outputs alike, or use another `quantization`.'
    )
    if found.is_number and quantization in TYPES:
      raise ValueError(text)
    # Made-up inputs may all be one to a model whose real ones are not.
    warnings.warn(text, stacklevel=3)
  if found.cut > _CUT:
    warnings.warn(
      f'{found.cut:.0%} of the answers lie beyond what the converted model can '
      'say: its ranges come from inputs that do not reach so far. Pass more of '
      'them as `representative_data`, or none.',
      stacklevel=3,
    )


def _samples(
  model: keras.Model, input_range: Any, seed: int
) -> dict[str, Array]:
  """A few random inputs in the box, by input name."""
  rng = np.random.default_rng(seed)
  shapes = [
    tuple(size or _OPEN_SIZE for size in tensor.shape[1:])
    for tensor in model.inputs
  ]
  boxes = input_boxes(model, input_range, shapes)
  return {
    name: rng.uniform(box.low, box.high, (_FEW, *shape)).astype(
      tensor.dtype.name
    )
    for name, box, shape, tensor in zip(
      model.input_names, boxes, shapes, model.inputs, strict=True
    )
  }
