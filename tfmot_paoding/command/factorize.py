"""`tfmot-paoding factorize`: makes layers of thinner ones, and exports."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from tfmot_paoding.command import result_files
from tfmot_paoding.command.comparing import (
  compare_and_write,
  converted,
  print_sizes,
)
from tfmot_paoding.command.model_files import (
  multiple_of,
  read_data,
  read_model,
  read_range,
)
from tfmot_paoding.compat import keras
from tfmot_paoding.network.chains import multiplied_out
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.pruning import factorizable, factorize
from tfmot_paoding.pruning.rank_choice import Ranks


def run(given: flags.FlagValues) -> None:
  """Loads, makes thinner, tells and writes.

  Args:
    given: The flags.

  Raises:
    ImportError: a flag needs an extra that is not installed.
    OSError: a file cannot be read or written.
    ValueError: a flag or the model does not fit, or too few answers stay.
  """
  if not given.dry_run:
    result_files.check_results(given)
  model = read_model(given.model, given, needs_sizes=True)
  if given.dry_run:
    _print_plan(model)
    return
  settled = read_range(model, given)
  before = converted(model, settled, given)
  result_files.check_device(before, given)
  small = factorize(
    model,
    given.sparsity,
    ranks=ranks_of(given.ranks) or None,
    input_range=settled,
    seed=given.seed,
    cost=given.cost,
    multiple_of=multiple_of(given),
    outputs=given.last_layers,
    data=read_data(given),
  )
  after = converted(small, settled, given)
  print_chains(model, small)
  print_sizes((model, small), (before, after), given)
  compare_and_write((model, small), (before, after), settled, given)


def ranks_of(texts: Sequence[str]) -> Ranks:
  """What --ranks says, as `factorize` takes it."""
  found: dict[str, int | tuple[int | None, int | None]] = {}
  for text in texts:
    name, _, said = text.strip().rpartition('=')
    if ':' in said:
      front, behind = (int(end) if end else None for end in said.split(':'))
      found[name] = front, behind
    else:
      found[name] = int(said)
  return found


def print_chains(original: keras.Model, small: keras.Model) -> None:
  """Prints which layers became chains, and of what ranks.

  Args:
    original: The original.
    small: What was made of it.
  """
  chains = multiplied_out(build_graph(original), build_graph(small))
  for path, ranks in chains.ranks.items():
    print(f'low rank: {"/".join(path)}: {", ".join(map(str, ranks))}')


def _print_plan(model: keras.Model) -> None:
  """Prints which layers can become chains, and why others cannot."""
  known = factorizable(model)
  for name, rank in known.largest_ranks.items():
    ending = ''
    if name in known.outputs:
      ending = ', makes outputs: --last_layers or --ranks ask for it'
    print(f'low rank: {name}: at most {rank}{ending}')
  for name, reason in known.left_alone.items():
    print(f'left alone: {name}: {reason}')
