"""Recurrent layers: LSTM, GRU, SimpleRNN, both directions of Bidirectional.

Keras's own cells, stacked ones too: these are recurrences one behind the other;
ConvLSTM, whose states are maps. Cells of others are left alone, and named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.layers.activation import lower_function
from tfmot_paoding.layers.inside import Emit, Tensor
from tfmot_paoding.numerics.activations import Activation, by_name
from tfmot_paoding.ops import (
  AtStep,
  Cell,
  Concatenate,
  ConvFeedback,
  ConvRecurrence,
  Elementwise,
  Feedback,
  GateProduct,
  GRUCell,
  LSTMCell,
  Multiply,
  Opaque,
  Recurrence,
  SimpleCell,
  WeightedSum,
  attribute,
  convolution,
)

_layers = keras.layers

# What the tensor of a layer's states is called, whose width its config holds.
_UNITS = 'units'
_SIDES = ('forward_layer', 'backward_layer')


@base.register_handler(
  _layers.LSTM, _layers.GRU, _layers.SimpleRNN, _layers.RNN
)
class RecurrentHandler(base.LayerHandler):
  """The gates, the recurrence, and what is fed back."""

  def lower_into(
    self, layer: Any, emit: Emit
  ) -> Tensor | tuple[Tensor, ...] | None:
    """What the layer gives: its sequence or last step, then its states."""
    why = _obstacle(layer)
    if why is not None:
      return _left_alone(layer, emit, why)
    found = _emitted(layer, emit, _Side(), emit.inputs)
    return found if layer.return_state else found[0]

  def resize_inside(
    self, layer: Any, config: dict[str, Any], widths: Mapping[str, int]
  ) -> dict[str, Any]:
    """Fewer units."""
    return _resized(config, _units(widths, _Side(), layer))


@base.register_handler(
  _layers.ConvLSTM1D, _layers.ConvLSTM2D, _layers.ConvLSTM3D
)
class ConvLSTMHandler(base.LayerHandler):
  """The input's convolution, the recurrence, and the convolution of states."""

  def lower_into(
    self, layer: Any, emit: Emit
  ) -> Tensor | tuple[Tensor, ...] | None:
    """What the layer gives: its sequence or last step, then its states."""
    why = _obstacle_of_maps(layer)
    if why is not None:
      return _left_alone(layer, emit, why)
    x, *starts = emit.inputs
    cell = layer.cell
    kernel, bias, back = (
      emit.weight(f'cell.{name}')
      for name in ('kernel', 'bias', 'recurrent_kernel')
    )
    gates = emit(
      convolution(
        x.shape[1:],
        kernel,
        bias,
        size=cell.kernel_size,
        padding=cell.padding,
        strides=cell.strides,
        dilations=cell.dilation_rate,
      ),
      x,
    )
    states = (*gates.shape[1:-1], cell.filters)
    fed = convolution(states, back, size=cell.kernel_size, padding='same')
    recurrence = ConvRecurrence(
      _kind_of(layer, cell, LSTMCell),
      back,
      backwards=bool(layer.go_backwards),
      # A size that is open stands as 1.
      steps=x.shape[0] if x.shape[0] > 1 else None,
      padded=fed.padded,
      seen=fed.seen,
    )
    maps = emit(recurrence, gates, *starts, name=_UNITS)
    emit(ConvFeedback(back, bias, fed.padded, seen=fed.seen), maps)
    made = [(recurrence, maps, (gates, *starts))]
    found = _given(layer, emit, _Side(), made, positions=len(states) - 1)
    return found if layer.return_state else found[0]

  def resize_inside(
    self, layer: Any, config: dict[str, Any], widths: Mapping[str, int]
  ) -> dict[str, Any]:
    """Fewer units."""
    del layer
    return {**config, 'filters': widths[_UNITS]}


