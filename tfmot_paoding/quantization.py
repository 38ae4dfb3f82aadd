"""Into what numbers a model can be converted: one description a mode.

It imports nothing, so that the command can list the modes before it loads
TensorFlow.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Iterable

# What a file's ends can be beside its own integers.
REAL, UNSIGNED = 'float32', 'uint8'


@dataclasses.dataclass(frozen=True)
class Quantization:
  """Everything that conversion, its checks and the examples ask of a mode.

  Attributes:
    name: What `quantization=` takes; None for what is not quantized.
    text: What it is, in a few words, for help texts.
    tolerance: How far a file may be from the Keras model, as a fraction of the
      outputs' spread: its mean difference for integers throughout and weights
      of four bits, of which single answers may be off; its largest for others,
      where one wrong operator shows at once.
    weights: The type of large weights in the file.
    activations: The type of what flows between operators. Integers make the
      mode a calibrated one: their ranges are taken from inputs.
    operators: Of `tf.lite.OpsSet`, which operators the file may use.
    quantizer: What writes integers: 'mlir', the converter's own pass, or
      'calibrator', the older one, alone in having 16 bits; '' for others.
    recipe: The kind of recipe by which ai-edge-quantizer (the extra
      `[quantize]`) makes the file of one of real numbers: 'dynamic',
      'weight_only' or 'static'; '' where it does not.
    biases: The type of biases; only the calibrator leaves a choice.
    one_step: The operators whose weights of four bits have one step for all
      units, as tflite-micro reads them.
    on_micro: Whether tflite-micro has kernels for such files; others are for
      phones alone.
    casts: Whether integers come with a CAST operator, so that a real input can
      hold the rows of a table.
  """

  name: str | None
  text: str
  tolerance: float
  weights: str = 'float32'
  activations: str = 'float32'
  operators: str = 'TFLITE_BUILTINS'
  quantizer: str = ''
  recipe: str = ''
  biases: str = 'int32'
  one_step: tuple[str, ...] = ()
  on_micro: bool = True
  casts: bool = True

  @property
  def flag(self) -> str:
    """The name on a command line, which has no None."""
    return 'none' if self.name is None else self.name

  @property
  def is_calibrated(self) -> bool:
    """Whether ranges of activations have to be taken from inputs."""
    return self.activations.startswith('int')

  @property
  def reads(self) -> tuple[str, ...]:
    """The arguments of a conversion that not every mode looks at."""
    if self.takes_inputs:
      ends = ('float_io',) if self.is_calibrated else ()
      return ('representative_data', 'prior', *ends)
    return ('sparse',) if self.weight_bits == 32 else ()

  @property
  def has_steps(self) -> bool:
    """Whether any numbers are integers, of one scale for what is unlike."""
    return self.is_calibrated or self.weights.startswith('int')

  @property
  def has_narrow_weights(self) -> bool:
    """Whether real weights are stored in fewer bits than they have."""
    return self.weights.startswith('float') and self.weight_bits < 32

  @property
  def takes_inputs(self) -> bool:
    """Whether inputs tell ranges, or which layers bear four bits."""
    return self.is_rough

  @property
  def is_rough(self) -> bool:
    """Whether single answers may be far off, so that their mean counts."""
    return self.is_calibrated or self.weight_bits < 8

  @property
  def runs_in(self) -> str:
    """The interpreters that compute with such numbers, in words."""
    if self.on_micro:
      return 'LiteRT (phones) and tflite-micro (microcontrollers)'
    return 'LiteRT (phones), not in tflite-micro (microcontrollers)'

  @property
  def weight_bits(self) -> int:
    """What a large weight takes in the file."""
    return _bits(self.weights)

  @property
  def activation_bits(self) -> int:
    """What a number between operators takes."""
    return _bits(self.activations)

  @property
  def end_types(self) -> tuple[str, ...]:
    """What a file's inputs and outputs can be, by name."""
    if not self.is_calibrated:
      return (REAL,)
    unsigned = (UNSIGNED,) if self.activation_bits == 8 else ()
    return (REAL, self.activations, *unsigned)

  @property
  def on_npu(self) -> bool:
    """Whether Arm's NPUs, which tflite-micro drives, run such files."""
    return self.is_calibrated and self.on_micro and self.weight_bits == 8

  @property
  def keeps_real(self) -> bool:
    """Whether some operators of an integer file can stay in real numbers."""
    return self.quantizer == 'mlir'

  @property
  def is_coarse(self) -> bool:
    """Whether steps are so few that wide ranges cost answers."""
    return self.is_calibrated and self.activation_bits <= 8


