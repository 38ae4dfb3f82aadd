"""Recurrent layers: LSTM, GRU, SimpleRNN, both directions of Bidirectional.

Keras's own cells alone; cells of others, stacked ones and convolutional ones
are left alone, and named.
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
    return _resized(config, widths[_UNITS])


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
    ahead, back = (widths[f'{name}.{_UNITS}'] for name in _SIDES)
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
  cell, (x, *starts) = _cell(layer), inputs
  kernel, bias, back = (
    emit.weight(side(f'cell.{name}'))
    for name in ('kernel', 'bias', 'recurrent_kernel')
  )
  apart = isinstance(cell, GRUCell) and cell.reset_after and bias is not None
  fed = bias if apart else None
  gates = emit(GateProduct(kernel, bias, 0 if apart else None), x)
  recurrence = Recurrence(cell, back, fed, bool(layer.go_backwards))
  units = emit(recurrence, gates, *starts, name=side(_UNITS))
  emit(Feedback(back, bias, 1 if apart else None), units)
  states = [units] + [
    emit(dataclasses.replace(recurrence, state=k), gates, *starts)
    for k in range(1, cell.states)
  ]
  given = units
  # What a mask hides is 0 in what is given, and as it was in the states.
  zeros = bool(getattr(layer, 'zero_output_for_mask', False))
  turned = side.turned and layer.return_sequences
  if zeros or turned:
    given = dataclasses.replace(recurrence, zeros=zeros, turned=turned)
    given = emit(given, gates, *starts)
  last = AtStep(-1)
  if not layer.return_sequences:
    given = emit(last, given)
  if not layer.return_state:
    return (given,)
  return (given, *(emit(last, state) for state in states))


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


def _cell(layer: Any) -> Cell | None:
  """What a step of a layer does; None where that is not known."""
  cell = layer.cell
  kind = next((c for c, known in _CELLS.items() if type(cell) in known), None)
  if kind is None:
    return None
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
  cell = getattr(layer, 'cell', None)
  if cell is None or not any(type(cell) in known for known in _CELLS.values()):
    name = type(layer if cell is None else cell).__name__
    return f'runs a {name} at each step, which is of a kind that is not known'
  if _cell(layer) is None:
    return 'has an activation that is not known'
  if getattr(layer, 'time_major', False):
    return 'has its steps in front of its samples (time_major)'
  if getattr(layer, '_num_constants', None):
    return 'is given constants at each step'
  return None


def _left_alone(layer: Any, emit: Emit, why: str) -> Tensor:
  reason = f'{type(layer).__name__} {layer.name!r} {why}'
  return emit(Opaque(reason), emit.inputs[0], shape=emit.inputs[0].shape)


def _resized(config: dict[str, Any], units: int) -> dict[str, Any]:
  """A layer's config with as many units, in its cell's where it has one."""
  if 'cell' not in config:
    return {**config, 'units': units}
  cell = config['cell']
  cell = {**cell, 'config': {**cell['config'], 'units': units}}
  return {**config, 'cell': cell}
