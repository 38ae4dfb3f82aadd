"""One call of a layer as operations between tensors.

Layers say what they are as a chain of operations or, where they have an
inside, as a small graph. Here is what the two come to, and what of them cannot
be followed: then one opaque operation stands for the call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import handler_of
from tfmot_paoding.layers.base import (
  Path,
  has_inside,
  opaque,
  resizes_inside,
  tells,
)
from tfmot_paoding.layers.inside import OUTPUT, Emit, Tensor
from tfmot_paoding.network.keras_masks import heeds_mask
from tfmot_paoding.ops import Op, Opaque, Shape

_SIZES = 'depends on sizes that are not known'


@dataclasses.dataclass(frozen=True)
class Lowered:
  """The operations of a call; tensors are numbered, the call's inputs first.

  Attributes:
    steps: (operation, what it reads, what it makes) in order.
    shapes: The shape of each tensor that the operations make.
    outputs: What the call gives.
    names: The tensors of the inside that have names.
    held: Tensors whose units must stay, and why.
    inside: Whether the layer was lowered to a graph of its own.
  """

  steps: tuple[tuple[Op, tuple[int, ...], tuple[int, ...]], ...]
  shapes: tuple[Shape, ...]
  outputs: tuple[int, ...]
  names: dict[str, int] = dataclasses.field(default_factory=dict)
  held: dict[int, str] = dataclasses.field(default_factory=dict)
  inside: bool = False


@dataclasses.dataclass(frozen=True)
class Surroundings:
  """What a call's operations depend on besides its layer.

  Attributes:
    in_shapes: The shapes of what the call reads, without the batch axis.
    masked: Whether a Keras mask may come along.
    is_first: Whether it reads an input of the model.
    odd: Why the call is not the layer's function at inference, or None.
    arguments: What the layer is called with, for a handler that asks.
    view: What of the layer are units, where that was chosen.
  """

  in_shapes: list[Shape]
  masked: bool
  is_first: bool
  odd: str | None
  arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  view: str | None = None


def lower_call(
  call: Any, layer: Any, path: Path, around: Surroundings
) -> Lowered:
  """The operations of one layer call.

  Args:
    call: Keras's record of the call.
    layer: The layer, its wrapper taken off.
    path: The layer's path.
    around: Where it is called.

  Raises:
    ValueError: a handler emits what does not fit.
  """
  tensors = tf.nest.flatten(call.outputs)
  in_shapes, odd = around.in_shapes, around.odd
  out_shapes = [shape_of(tensor, in_shapes[0]) for tensor in tensors]
  handler = handler_of(layer)
  chains = handler.lower_parts(layer, call, in_shapes, out_shapes)
  if chains is not None:
    parts = [
      _chain(ops, layer, path, around, [tensor])
      for ops, tensor in zip(chains, tensors, strict=True)
    ]
    return _side_by_side(parts, len(in_shapes))
  if len(out_shapes) > 1 and not has_inside(layer):
    odd = odd or 'takes or gives more than plain tensors'
  if handler.reads_calls:
    ops = handler.lower_call(layer, call, in_shapes, out_shapes[0])
  elif odd is not None:
    ops = opaque(layer, odd)
  else:
    if has_inside(layer):
      found = _graph(layer, path, around, tensors)
      if found is not None:
        return found
    ops = handler.lower(layer, path, in_shapes, out_shapes[0])
  return _chain(ops, layer, path, around, tensors)


def operations_of(
  layer: Any,
  path: Path,
  in_shapes: list[Shape],
  out_shape: Callable[[], Shape],
) -> list[Op]:
  """The operations of a layer by itself, whatever lies between them.

  Args:
    layer: The layer.
    path: Its path.
    in_shapes: The shapes of what it reads, of its first argument alone.
    out_shape: Gives the shape of what it makes, where that is asked for.
  """
  emit, handler = Emit(layer, path, in_shapes), handler_of(layer)
  if not has_inside(layer) or handler.lower_into(layer, emit) is None:
    return handler.lower(layer, path, in_shapes, out_shape())
  obstacle = emit.obstacle()
  if obstacle is not None:
    return [Opaque(obstacle)]
  return [step.op for step in emit.steps]


def sizes_of(tensor: Any) -> list[int | None]:
  """A Keras tensor's sizes without the batch axis."""
  shape = getattr(tensor, 'shape', None)
  return shape.as_list()[1:] if shape is not None and shape.rank else []


