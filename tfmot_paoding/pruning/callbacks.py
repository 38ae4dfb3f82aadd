"""The callback that drives a pruning schedule in `fit`."""

from __future__ import annotations

from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.compaction.standing import warn_if_short
from tfmot_paoding.deprecation import takes_old_calls
from tfmot_paoding.inputs.prior import PriorLike
from tfmot_paoding.inputs.user_data import Inputs
from tfmot_paoding.pruning.following import Follower
from tfmot_paoding.pruning.history import History
from tfmot_paoding.pruning.shares import warn_of_rounding
from tfmot_paoding.pruning.unit_wrapper import UnitWrapper
from tfmot_paoding.training.first_step import trace_once


class UpdatePruningStep(compat.UpdatePruningStep):
  """Prunes as training goes on; a TFMOT `UpdatePruningStep`.

  At each step at which the schedule asks for it, units are chosen by the
  weights as training has made them. Removed units stay removed to the end.
  A training loop of your own calls `on_train_begin`, then `on_epoch_end` and,
  for each batch, `on_train_batch_begin` or `on_train_batch_end`.

  What other callbacks save at any time is a whole model at the sparsity of its
  step, from which training goes on. What restores weights when training ends
  (`EarlyStopping`) stands before this callback, which warns if they are of a
  step at which fewer units were removed.

  Args:
    data: Unlabelled inputs, if you have some, for methods that fit: an array, a
      list or dict of arrays, or a batched `tf.data.Dataset`.
    prior: Where inputs to fit on come from otherwise: 'smooth', 'varied',
      'recalled', a `Prior` of your own, or a dict of input name to one.

  Example:
  ```python
  wrapped = paoding.prune_low_saliency(model, schedule)
  wrapped.compile(...)
  wrapped.fit(x, y, callbacks=[paoding.UpdatePruningStep()])
  ```
  """

  @takes_old_calls(renamed={'calibration_data': 'data'})
  def __init__(self, data: Inputs = None, prior: PriorLike = None):
    super().__init__()
    self._data = data
    self._prior = prior
    self.follower: Follower | None = None

  @property
  def history(self) -> History:
    """Sparsity, units removed and seconds of each pruning step.

    Raises:
      ValueError: training has not begun, or the model is not wrapped by
        `prune_low_saliency`.
    """
    if self.follower is None:
      raise ValueError(
        'There is no history before training of a model from '
        'prune_low_saliency has begun.'
      )
    return self.follower.history

  def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
    """Finds the groups; prunes already if the schedule begins at step 0.

    The first step is traced once, not twice as Keras's own.

    Raises:
      ValueError: no group of the model can be pruned, or a callback behind this
        one sets weights back.
    """
    # First, so that wrappers which TFMOT's part asks find it.
    self.follower = None
    layers = compat.collect_prunable_layers(self.model)
    if any(isinstance(layer, UnitWrapper) for layer in layers):
      if compat.restores_after(self):
        raise ValueError(
          'EarlyStopping(restore_best_weights=True) sets the weights back when '
          'training ends, after UpdatePruningStep has looked at them for the '
          'last time. List it before UpdatePruningStep.'
        )
      self.follower = Follower(self.model, self._data, self._prior)
      trace_once(self.model)
    super().on_train_begin(logs)

  def on_train_batch_begin(
    self, batch: int, logs: dict[str, Any] | None = None
  ) -> None:
    """Prunes where nobody said that the last batch had ended."""
    super().on_train_batch_begin(batch, logs)
    self._catch_up()

  def on_train_batch_end(
    self, batch: int, logs: dict[str, Any] | None = None
  ) -> None:
    """Prunes if the schedule asks for it at this step."""
    super().on_train_batch_end(batch, logs)
    self._catch_up()

  def on_epoch_end(
    self, batch: int, logs: dict[str, Any] | None = None
  ) -> None:
    """Prunes where nobody said that the last batch had ended; masks weights."""
    self._settle()
    super().on_epoch_end(batch, logs)

  def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
    """Masks what an optimizer's average or a callback wrote at the end.

    Warns where training has ended before the schedule.
    """
    super().on_train_end(logs)
    self._settle()
    super().on_epoch_end(-1, logs)
    if self.follower is not None:
      warn_of_rounding(self.follower.history.layers)
      name = self.model.name
      warn_if_short(name, self.follower.standings)

  def _catch_up(self) -> None:
    if self.follower is not None:
      self.follower.catch_up()

  def _settle(self) -> None:
    if self.follower is not None:
      self.follower.settle()
