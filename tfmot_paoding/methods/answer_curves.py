"""What it costs the answers that one group alone has fewer units.

A layer that loses much of what passes it may matter little, or the other way
round: only the outputs tell. The group is cut to a few widths, what reads it
re-fitted each time, and the answers are looked at: forward passes alone. They
are looked at on inputs that were drawn once more as those that fits are made
on: on these themselves layers look cheap that the fits have merely learned to
do without, and inputs of another kind value the layers otherwise.
"""

from __future__ import annotations

import numpy as np

from tfmot_paoding.methods.elimination import combined_costs
from tfmot_paoding.methods.group_edit import GroupEdit
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.network.groups import Group

Array = np.ndarray

# The widths that are looked at, by the share of what may go.
_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


def answer_curve(
  network: NetworkView, group: Group, alive: Array, room: int
) -> Array:
  """How far answers are from the original's as a group loses units.

  Args:
    network: The network at its current weights, with moments.
    group: The group of n units.
    alive: Which units are there, (n,) of bool.
    room: How many may go, less than are alive.

  Returns:
    Shape (room + 1,): convex and ascending, beginning at what the network has
    lost already; infinite where its answers are not known.
  """
  edit = GroupEdit(network, group, alive)
  change = network.fitting.change_apart
  looked_at = {int(np.ceil(share * room)) for share in _SHARES}
  removed, gaps = [0], [change(network.params)]
  for count in range(1, room + 1):
    edit.begin()
    unit = _cheapest(edit)
    edit.eliminate(unit)
    edit.remove(unit)
    if count in looked_at:
      removed.append(count)
      gaps.append(change(edit.params()))
  return convex(np.array(removed), np.array(gaps))


def _cheapest(edit: GroupEdit) -> int:
  """The unit whose removal leaves the least error, twins first."""
  units = np.flatnonzero(edit.view.alive)
  twins = edit.view.twins(units) >= 0
  parts = [part for fit in edit.view.fits for part in fit.parts]
  costs = np.where(twins, 0.0, combined_costs(parts, units))
  return int(units[np.argmin(costs)])


def convex(removed: Array, gaps: Array) -> Array:
  """The convex curve below points, at every whole number.

  A cheap removal behind a dear one can be had only with it, and samples are
  few: what seems to come nearer to the original comes no nearer.

  Args:
    removed: Whole numbers, ascending from 0, shape (points,).
    gaps: Shape (points,).

  Returns:
    Shape (removed[-1] + 1,); infinite where any gap is.
  """
  everywhere = np.arange(removed[-1] + 1)
  if not np.all(np.isfinite(gaps)):
    return np.full(len(everywhere), np.inf)
  gaps, corners = np.maximum.accumulate(gaps), [0]
  for k in range(1, len(removed)):
    while len(corners) > 1 and _slope(removed, gaps, corners[-1], k) <= _slope(
      removed, gaps, corners[-2], corners[-1]
    ):
      corners.pop()
    corners.append(k)
  return np.interp(everywhere, removed[corners], gaps[corners])


def _slope(x: Array, y: Array, start: int, end: int) -> float:
  return float((y[end] - y[start]) / (x[end] - x[start]))