def shape_of(tensor: Any, source: Shape = ()) -> Shape:
  """Its sizes; unknown ones as in what it was made from, else 1."""
  sizes = sizes_of(tensor)
  if len(source) != len(sizes):
    source = (1,) * len(sizes)
  return tuple(
    there if size is None else int(size)
    for size, there in zip(sizes, source, strict=True)
  )


def _graph(
  layer: Any, path: Path, around: Surroundings, tensors: Sequence[Any]
) -> Lowered | None:
  """What a layer with an inside emits; None where that is to be a chain.

  Raises:
    ValueError: it gives nothing that it emitted, or of other shapes than the
      layer.
  """
  who = f'{type(layer).__name__} {"/".join(path)!r}'
  emit = Emit(layer, path, around.in_shapes, around.arguments, around.view)
  given = handler_of(layer).lower_into(layer, emit)
  if given is None and not emit.steps:
    return _several_of_a_chain(layer, path, around, tensors)
  obstacle, steps = emit.obstacle(), emit.steps
  open_sizes = any(None in sizes_of(tensor) for tensor in tensors)
  if obstacle is None and open_sizes and any(s.op.needs_sizes for s in steps):
    obstacle = f'{who} {_SIZES}'
  if obstacle is not None:
    return _chain([Opaque(obstacle)], layer, path, around, tensors)
  given = _checked(given, who, tensors, around)
  if around.masked and heeds_mask(layer):
    steps = [
      dataclasses.replace(step, op=step.op.under_mask()) for step in steps
    ]
    if not all(step.op.known for step in steps):
      return _chain([s.op for s in steps], layer, path, around, tensors)
  held = {}
  if not resizes_inside(layer):
    why = (
      f'the handler of {who} has no `resize_inside`, which makes its config '
      'smaller'
    )
    held = {step.output: why for step in steps if step.op.makes_units}
  for step in steps:
    held |= _held_by_measure(step.op, step.inputs, layer, path)
  return Lowered(
    tuple((step.op, step.inputs, (step.output,)) for step in steps),
    tuple(step.shape for step in steps),
    tuple(tensor.index for tensor in given),
    {**emit.names, **_outputs(given)},
    held,
    True,
  )


def _several_of_a_chain(
  layer: Any, path: Path, around: Surroundings, tensors: Sequence[Any]
) -> Lowered | None:
  """None for one output, which a chain can make; opaque for more of them."""
  if len(tensors) == 1:
    return None
  ops = opaque(layer, 'gives several tensors')
  return _chain(ops, layer, path, around, tensors)


def _checked(
  given: Any, who: str, tensors: Sequence[Any], around: Surroundings
) -> tuple[Tensor, ...]:
  """What a handler gives, one tensor an output.

  Raises:
    ValueError: it is not what the layer makes.
  """
  found = tuple(given) if isinstance(given, (list, tuple)) else (given,)
  wanted = [shape_of(tensor, around.in_shapes[0]) for tensor in tensors]
  shapes = [getattr(x, 'shape', type(x).__name__) for x in found]
  if not all(isinstance(x, Tensor) for x in found) or shapes != wanted:
    raise ValueError(
      f'The handler of {who} gives {", ".join(map(str, shapes))}, but the '
      f'layer makes {", ".join(map(str, wanted))} (without the batch axis). '
      '`lower_into` must return what `emit` returned for the last operation; '
      'for several outputs, a tuple in their order.'
    )
  return found


def _outputs(given: Sequence[Tensor]) -> dict[str, int]:
  """What a layer gives, by what its widths call that."""
  if len(given) == 1:
    return {OUTPUT: given[0].index}
  return {f'{OUTPUT}_{k}': tensor.index for k, tensor in enumerate(given)}


