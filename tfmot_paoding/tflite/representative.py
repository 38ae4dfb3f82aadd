"""The inputs that integer files take their ranges from, and are checked on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.first_layers import whole_entries
from tfmot_paoding.inputs.ranges import input_boxes
from tfmot_paoding.inputs.samples import with_answers
from tfmot_paoding.inputs.source import (
  InputSource,
  draw_samples,
  loose_source,
)
from tfmot_paoding.inputs.statistics_fit import STATISTICS
from tfmot_paoding.inputs.user_data import calibration_samples
from tfmot_paoding.network.answering import outputs_of
from tfmot_paoding.network.graph import build_graph
from tfmot_paoding.network.network import Network
from tfmot_paoding.network.outputs import heads_of
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray

_REPRESENTATIVE = 128
_CHECKED = 48
MOST = _REPRESENTATIVE + _CHECKED
# Beside them, of the whole box: inside it, and at its corners.
_UNIFORM = 24
_CORNERS = 8
_EXTREMES = 32
_STEPS = 3
# Recalled inputs drive outputs about as far as the data, but they are few.
_REACH = 1.25


@dataclasses.dataclass(frozen=True)
class Representative:
  """Inputs by name, samples first.

  Attributes:
    ranging: What ranges are taken from.
    checked: Others, to compare the file with the model on; the same where the
      user gave too few to hold some apart.
    reach: How much wider than on `ranging` the ranges of some outputs shall
      be, by output name.
  """

  ranging: dict[str, Array]
  checked: dict[str, Array]
  reach: dict[str, float] = dataclasses.field(default_factory=dict)


def representative(
  model: keras.Model,
  input_range: Any,
  *,
  seed: int,
  data: Any = None,
  prior: Any = None,
  verbose: int | str = 0,
  coarse: bool = True,
) -> Representative:
  """Inputs that span what a model may see.

  The user's; or recalled or drawn ones. Nothing may cut off outputs that are
  numbers, and a prior is what inputs look like and no promise: then samples
  from all over the declared range are among them, and some that drive the
  outputs to their ends. Recalled inputs stand for the data themselves, beside
  which others would coarsen the steps of integers for nothing; so would they
  for classes, which are right however far the largest of them is cut.

  Args:
    model: The model.
    input_range: The range of its inputs.
    seed: The only source of chance.
    data: Inputs that the user has.
    prior: Where others come from, as in `draw_samples`.
    verbose: Whether to show a progress bar where inputs are recalled: 'auto'
      (on a terminal and in a notebook), 1 or 0.
    coarse: Whether the integers are so few that wide ranges cost answers.

  Raises:
    ValueError: the user's data do not fit the model or the range.
  """
  boxes, reach = _boxes(model, input_range), {}
  if data is not None:
    drawn = calibration_samples(model, data, MOST)
    drawn = with_answers(model, drawn, '`representative_data`')
    _check_inside(model, drawn, boxes)
    ranging = [x[:_REPRESENTATIVE] for x in drawn]
    checked = [x[_REPRESENTATIVE:] for x in drawn]
    if len(checked[0]) < 2:
      checked = [x[:_CHECKED] for x in ranging]
  else:
    network = Network.of(model)
    source = loose_source(network, input_range, seed, None, prior, verbose)
    taken = source.for_ranges(network)
    drawn = taken.samples(network, MOST, 'varied')
    apart = max(1, len(drawn[0]) * _CHECKED // MOST)
    ranging = [x[:-apart] for x in drawn]
    checked = [x[-apart:] for x in drawn]
    numbers = _number_outputs(model)
    wide = bool(numbers) and not _stand_for_data(network, source, taken)
    if not wide:
      reach = dict.fromkeys(numbers, _REACH)
    if wide or not coarse:
      rng = np.random.default_rng([seed, 2])
      more = _joined(
        _all_over(model, boxes, _UNIFORM, _CORNERS, rng),
        _driven(model, boxes, rng),
      )
      ranging = _joined(ranging, with_answers(model, more))
    if wide:
      more = _all_over(model, boxes, _UNIFORM // 2, _CORNERS // 2, rng)
      checked = _joined(checked, with_answers(model, more))
  return Representative(
    _named(model, _spanning(_within(ranging, boxes), boxes)),
    _named(model, _within(checked, boxes)),
    reach,
  )


def _stand_for_data(
  network: Network, given: InputSource, ranging: InputSource
) -> bool:
  """Whether inputs are those that the network's statistics speak of.

  Args:
    network: The network.
    given: Where the user has inputs from.
    ranging: What ranges are taken from in its place.
  """
  is_told = ranging is not given and ranging.prior == STATISTICS
  was_recalled = ranging.recollection is not None
  return is_told or was_recalled or ranging.recalls(network)


def a_few(
  model: keras.Model, input_range: Any, *, seed: int, count: int
) -> Representative:
  """A few smooth inputs, for a file that nobody will run."""
  boxes = _boxes(model, input_range)
  drawn = draw_samples(
    model, input_range, count, seed=seed, data=None, prior='smooth'
  )
  x = _named(model, _spanning(_within(drawn, boxes), boxes))
  return Representative(x, x)


def _boxes(model: keras.Model, input_range: Any) -> list[Interval]:
  graph = build_graph(model)
  shapes = [graph.shapes[value] for value in graph.inputs]
  return input_boxes(model, input_range, shapes)


def _number_outputs(model: keras.Model) -> list[str]:
  """The names of the outputs that are no classes."""
  heads = heads_of(build_graph(model))
  return [
    name
    for name, head in zip(model.output_names, heads, strict=True)
    if not head.is_classes
  ]


def _check_inside(
  model: keras.Model, drawn: list[Array], boxes: list[Interval]
) -> None:
  """Raises unless the user's data lie in the declared range."""
  for name, x, box in zip(model.input_names, drawn, boxes, strict=True):
    slack = 1e-3 * (box.high - box.low) + 1e-6
    if np.any((x < box.low - slack) | (x > box.high + slack)):
      raise ValueError(
        f'`representative_data` of input {name!r} lie within '
        f'[{x.min():g}, {x.max():g}], outside `input_range`. Scale them as the '
        'model was trained, or pass the range they have.'
      )


