"""Of what type a file's inputs and outputs are.

Where integers are taken, a camera's bytes go in as they are: unsigned, with
the same scale as the signed ones that operators work on.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import tensorflow as tf
from tensorflow.lite.python import util

from tfmot_paoding import callers
from tfmot_paoding.quantization import REAL, UNSIGNED, Quantization
from tfmot_paoding.tflite.flatbuffer import TFLiteFile

# The arguments of a conversion that say it, as TensorFlow calls them.
_NAMES = ('inference_input_type', 'inference_output_type')


@dataclasses.dataclass(frozen=True)
class EndTypes:
  """The types of a file of integers at its ends.

  Attributes:
    input: Of inputs, but for those that hold rows of tables.
    output: Of outputs.
  """

  input: str
  output: str

  @property
  def takes_real(self) -> bool:
    """Whether inputs are real numbers."""
    return self.input == REAL

  @property
  def gives_real(self) -> bool:
    """Whether outputs are."""
    return self.output == REAL

  @property
  def before(self) -> EndTypes:
    """What is quantized to first: a quantizer knows no unsigned integers."""
    ends = (self.input, self.output)
    return EndTypes(*(REAL if end == UNSIGNED else end for end in ends))

  def put(self, data: bytes) -> bytes:
    """The file with these types, from one that has those of `before`."""
    if self == self.before:
      return data
    kinds = [
      tf.uint8 if end == UNSIGNED else tf.float32
      for end in (self.input, self.output)
    ]
    return bytes(util.modify_model_io_type(data, *kinds))

  def warn_if_without(self, data: bytes) -> None:
    """Warns where unsigned integers were asked for, and no end has them."""
    file = TFLiteFile(data)
    for name, asked, places in (
      (_NAMES[0], self.input, file.inputs),
      (_NAMES[1], self.output, file.outputs),
    ):
      found = {file.tensors[place].type for place in places}
      if asked == UNSIGNED and asked not in found:
        warnings.warn(
          f'`{name}` is {asked!r}, but the file has {", ".join(sorted(found))} '
          'there, which stands for rows of tables or for whole numbers as they '
          'are. Leave the argument out.',
          stacklevel=callers.level(),
        )


def end_types(
  mode: Quantization, float_io: bool, input_type: Any, output_type: Any
) -> EndTypes:
  """The types of a file's ends, of what a user passed.

  Args:
    mode: What numbers the file shall hold.
    float_io: Whether both ends are real.
    input_type: A name or a `tf.DType`; None for what `float_io` says.
    output_type: Likewise.

  Raises:
    ValueError: the mode has no such type, or the arguments contradict.
  """
  own = REAL if float_io or not mode.is_calibrated else mode.activations
  return EndTypes(
    *(
      own if given is None else _checked(mode, float_io, name, given)
      for name, given in zip(_NAMES, (input_type, output_type), strict=True)
    )
  )


def _checked(mode: Quantization, float_io: bool, name: str, given: Any) -> str:
  """The name of a type that a mode has.

  Raises:
    ValueError: it has not, or `float_io` says another.
  """
  try:
    found = tf.dtypes.as_dtype(given).name
  except TypeError:
    found = None
  if found not in mode.end_types:
    raise ValueError(
      f'`{name}` must be {" or ".join(map(repr, mode.end_types))} where '
      f'`quantization` is {mode.name!r}, but got {given!r}.'
    )
  if float_io and found != REAL:
    raise ValueError(
      f'`float_io` asks for real inputs and outputs, but `{name}` is '
      f'{found!r}. Leave `float_io` out and pass the type of each end.'
    )
  return found
