"""A model's flatbuffer, by TensorFlow's converter."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator

import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.network.agreement import IN_PLACE_OF_DRAWS
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.outputs import Head, heads_of
from tfmot_paoding.quantization import Quantization, others, uncalibrated
from tfmot_paoding.tflite.cell_clips import without_cell_clips
from tfmot_paoding.tflite.end_types import EndTypes, end_types
from tfmot_paoding.tflite.equal_forms import with_equal_forms
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.idle_rows import with_enough_weight
from tfmot_paoding.tflite.integers import (
  PlainConverter,
  check_ranges,
  check_weights,
  plain_file,
  quantized_file,
  ranged_file,
  with_reach,
)
from tfmot_paoding.tflite.lean import lean
from tfmot_paoding.tflite.lstm_ranges import with_lstm_ranges
from tfmot_paoding.tflite.micro_forms import with_micro_forms
from tfmot_paoding.tflite.own_states import with_own_states
from tfmot_paoding.tflite.processes import EndedError
from tfmot_paoding.tflite.real_heads import real_heads
from tfmot_paoding.tflite.recipes import recipe_file
from tfmot_paoding.tflite.representative import Representative
from tfmot_paoding.tflite.serving import (
  LOOPS,
  converter_of,
  operations,
  serving,
)
from tfmot_paoding.tflite.unrolled_loops import without_loops

# Of which TFLite has none.
_DRAWS = re.compile(r'tf\.Stateless(Random|TruncatedNormal|Multinomial)')


def flatbuffer_of(
  model: keras.Model,
  mode: Quantization,
  *,
  drawn: Representative | None = None,
  ends: EndTypes | None = None,
  sparse: bool = False,
  micro: bool = False,
) -> bytes:
  """The flatbuffer.

  Args:
    model: The model, as `prepared` gives it.
    mode: What numbers it shall hold.
    drawn: Where the ranges of a calibrated mode come from, and what layers
      are tried on.
    ends: The types of inputs and outputs, of a calibrated mode.
    sparse: Whether to store zeros sparsely.
    micro: Whether it is for tflite-micro.

  Raises:
    ValueError: TFLite cannot express the model, or not in such numbers.
  """
  data = lean(_written(model, mode, drawn, ends, sparse, micro))
  return with_micro_forms(data) if micro else data


def _written(
  model: keras.Model,
  mode: Quantization,
  drawn: Representative | None,
  ends: EndTypes | None,
  sparse: bool,
  micro: bool = False,
) -> bytes:
  """The flatbuffer as converters and quantizers write it.

  Raises:
    ValueError: TFLite cannot express the model, or not in such numbers.
  """
  heads = _heads(model) if mode.recipe else {}
  if micro:
    model = without_loops(model, all_of_them=mode.is_calibrated)
  # LiteRT's own kernel for volumes is the faster one, but has no integers.
  model = with_equal_forms(model, volumes=mode.has_steps or micro)
  function = serving(model)
  if not mode.is_calibrated:
    with _explained(mode):
      converter = converter_of(model, function)
      data = _choose(converter, mode, sparse).convert()
      data = with_own_states(without_cell_clips(data))
      if mode.recipe:
        data = recipe_file(data, mode, drawn, heads)
    if mode.has_narrow_weights:
      check_weights(data, mode)
    return data
  if operations(function) & LOOPS:
    _check_loops(function, model, mode)
  with _explained(mode):
    plain = plain_file(converter_of(model, function, PlainConverter), mode)
    plain = with_own_states(without_cell_clips(plain))
    ranged = ranged_file(plain, drawn.ranging)
    ranged = with_lstm_ranges(ranged, drawn.ranging)
  check_ranges(ranged)
  ranged = with_reach(ranged, drawn.reach)
  ends = ends or end_types(mode, False, None, None)
  if mode.recipe:
    with _explained(mode):
      plain = with_enough_weight(plain, ranged)
      found = recipe_file(
        plain, mode, drawn, heads, ranged=ranged, ends=ends.before
      )
      return ends.put(found)
  real = real_heads(ranged) if ends.takes_real and mode.keeps_real else ()
  with _explained(mode):
    return ends.put(quantized_file(ranged, mode, ends.before, real))


def _heads(model: keras.Model) -> dict[str, Head]:
  """What the outputs mean, by name."""
  heads = heads_of(build_graph(model))
  return dict(zip(model.output_names, heads, strict=True))


@contextlib.contextmanager
def _explained(mode: Quantization) -> Iterator[None]:
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
    except EndedError as error:
      raise ValueError(
        f'TensorFlow breaks down on integers for the model ({error}), as it '
        'does on values that overflow, and on some operators that have none. '
        'See that `input_range` is the range the model was trained on, or use '
        f'{uncalibrated()} as `quantization`.'
      ) from error
    except Exception as error:  # the converter raises what it likes
      if _DRAWS.search(str(error)):
        raise ValueError(
          'TFLite has no operation that draws at random as the model does. '
          f'Convert one that gives {IN_PLACE_OF_DRAWS}.'
        ) from error
      raise ValueError(
        'TFLite cannot express the model with `quantization` '
        f'{mode.name!r}: {_gist(str(error))}{_instead(mode)}'
      ) from error


def _check_loops(function, model: keras.Model, mode: Quantization) -> None:
  """Raises where the quantizer would meet a loop: it breaks down on them."""
  with _explained(mode):
    plain = converter_of(model, function).convert()
  if 'WHILE' in TFLiteFile(plain).operator_counts:
    raise ValueError(
      'TFLite has no integers for loops, as in GRU and SimpleRNN layers, but '
      f'`quantization` is {mode.name!r}. Use {uncalibrated()}; LSTM layers of '
      "Keras's own activations; or layers of `unroll=True`, whose steps are "
      'written one by one, in a larger file, as `micro=True` has them.'
    )


def _choose(
  converter: tf.lite.TFLiteConverter,
  mode: Quantization,
  sparse: bool,
) -> tf.lite.TFLiteConverter:
  """Sets what a file of real numbers shall be like."""
  if mode.name is not None and not mode.recipe:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
  if sparse:
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
  if mode.has_narrow_weights:
    converter.target_spec.supported_types = [tf.dtypes.as_dtype(mode.weights)]
  return converter


def _instead(mode: Quantization) -> str:
  """What to try, since operators have some kinds of numbers and lack others."""
  if mode.name is None:
    return ''
  return f' Another may do: {others(mode)}.'


def _gist(text: str) -> str:
  """What a converter's message says of operators, or its first lines."""
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  lines = list(dict.fromkeys(lines))
  named = [
    line
    for line in lines
    if re.match(r'(TF Select|Custom|Flex) ops?:|.*neither a custom op', line)
  ]
  return ' '.join(named or lines[:3])[:500]