def _joined(*parts: list[Array]) -> list[Array]:
  """Samples of several sources, by input."""
  return [np.concatenate(xs) for xs in zip(*parts, strict=True)]


def _all_over(
  model: keras.Model,
  boxes: list[Interval],
  inside: int,
  corners: int,
  rng: np.random.Generator,
) -> list[Array]:
  """Samples from inside the whole box, and corners of it."""
  made = []
  wholes = whole_entries(model, build_graph(model))
  for whole, tensor, box in zip(wholes, model.inputs, boxes, strict=True):
    shape = box.low.shape
    x = [
      rng.uniform(box.low, box.high, (inside, *shape)),
      np.where(rng.random((corners, *shape)) < 0.5, box.low, box.high),
    ]
    x = np.concatenate(x)
    x = np.where(whole, np.rint(x), x)
    made.append(x.astype(tensor.dtype.as_numpy_dtype))
  return made


def _driven(
  model: keras.Model, boxes: list[Interval], rng: np.random.Generator
) -> list[Array]:
  """Samples that drive outputs that are numbers to their ends.

  Each goes a few times to the corner that its gradient points at: for a
  network that is nearly affine, to where an output is largest or smallest.
  """
  numbers = _number_outputs(model)
  x = _all_over(model, boxes, _EXTREMES, 0, rng)
  real = [~whole for whole in whole_entries(model, build_graph(model))]
  if not numbers or not any(one.any() for one in real):
    return [a[:0] for a in x]
  goals = None
  for _ in range(_STEPS):
    given = [
      tf.constant(a, tensor.dtype)
      for a, tensor in zip(x, model.inputs, strict=True)
    ]
    with tf.GradientTape() as tape:
      tape.watch(given)
      made = [
        tf.reshape(tf.cast(y, tf.float32), (len(y), -1))
        for name, y in zip(
          model.output_names, outputs_of(model, given), strict=True
        )
        if name in numbers
      ]
      made = tf.concat(made, 1)
      if goals is None:
        goals = _goals(made.shape[1], rng)
      goal = tf.reduce_sum(made * goals)
    slopes = tape.gradient(goal, given)
    x = [
      a
      if slope is None
      else np.where(
        moves & (slope > 0),
        box.high,
        np.where(moves & (slope < 0), box.low, a),
      )
      for a, slope, box, moves in zip(x, slopes, boxes, real, strict=True)
    ]
  return x


def _goals(outputs: int, rng: np.random.Generator) -> Array:
  """Which output each sample shall drive up (1) or down (-1)."""
  goals = np.zeros((_EXTREMES, outputs), np.float32)
  half = _EXTREMES // 2
  chosen = np.resize(rng.permutation(outputs), half)
  goals[np.arange(half), chosen] = 1.0
  goals[half + np.arange(half), chosen] = -1.0
  return goals


def _within(drawn: list[Array], boxes: list[Interval]) -> list[Array]:
  return [
    np.clip(x, box.low, box.high) for x, box in zip(drawn, boxes, strict=True)
  ]


def _spanning(drawn: list[Array], boxes: list[Interval]) -> list[Array]:
  """The samples, with the ends of the range among them."""
  for x, box in zip(drawn, boxes, strict=True):
    # They belong to the input's scale.
    lowest, highest = np.argmin(box.low), np.argmax(box.high)
    x[0].ravel()[lowest] = box.low.ravel()[lowest]
    x[-1].ravel()[highest] = box.high.ravel()[highest]
  return drawn


def _named(model: keras.Model, drawn: list[Array]) -> dict[str, Array]:
  """By input name, as the model takes them."""
  return {
    name: (np.where(whole, np.rint(x), x)).astype(tensor.dtype.as_numpy_dtype)
    for whole, tensor, name, x in zip(
      whole_entries(model, build_graph(model)),
      model.inputs,
      model.input_names,
      drawn,
      strict=True,
    )
  }