@base.register_handler(_layers.Bidirectional)
class BidirectionalHandler(base.LayerHandler):
  """A layer for each direction of time, and what becomes of both."""

  def lower_into(
    self, layer: Any, emit: Emit
  ) -> Tensor | tuple[Tensor, ...] | None:
    """Both directions, merged; then the states of the one and the other."""
    sides = [getattr(layer, name) for name in _SIDES]
    for side in sides:
      why = _obstacle(side)
      if why is not None:
        return _left_alone(layer, emit, why)
    x, *starts = emit.inputs
    half = len(starts) // 2
    (ahead, *ahead_states), (back, *back_states) = (
      _emitted(side, emit, _Side(name, name == _SIDES[1]), (x, *own))
      for side, name, own in zip(
        sides, _SIDES, (starts[:half], starts[half:]), strict=True
      )
    )
    found = _merged(layer.merge_mode, emit, ahead, back)
    if layer.return_state:
      found = (*found, *ahead_states, *back_states)
    return found if len(found) > 1 else found[0]

  def resize_inside(
    self, layer: Any, config: dict[str, Any], widths: Mapping[str, int]
  ) -> dict[str, Any]:
    """Fewer units in each direction; a layer of its own where they differ."""
    ahead, back = (
      _units(widths, _Side(name), getattr(layer, name)) for name in _SIDES
    )
    nested = config['layer']['config']
    config['layer']['config'] = _resized(nested, ahead)
    if 'backward_layer' in config:
      nested = config['backward_layer']['config']
      config['backward_layer']['config'] = _resized(nested, back)
    elif back != ahead:
      config['backward_layer'] = {
        **config['layer'],
        'config': {
          **_resized(nested, back),
          'name': f'{nested["name"]}_back',
          'go_backwards': not nested['go_backwards'],
        },
      }
    return config


@dataclasses.dataclass(frozen=True)
class _Side:
  """One direction of a layer.

  Attributes:
    attribute: Where the layer of this direction is found; '' for the layer.
    turned: Whether its sequence is turned round once more.
  """

  attribute: str = ''
  turned: bool = False

  def __call__(self, name: str) -> str:
    """What something of this direction is called."""
    return f'{self.attribute}.{name}' if self.attribute else name


