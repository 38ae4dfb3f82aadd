"""Keeps a model in training at the sparsity that its schedule asks for."""

from __future__ import annotations

from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.driver import Driver, History
from tfmot_paoding.graph import Graph
from tfmot_paoding.unit_wrapper import UnitWrapper


class Follower:
  """Prunes one model as the training steps that its wrappers count go by.

  It may be asked at any time, as often as one likes: each step of the schedule
  is carried out once, at the first call after the training step it belongs to.

  Args:
    model: A wrapped model, whose training begins now.
    calibration_data: As in `run_schedule`, for methods that fit.
    prior: As in `run_schedule`.

  Raises:
    ValueError: no group of the model can be pruned.
  """

  def __init__(
    self, model: keras.Model, calibration_data: Any = None, prior: Any = None
  ):
    self._model = model
    self._driver = Driver(
      model, False, calibration_data, refresh=False, prior=prior
    )
    self._counter = _counter(self._driver.graph)
    for wrapper in compat.collect_prunable_layers(model):
      if keras.backend.get_value(wrapper.pruning_step) == -1:
        keras.backend.set_value(wrapper.pruning_step, 0)
    self._last = self._step()
    # A checkpoint may hold a step that was counted, but not carried out yet.
    self._driver.reach(self._last)

  @property
  def history(self) -> History:
    """What was pruned since training began."""
    return self._driver.history

  def catch_up(self) -> None:
    """Carries out what the schedule asks for since the last call."""
    step = self._step()
    # Several steps may have been taken in one execution.
    for passed in range(self._last + 1, step + 1):
      self._driver.step(passed)
    self._last = step

  def _step(self) -> int:
    return int(keras.backend.get_value(self._counter))


def _counter(graph: Graph) -> Any:
  """The variable that counts training steps.

  Each wrapper counts the calls of its own; a layer called twice counts double.
  """
  path = min(
    (p for p, w in graph.wrappers.items() if isinstance(w, UnitWrapper)),
    key=lambda p: graph.calls[p],
  )
  return graph.wrappers[path].pruning_step