def _chain(
  ops: list[Op],
  layer: Any,
  path: Path,
  around: Surroundings,
  tensors: Sequence[Any],
) -> Lowered:
  """Operations one behind the other; the last one makes all the outputs."""
  in_shapes = around.in_shapes
  first = in_shapes[0]
  out_shapes = [shape_of(tensor, first) for tensor in tensors]
  if around.masked and heeds_mask(layer):
    ops = [op.under_mask() for op in ops]
  if isinstance(layer, keras.layers.Masking) and not around.is_first:
    # Elsewhere pruning could change which steps it takes away.
    ops = opaque(layer, 'compares what layers make with a value')
  emit = Emit(layer, path, in_shapes)
  if _needs_more_sizes(ops, tensors[0], out_shapes[0], emit):
    ops = opaque(layer, _SIZES)
  ops = _known_part(ops, in_shapes)
  if not ops:
    return Lowered((), (), (0,))
  count = len(in_shapes)
  steps, shapes = [], []
  several = ops[0].joins or not ops[0].known
  current, shape = tuple(range(count if several else 1)), first
  for number, op in enumerate(ops, 1):
    made_shapes = out_shapes
    if number < len(ops):  # one operation may be there twice
      read = tuple(in_shapes) if current == tuple(range(count)) else (shape,)
      shape = _between(op, read, out_shapes[0], emit)
      made_shapes = [shape]
    start = count + len(shapes)
    made = tuple(range(start, start + len(made_shapes)))
    shapes.extend(made_shapes)
    steps.append((op, current, made))
    current = made
  return Lowered(
    tuple(steps), tuple(shapes), current, {}, _held(steps, layer, path)
  )


def _known_part(ops: list[Op], in_shapes: list[Shape]) -> list[Op]:
  """Operations up to the first that is not known.

  A product by a kernel in front of it still tells which units it reads; of all
  else nothing is gained by telling it apart from what is not known.
  """
  first = next((k for k, op in enumerate(ops) if not op.known), None)
  if first is None:
    return ops
  reads = len(in_shapes) == 1 and first == 1 and ops[0].makes_units
  return ops[0 if reads else first : first + 1]


def _between(
  op: Op, read: tuple[Shape, ...], out_shape: Shape, emit: Emit
) -> Shape:
  """The shape of what an operation makes for the next one in its layer."""
  found = None
  if len(read) == 1 or op.joins:
    found = op.infer_shape(read, emit.size)
  return op.out_shape(read[0], out_shape) if found is None else found


def _held(
  steps: list[tuple[Op, tuple[int, ...], tuple[int, ...]]],
  layer: Any,
  path: Path,
) -> dict[int, str]:
  """Units between two products of a chain: no config is told of them."""
  found = {}
  for op, reads, _ in steps:
    found |= _held_by_measure(op, reads, layer, path)
  makers = [made for op, _, made in steps if op.makes_units]
  why = (
    f'they lie inside {type(layer).__name__} {"/".join(path)!r}, whose handler '
    'lowers it to a chain: `lower_into` and `resize_inside` let them leave'
  )
  return found | {value: why for made in makers[:-1] for value in made}


def _held_by_measure(
  op: Op, reads: tuple[int, ...], layer: Any, path: Path
) -> dict[int, str]:
  """Units that a layer measures whose config is not told of fewer of them."""
  if op.told_by is None or tells(layer, op.told_by):
    return {}
  why = (
    f'the handler of {type(layer).__name__} {"/".join(path)!r} has no '
    f'`{op.told_by}`, which tells the layer what it measures'
  )
  return dict.fromkeys(reads, why)


def _side_by_side(parts: list[Lowered], count: int) -> Lowered:
  """Several chains from the same inputs, each to an output of its own."""
  steps, shapes, outputs = [], [], []
  for part in parts:
    shift = len(shapes)

    def moved(values: tuple[int, ...], by: int = shift) -> tuple[int, ...]:
      return tuple(v + by if v >= count else v for v in values)

    steps += [(op, moved(reads), moved(made)) for op, reads, made in part.steps]
    shapes += part.shapes
    outputs += moved(part.outputs)
  return Lowered(tuple(steps), tuple(shapes), tuple(outputs))


def _needs_more_sizes(
  ops: list[Op], tensor: Any, out_shape: Shape, emit: Emit
) -> bool:
  """Whether an operation on a tensor mixes entries of an unknown number."""
  sizes, last = sizes_of(tensor), len(ops) - 1
  read = tuple(source.shape for source in emit.inputs)
  for number, op in enumerate(ops):
    if op.is_open(sizes, read[0]):
      return True
    if number == last or not op.known:
      break
    read = read if op.joins else read[:1]
    read = (_between(op, read, out_shape, emit),)
  return False
