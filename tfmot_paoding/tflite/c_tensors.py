"""Inputs and outputs of a .tflite, as a C++ header declares them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.tensors import Tensor


def tensor_lines(
  file: TFLiteFile,
  name: str,
  is_input: bool,
  order: Sequence[str] | None = None,
) -> list[str]:
  """What a program has to know of a file's inputs or outputs.

  For the tensor that an interpreter calls `input(0)`: `NAME_input_X_index` for
  the model's input X, `NAME_input_0_size` (its elements), its `_shape`, and of
  integers that stand for real numbers their `_scale` and `_zero_point`.

  Args:
    file: The file.
    name: What the declared names begin with.
    is_input: Whether inputs are meant; outputs otherwise.
    order: The model's names in its own order; None if that is not known.

  Returns:
    Lines of C++.

  Raises:
    ValueError: `order` is not of this file's names.
  """
  kind = 'input' if is_input else 'output'
  places = file.signature(is_input)
  if order is not None and sorted(order) != sorted(places):
    raise ValueError(
      f"The file's {kind}s are {sorted(places)}, those of `model` "
      f'{sorted(order)}. Pass the model that was converted.'
    )
  tensors = file.inputs if is_input else file.outputs
  lines = []
  for place, index in enumerate(tensors):
    tensor = file.tensors[index]
    # An output may have two names.
    names = [own for own, at in places.items() if at == place]
    lines += [
      '',
      f'// {kind}({place}): '
      + ', '.join(
        [*(_called(own, kind, order) for own in names), _contents(tensor)]
      ),
    ]
    lines += [
      f'constexpr int {name}_{kind}_{own}_index = {place};'
      for own in _identifiers(names, places)
    ]
    lines += _numbers(tensor, f'{name}_{kind}_{place}')
  return lines


def _called(own: str, kind: str, order: Sequence[str] | None) -> str:
  text = ascii(own)
  if order is None:
    return text
  return f"the model's {kind} {list(order).index(own)} {text}"


def _contents(tensor: Tensor) -> str:
  return f'{tensor.type} of shape {list(tensor.shape)}'


def _identifiers(names: Sequence[str], places: dict[str, int]) -> list[str]:
  """Names with what C allows; numbered where they would be the same."""
  plain = {own: re.sub(r'\W', '_', own, flags=re.ASCII) for own in places}
  taken = list(plain.values())
  order = list(places)
  return [
    plain[own]
    if taken.count(plain[own]) == 1
    else f'{plain[own]}_{order.index(own)}'
    for own in names
  ]


def _numbers(tensor: Tensor, prefix: str) -> list[str]:
  lines = [f'constexpr int {prefix}_size = {tensor.size};']
  if tensor.shape:
    sizes = ', '.join(map(str, tensor.shape))
    lines.append(f'constexpr int {prefix}_shape[] = {{{sizes}}};')
  if tensor.step:
    text = f'{tensor.step:.9g}'
    if not re.search(r'[.e]', text):
      text += '.0'
    lines += [
      f'constexpr float {prefix}_scale = {text}f;',
      f'constexpr int {prefix}_zero_point = {tensor.zero_point};',
    ]
  return lines
