"""What speaks against a range: layers, stored statistics, a user's data."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfmot_paoding.inputs.claims import Claim
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray

# A given range that is so much narrower or wider than a layer's is a mistake
# of units: an 8-bit input would have a tenth of its steps for what occurs.
_FACTOR = 10.0
# Samples may lie this far outside, relative to the range's width: float32.
_SLACK = 1e-3
# And so many values outside of three deviations.
_FEW = 0.05
# Of an integer input's steps; an entry that has fewer says hardly anything.
_FEWEST_STEPS = 8
# Of all entries: images have some pixels that hardly change.
_FEW_COARSE = 0.1


def doubt_of(name: str, box: Interval, claim: Claim) -> str | None:
  """What a claim has against a given range, or None.

  Raises:
    ValueError: the range goes beyond a table.
  """
  known = claim.known
  low, high = box.low[known], box.high[known]
  lowest, highest = claim.low[known], claim.high[known]
  said = (
    f'{text_of((low, high))} is given for input {name!r}, where '
    f'{claim.source} says {text_of((lowest, highest))}'
  )
  if claim.is_limit and (np.any(low < lowest) or np.any(high >= highest + 1)):
    raise ValueError(
      f'`input_range` goes beyond what the model can take: {said}. Pass a '
      'range within that, or leave it out.'
    )
  widths = highest - lowest
  told = widths > 0  # what never changed in training may be anything
  apart = (high < lowest) | (low > highest)
  narrow = (high - low) * _FACTOR < widths
  wide = (high - low) > widths * _FACTOR
  return said if np.any((apart | narrow | wide) & told) else None


def outside(
  name: str, x: Array, pair: Any, source: str, is_centred: bool
) -> str | None:
  """Which of a user's inputs lie outside a range, with figures, or None.

  Args:
    name: The input's.
    x: Its values, with a batch axis.
    pair: The range's ends.
    source: Who says that it is the range.
    is_centred: Whether the range is one of statistics, which leave a few out.
  """
  low, high = (np.asarray(end) for end in pair)
  room = _SLACK * (high - low) + 1e-6
  share = np.mean((x < low - room) | (x > high + room))
  if share <= (_FEW if is_centred else 0):
    return None
  return (
    f'{100 * share:.3g} % of the values of input {name!r}, which run from '
    f'{np.min(x):.6g} to {np.max(x):.6g}, lie outside {text_of((low, high))} '
    f'({source})'
  )


def coarse(name: str, pair: Any, steps: int) -> str | None:
  """Which entries of an input get hardly any of the steps that all share.

  Args:
    name: The input's.
    pair: Its range's ends.
    steps: How many steps an integer input has.

  Returns:
    The worst of them in words, or None.
  """
  low, high = np.broadcast_arrays(*(np.asarray(end, float) for end in pair))
  step = (high.max() - low.min()) / steps
  widths = high - low
  few = (widths > 0) & (widths < _FEWEST_STEPS * step)
  if not few.mean() > _FEW_COARSE:
    return None
  worst = np.argmin(np.where(few, widths, np.inf))
  return (
    f'the entries of input {name!r} share {steps} steps of {step:.3g}, too few '
    f'for {few.sum()} of {few.size} entries (number {worst} has a range of '
    f'{low.ravel()[worst]:.4g} to {high.ravel()[worst]:.4g})'
  )


def text_of(pair: Any) -> str:
  """A pair in words; of arrays the lowest and highest entry."""
  low, high = (np.asarray(end, np.float64) for end in pair)
  text = f'{low.min():.6g} to {high.max():.6g}'
  if np.ptp(low) or np.ptp(high):
    text += ' over all entries, each its own'
  return text
