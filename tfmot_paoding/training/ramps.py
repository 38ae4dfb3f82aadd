"""Numbers that change while a model trains."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tfmot_paoding.arguments import is_number


@dataclasses.dataclass(frozen=True)
class Ramp:
  """A number that goes in a straight line from one value to another.

  Attributes:
    first: Its value up to `begin_step`.
    last: Its value from `end_step` on.
    begin_step: The training step where it begins to change.
    end_step: The training step where it is through.
  """

  first: float
  last: float
  begin_step: int
  end_step: int

  def __post_init__(self):
    if not 0 <= self.begin_step < self.end_step:
      raise ValueError(
        'A ramp must begin at a step of at least 0 and end after it begins, '
        f'but goes from step {self.begin_step} to {self.end_step}.'
      )

  def __call__(self, step: tf.Tensor) -> tf.Tensor:
    """The value at a training step, float32."""
    step = tf.cast(step, tf.float32)
    length = float(self.end_step - self.begin_step)
    share = tf.clip_by_value((step - self.begin_step) / length, 0.0, 1.0)
    return self.first + share * (self.last - self.first)


Number = float | Ramp


def value_at(number: Number, step: tf.Tensor) -> tf.Tensor:
  """A number, or what a ramp is at a step; float32."""
  if isinstance(number, Ramp):
    return number(step)
  return tf.constant(number, tf.float32)


def check_number(
  number: Number, name: str, least: float = 0.0, most: float = float('inf')
) -> None:
  """Raises unless a number, or both ends of a ramp, lie in a range.

  Raises:
    TypeError: it is neither.
    ValueError: it does not.
  """
  ends = (number.first, number.last) if isinstance(number, Ramp) else (number,)
  for end in ends:
    if not is_number(end):
      raise TypeError(
        f'`{name}` must be a number or a Ramp, but got {number!r}.'
      )
    if not least <= end <= most or end == float('inf'):
      room = f'lie in [{least:g}, {most:g}]'
      if most == float('inf'):
        room = f'be finite and at least {least:g}'
      raise ValueError(f'`{name}` must {room}, but got {end!r}.')


def end_of(*numbers: Number) -> int:
  """The training step from which nothing changes any more."""
  return max((n.end_step for n in numbers if isinstance(n, Ramp)), default=0)