def _bits(kind: str) -> int:
  """Of a type by its name: 'int16' has 16."""
  return int(kind.lstrip(string.ascii_lowercase))


# A mode is one entry here; what is read from it is all that tells it apart.
QUANTIZATIONS: dict[str | None, Quantization] = {
  mode.name: mode
  for mode in (
    Quantization(None, 'float32', 1e-4),
    Quantization(
      'dynamic',
      'int8 weights, real activations',
      0.1,
      weights='int8',
      on_micro=False,
    ),
    Quantization(
      'float16', 'float16 weights', 0.02, weights='float16', on_micro=False
    ),
    Quantization(
      'int8',
      'integers throughout, for microcontrollers',
      0.1,
      weights='int8',
      activations='int8',
      operators='TFLITE_BUILTINS_INT8',
      quantizer='mlir',
    ),
    Quantization(
      'int16x8',
      'int16 activations, int8 weights',
      0.05,
      weights='int8',
      activations='int16',
      operators='EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8',
      quantizer='calibrator',
      biases='int64',
      casts=False,
    ),
    Quantization(
      'int4',
      'int4 weights (int8 where a layer does not bear it), real activations, '
      'for phones',
      0.1,
      weights='int4',
      recipe='dynamic',
      on_micro=False,
    ),
    Quantization(
      'int4_weights',
      'the same weights, made real again before they are used',
      0.1,
      weights='int4',
      recipe='weight_only',
      on_micro=False,
    ),
    Quantization(
      'int4x8',
      'int8 activations, weights of int4 or int8, for microcontrollers',
      0.1,
      weights='int4',
      activations='int8',
      operators='TFLITE_BUILTINS_INT8',
      recipe='static',
      one_step=('FULLY_CONNECTED',),
    ),
  )
}


def quantization_of(name: str | None) -> Quantization:
  """The mode of a name.

  Raises:
    ValueError: there is none.
  """
  if isinstance(name, (str, type(None))) and name in QUANTIZATIONS:
    return QUANTIZATIONS[name]
  raise ValueError(
    f'`quantization` must be {listed(QUANTIZATIONS.values())}, but got '
    f'{name!r}.'
  )


def quantization_of_flag(flag: str) -> str | None:
  """What `quantization=` takes for a choice of the command line."""
  return {mode.flag: mode.name for mode in QUANTIZATIONS.values()}[flag]


def quantization_flags() -> list[str]:
  """The choices of a command line."""
  return [mode.flag for mode in QUANTIZATIONS.values()]


def quantization_help() -> str:
  """What the choices of a command line are."""
  return '; '.join(
    f'{mode.flag}: {mode.text}' for mode in QUANTIZATIONS.values()
  )


def on_npu() -> str:
  """The modes that an NPU runs, as a sentence names them."""
  return listed([m for m in QUANTIZATIONS.values() if m.on_npu])


def on_micro() -> str:
  """The modes that tflite-micro runs, as a sentence names them."""
  return listed([m for m in QUANTIZATIONS.values() if m.on_micro])


def finer(mode: Quantization) -> str:
  """The modes whose activations are finer, as a sentence names them."""
  found = [
    other
    for other in QUANTIZATIONS.values()
    if not other.is_calibrated or other.activation_bits > mode.activation_bits
  ]
  return listed(found)


def others(mode: Quantization) -> str:
  """The modes but one, as a sentence names them."""
  return listed([m for m in QUANTIZATIONS.values() if m != mode])


def that_read(argument: str) -> list[Quantization]:
  """The modes that look at an argument of a conversion."""
  return [mode for mode in QUANTIZATIONS.values() if argument in mode.reads]


def uncalibrated() -> str:
  """The modes that take no ranges, as a sentence names them."""
  return listed([m for m in QUANTIZATIONS.values() if not m.is_calibrated])


def with_casts() -> str:
  """Integer modes that take real inputs for rows of a table, likewise."""
  modes = QUANTIZATIONS.values()
  return listed([m for m in modes if m.is_calibrated and m.casts])


def listed(modes: Iterable[Quantization]) -> str:
  """Names as a sentence has them: `None, 'dynamic' or 'int8'`."""
  *names, last = [repr(mode.name) for mode in modes]
  return f'{", ".join(names)} or {last}' if names else last
