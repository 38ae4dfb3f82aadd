"""Converts a model and what was made of it, compares them, and writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from absl import flags

from tfmot_paoding.command import answers, result_files
from tfmot_paoding.command.model_files import quantization_of, ranging_data
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import InputRange
from tfmot_paoding.network.input_shapes import open_inputs
from tfmot_paoding.quantization import QUANTIZATIONS
from tfmot_paoding.report import CurvePoint, count_macs
from tfmot_paoding.tflite import convert_to_tflite
from tfmot_paoding.tflite.interpreters import runs_in


def converted(
  model: keras.Model, settled: InputRange, given: flags.FlagValues
) -> bytes | None:
  """The .tflite of a model; for tflite-micro, where C++ source is asked for.

  None where the Keras model is all that is asked for.
  """
  if not given.output:
    return None
  name = quantization_of(given)
  as_source = getattr(given, 'c_array', None) is not None
  return convert_to_tflite(
    model,
    name,
    input_range=settled,
    seed=given.seed,
    representative_data=ranging_data(given),
    float_io=given.float_io,
    inference_input_type=given.inference_input_type,
    inference_output_type=given.inference_output_type,
    micro=as_source and QUANTIZATIONS[name].on_micro,
    verbose='auto',
  )


def print_sizes(
  models: tuple[keras.Model, keras.Model],
  files: tuple[bytes | None, bytes | None],
  given: flags.FlagValues,
) -> None:
  """Prints what was saved.

  Args:
    models: The original, and what was made of it.
    files: The .tflite of each, if any is made.
    given: The flags.
  """
  parameters = [form.count_params() for form in models]
  if open_inputs(models[0]):
    macs = ['depends on sizes that are open'] * 2  # --input_shape fixes them
  else:
    macs = [count_macs(form) for form in models]
  sizes = [len(data) for data in files if data is not None]
  for label, both in (
    ('parameters:   ', parameters),
    ('tflite bytes: ', sizes),
    ('MACs:         ', macs),
  ):
    if both:
      print(f'{label}{both[0]} -> {both[1]}')
  if sizes:
    mode = QUANTIZATIONS[quantization_of(given)]
    print(f'runs in:      {runs_in(files[1], mode)}')


def compare_and_write(
  models: tuple[keras.Model, keras.Model],
  files: tuple[bytes | None, bytes | None],
  settled: InputRange,
  given: flags.FlagValues,
  curve: Callable[[list], Sequence[CurvePoint]] = lambda samples: (),
) -> None:
  """Compares answers, and writes all that the flags ask for.

  Args:
    models: The original, and what was made of it.
    files: The .tflite of each, if any is made.
    settled: The range of the inputs.
    given: The flags.
    curve: Points of the report's curve, from inputs to compare answers on.

  Raises:
    OSError: a file cannot be read or written.
    ValueError: too few answers stay.
  """
  model, small = models
  samples = answers.samples_of(model, settled, given)
  verdict = answers.verdict_of(model, small, settled, given)
  print(f'answers:      {verdict}')
  told = answers.bound_told(model, small, settled, samples)
  if told:
    print(told)
  answers.check_min_agreement(verdict, given)
  results = result_files.Results(
    model, small, files, settled, verdict, samples, curve(samples)
  )
  result_files.write_results(results, given)
