"""`tfmot-paoding report`: measures a pruned model beside its original."""

from __future__ import annotations

from absl import flags

from tfmot_paoding import extras
from tfmot_paoding.command import answers, result_files
from tfmot_paoding.command.comparing import converted
from tfmot_paoding.command.model_files import (
  check_paths,
  read_model,
  read_range,
)
from tfmot_paoding.network.agreement import check_ends
from tfmot_paoding.report.writing import report_paths


def run(given: flags.FlagValues) -> None:
  """Loads both, measures and writes.

  Args:
    given: The flags.

  Raises:
    OSError: a file cannot be read or written.
    ValueError: a flag or a model does not fit, or too few answers are alike.
  """
  check_paths(list(report_paths(given.output)), given)
  if given.npu:
    extras.NPU.require()
  model = read_model(given.model, given, needs_sizes=True)
  small = read_model(given.pruned, given, needs_sizes=True)
  check_ends(model, small, ('--model', '--pruned'))
  settled = read_range(model, given)
  samples = answers.samples_of(model, settled, given)
  verdict = answers.verdict_of(model, small, settled, given)
  print(f'answers: {verdict}')
  answers.check_min_agreement(verdict, given)
  files = tuple(converted(form, settled, given) for form in (model, small))
  print(f'tflite bytes: {len(files[0])} -> {len(files[1])}')
  results = result_files.Results(model, small, files, settled, verdict, samples)
  result_files.write_page(given.output, results, given)
