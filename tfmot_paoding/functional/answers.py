"""Whether a converted model gives the answers of the model it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

# The largest difference of outputs, relative to their size, that two
# implementations of one function may show.
_TOLERANCE = 1e-3


def compare(
  original: Callable[[Any], Any],
  converted: Callable[[Any], Any],
  inputs: Any,
  tolerance: float = _TOLERANCE,
  *,
  remembers: bool = False,
) -> float:
  """How far two models' outputs are apart, beyond what is tolerated.

  What both draw at random, otherwise each time, is not told apart.

  Args:
    original: Gives the outputs that are wanted.
    converted: Gives the outputs that are checked.
    inputs: What both are called with.
    tolerance: The difference allowed, relative to one plus the largest
      wanted value.
    remembers: Whether former calls change an answer, as states that layers
      keep do: what is other at a second call is not drawn then.

  Returns:
    The largest difference of the first output beyond it; 0.0 where all agree.
    Infinite where shapes or structures differ. What is infinite or NaN alike
    in both is no difference.
  """
  models = original, converted
  wanted, found = answers = [tf.nest.flatten(f(inputs)) for f in models]
  if len(wanted) != len(found):
    return np.inf
  apart = _gaps(wanted, found, tolerance)
  if apart and not remembers:
    drawn = [
      _gaps(first, tf.nest.flatten(f(inputs)), tolerance)
      for f, first in zip(models, answers, strict=True)
    ]
    apart = {
      place: gap
      for place, gap in apart.items()
      if not all(place in places for places in drawn)
    }
  return next(iter(apart.values()), 0.0)


def random_inputs(structure: Any) -> Any:
  """Random inputs for symbolic tensors of either Keras.

  Args:
    structure: Tensors with a shape and a dtype, in any structure. A batch of
      any size gets 2 samples; any other free size is taken for 32.

  Returns:
    Arrays in the same structure: in [0, 1], zeros and ones of whole numbers,
    or 'a' and 'b' of strings.
  """
  rng = np.random.default_rng(0)

  def sample(tensor: Any) -> np.ndarray:
    batch, *sizes = tensor.shape
    shape = [batch or 2, *(32 if size is None else size for size in sizes)]
    dtype = tf.as_dtype(tensor.dtype).name
    if 'float' in dtype:
      return np.asarray(tf.cast(rng.uniform(0, 1, shape), dtype))
    if dtype == 'string':
      return rng.choice(['a', 'b'], shape).astype(object)
    return rng.integers(0, 2, shape).astype(dtype)

  return tf.nest.map_structure(sample, structure)


@contextmanager
def unchanged(variables: list[Any]) -> Iterator[None]:
  """Puts variables back: states, statistics and counters that a call moves."""
  before = [np.array(variable.numpy()) for variable in variables]
  try:
    yield
  finally:
    for value, variable in zip(before, variables, strict=True):
      if not np.array_equal(value, variable.numpy(), equal_nan=True):
        variable.assign(value)


def _gaps(
  wanted: list[Any], found: list[Any], tolerance: float
) -> dict[int, float]:
  """How far outputs are apart, by their place, where that is too far."""
  gaps = {}
  for place, (want, got) in enumerate(zip(wanted, found, strict=True)):
    gap, size = _gap(np.asarray(want), np.asarray(got))
    if not gap <= tolerance * (1 + size):
      gaps[place] = gap
  return gaps


def _gap(want: np.ndarray, got: np.ndarray) -> tuple[float, float]:
  """The largest difference of two outputs, and the largest size.

  What is infinite or NaN in the same way in both is no difference.
  """
  if want.shape != got.shape:
    return np.inf, 0.0
  want, got = want.astype(np.float64), got.astype(np.float64)
  same = (want == got) | (np.isnan(want) & np.isnan(got))
  finite = np.abs(want[np.isfinite(want)])
  return (
    np.abs(want[~same] - got[~same]).max(initial=0.0),
    finite.max(initial=0.0),
  )