def _emitted(
  layer: Any, emit: Emit, side: _Side, inputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
  """The operations of one direction: what it gives, and its states."""
  (x, *starts), places = inputs, _places(layer)
  states = []
  for place in places:
    cell = _cell(layer, place)
    own, starts = starts[: cell.states], starts[cell.states :]
    kernel, bias, back = (
      emit.weight(side(f'{place}.{name}'))
      for name in ('kernel', 'bias', 'recurrent_kernel')
    )
    apart = isinstance(cell, GRUCell) and cell.reset_after and bias is not None
    gates = emit(GateProduct(kernel, bias, 0 if apart else None), x)
    recurrence = Recurrence(
      cell,
      back,
      bias if apart else None,
      bool(layer.go_backwards),
      # The next cell goes backwards as well.
      turned=bool(layer.go_backwards) and place != places[-1],
      # A size that is open stands as 1.
      steps=x.shape[-2] if x.shape[-2] > 1 else None,
    )
    x = emit(recurrence, gates, *own, name=side(_named(place)))
    emit(Feedback(back, bias, 1 if apart else None), x)
    states.append((recurrence, x, (gates, *own)))
  return _given(layer, emit, side, states)


def _given(
  layer: Any,
  emit: Emit,
  side: _Side,
  made: Sequence[tuple[Recurrence, Tensor, tuple[Tensor, ...]]],
  positions: int = 0,
) -> tuple[Tensor, ...]:
  """What a layer gives of its cells' recurrences, and all their states."""
  recurrence, given, reads = made[-1]
  # What a mask hides is 0 in what is given, and as it was in the states.
  zeros = bool(getattr(layer, 'zero_output_for_mask', False))
  turned = side.turned and layer.return_sequences
  if zeros or turned:
    given = dataclasses.replace(recurrence, zeros=zeros, turned=turned)
    given = emit(given, *reads)
  if not layer.return_sequences:
    given = emit(AtStep(-1, positions), given)
  if not layer.return_state:
    return (given,)
  found = [given]
  for recurrence, units, reads in made:
    last = AtStep(0 if recurrence.turned else -1, positions)
    found.append(emit(last, units))
    for k in range(1, recurrence.cell.states):
      state = emit(dataclasses.replace(recurrence, state=k), *reads)
      found.append(emit(last, state))
  return tuple(found)


def _merged(
  mode: str | None, emit: Emit, ahead: Tensor, back: Tensor
) -> tuple[Tensor, ...]:
  """What becomes of both directions."""
  if mode is None:
    return ahead, back
  if mode == 'concat':
    return (emit(Concatenate(len(ahead.shape) - 1, True), ahead, back),)
  if mode == 'mul':
    return (emit(Multiply(), ahead, back),)
  factor = 0.5 if mode == 'ave' else 1.0
  return (emit(WeightedSum((factor, factor)), ahead, back),)


def _places(layer: Any) -> list[str]:
  """Where the cells of a layer are, the first one first."""
  if not isinstance(layer.cell, _layers.StackedRNNCells):
    return ['cell']
  return [f'cell.cells.{k}' for k in range(len(layer.cell.cells))]


def _named(place: str) -> str:
  """What the units of a cell are called."""
  *_, last = place.split('.')
  return f'{_UNITS}_{last}' if last.isdecimal() else _UNITS


def _units(widths: Mapping[str, int], side: _Side, layer: Any) -> list[int]:
  """How many units each cell of a direction has."""
  return [widths[side(_named(place))] for place in _places(layer)]


def _cell(layer: Any, place: str) -> Cell | None:
  """What a step of a layer's cell does; None where that is not known."""
  cell = attribute(layer, place)
  kind = next((c for c, known in _CELLS.items() if type(cell) in known), None)
  if kind is None:
    return None
  return _kind_of(layer, cell, kind)


def _kind_of(layer: Any, cell: Any, kind: type[Cell]) -> Cell | None:
  """A cell's activations as one of a kind; None where one is not known."""
  activations = [_function(layer, cell.activation)]
  activations.append(
    activations[0]
    if kind is SimpleCell
    else _function(layer, cell.recurrent_activation)
  )
  if None in activations:
    return None
  return kind(*activations, *_SETTINGS.get(kind, lambda _: ())(cell))


_CELLS = {
  LSTMCell: (_layers.LSTMCell,),
  GRUCell: (_layers.GRUCell,),
  SimpleCell: (_layers.SimpleRNNCell,),
}
_SETTINGS = {GRUCell: lambda cell: (bool(cell.reset_after),)}


def _function(layer: Any, function: Any) -> Activation | None:
  """A cell's activation; None where it is not one of each entry by itself."""
  ops = lower_function(layer, function)
  if not ops:
    return by_name('linear')
  return ops[0].activation if isinstance(ops[0], Elementwise) else None


def _obstacle(layer: Any) -> str | None:
  """Why a layer of one direction is left alone, or None."""
  if getattr(layer, 'cell', None) is None:
    name = type(layer).__name__
    return f'runs a {name} at each step, which is of a kind that is not known'
  if getattr(layer.cell, 'reverse_state_order', False):
    return 'has the states of its last cell first (reverse_state_order)'
  for place in _places(layer):
    cell = attribute(layer, place)
    if not any(type(cell) in known for known in _CELLS.values()):
      name = type(cell).__name__
      return f'runs a {name} at each step, which is of a kind that is not known'
    if _cell(layer, place) is None:
      return 'has an activation that is not known'
  if getattr(layer, 'time_major', False):
    return 'has its steps in front of its samples (time_major)'
  if getattr(layer, '_num_constants', None):
    return 'is given constants at each step'
  return None


def _obstacle_of_maps(layer: Any) -> str | None:
  """Why a layer that convolves its states is left alone, or None."""
  if layer.cell.data_format != 'channels_last':
    return 'has its channels in front of its positions'
  if _kind_of(layer, layer.cell, LSTMCell) is None:
    return 'has an activation that is not known'
  if getattr(layer, '_num_constants', None):
    return 'is given constants at each step'
  return None


def _left_alone(layer: Any, emit: Emit, why: str) -> Tensor:
  reason = f'{type(layer).__name__} {layer.name!r} {why}'
  return emit(Opaque(reason), emit.inputs[0], shape=emit.inputs[0].shape)


def _resized(config: dict[str, Any], units: list[int]) -> dict[str, Any]:
  """A layer's config with as many units, in its cells' where it has some."""
  if 'cell' in config:
    cell = config['cell']
    inside = _resized(cell['config'], units)
    return {**config, 'cell': {**cell, 'config': inside}}
  if 'cells' not in config:
    return {**config, 'units': units[0]}
  cells = [
    {**cell, 'config': _resized(cell['config'], [count])}
    for cell, count in zip(config['cells'], units, strict=True)
  ]
  return {**config, 'cells': cells}
