"""Progress bars, shown where somebody looks."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tfmot_paoding.compat import keras

__all__ = ['finish', 'is_watched', 'progress_bar']


def progress_bar(
  count: int | None,
  verbose: int | str,
  unit_name: str,
  latest: Sequence[str] = (),
) -> keras.utils.Progbar:
  """A bar for so many units of work.

  Args:
    count: How many there are; None where nobody knows, and whoever adds the
      last one has to `finish` the bar.
    verbose: 'auto' shows it on a terminal and in a notebook, 1 anywhere, 0
      nowhere: in a file it is thousands of characters of noise.
    unit_name: What is counted.
    latest: Figures of which the latest is shown in place of the mean.

  Raises:
    ValueError: `verbose` is none of these.
  """
  if verbose not in ('auto', 0, 1):
    raise ValueError(
      "`verbose` must be 'auto' (progress bars on a terminal and in a "
      f'notebook), 1 (always) or 0 (never), but got {verbose!r}.'
    )
  shown = is_watched() if verbose == 'auto' else verbose
  return keras.utils.Progbar(
    count, verbose=int(shown), unit_name=unit_name, stateful_metrics=latest
  )


def finish(bar: keras.utils.Progbar, seen: int) -> None:
  """Ends the line of a bar whose count was not known.

  Args:
    bar: The bar.
    seen: How many units it was told of; no line was begun for none.
  """
  if seen:
    bar.update(seen, finalize=True)


def is_watched() -> bool:
  """Whether what is printed goes to a terminal or a notebook."""
  if sys.stdout is None:
    return False
  # A notebook's kernel puts a stream of its own there.
  where = type(sys.stdout).__module__.partition('.')[0]
  return where == 'ipykernel' or sys.stdout.isatty()
