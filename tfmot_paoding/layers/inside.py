"""A layer as a small graph: operations with several inputs, inner tensors.

What a handler's `lower_into` writes in. Shapes follow from the operations and
from the weights; what an operation cannot tell, the handler says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfmot_paoding.compat import TensorNumber
from tfmot_paoding.ops import Op, Opaque, Shape, WeightRef, attribute

# What the widths of a layer call the tensor that it gives; a number behind an
# underscore follows where there are several.
OUTPUT = 'output'


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A tensor of a layer's inside, or one of its inputs.

  Attributes:
    index: Its number: the layer's inputs first.
    shape: Without the batch axis.
  """

  index: int
  shape: Shape


@dataclasses.dataclass(frozen=True)
class Step:
  """One operation between tensors of a layer.

  Attributes:
    op: The operation.
    inputs: The numbers of what it reads.
    output: The number of what it makes.
    shape: The shape of what it makes.
  """

  op: Op
  inputs: tuple[int, ...]
  output: int
  shape: Shape


class Emit:
  """Takes down the operations of one call of a layer.

  Args:
    layer: The Keras layer.
    path: Its names through nested models.
    in_shapes: The shapes of its inputs, without the batch axis.
    arguments: What it is called with, by the names of its parameters; a
      `TensorNumber` for one of its inputs. None where nobody calls it.
    view: Which of the handler's `views` the caller has chosen; None for its
      first.

  Attributes:
    view: The same.
    path: The layer's names through nested models.
    inputs: What the layer is called with.
    steps: What was emitted, in order.
    names: The numbers of the tensors that have names.
  """

  def __init__(
    self,
    layer: Any,
    path: tuple[str, ...],
    in_shapes: list[Shape],
    arguments: Mapping[str, Any] | None = None,
    view: str | None = None,
  ):
    self._layer = layer
    self.view = view
    self._arguments = arguments or {}
    self.path = path
    self.inputs = tuple(Tensor(k, shape) for k, shape in enumerate(in_shapes))
    self.steps: list[Step] = []
    self.names: dict[str, int] = {}

  def argument(self, name: str, default: Any = None) -> Any:
    """What the layer's parameter of a name is given.

    Args:
      name: One of the handler's `arguments`.
      default: What stands for it where nothing is passed.

    Returns:
      A `Tensor` for a tensor of the model, anything else as it was passed.
    """
    value = self._arguments.get(name, default)
    if isinstance(value, TensorNumber):
      return self.inputs[value.number]
    return value

  def stand_in(self, shape: Shape) -> Tensor:
    """A further input, of a layer that is looked at without a call.

    To be asked for before anything is emitted.
    """
    self.inputs += (Tensor(len(self.inputs), tuple(shape)),)
    return self.inputs[-1]

  def note(self, name: str, tensor: Tensor) -> None:
    """Gives an input of the layer a name, whose width `resize_inside` is told.

    Raises:
      ValueError: the name is taken.
    """
    if self.names.setdefault(name, tensor.index) != tensor.index:
      raise ValueError(f'Two tensors in {self._who} are named {name!r}.')

  def weight(self, name: str) -> WeightRef | None:
    """The layer's weight of an attribute's name; None where it has none.

    Raises:
      ValueError: the layer has no such attribute.
    """
    try:
      found = attribute(self._layer, name)
    except AttributeError as error:
      raise ValueError(
        f'The handler of {self._who} asks for the weight {name!r}, but the '
        'layer has no attribute of that name. Give the attribute, which '
        'may have dots, and numbers for entries of a list: '
        '"cell.cells.0.kernel".'
      ) from error
    return None if found is None else WeightRef(self.path, name)

  def __call__(
    self,
    op: Op,
    *inputs: Tensor,
    name: str | None = None,
    shape: Shape | None = None,
  ) -> Tensor:
    """Emits an operation.

    Args:
      op: The operation.
      *inputs: What it reads: inputs of the layer, or what was emitted.
      name: Of what it makes, for the widths that `resize_inside` is told.
      shape: Of what it makes, without the batch axis, where the operation
        cannot tell.

    Returns:
      What it makes.

    Raises:
      ValueError: the operation does not fit what it reads, its shape is not
        known, or the name is taken.
    """
    sources = tuple(tensor.shape for tensor in inputs)
    if not inputs or (len(inputs) > 1 and not op.joins):
      raise ValueError(
        f'The handler of {self._who} emits {type(op).__name__} on '
        f'{len(inputs)} tensors; it takes '
        f'{"one or more" if op.joins else "one"}.'
      )
    try:
      inferred = op.infer_shape(sources, self.size)
    except ValueError as error:
      raise ValueError(
        f'The handler of {self._who} emits {type(op).__name__} on tensors of '
        f'shape {", ".join(map(str, sources))}: {error}'
      ) from error
    if inferred is not None and shape not in (None, inferred):
      raise ValueError(
        f'The handler of {self._who} gives {type(op).__name__} the shape '
        f'{shape}, but it makes {inferred}.'
      )
    shape = inferred if shape is None else tuple(shape)
    if shape is None:
      raise ValueError(
        f'The shape of what {type(op).__name__} makes in {self._who} is not '
        'known: pass `shape` to emit.'
      )
    made = Tensor(len(self.inputs) + len(self.steps), shape)
    if name is not None:
      self.note(name, made)
    self.steps.append(
      Step(op, tuple(tensor.index for tensor in inputs), made.index, shape)
    )
    return made

  def obstacle(self) -> str | None:
    """Why what was emitted cannot be followed, or None."""
    users: dict[WeightRef, tuple[WeightRef, ...]] = {}
    for step in self.steps:
      if isinstance(step.op, Opaque):
        return step.op.reason
      if not step.op.runs(self._shapes(step)[0]):
        return (
          f'{self._who} has an operation inside that has no value on samples, '
          f'{type(step.op).__name__}: give that a `run`, which fits need'
        )
      own = step.op.own_weights
      for ref in own:
        if users.setdefault(ref, own) != own:
          return f'{self._who} uses {ref.name!r} in unlike operations'
    return None

  def _shapes(self, step: Step) -> list[Shape]:
    """The shapes of what a step reads."""
    made = [*(x.shape for x in self.inputs), *(s.shape for s in self.steps)]
    return [made[number] for number in step.inputs]

  def size(self, ref: WeightRef) -> Shape:
    """The shape of one of the layer's weights."""
    return tuple(ref.of(self._layer).shape)

  @property
  def _who(self) -> str:
    return f'{type(self._layer).__name__} {"/".join(self.path)!r}'
