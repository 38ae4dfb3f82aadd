"""Which families of inputs a network tells apart, as it does what it knows.

A classifier that was trained on a kind of input is sure of each and has many
answers to all of them: what an input says about its answer, the mutual
information of the two, is large. Of a kind that it has never seen it is either
unsure, or gives one answer to all. That needs forward passes alone.

Reference: Salimans et al. 2016 (the inception score, whose logarithm it is),
arXiv 1606.03498.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from tfmot_paoding.inputs.named_priors import NAMED_PRIORS
from tfmot_paoding.inputs.prior import InputPrior, VariedPrior, prior_samples
from tfmot_paoding.inputs.ranges import InputRange, input_boxes
from tfmot_paoding.inputs.rows import RowsPrior, picture_of
from tfmot_paoding.network.agreement import all_outputs
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape

Array = np.ndarray

# Of the information of the family that a network knows best. Networks for
# photographs, with and without batch normalization, have .75 to .95 of it for
# leaves, those for digits .15 to .4.
_KNOWN = 0.5
_NOTHING = 0.01  # nats: what answers to all inputs alike may seem to say
# What stands for all kinds of picture.
_FAMILIES = ('varied', 'leaves', 'blobs', 'strokes')
# Pictures have longer sides than windows of sensors or coefficients of speech
# have: a keyword spotter that is taught on leaves and strokes forgets.
_SIDE = 16
# The least side of a picture in a vector, or in the rows of a sequence, of
# which the network is asked. Coefficients of speech are ten to forty a step.
_LEAST_SIDE = 8
# How often the entries of vectors are shuffled, and how much more a network has
# to tell of them in order. MLPs for digits have 1.3 to 1.5 times as much, with
# their entries shuffled themselves .9 to 1.0, those for tables .9 to 1.03.
_SHUFFLES, _ORDERED = 3, 1.15
_MULTIPLY_ACCUMULATES = 4e9  # of all inputs of a family


def is_picture(shape: Shape) -> bool:
  """Whether an input looks like a picture, not a table of features.

  Args:
    shape: Without the batch axis.
  """
  return len(shape) == 3 and min(shape[:2]) >= _SIDE and shape[2] in (1, 3, 4)


def tells_pictures(network: Network) -> bool:
  """Whether a network takes pictures alone, and gives classes of them."""
  return _tells(network, is_picture)


def tells_rows(network: Network) -> bool:
  """Whether a network reads long rows, and gives classes of them."""
  return _tells(network, lambda x: len(x) == 2 and min(x) >= _LEAST_SIDE)


def tells_vectors(network: Network) -> bool:
  """Whether a network reads vectors that may be pictures, and gives classes."""
  return _tells(network, _may_be_picture)


def _tells(network: Network, reads: Callable[[Shape], bool]) -> bool:
  """Whether a network reads such inputs alone, and gives classes of them."""
  classes = any(head.is_classes for head in network.heads())
  return classes and all(map(reads, network.input_shapes))


def _may_be_picture(shape: Shape) -> bool:
  picture = picture_of(shape) if len(shape) == 1 else None
  return picture is not None and picture[0] >= _LEAST_SIDE


def families_for(network: Network) -> str:
  """The prior of many kinds of input that suits a network."""
  return 'mixed' if tells_pictures(network) else 'varied'


def knows_leaves(network: Network, input_range: InputRange, seed: int) -> bool:
  """Whether a network tells dead leaves apart nearly as well as anything drawn.

  Leaves have the statistics of photographs, so that a network which knows these
  does; one for glyphs or spectrograms does not.

  Args:
    network: A network that `tells_pictures`; others know none.
    input_range: The range of its inputs.
    seed: The only source of chance.
  """
  if not tells_pictures(network):
    return False
  count = _asked(network)
  rng = np.random.default_rng([seed, 3])
  found = {
    name: _information(network, input_range, NAMED_PRIORS[name], count, rng)
    for name in _FAMILIES
  }
  return found['leaves'] >= max(_NOTHING, _KNOWN * max(found.values()))


def knows_rows(network: Network, input_range: InputRange, seed: int) -> bool:
  """Whether features of a step, or of a vector, have an order for a network.

  Then it tells fields apart that are smooth along them better than those whose
  features are all alike, or in a vector than the same ones shuffled.

  Args:
    network: One that `tells_rows` or `tells_vectors`; others know none.
    input_range: The range of its inputs.
    seed: The only source of chance.
  """
  vectors = tells_vectors(network)
  if not (vectors or tells_rows(network)):
    return False
  count = _asked(network)
  alike = VariedPrior()
  rows = RowsPrior(alike)
  others = (
    [_Shuffled(rows, k) for k in range(_SHUFFLES)] if vectors else [alike]
  )
  ordered, *others = (
    _information(
      network, input_range, prior, count, np.random.default_rng([seed, 3])
    )
    for prior in (rows, *others)
  )
  least = (_ORDERED if vectors else 1) * max(others)
  return ordered >= _NOTHING and ordered > least


@dataclasses.dataclass(frozen=True)
class _Shuffled(InputPrior):
  """Vectors with their entries in another order, each in its own range.

  Attributes:
    of: What draws them.
    seed: Of the order.
  """

  of: InputPrior
  seed: int

  def sample(
    self, box: Interval, count: int, rng: np.random.Generator
  ) -> Array:
    """Inputs, shape (count, *box.low.shape)."""
    order = np.random.default_rng(self.seed).permutation(box.low.size)
    width = box.high - box.low
    x = self.of.sample(box, count, rng) - box.low
    parts = np.divide(x, width, out=np.zeros_like(x), where=width > 0)
    return box.low + width * parts[:, order]


def _asked(network: Network) -> int:
  """Of how many inputs of a family a network is asked."""
  count = _MULTIPLY_ACCUMULATES / max(network.macs, 1)
  return int(np.clip(count, 64, 512))


def _information(
  network: Network,
  input_range: InputRange,
  prior: InputPrior,
  count: int,
  rng: np.random.Generator,
) -> float:
  """What inputs of a family say about all answers that are classes."""
  samples = prior_samples(
    prior,
    input_boxes(network, input_range, network.input_shapes),
    network.input_shapes,
    count,
    rng,
    input_range.middles(network.input_names),
  )
  outputs = all_outputs(network.model, samples)
  return sum(
    head.information(output)
    for head, output in zip(network.heads(), outputs, strict=True)
    if head.is_classes
  )
