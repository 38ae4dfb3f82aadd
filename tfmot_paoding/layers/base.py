"""What the package must be told of a layer: its operations and its new size.

A user's own layer joins by a subclass with `lower` (and `resize` where its
config names a size), registered by `register_handler`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.layers.inside import Emit, Tensor
from tfmot_paoding.layers.subclasses import parent_of, what_differs
from tfmot_paoding.ops import Array, Op, Opaque, Shape, WeightRef

Path = tuple[str, ...]

# What of attention's heads are units: whole ones, or their channels.
VIEWS = ('heads', 'channels')


class LayerHandler:
  """Lowers one family of layers; stateless.

  Attributes:
    reads_calls: Whether `lower_call` takes the place of `lower`.
    arguments: The names of what `lower_into` asks for by `emit.argument`,
      besides the first argument; a call that passes others is left alone.
    views: What the caller may choose to be a layer's units, which `lower_into`
      is told by `emit.view`: `VIEWS`, or none.
  """

  reads_calls = False
  arguments: tuple[str, ...] = ()
  views: tuple[str, ...] = ()

  def view_between(self, layer: Any, smaller: Any) -> str | None:
    """Which of its `views` a layer was made smaller by; None where it was not.

    Args:
      layer: The Keras layer.
      smaller: What pruning has made of it.
    """
    del layer, smaller

  def build(self, layer: Any, input_shape: Any) -> None:
    """Makes the weights of a layer that nobody has called.

    Args:
      layer: The Keras layer.
      input_shape: Of its first argument, with the batch axis.
    """
    if not layer.built:
      layer.build(input_shape)
      layer.built = True

  def with_all_units(
    self, view: str, before: Mapping[str, Array], after: Mapping[str, Array]
  ) -> dict[str, Array]:
    """Weights of a layer that has lost units of several views.

    Args:
      view: The one whose units stay gone.
      before: The original's weights by name.
      after: Those of what pruning made of it.

    Returns:
      The latter, with all units of other views, which compute the same.
    """
    del view, before
    return dict(after)

  def has_inside(self, layer: Any) -> bool:
    """Whether `lower_into` is asked of a layer."""
    del layer
    return type(self).lower_into is not LayerHandler.lower_into

  def resizes_inside(self, layer: Any) -> bool:
    """Whether `resize_inside` makes a layer's config smaller."""
    del layer
    return type(self).resize_inside is not LayerHandler.resize_inside

  def tells(self, layer: Any, method: str) -> bool:
    """Whether a method, `readjust` or `pad`, tells a layer what it measures."""
    del layer
    return getattr(type(self), method) is not getattr(LayerHandler, method)

  def lower(
    self, layer: Any, path: Path, in_shapes: list[Shape], out_shape: Shape
  ) -> list[Op]:
    """The operations, in order, that the layer is at inference.

    Args:
      layer: The Keras layer.
      path: Its names through nested models, for `WeightRef`.
      in_shapes: The shapes of its inputs, without the batch axis.
      out_shape: The shape of its output, without the batch axis.

    Returns:
      The operations; an `Opaque` one where the layer's settings go beyond
      what is known. An empty list is the identity.
    """
    raise NotImplementedError

  def lower_into(
    self, layer: Any, emit: Emit
  ) -> Tensor | tuple[Tensor, ...] | None:
    """What `lower` does, for a layer with an inside: a small graph.

    Args:
      layer: The Keras layer.
      emit: Takes the operations down: `emit(op, *tensors, name=...)` returns
        what the operation makes. `emit.inputs` are what the layer is called
        with, `emit.weight('kernel')` stands for one of its weights.

    Returns:
      What the layer gives, a tuple for several outputs; None: ask `lower`.
    """
    del layer, emit

  def resize_inside(
    self, layer: Any, config: dict[str, Any], widths: Mapping[str, int]
  ) -> dict[str, Any]:
    """The config of the same layer with fewer units inside or behind.

    Without it, the units that a layer with an inside makes stay.

    Args:
      layer: The Keras layer as it is.
      config: Its config, a copy that may be changed.
      widths: How many channels each tensor has that `lower_into` gave a name,
        and 'output', what the layer gives; 'output_0', 'output_1' and so on
        for several.

    Returns:
      The config to build the smaller layer from.
    """
    del layer, widths
    return config

  def lower_call(
    self,
    layer: Any,
    call: Any,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """What `lower` does, for layers that each call tells what to do.

    Args:
      layer: The Keras layer.
      call: The graph's node: `call_args` and `call_kwargs` are what the layer
        was called with.
      in_shapes: The shapes of its inputs, without the batch axis.
      out_shape: The shape of its output, without the batch axis.
    """
    raise NotImplementedError

  def lower_parts(
    self,
    layer: Any,
    call: Any,
    in_shapes: list[Shape],
    out_shapes: list[Shape],
  ) -> list[list[Op]] | None:
    """What `lower_call` does, for each of several outputs.

    Args:
      layer: The Keras layer.
      call: The graph's node: `call_args` and `call_kwargs` are what the layer
        was called with.
      in_shapes: The shapes of its inputs, without the batch axis.
      out_shapes: The shapes of its outputs, without the batch axis.

    Returns:
      The operations that lead to each output; None: ask `lower_call`.
    """
    del layer, call, in_shapes, out_shapes

  def resize_call(
    self, layer: Any, call: Any, kept: list[Array], out_shape: Shape
  ) -> dict[str, Any]:
    """What a call must be told where units leave, by argument.

    Args:
      layer: The Keras layer.
      call: The graph's node: `call_args` and `call_kwargs` are what the layer
        was called with.
      kept: For each axis of its first tensor but the batch's, which entries
        stay, shape (entries,) of bool.
      out_shape: The new shape of its first output, without the batch axis.
    """
    del layer, call, kept, out_shape
    return {}

  def resize(
    self, layer: Any, config: dict[str, Any], out_shape: Shape
  ) -> dict[str, Any]:
    """The config of the same layer with a smaller output.

    Args:
      layer: The Keras layer as it is.
      config: Its config, a copy that may be changed.
      out_shape: The new output's shape, without the batch axis.

    Returns:
      The config to build the smaller layer from.
    """
    del layer, out_shape
    return config

  def readjust(
    self, layer: Any, config: dict[str, Any], epsilons: Mapping[str, float]
  ) -> dict[str, Any]:
    """The config of a layer that measures fewer units at once.

    Without it, the units that a root mean square is taken over stay.

    Args:
      layer: The Keras layer as it is.
      config: Its config, with its new sizes, which may be changed.
      epsilons: What is added to each mean square, by the name of the factors
        behind it.

    Returns:
      The config to build the smaller layer from.
    """
    del layer, epsilons
    return config

  def pad(
    self, layer: Any, config: dict[str, Any], width: int
  ) -> tuple[type, dict[str, Any]]:
    """A layer that goes on to measure zeros where units were.

    Without it, the units that a mean is taken over stay.

    Args:
      layer: The Keras layer as it is.
      config: Its config, with its new sizes, which may be changed.
      width: How many channels it measures, those that it is not given being
        zeros.

    Returns:
      The class and the config of the layer to build.
    """
    raise NotImplementedError


_HANDLERS: dict[type, LayerHandler] = {}


def register_handler(
  *layer_classes: type, replace: bool = False
) -> Callable[[type[LayerHandler]], type[LayerHandler]]:
  """A class decorator: this handler knows these layer classes.

  Args:
    *layer_classes: Classes of Keras layers.
    replace: Whether the handler may take the place of one that the package
      has for a class.

  A subclass of a layer class is covered where it computes the same: where it
  writes nothing of the class anew but `__init__`, `get_config` and
  `get_prunable_weights`, and its config holds the class's settings.

  Raises:
    TypeError: what is decorated is no `LayerHandler`, or what it shall know is
      no class.
    ValueError: the package has a handler for a class, and `replace` is not set.
  """
  if not layer_classes or not all(isinstance(x, type) for x in layer_classes):
    raise TypeError(
      'register_handler takes the classes of layers that the handler knows, '
      f'but got {layer_classes!r}: @register_handler(MyLayer).'
    )

  def add(cls: type[LayerHandler]) -> type[LayerHandler]:
    if not (isinstance(cls, type) and issubclass(cls, LayerHandler)):
      raise TypeError(
        f'A handler must derive from LayerHandler, but got {cls}.'
      )
    for layer_class in layer_classes:
      known = _HANDLERS.get(layer_class)
      taken = type(known)
      again = _definition(taken) == _definition(cls)  # as a reload has it
      if known and is_own(known) and not (replace or again):
        raise ValueError(
          f'The package knows {layer_class.__name__} by {taken.__name__}. Pass '
          'replace=True to register_handler to put another handler in its '
          'place, for every model; or register a subclass of the layer.'
        )
    for layer_class in layer_classes:
      _HANDLERS[layer_class] = cls()
    return cls

  return add


def is_own(handler: LayerHandler) -> bool:
  """Whether a handler is the package's, not one that a user has registered."""
  return type(handler).__module__.startswith(__package__ or '')


def _definition(cls: type) -> tuple[str, str]:
  return cls.__module__, cls.__qualname__


def handler_of(layer: Any) -> LayerHandler:
  """The handler of a layer's class; one that knows nothing if there is none."""
  handler = _HANDLERS.get(type(layer))
  if handler is not None:
    return handler
  parent = parent_of(type(layer), _HANDLERS)
  if parent is None:
    return _UNKNOWN
  why = what_differs(layer, parent)
  known = _HANDLERS[parent]
  return known if why is None else _Unknown(why, known.arguments)


def is_known(layer: Any) -> bool:
  """Whether a handler knows the layer's class, whatever its calls are told."""
  handler = handler_of(layer)
  return not isinstance(handler, _Unknown) and not handler.reads_calls


def resizes(layer: Any) -> bool:
  """Whether a layer's config names the size of its output."""
  return type(handler_of(layer)).resize is not LayerHandler.resize


def has_inside(layer: Any) -> bool:
  """Whether a layer's handler lowers it to a graph."""
  return handler_of(layer).has_inside(layer)


def resizes_inside(layer: Any) -> bool:
  """Whether a layer's config names the sizes of its inside."""
  return handler_of(layer).resizes_inside(layer)


def views_of(layer: Any) -> tuple[str, ...]:
  """What may be chosen to be a layer's units; none where nothing may."""
  return handler_of(layer).views


def with_all_units(
  layer: Any,
  view: str,
  before: Mapping[str, Array],
  after: Mapping[str, Array],
) -> dict[str, Array]:
  """See `LayerHandler.with_all_units`."""
  return handler_of(layer).with_all_units(view, before, after)


def view_between(layer: Any, smaller: Any) -> str | None:
  """See `LayerHandler.view_between`."""
  return handler_of(layer).view_between(layer, smaller)


def tells(layer: Any, method: str) -> bool:
  """See `LayerHandler.tells`."""
  return handler_of(layer).tells(layer, method)


def opaque(layer: Any, why: str) -> list[Op]:
  """One opaque operation whose reason names the layer."""
  return [Opaque(f'{type(layer).__name__} {layer.name!r} {why}')]


def weight_ref(path: Path, layer: Any, name: str) -> WeightRef | None:
  """The reference to a layer's weight, or None where it has none."""
  return None if getattr(layer, name, None) is None else WeightRef(path, name)


class _Unknown(LayerHandler):
  def __init__(
    self,
    why: str = 'is of a kind that is not known',
    arguments: tuple[str, ...] = (),
  ):
    self._why = why
    self.arguments = arguments

  def lower(self, layer, path, in_shapes, out_shape):
    why = self._why
    if layer.weights and compat.is_made_of_layers(layer):
      why += '; its `call` could not be traced into all that it is made of'
    return opaque(layer, why)


_UNKNOWN = _Unknown()
