"""`tfmot-paoding budget`: prunes a model by the least that fits a device."""

from __future__ import annotations

from absl import flags

from tfmot_paoding.command import answers, printing, result_files
from tfmot_paoding.command.model_files import (
  check_multiple,
  multiple_of,
  quantization_of,
  ranging_data,
  read_data,
  read_model,
  read_range,
)
from tfmot_paoding.pruning import Budget, Fitted, prune_to_budget
from tfmot_paoding.quantization import QUANTIZATIONS
from tfmot_paoding.tflite import (
  TFLiteProfile,
  convert_to_tflite,
  profile_tflite,
)
from tfmot_paoding.tflite.interpreters import runs_in


def run(given: flags.FlagValues) -> None:
  """Loads, fits, tells and writes.

  Args:
    given: The flags.

  Raises:
    ImportError: a limit needs an extra that is not installed.
    OSError: a file cannot be read or written.
    ValueError: the budget cannot be met, a flag or the model does not fit, or
      too few answers stay.
  """
  budget = _budget_of(given)
  budget.check_extras()
  if not given.dry_run:
    result_files.check_results(given)
  model = read_model(given.model, given, needs_sizes=True)
  said = budget.settled_multiple(multiple_of(given))
  check_multiple(model, said, given.attention)
  settled = read_range(model, given)
  before = convert_to_tflite(
    model,
    budget.quantization,
    input_range=settled,
    seed=given.seed,
    representative_data=ranging_data(given),
    micro=budget.is_for_micro,
    verbose='auto',
  )
  result_files.check_device(before, given)
  if given.dry_run:
    printing.print_plan(model, None, given.attention)
    _print_shares(budget, _profile(before, given))
    return
  fitted = prune_to_budget(
    model,
    budget,
    method=given.method,
    input_range=settled,
    seed=given.seed,
    step_sparsity=given.step_sparsity,
    attention=given.attention,
    multiple_of=multiple_of(given),
    data=read_data(given),
    low_rank=given.low_rank,
  )
  verdict = answers.verdict_of(
    model, fitted.model, settled, given, fitted.verdict
  )
  printing.print_left_alone(model, given.attention)
  _print_cut(fitted)
  _print_shares(budget, fitted.profile)
  print(f'tflite bytes: {len(before)} -> {len(fitted.data)}')
  mode = QUANTIZATIONS[budget.quantization]
  print(f'runs in: {runs_in(fitted.data, mode)}')
  print(f'answers: {verdict}')
  answers.check_min_agreement(verdict, given)
  results = result_files.Results(
    model,
    fitted.model,
    (before, fitted.data),
    settled,
    verdict,
    answers.samples_of(model, settled, given),
    limits=budget.limits,
  )
  result_files.write_results(results, given)


def _budget_of(given: flags.FlagValues) -> Budget:
  """What the flags limit."""
  return Budget(
    flash_bytes=given.flash_bytes,
    arena_bytes=given.arena_bytes,
    macs=given.macs,
    latency_ratio=given.latency_ratio,
    quantization=quantization_of(given),
    npu_cycles=given.npu_cycles,
    npu=given.npu,
  )


def _profile(data: bytes, given: flags.FlagValues) -> TFLiteProfile:
  """What a file takes of all that the flags limit."""
  timed = given.latency_ratio is not None
  return profile_tflite(
    data,
    data if timed else None,
    micro=given.arena_bytes is not None,
    latency=timed,
    npu=given.npu,
  )


def _print_cut(fitted: Fitted) -> None:
  """Prints what of each layer left."""
  for layer, sparsity in fitted.sparsity.items():
    print(f'pruned: {layer}: {sparsity:.1%}')
  for layer, ranks in fitted.ranks.items():
    print(f'low rank: {layer}: {ranks}')
  if not any(fitted.sparsity.values()) and not fitted.ranks:
    print('nothing was removed: the model meets the budget as it is')
    return
  print(f'the cut is spread over layers by: {fitted.spread}')


def _print_shares(budget: Budget, profile: TFLiteProfile) -> None:
  """Prints what a file takes of each limit."""
  for name, share in budget.taken(profile).items():
    print(f'{name}: {share:.1%} of {budget.limits[name]:g}')
