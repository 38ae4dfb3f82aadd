"""How a pruned network is taught: the loss, the length, how many inputs."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_paoding.arguments import is_number, warn_idle
from tfmot_paoding.registry import Configurable

LOSSES = ('divergence', 'squares')
# Of all inputs: what a teacher answers, and students learn, in a minute.
_MULTIPLY_ACCUMULATES = 5e10
# Of all inputs: four times as many are drawn for a classifier to choose from.
_ENTRIES = 2.5e7
_INPUTS, _FEWEST_INPUTS = 8192, 128
# Of all steps. A network of 12 million, half of it gone, keeps .598 of .70 on
# CIFAR-10 with 240 steps on 800 inputs, .622 with 240 on 4096, and .641 with
# 1500 on these.
_FEW_STEPS, _MANY_STEPS = 3e9, 1.5e10
# Inputs that were seen more often teach little; only few steps go beyond.
_EPOCHS = 64
# The distance from a teacher that a whole lesson is worth, and the least part
# of one. On training images of MNIST and CIFAR-10 students at .001 to .01 are
# as good after a sixteenth of a lesson, one at .07 has .76 in place of .84.
_FAR, _LEAST_PART = 0.03, 1 / 8
# How fast it falls between these: at .01 half a small convolutional network has
# .981 and two MLPs, .6 of them gone, .981 and .982 at 1.5 (.980, .982 and .981
# at 1), after two thirds of the time.
_FALL = 1.5
# What a step keeps of all layers to take gradients by: numbers of 4 bytes, a
# GiB; and no smaller batches than these, whose gradients are mostly noise.
_KEPT = 1 << 28
_BATCHES = (8, 128)
# What one call keeps that no step is taken by, where it pays: a call takes ten
# milliseconds of Python, a small network less for a thousand inputs.
_KEPT_OF_MANY, _MANY = 1 << 22, 1024
# A small network, a tenth of it left, keeps .78 of .98 on MNIST at 1e-3 and .83
# at 3e-3, the one above .641 and .631. Weights of large outputs bear less, and
# so do students nearby: half of an MLP and of a small convolutional network
# have .979 and .979 on training images at 1e-3, .979 and .978 at 3e-3.
_SMALL = 1e6
# How far inputs of a small network are moved, in their deviations, and how many
# inputs of a user leave nothing to gain by it. On training images, a tenth of
# the units left, five seeds: MLPs at .829, .792 and .854 keep .841, .842 and
# .883; on 448 real images .895 becomes .917, on 7168 .978 becomes .970. A VGG
# (.675), an LSTM (.858) and a small convolutional network (.969) gain nothing.
_MOVED, _PLENTY = 0.15, 2048
# Nor is there from this distance on: half of an MLP keeps .987 and .986 without
# (.987 and .986 with), half of a small convolutional network .980 (.980), after
# as little as half of the computing.
_NEAR = _FAR / 2
# What hints count beside the answers, of networks for pictures. A spotter of
# keywords, taught on what its first statistics tell, loses a point or two.
_HINTS = 3.0


@dataclasses.dataclass(frozen=True)
class DistillSettings(Configurable):
  """How to distill.

  Attributes:
    steps: Of the optimizer; None for as many as a network's size allows in
      some forty seconds, 100 to 4000, and as the inputs have to tell; fewer
      where the student answers nearly as its teacher already.
    batch_size: Inputs a step; None for 128, and fewer, in more steps, where
      what a step keeps of them would take more than a GiB.
    learning_rate: Adam's at the start; it falls to 0 by a cosine. None: 1e-3,
      3e-4 for networks with batch normalization, and the better of 1e-3 and
      3e-3 for others of less than 1e6 multiply-accumulates, unless the student
      answers nearly as its teacher already.
    samples: How many inputs, an eighth of which is kept apart to judge by;
      None for as many as there are, up to 8192, fewer for large networks and
      large inputs.
    loss: 'divergence' compares classes by the Kullback-Leibler divergence,
      'squares' by the squared distance of their logits, as outputs that are
      numbers always are, and classes beside them.
    temperature: Of the divergence; None for a third of the deviation of the
      teacher's logits, so that it does not matter in what unit they are, and
      at least 1 behind a softmax or sigmoid.
    adversarial: How far half of the inputs are moved, again and again on the
      way, to where the pruned network differs more from the original: a step of
      so many standard deviations of each entry, up the gradient.
      0 leaves them where they are. None: 0.15 for networks of less than 1e6
      multiply-accumulates, unless you have thousands of inputs or it answers
      nearly as the original already, 0 for others, to which it brings nothing.
    hints: What it counts beside the answers that linear maps of the student's
      hidden values are to give the teacher's, where these have positions; 0
      for the answers alone. None: 3 for networks of at least 1e6
      multiply-accumulates that tell pictures apart, 0 for others.
    effort: How much of it, where `steps` or `samples` are None: 2.0 takes twice
      as many steps on twice as many inputs, as far as there are any and memory
      bears, and 0.25 a quarter of both, of inputs at least 128. Time goes
      along: at 0.25, 1 and 4 an MLP without four fifths of its units has .911,
      .935 and .947 of .977 on MNIST after 3, 8 and 27 s of computing, half a
      VGG .587, .617 and .640 of .700 on CIFAR-10 after 12, 41 and 140 s.
  """

  steps: int | None = None
  batch_size: int | None = None
  learning_rate: float | None = None
  samples: int | None = None
  loss: str = 'divergence'
  temperature: float | None = None
  adversarial: float | None = None
  hints: float | None = None
  effort: float = 1.0

  def __post_init__(self):
    for name in ('steps', 'batch_size', 'samples'):
      value = getattr(self, name)
      if value is None:
        continue
      if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
          f'`{name}` must be an integer of at least 1, but got {value!r}.'
        )
    if self.learning_rate is not None and not self.learning_rate > 0:
      raise ValueError(
        f'`learning_rate` must be positive, but got {self.learning_rate!r}.'
      )

    if self.loss not in LOSSES:
      raise ValueError(
        f'`loss` must be one of {", ".join(map(repr, LOSSES))}, but got '
        f'{self.loss!r}.'
      )
    if self.temperature is not None and not self.temperature > 0:
      raise ValueError(
        f'`temperature` must be positive or None, but got {self.temperature!r}.'
      )
    if self.adversarial is not None and not (
      is_number(self.adversarial) and 0 <= self.adversarial < np.inf
    ):
      raise ValueError(
        '`adversarial` must be None or a number of standard deviations from 0, '
        f'such as 0.15, but got {self.adversarial!r}.'
      )
    if self.hints is not None and not (
      is_number(self.hints) and 0 <= self.hints < np.inf
    ):
      raise ValueError(
        '`hints` must be None or a number from 0, such as 3.0 for thrice what '
        f'the answers count, but got {self.hints!r}.'
      )
    if not (is_number(self.effort) and 0 < self.effort < np.inf):
      raise ValueError(
        '`effort` must be a positive number, such as 2.0 for twice as many '
        f'steps and inputs, but got {self.effort!r}.'
      )
    if None not in (self.steps, self.samples) and self.effort != 1:
      warn_idle(
        {'effort': self.effort},
        'since `steps` and `samples` are given',
        'Leave out one of these, which it is then to choose, or `effort`.',
      )

  def count(self, macs: int, entries: int) -> int:
    """How many inputs.

    Args:
      macs: Multiply-accumulates of the network.
      entries: Numbers of one input.
    """
    if self.samples is not None:
      return self.samples
    time = self.effort * min(_MULTIPLY_ACCUMULATES / max(macs, 1), _INPUTS)
    return int(max(min(time, _ENTRIES / entries), _FEWEST_INPUTS))

  def usual_count(self, count: int, macs: int, entries: int) -> int:
    """How many inputs had come at an effort of 1.

    Args:
      count: How many came at this one; where that is fewer than were asked
        for, there are no more.
      macs: Multiply-accumulates of the network.
      entries: Numbers of one input.
    """
    usual = dataclasses.replace(self, effort=1.0).count(macs, entries)
    asked = self.count(macs, entries)
    return min(usual, count) if count < asked else usual

  def rates(
    self, macs: int, normalized: bool, gap: float = _FAR
  ) -> tuple[float, ...]:
    """Learning rates, of which the best is to be found by trying.

    Args:
      macs: Multiply-accumulates of the network.
      normalized: Whether it has batch normalization.
      gap: As in `length`.
    """
    if self.learning_rate is not None:
      return (self.learning_rate,)
    if normalized:
      return (3e-4,)
    strays = macs < _SMALL and not gap < _NEAR
    return (1e-3, 3e-3) if strays else (1e-3,)

  def reach(self, macs: int, given: int | None, gap: float = _FAR) -> float:
    """How far inputs are moved, in standard deviations.

    Args:
      macs: Multiply-accumulates of the network.
      given: How many inputs a user has; None where they are drawn.
      gap: As in `length`.
    """
    if self.adversarial is not None:
      return self.adversarial
    scarce = given is None or given < _PLENTY
    gains = macs < _SMALL and scarce and not gap < _NEAR
    return _MOVED if gains else 0.0

  def hint_weight(self, macs: int, pictures: bool) -> float:
    """What hints count beside the answers.

    Args:
      macs: Multiply-accumulates of the network.
      pictures: Whether it tells pictures apart.
    """
    if self.hints is not None:
      return self.hints
    return _HINTS if pictures and macs >= _SMALL else 0.0

  def batch(self, entries: int) -> int:
    """How many inputs a step.

    Args:
      entries: Numbers in all of a network's values, of one input.
    """
    if self.batch_size is not None:
      return self.batch_size
    return int(np.clip(_KEPT // max(entries, 1), *_BATCHES))

  def at_once(self, entries: int) -> int:
    """How many inputs are asked about in one call.

    Args:
      entries: Numbers in all of a network's values, of one input.
    """
    many = min(_KEPT_OF_MANY // max(entries, 1), _MANY)
    return max(many, self.batch(entries))

  def length(
    self, macs: int, inputs: int, batch: int, gap: float = _FAR
  ) -> int:
    """How many steps.

    Args:
      macs: Multiply-accumulates of the network.
      inputs: How many it learns from at an effort of 1.
      batch: How many a step.
      gap: How far the student is before any step, as its lesson measures it;
        what is no number counts as far.
    """
    if self.steps is not None:
      return self.steps
    smaller = _BATCHES[1] / batch
    few = np.clip(_FEW_STEPS * smaller / max(macs, 1), 100, 2000)
    many = np.clip(_MANY_STEPS * smaller / max(macs, 1), 100, 4000)
    usual = int(np.clip(_EPOCHS * inputs / batch, few, many))
    part = np.clip(np.clip(gap / _FAR, 0, 1) ** _FALL, _LEAST_PART, 1)
    part = float(np.nan_to_num(part, nan=1.0))
    return max(1, int(self.effort * part * usual))
