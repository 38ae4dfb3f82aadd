"""How work over samples is shared out among the replicas of a strategy.

Where the caller has opened the scope of a `tf.distribute` strategy, each of its
replicas is handed the whole batch and takes rows of its own. A mean over the
batch is the sum over replicas of their means times their shares, and Keras's
optimizers sum gradients over replicas: what descends on such terms goes where
it goes on one device. Without a scope, nothing here does anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = [
  'WHOLE',
  'Part',
  'assign',
  'gathered',
  'on_each',
  'part_of',
  'run',
  'sharing',
]

Array = np.ndarray

_SHARING = (
  tf.distribute.MirroredStrategy,
  tf.distribute.MultiWorkerMirroredStrategy,
)


@dataclasses.dataclass(frozen=True)
class Part:
  """The rows of a batch that one replica works on.

  Attributes:
    rows: Which they are; None for all of them, where nobody shares.
    share: Of the batch. 0 where there are fewer rows than replicas: a row that
      is another's stands in then, and counts for nothing.
    replicas: How many share the batch.
    replica: Which of them it is of.
  """

  rows: slice | None = None
  share: float = 1.0
  replicas: int = 1
  replica: int = 0

  @classmethod
  def of(cls, count: int, replica: int, replicas: int) -> Part:
    """That of one of several replicas, of so many rows."""
    start, stop = (count * k // replicas for k in (replica, replica + 1))
    if start == stop:
      return cls(slice(0, 1), 0.0, replicas, replica)
    share = (stop - start) / count
    return cls(slice(start, stop), share, replicas, replica)

  def take(self, arrays: Sequence[Any]) -> list[Any]:
    """Its rows of arrays, tensors or variables."""
    return [x if self.rows is None else x[self.rows] for x in arrays]

  def own(self, made: tf.Tensor) -> tf.Tensor:
    """What it adds to what all make together, of what its rows led to."""
    if self.rows is None:
      return made
    # Not one or some for each row: it does not depend on them, and all have it.
    common = made.shape[0] % (self.rows.stop - self.rows.start)
    adds = self.share and not (common and self.rows.start)
    return made if adds else made[:0]

  def mean(self, value: tf.Tensor) -> tf.Tensor:
    """What a mean over its rows adds to the mean over the batch."""
    return value if self.rows is None else self.share * value

  def once(self, value: tf.Tensor) -> tf.Tensor:
    """What it adds of a value that every replica has alike."""
    return value if self.rows is None else value / self.replicas

  def moments(
    self,
    x: tf.Tensor,
    axes: Sequence[int],
    weights: tf.Tensor | None = None,
    keepdims: bool = False,
  ) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance over the whole batch, the same on every replica.

    Args:
      x: Its rows of a float tensor.
      axes: To take them over, the first one among them.
      weights: What entries count, broadcasting to `x`; None for all alike.
      keepdims: As in `tf.nn.moments`.
    """
    if self.rows is None and weights is None:
      return tf.nn.moments(x, axes, keepdims=keepdims)
    if self.rows is None:
      return tf.nn.weighted_moments(x, axes, weights, keepdims=keepdims)

    def over_all(values: tf.Tensor) -> tf.Tensor:
      if weights is None:
        own = tf.reduce_mean(values, axes, keepdims=True)
        return self.total(self.share * own)
      counts = tf.broadcast_to(weights, tf.shape(values))
      own = [
        tf.reduce_sum(part, axes, keepdims=True)
        for part in (counts * values, counts)
      ]
      return self.total(own[0]) / self.total(own[1])

    mean = over_all(x)
    squares = tf.math.squared_difference(x, tf.stop_gradient(mean))
    found = mean, over_all(squares)
    return found if keepdims else tuple(tf.squeeze(y, axes) for y in found)

  def total(self, value: tf.Tensor) -> tf.Tensor:
    """The sum over the batch of what is a sum over its rows.

    Gradients go back to each replica.
    """
    if self.rows is None:
      return value
    own = value if self.share else tf.zeros_like(value)
    replica = tf.distribute.get_replica_context()
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, own)


WHOLE = Part()


def sharing() -> tf.distribute.Strategy | None:
  """The strategy to share work over, whose scope the caller has opened.

  Returns:
    None where there is none, and where its one replica works as without it.

  Raises:
    ValueError: it is of a kind that does not share such work.
  """
  strategy = tf.distribute.get_strategy()
  if not tf.distribute.in_cross_replica_context():
    return None
  # Their variables want a replica even where there is but one.
  if isinstance(strategy, _SHARING):
    return strategy
  if strategy.num_replicas_in_sync == 1:
    return None
  raise ValueError(
    'Work over samples is shared out among the replicas of a MirroredStrategy '
    'or MultiWorkerMirroredStrategy, but the scope that is open is that of a '
    f'{type(strategy).__name__}. Call this outside of the scope, and load what '
    'it returns inside.'
  )


def run(step: Callable, *args: Any) -> Any:
  """Calls a function on every replica, or as it is where nobody shares.

  Args:
    step: Asks `part_of` which rows are its own.
    *args: What it takes.
  """
  strategy = sharing()
  return step(*args) if strategy is None else strategy.run(step, args)


def part_of(count: int) -> Part:
  """The part of so many rows that the replica works on that asks."""
  replica = tf.distribute.get_replica_context()
  if replica is None or replica.num_replicas_in_sync == 1:
    return WHOLE
  index = tf.get_static_value(replica.replica_id_in_sync_group)
  return Part.of(count, int(index), replica.num_replicas_in_sync)


def on_each(make: Callable[[], Any]) -> dict[int, Any]:
  """What each replica of this process makes, by its number."""
  found: dict[int, Any] = {}

  def own() -> None:
    found[part_of(0).replica] = make()

  run(own)
  return found


def assign(variables: Sequence[Any], values: Sequence[tf.Tensor]) -> None:
  """Sets variables to what each replica has alike, in training or outside."""
  replica = tf.distribute.get_replica_context()
  if replica is None or not tf.distribute.has_strategy():
    for variable, value in zip(variables, values, strict=True):
      variable.assign(value)
    return

  def on_all(strategy: Any, variables: Any, values: Any) -> None:
    for variable, value in zip(variables, values, strict=True):
      strategy.extended.update(variable, _assign, args=(value,))

  replica.merge_call(on_all, args=(list(variables), list(values)))


def _assign(variable: Any, value: tf.Tensor) -> Any:
  return variable.assign(value)


def gathered(
  make: Callable[[], dict[Any, tf.Tensor]], count: int
) -> dict[Any, Array]:
  """What all replicas make of their rows, one after the other.

  Args:
    make: Gives tensors with a batch axis for the rows that `part_of` says.
    count: How many rows there are.

  Returns:
    An array of all rows for each tensor that it gives.
  """
  strategy = sharing()
  if strategy is None:
    return {key: x.numpy() for key, x in make().items()}

  def own() -> dict[Any, tf.Tensor]:
    part = part_of(count)
    return {key: part.own(x) for key, x in make().items()}

  return {key: _joined(strategy, x) for key, x in strategy.run(own).items()}


def _joined(strategy: tf.distribute.Strategy, made: Any) -> Array:
  """The rows of all replicas, those of other processes included."""
  here = strategy.experimental_local_results(made)
  if len(here) < strategy.num_replicas_in_sync:
    return strategy.gather(made, axis=0).numpy()
  return np.concatenate([x.numpy() for x in here])
