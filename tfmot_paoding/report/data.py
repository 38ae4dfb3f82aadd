"""What a report says, as plain data."""

from __future__ import annotations

import dataclasses

from tfmot_paoding.network.agreement import Verdict
from tfmot_paoding.tflite.comparison import Comparison
from tfmot_paoding.tflite.npu import NpuProfile
from tfmot_paoding.tflite.profile import TFLiteProfile


@dataclasses.dataclass(frozen=True)
class LayerWidth:
  """One layer's units before and after.

  Attributes:
    name: The layer's path.
    before: Units in the original.
    after: Units in the pruned model.
    ranks: How many channels stand between the links of the chain that it is in
      the pruned model; none where it is one layer.
  """

  name: str
  before: int
  after: int
  ranks: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class FileReport:
  """One model's .tflite.

  Attributes:
    parameters: Of the Keras model.
    profile: What the file takes.
    conversion: How the file answers beside its Keras model.
    accuracy: Of the file on labelled test data; None without any.
    npus: What it costs on NPUs, one after the other.
  """

  parameters: int
  profile: TFLiteProfile
  conversion: Comparison
  accuracy: float | None
  npus: tuple[NpuProfile, ...] = ()


@dataclasses.dataclass(frozen=True)
class CurvePoint:
  """One sparsity of a trade-off curve.

  Attributes:
    sparsity: The fraction of units removed.
    bytes: Of the .tflite.
    macs: Multiply-accumulates.
    agreement: The fraction of inputs with the original's answers.
    accuracy: On labelled test data; None without any.
    arena_bytes: Of tflite-micro; None where it was not measured.
    milliseconds: Of one inference on one thread here; None likewise.
    npu_cycles: Of one inference, by the NPU's name.
  """

  sparsity: float
  bytes: int
  macs: int
  agreement: float
  accuracy: float | None
  arena_bytes: int | None = None
  milliseconds: float | None = None
  npu_cycles: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Limit:
  """What a budget allows, and what the pruned file takes of it.

  Attributes:
    name: As in `Budget`, such as flash_bytes.
    most: What is allowed.
    taken: What the file takes; None where that was not measured.
  """

  name: str
  most: float
  taken: float | None

  @property
  def met(self) -> bool | None:
    """Whether the file stays within it; None where nobody knows."""
    return None if self.taken is None else self.taken <= self.most


@dataclasses.dataclass(frozen=True)
class Report:
  """All of it.

  Attributes:
    title: The model's name.
    layers: Widths before and after.
    left_alone: The reason for each layer whose units cannot be pruned.
    original: The original's file.
    pruned: The pruned model's.
    verdict: How the pruned Keras model answers beside the original, on inputs
      that no label or sample of the training data went into.
    bound: The largest sound bound on the change of any output over the whole
      input range; NaN where a layer has no known bounds.
    curve: The trade-off over sparsity.
    input_range: The range of each input and who says so, by name.
    limits: What a budget allows, if there is one.
    output_range: The largest difference between two values of one entry of
      the original's outputs, on the inputs that answers were compared on; a
      bound that is wider says nothing. NaN where that is not known.
  """

  title: str
  layers: tuple[LayerWidth, ...]
  left_alone: dict[str, str]
  original: FileReport
  pruned: FileReport
  verdict: Verdict
  bound: float
  curve: tuple[CurvePoint, ...] = ()
  input_range: dict[str, str] = dataclasses.field(default_factory=dict)
  limits: tuple[Limit, ...] = ()
  output_range: float = float('nan')
