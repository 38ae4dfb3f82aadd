"""When a lesson is over, and which of the weights on its way are kept."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from tfmot_paoding.compat import keras

Array = np.ndarray

# Logits this near, in units of their variance, leave nothing to learn: an MLP
# at 7e-5 has .9996 of its teacher's answers on training images of MNIST, and a
# lesson leads it away, as it does one for gestures at 1e-5. At 4e-4, with .997
# of the answers, it still brings some.
ALIKE = 3e-5
# Looks in a row that each find it further off before a lesson is given up.
_RISES = 3
# Looks at a lesson; each runs the network on an eighth of the inputs.
_LOOKS = 12
# Steps that are worth a look.
_FEWEST_STEPS = 25


def is_over(distances: Sequence[float]) -> bool:
  """Whether nothing is left to learn, or what is learned does harm.

  A distance that stays as it is says nothing, nor does one that rises a little:
  students of few inputs, a tenth to a half of their units left, answer on MNIST
  as well or better at the end as where they were nearest (.74 and .68, .974 and
  .971). What is further off than it was before any lesson, and still goes away,
  is not worth the rest of it.

  Args:
    distances: On inputs kept apart, before and at each look so far.
  """
  *_, last = distances
  if not last >= ALIKE:  # or no number, from which no step leads back
    return True
  recent = distances[-_RISES - 1 :]
  rises = [b > a for a, b in itertools.pairwise(recent)]
  return len(rises) == _RISES and all(rises) and last > distances[0]


def looks(steps: int) -> list[int]:
  """The numbers of steps after which to look, evenly, the last left out."""
  count = min(_LOOKS, max(1, steps // _FEWEST_STEPS))
  return sorted({steps * k // count for k in range(1, count)})


class Watch:
  """Looks at a student on inputs kept apart, and remembers its best weights.

  Args:
    student: The model that learns.
    distance: How far it is from its teacher on inputs kept apart.

  Attributes:
    distances: Those found so far, the first one before any step.
  """

  def __init__(self, student: keras.Model, distance: Callable[[], float]):
    self._student = student
    self._distance = distance
    self._best: list[Array] = []
    self.distances: list[float] = []
    self.look()

  def look(self) -> bool:
    """Notes where the student stands, and tells whether to end."""
    now = self._distance()
    known = [x for x in self.distances if x == x]  # not those of no number
    if not self.distances or now < min(known, default=math.inf):
      self._best = self._student.get_weights()
    self.distances.append(now)
    return is_over(self.distances)

  def settle(self) -> None:
    """Leaves the student as it is if it came nearer, else as it was at best."""
    self.look()
    if not self.distances[-1] < self.distances[0]:
      self._student.set_weights(self._best)
