"""What an operation on tensors must answer; it knows nothing of Keras.

A layer is lowered to one or more operations on tensors without their batch
axis. An operation knows which unit of its input each weight entry belongs to,
bounds its output, bounds the change of its output, and hands back how far the
network's outputs can move when its input does.

Bounds, constants and gains are arrays that broadcast to the tensor's shape: an
axis of size 1 stands for "the same at every position". The last axis, that of
the channels, is always there in full.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfmot_paoding.numerics import intervals, tangents
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.numerics.tangents import Lines

Array = np.ndarray
Shape = tuple[int, ...]


class WeightRef(NamedTuple):
  """A weight by its layer's path through nested models and its attribute.

  The attribute may have dots, and numbers for what stands in a list:
  'cell.cells.0.kernel'.
  """

  layer: tuple[str, ...]
  name: str

  def of(self, layer: Any) -> Any:
    """The variable of a layer.

    Raises:
      AttributeError: the layer has none of that name.
    """
    return attribute(layer, self.name)


def attribute(holder: Any, name: str) -> Any:
  """An attribute of an attribute, as `WeightRef` names it.

  Raises:
    AttributeError: there is none.
  """
  for part in name.split('.'):
    if not part.isdecimal():
      holder = getattr(holder, part)
      continue
    try:
      holder = holder[int(part)]
    except (IndexError, TypeError) as error:
      raise AttributeError(f'{holder!r} has no entry {part}.') from error
  return holder


Params = Mapping[WeightRef, Array]


class Gain(NamedTuple):
  """How far each output can move per unit of movement of each entry.

  A change within [-a, b] (a, b >= 0) moves output k within
  [-(a up + b down), b up + a down]. Both arrays: (*entries, outputs), the
  entries being those of the bounds array: one that stands for several
  positions stands for all of them moving at once.
  """

  up: Array
  down: Array

  def scaled(self, up: Array, down: Array) -> Gain:
    """Behind something that moves `up` (and `down`) per unit, >= 0 each."""
    up, down = up[..., None], down[..., None]
    return Gain(
      up * self.up + down * self.down, up * self.down + down * self.up
    )

  def reshape(self, shape: Shape) -> Gain:
    """Other axes for the same entries in the same order."""
    shape = (*shape, self.up.shape[-1])
    return Gain(self.up.reshape(shape), self.down.reshape(shape))

  def fitted(self, shape: Shape) -> Gain:
    """For an array of another extent: positions that move at once add up."""
    return Gain(_fit(self.up, shape), _fit(self.down, shape))


def _fit(gain: Array, shape: Shape) -> Array:
  """Sums axes that `shape` has at size 1; repeats along those it has longer."""
  # An axis that is only in the one stands before the others.
  gain = gain.reshape((1,) * (len(shape) + 1 - gain.ndim) + gain.shape)
  extra = gain.ndim - 1 - len(shape)
  gain = gain.sum(tuple(range(extra)))
  axes = tuple(
    axis
    for axis, size in enumerate(shape)
    if size == 1 and gain.shape[axis] > 1
  )
  gain = gain.sum(axes, keepdims=True) if axes else gain
  return np.broadcast_to(gain, (*shape, gain.shape[-1]))


class WeightAxes(NamedTuple):
  """Where a weight keeps its units.

  Attributes:
    incoming: Axis that follows the operation's input units, or None.
    outgoing: Axis that follows its output units, or None.
    masked: Whether removing a unit zeroes its entries.
    blocks: Into how many blocks of like entries the input's units fall; the
      incoming axis is as long as one of them.
    incoming_run: How many of the input's channels, one behind the other, lie
      at one place of the incoming axis: those of a head of attention.
    outgoing_run: The same of the output's channels and the outgoing axis.
    incoming_tiles: How many times the places of the incoming axis lie one
      behind the other in the input's channels: once for each head.
    outgoing_tiles: The same of the output's channels and the outgoing axis.
  """

  incoming: int | None
  outgoing: int | None
  masked: bool = True
  blocks: int = 1
  incoming_run: int = 1
  outgoing_run: int = 1
  incoming_tiles: int = 1
  outgoing_tiles: int = 1

  def along_incoming(self, channels: Array) -> Array:
    """What there is of each input channel, by places of the incoming axis."""
    count = len(channels) // (self.blocks * self.incoming_tiles)
    return channels[:count][:: self.incoming_run]

  def along_outgoing(self, channels: Array) -> Array:
    """What there is of each output channel, by places of the outgoing axis."""
    count = len(channels) // self.outgoing_tiles
    return channels[:count][:: self.outgoing_run]


class Rescaled(NamedTuple):
  """What makes up for zeros that leave what others are measured with.

  Attributes:
    weights: The weights that change, of all channels.
    epsilon: What the layer adds to the mean square instead; None where that
      stays.
    width: How many channels the layer measures then, those that it is not
      given being zeros; None where it measures what it is given.
  """

  weights: dict[WeightRef, Array]
  epsilon: float | None = None
  width: int | None = None


class UnitBook(Protocol):
  """Where operations note what becomes of units; see `groups`."""

  label: str

  def new(self, shape: Shape) -> Array:
    """New units along the last axis, the same at every position."""

  def tie(self, one: Array, other: Array) -> None:
    """Entries that live or die together; arrays of one shape."""

  def align(self, numbers: Array, axis: int) -> int:
    """Ties entries of one place along an axis; how many units that leaves."""

  def freeze(self, units: Array, reason: str) -> None:
    """Units that must stay."""

  def stays(self, units: Array) -> bool:
    """Whether none of some units can leave, as far as is known by now."""

  def share(self, key: Any, units: Array) -> None:
    """Ties units to those of the same key, in another call of a layer."""

  def mark_nonzero(self, units: Array) -> None:
    """Units that are not zero from here on where all their weights are."""

  def freeze_nonzero(self, units: Array, reason: str) -> None:
    """Those of the units that were marked so must stay."""


class Op:
  """One operation; subclasses are frozen dataclasses.

  What a class says of itself below is all that the rest of the package asks
  before it treats an operation in some way: a new kind is taught here and
  nowhere else. One that says nothing is left alone. (What has a rule of its
  own for some kinds keeps a table of them: relaxations in `bounds`, exact
  encodings in `robustness.marabou`, surrogates in `training.live`.)

  Attributes:
    channelwise: Whether an output unit is a function of one input unit alone.
    carries: Whether its output's channels are its input's, though what becomes
      of one may depend on others.
    rescales: Whether channels that leave change its weights, or a setting of
      its layer's: then `rescaled` says how.
    told_by: The method of its layer's handler that tells the layer of that
      setting; None where there is none.
    joins: Whether it takes several inputs; then every method takes tuples.
    makes_units: Whether its output's channels are units of its own.
    linear: Whether it is an affine function of its inputs, position by
      position known: then it has `transform`, else `relax`.
    rearranges: Whether each entry of its output is an entry of its input.
    known: Whether anything is; if not, its `reason` says why.
    consumes_units: Whether it multiplies its input's channels by the rows of a
      `matrix`, so that other channels' rows can take over from them: then it
      has all that `Product` has, and is fitted by least squares.
    feeds_back: Whether what it reads is made, a step later, of what it makes.
    taps: How many rows of the matrix each input channel has.
    taps_vary: Whether a position sees some of the taps alone.
    multiplies: The weight it multiplies by at every position, None for none:
      multiply-accumulates are counted by it, and dividing it, and the
      operation's other weights, by a channel's scale divides the output.
    from_input: Whether those positions are its input's, not its output's.
    normalizes: Whether it is batch normalization, or its scale alone.
    statistics: The mean and variance it normalizes by, None for none.
    activates: Whether it is what a Keras layer calls its activation, a
      function without weights.
    kinks: Where its slope jumps, of an elementwise one.
    rectifies: Whether each entry is one line above zero and another below.
    extreme: 'max' or 'min' if each entry of its output is the largest or the
      smallest of its inputs' there, or, of a single input, of several of its
      entries: then `competitor` tells these. None for any other.
    looks_up: Whether its inputs are indices into a table.
    moves_positions: Whether it takes, averages or repeats positions.
    needs_sizes: Whether, inside a layer, it must know how many entries there
      are along every axis.
    borrows: Weights of another operation's that it reads as well, along units
      that it ties to that one's.
    answers: What outputs mean that it makes: 'softmax', 'sigmoid', 'logits'
      (of a classifier, if their shape is that of one) or 'values'.
  """

  linear = False
  rearranges = False
  channelwise = False
  joins = False
  makes_units = False
  rescales = False
  told_by: str | None = None
  known = True
  consumes_units = False
  feeds_back = False
  taps = 1
  taps_vary = False
  multiplies: WeightRef | None = None
  from_input = False
  normalizes = False
  statistics: tuple[WeightRef, WeightRef] | None = None
  activates = False
  kinks: tuple[float, ...] = ()
  rectifies = False
  extreme: str | None = None
  looks_up = False
  moves_positions = False
  needs_sizes = False
  borrows: tuple[WeightRef, ...] = ()
  answers = 'values'

  def weights(self) -> dict[WeightRef, WeightAxes]:
    """The weights it reads."""
    return {}

  @property
  def carries(self) -> bool:
    """Whether its output's channels are its input's."""
    return self.channelwise

  @property
  def own_weights(self) -> tuple[WeightRef, ...]:
    """The weights that are its own; operations that have the same are one."""
    return tuple(ref for ref in self.weights() if ref not in self.borrows)

  @property
  def unit_weights(self) -> tuple[WeightRef, ...]:
    """The weights that units which pass it lie in."""
    return self.own_weights

  def function(self) -> Any:
    """Equal for operations that differ in sizes alone."""
    return self

  def under_mask(self) -> Op:
    """What it becomes in a layer that heeds a Keras mask and is given one."""
    return self

  @property
  def obstacle(self) -> str | None:
    """Why it cannot be followed position by position, or None."""
    return None

  def is_open(self, sizes: Sequence[int | None], source: Shape) -> bool:
    """Whether it cannot be told while its layer leaves sizes open.

    Args:
      sizes: Of what the layer makes, without the batch axis; None where open.
      source: Of what the operation reads, 1 for what is open.
    """
    del sizes, source
    return False

  def out_shape(self, in_shape: Shape, out_shape: Shape) -> Shape:
    """Its output's shape where its layer has further operations behind it."""
    del in_shape
    return out_shape

  def contractions(self, in_shapes: tuple[Shape, ...]) -> tuple[int, ...]:
    """Products of inputs with one another, at a channel of each input.

    Multiply-accumulates of one sample; those with a weight are `multiplies`.

    Args:
      in_shapes: Without the batch axis.
    """
    return (0,) * len(in_shapes)

  def infer_shape(
    self, in_shapes: tuple[Shape, ...], size: Callable[[WeightRef], Shape]
  ) -> Shape | None:
    """Its output's shape from its inputs' and its weights'.

    Args:
      in_shapes: Without the batch axis.
      size: The shape of a weight.

    Returns:
      The shape; None where they do not tell.

    Raises:
      ValueError: they do not fit one another.
    """
    del size
    return in_shapes[0] if self.channelwise else None

  def runs(self, in_shape: Shape) -> bool:
    """Whether `run` has a value on samples of what it reads.

    Args:
      in_shape: The shape of its first input, without the batch axis.
    """
    if type(self).run is not Op.run:
      return True
    if self.obstacle is not None:
      return False
    pieces = self.pieces(in_shape)
    if pieces != (self,):
      return all(piece.runs(in_shape) for piece in pieces)
    return self.linear

  def run(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Its value on samples; gradients pass.

    Args:
      params: The weights, in the samples' precision.
      *x: The inputs, (batch, *shape).

    Raises:
      NotImplementedError: it has no `transform`, and says nothing else.
    """
    pieces = self.pieces(tuple(x[0].shape[1:]))
    if pieces != (self,):
      (value,) = x
      for piece in pieces:
        value = piece.run(params, value)
      return value
    if not self.linear:
      raise NotImplementedError(f'{type(self).__name__} has no `run`.')
    return self.transform(params, *x) + tf.cast(
      self.intercept(params), x[0].dtype
    )

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """The unit number of every entry of the output; -1 for none.

    Args:
      book: Takes note of new, tied and frozen units.
      sources: The unit numbers of every entry of the inputs.
      shape: The output's shape.
    """
    del book, shape
    return sources[0]

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Bounds of the output from bounds of the input."""
    raise NotImplementedError

  def difference(
    self, params: Params, d: Interval, x: Interval, y: Interval
  ) -> Interval:
    """Bounds of op(y) - op(x) from bounds of y - x, of x and of y.

    The weights are the same on both sides.
    """
    raise NotImplementedError

  def changed(self, before: Params, after: Params, x: Interval) -> Interval:
    """Bounds of what other weights do to one input."""
    return intervals.subtract(self.bounds(after, x), self.bounds(before, x))

  def pullback(self, params: Params, gain: Gain, x: Interval) -> Gain:
    """The gain at the input from the gain at the output."""
    raise NotImplementedError

  def needs(self, x: Sequence[Array]) -> tuple[Array | None, ...]:
    """Which channels matter though no row of a matrix may read them.

    Of an operation that contracts its inputs' channels with one another, or
    measures them together.

    Args:
      x: For each input, entries that no input of the network can change, NaN
        for the others.

    Returns:
      For each input, (channels,) of bool, or the like of its entries; None
      where none does.
    """
    return (None,) * len(x)

  def constant(self, params: Params, x: Array) -> Array:
    """The output's entries that no input can change; NaN for the others.

    Args:
      params: The weights.
      x: The same of the operation's input.
    """
    fixed = ~np.isnan(x)
    if not self.channelwise and not fixed.all():
      zero = point(np.zeros_like(x))
      return np.full(self.bounds(params, zero).low.shape, np.nan)
    known = np.where(fixed, x, 0.0)
    value = self.bounds(params, point(known)).centre
    return np.where(fixed, value, np.nan) if self.channelwise else value

  def rescaled(self, params: Params, before: int, after: int) -> Rescaled:
    """What makes up for zeros that leave, of one that `rescales`.

    Args:
      params: The weights.
      before: How many channels it reads.
      after: How many of them stay; more for zeros that join them.
    """
    raise NotImplementedError

  # Of single samples, position by position, with a batch axis.

  def pieces(self, in_shape: Shape) -> tuple[Op, ...]:
    """The operations it is made of, each linear or relaxed by lines."""
    del in_shape
    return (self,)

  def rectifiers(self) -> tuple[Op, ...]:
    """The same function as operations in a row, each linear or a rectifier.

    None of what is either itself, or can be written so by no row.
    """
    return ()

  def competitor(self, x: tf.Tensor, k: int) -> tf.Tensor:
    """Of what an extreme of one input is taken of, the k-th everywhere."""
    raise NotImplementedError

  def transform(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """Its value without the offset, for a linear one.

    Args:
      params: The weights.
      *x: The inputs, (batch, *shape), float64.
    """
    raise NotImplementedError

  def spread(self, params: Params, *x: tf.Tensor) -> tf.Tensor:
    """`transform` with its weights' absolute values."""
    raise NotImplementedError

  def intercept(self, params: Params) -> Array | float:
    """The offset of a linear one, broadcasting to its output."""
    del params
    return 0.0

  def change(self, before: Params, after: Params) -> tuple[Op, Params] | None:
    """What other weights add to `transform`; None without weights."""
    del before, after
    return None

  def relax(self, params: Params, *x: Interval) -> Lines:
    """Lines below and above its value, for one that is not linear.

    Args:
      params: The weights.
      *x: Bounds of the inputs, (batch, *shape).
    """
    value = self.bounds(params, x if self.joins else x[0])
    return tangents.constant(value, len(x))

  # For channelwise operations only.

  def source_of(self, entries: Array) -> Array:
    """The input channel that each of these output channels comes from."""
    return entries

  def pair(
    self,
    params: Params,
    gap: Interval,
    a: Interval,
    b: Interval,
    left: Array,
    right: Array,
  ) -> Interval:
    """Bounds of op(x)[left] - op(x)[right], all of shape (pairs,).

    Args:
      params: The weights.
      gap: Bounds of the difference of the input channels they come from.
      a: Bounds of the left one's input channel.
      b: Bounds of the right one's input channel.
      left: Output channels.
      right: Output channels.
    """
    raise NotImplementedError

  def unfold(
    self, params: Params, rows: Array, bias: Array
  ) -> tuple[Array, Array]:
    """What units z = rows . x + bias become, activations taken as linear.

    Args:
      params: The weights.
      rows: Shape (d, channels in).
      bias: Shape (channels in,).

    Returns:
      The same of the output: (d', channels out) and (channels out,).
    """
    del params
    return rows, bias

  def traits(self, params: Params) -> Array:
    """Its own weights by output channel, shape (k, channels); k may be 0."""
    del params
    return np.zeros((0, 1))


def point(x: Array) -> Interval:
  """The interval that holds one value."""
  return Interval(x, x)


@dataclasses.dataclass(frozen=True)
class Opaque(Op):
  """An operation that the package does not know.

  Groups that touch it are left alone; no bound can pass it.

  Attributes:
    reason: Why it is opaque, naming the layer.
  """

  reason: str

  known = False

  def function(self) -> Any:
    """Any two are taken for the same: nothing is claimed of either."""
    return Opaque

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """No units leave it, and those that enter must stay."""
    for source in sources:
      book.freeze(source, self.reason)
    return np.broadcast_to(-1, shape)

  def bounds(self, params: Params, x: Interval) -> Interval:
    """Refuses: a bound made up here would not be sound."""
    raise ValueError(f'No sound bounds: {self.reason}.')

  difference = bounds
  pullback = bounds

  def constant(self, params: Params, x: Array) -> Array:
    """Nothing is known to be constant."""
    raise ValueError(f'No constants: {self.reason}.')


@dataclasses.dataclass(frozen=True)
class Unread(Opaque):
  """An operation that is not known, but reads no units: a batch's size."""

  def carry(
    self, book: UnitBook, sources: tuple[Array, ...], shape: Shape
  ) -> Array:
    """No units leave it, and those that enter may go."""
    del book, sources
    return np.broadcast_to(-1, shape)


def scaled_pair(
  gap: Interval,
  a: Interval,
  b: Interval,
  left: Array,
  right: Array,
) -> Interval:
  """Bounds of left x_l - right x_r from bounds of x_l - x_r, x_l and x_r.

  s_l a - s_r b = s_r (a - b) + (s_l - s_r) a, or the same the other way.

  Args:
    gap: Bounds of x_l - x_r, shape (..., pairs).
    a: Bounds of x_l.
    b: Bounds of x_r.
    left: Factors s_l.
    right: Factors s_r.
  """
  near = intervals.add(
    intervals.scale(gap, right), intervals.scale(a, left - right)
  )
  far = intervals.add(
    intervals.scale(gap, left), intervals.scale(b, left - right)
  )
  return intervals.intersect(near, far)
