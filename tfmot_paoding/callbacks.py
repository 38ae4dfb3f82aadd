"""The callback that drives a pruning schedule in `fit`."""

from __future__ import annotations

from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.compat import keras
from tfmot_paoding.driver import Driver, History
from tfmot_paoding.wrapper import PruneLowSaliency


class UpdatePruningStep(compat.UpdatePruningStep):
  """Prunes as training goes on; a TFMOT `UpdatePruningStep`.

  At each step at which the schedule asks for it, units are chosen by the
  weights as training has made them. Removed units stay removed to the end.

  Args:
    calibration_data: As in `run_schedule`, for methods that fit.
    prior: As in `run_schedule`.

  Example:
  ```python
  wrapped = paoding.prune_low_saliency(model, schedule)
  wrapped.compile(...)
  wrapped.fit(x, y, callbacks=[paoding.UpdatePruningStep()])
  ```
  """

  def __init__(self, calibration_data: Any = None, prior: Any = None):
    super().__init__()
    self._calibration_data = calibration_data
    self._prior = prior
    self._driver: Driver | None = None
    self._last = -1

  @property
  def history(self) -> History:
    """Sparsity, units removed and seconds of each pruning step.

    Raises:
      ValueError: training has not begun, or the model is not wrapped by
        `prune_low_saliency`.
    """
    if self._driver is None:
      raise ValueError(
        'There is no history before training of a model from '
        'prune_low_saliency has begun.'
      )
    return self._driver.history

  def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
    """Finds the groups; prunes already if the schedule begins at step 0."""
    super().on_train_begin(logs)
    if not any(isinstance(x, PruneLowSaliency) for x in self.prunable_layers):
      self._driver = None  # none of ours: TFMOT's callback does all there is
      return
    self._driver = Driver(
      self.model,
      False,
      self._calibration_data,
      refresh=False,
      prior=self._prior,
    )
    self._last = self._step()
    if self._last == 0:
      self._driver.step(0)

  def on_train_batch_end(
    self, batch: int, logs: dict[str, Any] | None = None
  ) -> None:
    """Prunes if the schedule asks for it at this step."""
    super().on_train_batch_end(batch, logs)
    if self._driver is None:
      return
    # Several steps may have been taken in one execution.
    for step in range(self._last + 1, self._step() + 1):
      self._driver.step(step)
    self._last = self._step()

  def _step(self) -> int:
    return int(keras.backend.get_value(self.prunable_layers[0].pruning_step))
