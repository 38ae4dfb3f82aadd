"""`tfmot-paoding prune`: removes a fraction of a model's units, and exports."""

from __future__ import annotations

from absl import flags

from tfmot_paoding import extras
from tfmot_paoding.command import printing, result_files
from tfmot_paoding.command.comparing import (
  compare_and_write,
  converted,
  print_sizes,
)
from tfmot_paoding.command.model_files import (
  check_multiple,
  multiple_of,
  read_arrays,
  read_data,
  read_model,
  read_range,
)
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.ranges import InputRange
from tfmot_paoding.network.input_shapes import open_inputs
from tfmot_paoding.pruning import prune
from tfmot_paoding.report import CurvePoint, curve_point


def run(given: flags.FlagValues) -> None:
  """Loads, prunes, tells and writes.

  Args:
    given: The flags.

  Raises:
    ImportError: a flag needs an extra that is not installed.
    OSError: a file cannot be read or written.
    ValueError: a flag or the model does not fit, or too few answers stay.
  """
  if given.curve:
    extras.MATPLOTLIB.require()
  if not given.dry_run:
    result_files.check_results(given)
  needs_sizes = given.c_array or given.report or given.min_agreement is not None
  model = read_model(given.model, given, bool(needs_sizes))
  check_multiple(model, multiple_of(given), given.attention)
  settled = read_range(model, given)
  if given.dry_run:
    known = given.sparsity if given.scope == 'local' else None
    printing.print_plan(model, known, given.attention, multiple_of(given))
    return
  before = converted(model, settled, given)
  result_files.check_device(before, given)
  small = pruned(model, given.sparsity, settled, given)
  after = converted(small, settled, given)
  models, files = (model, small), (before, after)
  printing.print_left_alone(model, given.attention)
  units = [printing.count_units(form, given.attention) for form in models]
  print(f'units:        {units[0]} -> {units[1]}')
  print_sizes(models, files, given)
  if open_inputs(model) and not (given.data or given.test_data):
    print(
      'answers:      not compared, since no inputs can be drawn of open sizes: '
      '--input_shape fixes them'
    )
    result_files.write_models(after, small, given)
    return
  compare_and_write(
    models,
    files,
    settled,
    given,
    lambda samples: curve(model, settled, given, samples),
  )


def pruned(
  model: keras.Model,
  sparsity: float,
  settled: InputRange,
  given: flags.FlagValues,
) -> keras.Model:
  """The compact model at a sparsity."""
  return prune(
    model,
    sparsity,
    method=given.method,
    input_range=settled,
    seed=given.seed,
    step_sparsity=given.step_sparsity,
    scope=given.scope,
    cost=given.cost,
    floor=given.floor,
    attention=given.attention,
    multiple_of=multiple_of(given),
    data=read_data(given),
  )


def curve(
  model: keras.Model,
  settled: InputRange,
  given: flags.FlagValues,
  samples: list,
) -> list[CurvePoint]:
  """The points of --curve."""
  if not given.curve:
    return []
  test = read_arrays(given.test_data, 'x', 'y')
  found = []
  for sparsity in sorted({0.0, *map(float, given.curve)}):
    small = pruned(model, sparsity, settled, given) if sparsity else model
    data = converted(small, settled, given)
    found.append(
      curve_point(
        model,
        small,
        data,
        sparsity=sparsity,
        data=samples,
        test_data=test,
        micro=extras.MICRO.is_installed,
        latency=True,
        npu=given.npu,
      )
    )
  return found
