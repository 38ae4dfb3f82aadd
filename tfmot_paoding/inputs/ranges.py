"""The range of a model's inputs: given or derived, checked, made into boxes."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding import callers
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.claims import Claim, combined
from tfmot_paoding.inputs.first_layers import input_claims
from tfmot_paoding.inputs.range_doubts import coarse, doubt_of, outside, text_of
from tfmot_paoding.inputs.stored_statistics import disproof
from tfmot_paoding.inputs.user_data import Inputs, calibration_samples
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.ops import Shape

Array = np.ndarray

_ADVICE = 'Pass the range your model was trained on, e.g. (0., 1.).'

# Where no layer says what a model's inputs are.
DEFAULT = (0.0, 1.0)
_NOTHING = 'the default:'
_UNSAID = f'{_NOTHING} no layer says another'
_LOOKED_AT = 1024


@dataclasses.dataclass(frozen=True)
class InputRange:
  """The range of a model's inputs, settled once and handed on.

  Iterates as what it holds, so that it serves wherever a pair does.

  Attributes:
    ends: (low, high), each a number or an array that broadcasts to the input's
      shape; or such a pair by input name.
    sources: Who says so, by input name.
    centred: Where an input's values gather in the middle of its range, by
      name; a bool or an array that broadcasts to the input's shape. Inputs
      that are left out have their values anywhere.
  """

  ends: Any
  sources: Mapping[str, str]
  centred: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __iter__(self):
    return iter(self.ends)

  def middles(self, names: Sequence[str]) -> list[Array]:
    """Where the values of each input gather: 0, or the middle of the range."""
    found = []
    for name in names:
      low, high = (np.asarray(end) for end in _of_input(self.ends, name))
      centred = self.centred.get(name, False)
      found.append(np.where(centred, (low + high) / 2, 0.0))
    return found

  def described(self) -> dict[str, str]:
    """The range and who says so, by input name."""
    return {
      name: f'{text_of(_of_input(self.ends, name))} ({source})'
      for name, source in self.sources.items()
    }

  def notes(self) -> dict[str, Any]:
    """All but the ends, as plain values for a config."""
    centred = {name: np.asarray(c).tolist() for name, c in self.centred.items()}
    return {'sources': dict(self.sources), 'centred': centred}


Pair = tuple[float | Array, float | Array]
# What a user may pass for the range of a model's inputs.
RangeLike = Pair | Mapping[str, Pair] | InputRange | None


def resolve_range(
  model: keras.Model | Network,
  input_range: RangeLike = None,
  data: Sequence[Array] | None = None,
  *,
  said: set[str] | None = None,
  is_used: bool = True,
) -> InputRange:
  """The range of a model's inputs, for every stage behind a public function.

  Left out, it is what the layers say that read the inputs: the rows of an
  Embedding's table, the values that a Rescaling (or `x / 255.` and the like)
  brings to [0, 1] or [-1, 1], the mean +- three deviations that Normalization
  or BatchNormalization stored, the type of an 8 or 16-bit input; (0, 1) where
  none of them says anything. A warning says what was taken and why. One says,
  too, where a range that is given contradicts the layers, and where the
  statistics that batch normalization stored cannot have come from it, given or
  not.
  A range by statistics is widened to hold the data.

  Args:
    model: A built tf_keras model, wrapped or not.
    input_range: What the user gave: None, (low, high), or a dict of input name
      to such a pair. One that was settled before comes back as it is.
    data: Inputs that are at hand, one array with a batch axis an input.
    said: What a user has been told already, and is not told again; what is told
      now is added. None to tell everything.
    is_used: Whether anything is drawn from the range, or meets it: who only
      looks at it need not hear that it is the default.

  Raises:
    ValueError: it is no range for the model, or goes beyond a table.
  """
  if isinstance(input_range, InputRange):
    return input_range
  network = Network.of(model)
  graph, names = network.graph, network.input_names
  claims = dict(zip(names, input_claims(network.model, graph), strict=True))
  shapes = network.input_shapes
  if input_range is None:
    settled = _widened(_derived(names, claims), names, data)
    boxes = input_boxes(network, settled, shapes)
    by_default = is_used and data is None
    message = _of_choice(settled, disproof(graph, boxes), by_default)
  else:
    settled = InputRange(input_range, dict.fromkeys(names, 'as given'))
    boxes = input_boxes(network, settled, shapes)
    doubts = [
      doubt_of(name, box, claim)
      for name, box in zip(names, boxes, strict=True)
      for claim in claims[name]
    ]
    doubts = [text for text in (*doubts, disproof(graph, boxes)) if text]
    message = doubts and (
      f'`input_range` is not what the model was made for: {"; ".join(doubts)}. '
      'Pass the range that its inputs have, or leave it out to take what the '
      'first layers say.'
    )
  if message and message not in (said or ()):
    warnings.warn(message, UserWarning, callers.level())
    if said is not None:
      said.add(message)
  return settled


def _of_choice(
  settled: InputRange, disproved: str | None, tells_default: bool
) -> str | None:
  """What a user should know of a range that was not given.

  Where there are data, these show whether the default is right.
  """
  taken, reasons = [], []
  for name, source in settled.sources.items():
    text = text_of(_of_input(settled.ends, name))
    if _is_derived(settled, name):
      taken.append(f'{text} for input {name!r} (by {source})')
    elif source.startswith(_NOTHING) and (tells_default or source != _UNSAID):
      reasons.append(f'{text} for input {name!r} is {source}')
  if disproved:
    reasons.append(f'it cannot be right, since {disproved}')
  if not taken and not reasons:
    return None
  rest = ' where nothing is said' if taken else ''
  return (
    '`input_range` was not given. '
    + (f'Taken from the model itself: {"; ".join(taken)}. ' if taken else '')
    + (f'(0, 1) is taken{rest}: {"; ".join(reasons)}. ' if reasons else '')
    + 'Pass `input_range=(low, high)`, or a dict of input name to such a pair, '
    'where the model was trained on another.'
  )


def resolve_with_data(
  model: keras.Model | Network,
  input_range: RangeLike,
  data: Inputs,
) -> InputRange:
  """`resolve_range`, with a warning where a user's inputs lie outside.

  Args:
    model: A built tf_keras model.
    input_range: What the user gave.
    data: Unlabelled inputs, as `calibration_samples` takes them; None for
      none.

  Raises:
    ValueError: the range or the data do not fit the model.
  """
  if isinstance(input_range, InputRange):
    return input_range
  network = Network.of(model)
  x = None
  if data is not None:
    x = calibration_samples(network.model, data, _LOOKED_AT)
  settled = resolve_range(network, input_range, x)
  warn_outside(settled, network.model, x)
  return settled


def warn_outside(
  settled: InputRange,
  model: keras.Model,
  data: Inputs,
) -> None:
  """Warns where a user's inputs lie outside the range.

  Args:
    settled: The range.
    model: The model.
    data: Unlabelled inputs, as `calibration_samples` takes them; None for
      none.
  """
  if data is None:
    return
  found = []
  data = calibration_samples(model, data, _LOOKED_AT)
  for name, x in zip(model.input_names, data, strict=True):
    pair, source = _of_input(settled.ends, name), settled.sources[name]
    found.append(outside(name, x, pair, source, name in settled.centred))
  found = [text for text in found if text]
  if found:
    warnings.warn(
      f'The data and `input_range` do not fit: {"; ".join(found)}. Scale the '
      'data as the model was trained, or pass the range that they have.',
      UserWarning,
      callers.level(),
    )


def warn_coarse(
  settled: InputRange,
  model: keras.Model,
  bits: int,
  advice: str,
  real: Collection[str] = (),
) -> None:
  """Warns where entries of unlike ranges must share an integer's steps.

  Args:
    settled: The range.
    model: The model; inputs that are integers themselves keep their values.
    bits: Of the integers.
    advice: What to do in place of them, for the message.
    real: The names of inputs that stay real numbers.
  """
  steps = 2**bits - 1
  found = [
    text
    for name, tensor in zip(model.input_names, model.inputs, strict=True)
    if not tensor.dtype.is_integer
    and name not in real
    and (text := coarse(name, _of_input(settled.ends, name), steps))
  ]
  if found:
    warnings.warn(
      f'With integers of {bits} bits, {"; ".join(found)}. Normalize the inputs '
      f'in front of the model in place of in it, or {advice}.',
      UserWarning,
      callers.level(),
    )


def _widened(
  settled: InputRange, names: Sequence[str], data: Sequence[Array] | None
) -> InputRange:
  """Ranges by statistics, so wide that they hold the data."""
  if data is None or not settled.centred:
    return settled
  ends, sources = {}, dict(settled.sources)
  for name, x in zip(names, data, strict=True):
    low, high = _of_input(settled.ends, name)
    ends[name] = low, high
    middle = np.asarray(settled.centred.get(name, False))
    if not np.any(middle):
      continue
    rank = max(np.ndim(low), np.ndim(high), middle.ndim)
    axes = tuple(range(np.ndim(x) - rank))  # a range of all is one of all
    lower = np.where(middle, np.fmin(low, np.min(x, axes)), low)
    upper = np.where(middle, np.fmax(high, np.max(x, axes)), high)
    if np.any(lower < low) or np.any(upper > high):
      ends[name] = _smallest(lower), _smallest(upper)
      sources[name] += ', widened to hold the data'
  found = ends if isinstance(settled.ends, Mapping) else ends[names[0]]
  return dataclasses.replace(settled, ends=found, sources=sources)


def _derived(
  names: Sequence[str], claims: Mapping[str, Sequence[Claim]]
) -> InputRange:
  """What the layers say, and (0, 1) where they say nothing."""
  ends, sources, centred = {}, {}, {}
  for name in names:
    found = combined(claims[name], DEFAULT)
    ends[name], sources[name] = DEFAULT, _UNSAID
    if found is None:
      if claims[name]:
        said = ' and '.join(claim.source for claim in claims[name])
        sources[name] = f'{_NOTHING} {said} leave nothing in common'
      continue
    low, high, middle = (_smallest(values) for values in found)
    if not np.any(np.less(low, high)):
      continue  # what never changed in training may be anything
    ends[name] = low, high
    sources[name] = ' and '.join(
      dict.fromkeys(claim.source for claim in claims[name])
    )
    if np.any(middle):
      centred[name] = middle
  if all(ends[name] is DEFAULT for name in names):
    return InputRange(DEFAULT, sources)
  if len(names) == 1:
    return InputRange(ends[names[0]], sources, centred)
  return InputRange(ends, sources, centred)


def _smallest(values: Array) -> Any:
  """A number where all are alike, else without axes along which they are."""
  while values.ndim and np.all(values == values[:1]):
    values = values[0]
  return values.item() if not values.ndim else values


def _is_derived(settled: InputRange, name: str) -> bool:
  """Whether layers say another range than the default."""
  pair = _of_input(settled.ends, name)
  return not all(
    np.ndim(end) == 0 and end == other
    for end, other in zip(pair, DEFAULT, strict=True)
  )


def _of_input(ends: Any, name: str) -> Any:
  return ends[name] if isinstance(ends, Mapping) else ends


def input_boxes(
  model: keras.Model | Network, input_range: Any, shapes: Sequence[Shape]
) -> list[Interval]:
  """The box that each input of a model lies in.

  Args:
    model: The model, for the names of its inputs.
    input_range: `(low, high)`, each a number or an array that broadcasts to
      an input's shape; or a dict of input name to such a pair; or what
      `resolve_range` made of them.
    shapes: The inputs' shapes without the batch axis.

  Returns:
    One box an input, of its shape.

  Raises:
    ValueError: a range is empty, reversed, NaN, infinite or of a wrong shape,
      or a name is unknown or missing.
  """
  names = list(model.input_names)
  if isinstance(input_range, InputRange):
    input_range = input_range.ends
  if not isinstance(input_range, Mapping):
    return [_box(input_range, shape) for shape in shapes]
  if set(input_range) != set(names):
    raise ValueError(
      f'`input_range` names the inputs {sorted(input_range, key=str)}, but the '
      f'model has {sorted(names)}. Give every input a (low, high) pair.'
    )
  return [
    _box(input_range[name], shape)
    for name, shape in zip(names, shapes, strict=True)
  ]


def range_config(input_range: Any) -> Any:
  """An input range as plain numbers, lists and dicts, for a config."""
  if input_range is None:
    return None
  if isinstance(input_range, InputRange):
    input_range = input_range.ends
  if isinstance(input_range, Mapping):
    return {name: range_config(pair) for name, pair in input_range.items()}
  return [np.asarray(end, np.float64).tolist() for end in input_range]


def _box(pair: Any, shape: Shape) -> Interval:
  low, high = _ends(pair)
  for name, end in (('low', low), ('high', high)):
    try:
      np.broadcast_to(end, shape)
    except ValueError:
      raise ValueError(
        f'`input_range` has a {name} of shape {end.shape}, which does not '
        f'broadcast to the input shape {shape}. Pass numbers, or arrays with '
        'one entry a feature.'
      ) from None
  low, high = np.broadcast_to(low, shape), np.broadcast_to(high, shape)
  if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
    raise ValueError(
      f'`input_range` must be finite, but got {pair!r}. {_ADVICE}'
    )
  if np.any(low > high) or not np.any(low < high):
    raise ValueError(
      f'`input_range` must be (low, high) with low < high, but got {pair!r}. '
      f'{_ADVICE}'
    )
  return Interval(np.array(low), np.array(high))


def _ends(pair: Any) -> tuple[np.ndarray, np.ndarray]:
  try:
    low, high = None if isinstance(pair, str) else pair
    return np.asarray(low, np.float64), np.asarray(high, np.float64)
  except (TypeError, ValueError):
    raise ValueError(
      f'`input_range` must be a pair (low, high), but got {pair!r}. {_ADVICE}'
    ) from None
