"""Answers one after another, of which an interrupt keeps those there are."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from tfmot_paoding import callers
from tfmot_paoding.compat import keras
from tfmot_paoding.robustness.answer import Answer


def one_by_one(
  count: int, decide: Callable[[int], Answer], bar: keras.utils.Progbar
) -> list[Answer]:
  """What is decided of so many samples or properties.

  An interrupt leaves the one at work and all behind it unknown, in no time, and
  is warned of.

  Args:
    count: How many there are.
    decide: Answers to one, by its number.
    bar: Is told of each that is done.
  """
  answers = []
  try:
    for k in range(count):
      answers.append(decide(k))
      bar.update(k + 1)
  except KeyboardInterrupt:
    left = count - len(answers)
    warnings.warn(
      f'Interrupted: {left} of {count} were not decided, and are told to be '
      'unknown after 0 seconds. Verify these again.',
      stacklevel=callers.level(),
    )
    answers += [Answer('unknown', None, 0.0)] * left
  return answers
