"""How far a model's answers are from another's, on inputs without labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.network.answering import Answering
from tfmot_paoding.network.batches import in_batches
from tfmot_paoding.network.cloning import has_state, plain_copy
from tfmot_paoding.network.network import Network

Array = np.ndarray

# What a model is to give that cannot be compared, or made a file of.
IN_PLACE_OF_DRAWS = 'what does not draw, such as the mean of what is sampled'
# Where the original gives nearly always one class, agreement tells nothing.
_ONE_ANSWER = 0.9
# Of values: a variance below it is none.
_NOTHING = 1e-12
# A distance up to which no model draws at random, and how many inputs show it.
_ALIKE, _ASKED_AGAIN = 1e-6, 4
# Of the largest answer: sums may come in another order.
_SAME = 1e-4


@dataclasses.dataclass(frozen=True)
class Verdict:
  """How alike two models answer.

  Attributes:
    distance: Mean squared distance of logits, in units of the first model's
      variance, summed over outputs; column by column for numbers, which may be
      of different units.
    agreement: The fraction of inputs with the same answers; NaN for outputs
      that are no classes.
    explained: The least share of an output's variance that the other model
      keeps, of outputs that are numbers, and of logits where the inputs hardly
      tell; NaN where there are none.
    commonest: How often the original gives its commonest answer; NaN as
      `agreement`.
    inputs: Whose inputs this speaks of, in words; '' where nobody said.
    divergence: As `distance`, but of classes by the divergence of what the
      logits make likely; see `Head.gap`.
    information: What these inputs say about the original's classes, in nats;
      see `Head.information`. NaN as `agreement`.
    draws: Whether the original answers the same inputs otherwise each time, as
      it draws at random; nothing is told then.
  """

  distance: float
  agreement: float
  explained: float = float('nan')
  commonest: float = float('nan')
  inputs: str = ''
  divergence: float = float('nan')
  draws: bool = False
  information: float = float('nan')

  @property
  def kept(self) -> float:
    """The share of what the original says that is left, at most 1.

    Of classes the same answers, of numbers the variance explained; the smaller
    one where a model gives both.
    """
    return float(np.fmin(self.agreement, self.explained))

  @property
  def is_blind(self) -> bool:
    """Whether the inputs hardly tell: nearly all have one answer."""
    return self.commonest > _ONE_ANSWER

  def __str__(self) -> str:
    """A sentence with the figures, and whose inputs they are of."""
    parts = []
    if self.agreement == self.agreement:
      parts.append(f'the same answers as the original on {self.agreement:.1%}')
    if self.explained == self.explained:
      parts.append(f"{self.explained:.1%} of its outputs' variance")
    said = ' and '.join(parts) + f' of {self.inputs or "the inputs compared"}'
    if self.is_blind:
      said += (
        f' (of which it answers {self.commonest:.0%} alike itself, so that '
        'this tells little)'
      )
    if self.draws:
      said += (
        ' (but the original draws at random, and answers the same inputs '
        'otherwise each time, so that this tells nothing: let it give '
        f'{IN_PLACE_OF_DRAWS})'
      )
    return said


def check_ends(
  original: keras.Model,
  other: keras.Model,
  names: tuple[str, str] = ('`original`', '`pruned`'),
) -> None:
  """Raises unless two models take the same inputs and give the same outputs.

  Args:
    original: The model before pruning.
    other: What pruning made of it.
    names: What the caller calls the two.

  Raises:
    ValueError: shapes differ.
  """
  for kind in ('inputs', 'outputs'):
    ours, theirs = (
      [tuple(tensor.shape)[1:] for tensor in getattr(model, kind)]
      for model in (original, other)
    )
    if not _fit(ours, theirs):
      raise ValueError(
        f'The {kind} of {names[0]} have shapes {ours}, those of {names[1]} '
        f'{theirs}. Pass a model and what pruning made of it.'
      )


def _fit(ours: list[tuple], theirs: list[tuple]) -> bool:
  """Whether sizes are the same wherever both are known."""
  ranks = [[len(shape) for shape in shapes] for shapes in (ours, theirs)]
  return ranks[0] == ranks[1] and all(
    None in (a, b) or a == b
    for one, two in zip(ours, theirs, strict=True)
    for a, b in zip(one, two, strict=True)
  )


def judge(
  original: keras.Model | Network,
  other: keras.Model,
  samples: Sequence[Array],
) -> Verdict:
  """Runs two models on the same inputs.

  Args:
    original: The model to be like.
    other: A model with the same inputs and outputs.
    samples: One array an input of the model, with a batch axis.

  Raises:
    ValueError: the inputs or outputs of the two differ.
  """
  network = Network.of(original)
  check_ends(network.model, other, ('`original`', '`other`'))
  models = (network.model, other)
  ours, theirs = (all_outputs(model, samples) for model in models)
  distance = divergence = 0.0
  alike, explained, commonest, information = [], [], [], []
  for head, a, b in zip(network.heads(), ours, theirs, strict=True):
    before, after = (np.asarray(head.logits(x), np.float64) for x in (a, b))
    gap = head.distance(before, after)
    distance += gap
    divergence += head.gap(before, after)
    if head.is_classes:
      answers = head.answers(a)
      alike.append(np.mean(answers == head.answers(b)))
      commonest.append(_commonest(answers))
      information.append(head.information(a))
      if commonest[-1] > _ONE_ANSWER:
        # Not by what lies between classes, which is what makes them so sure.
        spread = max(float(before.var(0).mean()), _NOTHING)
        explained.append(1.0 - float(np.square(after - before).mean()) / spread)
    else:
      explained.append(1.0 - gap)
  return Verdict(
    distance,
    float(np.mean(alike)) if alike else float('nan'),
    max(0.0, min(explained)) if explained else float('nan'),
    max(commonest, default=float('nan')),
    divergence=divergence,
    draws=distance > _ALIKE and draws_at_random(network.model, samples, ours),
    information=sum(information) if information else float('nan'),
  )


def _commonest(answers: Array) -> float:
  """How often the commonest answer comes."""
  return float(np.unique(answers, return_counts=True)[1].max() / answers.size)


def all_outputs(model: keras.Model, samples: Sequence[Array]) -> list[Array]:
  """Every output for all samples, at inference, as from a fresh state."""
  if has_state(model):
    model = plain_copy(model)
  answering, found = Answering(model), []
  for x in in_batches(samples):
    found.append([np.asarray(a) for a in answering(x)])
  return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def draws_at_random(
  model: keras.Model,
  samples: Sequence[Array],
  answered: Sequence[Array] | None = None,
) -> bool:
  """Whether a model answers the same inputs otherwise each time it is asked.

  Layers of Keras's draw in training alone; one of a user's may do so always.

  Args:
    model: The model.
    samples: One array an input, with a batch axis; a few are looked at.
    answered: What it has answered to all of them, if it was asked.
  """
  few = [x[:_ASKED_AGAIN] for x in samples]
  again = all_outputs(model, few)
  first = [x[:_ASKED_AGAIN] for x in answered or ()]
  # Of a model that gives several rows for an input these are of one input.
  asked = [x.shape for x in first] == [x.shape for x in again]
  if asked and _same_answers(first, again):
    return False
  # Asked among others it may have rounded otherwise.
  return not _same_answers(again, all_outputs(model, few))


def _same_answers(ours: Sequence[Array], theirs: Sequence[Array]) -> bool:
  """Whether answers to the same inputs differ by no more than rounding."""
  return not any(
    np.abs(a - b).max(initial=0.0) > _SAME * np.abs(a).max(initial=0.0)
    for a, b in zip(ours, theirs, strict=True)
  )
