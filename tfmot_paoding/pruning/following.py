"""Keeps a model in training at the sparsity that its schedule asks for."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfmot_paoding import callers, compat
from tfmot_paoding.arguments import warn_idle
from tfmot_paoding.compaction.standing import Standing
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.prior import PriorLike
from tfmot_paoding.inputs.samples import check_source
from tfmot_paoding.inputs.user_data import Inputs
from tfmot_paoding.network.graph import Graph
from tfmot_paoding.pruning.driver import Driver
from tfmot_paoding.pruning.history import History
from tfmot_paoding.pruning.schedule import passed_steps
from tfmot_paoding.pruning.unit_wrapper import UnitWrapper
from tfmot_paoding.pruning.wrapped import Wrapped


class Follower:
  """Prunes one model as the training steps that its wrappers count go by.

  It may be asked at any time, as often as one likes: each step of the schedule
  is carried out once, at the first call after the training step it belongs to.

  Args:
    model: A wrapped model, or one that trains a wrapped model inside it; its
      training begins now.
    data: Unlabelled inputs, for methods that fit; see `run_schedule`.
    prior: Where inputs come from otherwise.

  Attributes:
    model: The model.
    ended: Whether an epoch has ended since the last training began.

  Raises:
    ValueError: no group of the model can be pruned, or it is subclassed and
      its layers are wrapped one by one.
  """

  def __init__(
    self, model: keras.Model, data: Inputs = None, prior: PriorLike = None
  ):
    self.model = model
    self.ended = False
    self._wrapped = Wrapped.of(_trained_graph(model))
    check_source(self._wrapped.network, data, prior)
    source = self._wrapped.source(data, prior)
    self._driver = Driver(self._wrapped, source, bounded=False, refresh=False)
    if not self._driver.fits:
      warn_idle(
        {'data': data, 'prior': prior},
        'since the method that the model was wrapped for fits nothing in fit',
        "Leave them out, or wrap the model for 'reconstruction'.",
      )
    self._counter = _counter(self._driver.graph)
    for wrapper in compat.collect_prunable_layers(model):
      if keras.backend.get_value(wrapper.pruning_step) == -1:
        keras.backend.set_value(wrapper.pruning_step, 0)
    self._last = self._step()
    # A checkpoint may hold a step that was counted, but not carried out yet.
    self._driver.reach(self._last)
    self._removed = self._driver.removed
    unexpected = self._wrapped.unexpected
    if unexpected:
      reasons = '; '.join(f'{name}: {why}' for name, why in unexpected.items())
      warnings.warn(
        f'These layers keep their units. {reasons}.', stacklevel=callers.level()
      )

  @property
  def history(self) -> History:
    """What was pruned since training began."""
    return self._driver.history

  @property
  def standings(self) -> dict[str, Standing]:
    """How far each group has come, by its first layer."""
    return self._driver.standings(self._last)

  def catch_up(self) -> int:
    """Carries out what the schedule asks for since the last call.

    Returns:
      How often units were removed.
    """
    step = self._step()
    # Several steps may have been taken in one execution.
    steps = itertools.takewhile(
      lambda passed: passed > self._last,
      passed_steps(self._driver.schedules, step),
    )
    removed = [self._driver.step(passed) for passed in reversed(list(steps))]
    self._last = step
    if any(removed):
      self._removed = self._driver.removed
      self._restart_averages()
    return sum(removed)

  def settle(self) -> int:
    """`catch_up` where somebody may have set the model back meanwhile."""
    pruned = self.catch_up()
    self._mask_averages()
    removed = self._driver.removed
    if removed >= self._removed:
      return pruned
    # It may have been saved when its step was counted, but not carried out.
    self._driver.reach(self._last)
    removed, was = self._driver.removed, self._removed
    self._removed = removed
    if removed < was:
      warnings.warn(
        f'The weights of training step {self._last} were restored. The model '
        f'of that step has {removed} of {self.history.units} units removed, '
        f'not {was}. Train on, or call run_schedule, to reach them; to choose '
        'among models of the last sparsity alone, let the callback that '
        'restores begin when the schedule has ended (EarlyStopping: '
        '`start_from_epoch`).',
        stacklevel=callers.level(),
      )
    return pruned

  def _restart_averages(self) -> None:
    """Averages of weights from before a merge are another network's."""
    for weight, average in self._averages():
      average.assign(keras.backend.get_value(weight))

  def _mask_averages(self) -> None:
    """An optimizer that averages writes them over the weights in the end."""
    for weight, average in self._averages():
      if isinstance(weight.constraint, compat.MaskConstraint):
        mask = keras.backend.get_value(weight.constraint.mask)
        average.assign(keras.backend.get_value(average) * mask)

  def _averages(self) -> Iterator[tuple[Any, Any]]:
    optimizer = getattr(self.model, 'optimizer', None)
    return compat.moving_averages(optimizer, self.model)

  def _step(self) -> int:
    return int(keras.backend.get_value(self._counter))


def attend(callback: Any, epoch_ends: bool = False) -> None:
  """Prunes a model whose wrappers TFMOT's own callback asks something of.

  Args:
    callback: The callback that asks, or None.
    epoch_ends: Whether it does so at an epoch's end, else at the beginning.

  Raises:
    ValueError: the model cannot be pruned, or not by TFMOT's callback.
  """
  model = getattr(callback, 'model', None)
  if model is None or not tf.executing_eagerly():
    return
  follower = getattr(callback, 'follower', None)
  known = follower is not None and follower.model is model
  if known and (epoch_ends or not follower.ended):
    if follower.settle() > 1:
      warnings.warn(_TOGETHER, stacklevel=callers.level())
  else:
    if compat.restores_after(None):
      raise ValueError(_RESTORED)
    follower = callback.follower = Follower(model)
  follower.ended = epoch_ends


_TOGETHER = (
  "TFMOT's UpdatePruningStep speaks to its wrappers only at an epoch's end: "
  'all pruning steps of the epoch were carried out there together. Pass '
  'tfmot_paoding.UpdatePruningStep() instead to prune at each step.'
)


_RESTORED = (
  'EarlyStopping(restore_best_weights=True) sets weights back when training '
  "ends, after TFMOT's UpdatePruningStep has spoken to its wrappers for the "
  'last time: fewer units may be gone than it was told. Pass '
  'tfmot_paoding.UpdatePruningStep() instead, behind it.'
)


def _trained_graph(model: keras.Model) -> keras.Model:
  """The wrapped graph of layers in a model that trains it."""
  if compat.is_graph_model(model):
    return model
  holders = [
    layer
    for layer in model.layers
    if isinstance(layer, UnitWrapper)
    or (
      isinstance(layer, keras.Model) and compat.collect_prunable_layers(layer)
    )
  ]
  if len(holders) == 1 and isinstance(holders[0], keras.Model):
    return _trained_graph(holders[0])
  return model


def _counter(graph: Graph) -> Any:
  """The variable that counts training steps.

  Each wrapper counts the calls of its own; a layer called twice counts double.
  """
  path = min(
    (p for p, w in graph.wrappers.items() if isinstance(w, UnitWrapper)),
    key=lambda p: graph.calls[p],
  )
  return graph.wrappers[path].pruning_step
