"""What a schedule did to a model, step by step."""

from __future__ import annotations

import dataclasses

from tfmot_paoding.network.agreement import Verdict
from tfmot_paoding.pruning.shares import LayerShare


@dataclasses.dataclass
class History:
  """What a schedule did, one entry a pruning step.

  Attributes:
    step: The training step.
    sparsity: Units removed so far, as a fraction of all units in groups.
    units_removed: Units removed so far.
    bound: The largest sound bound on the change of any output, over the whole
      input box, since the run began; NaN where an operation without known
      bounds stands in the way, or in `fit`, where weights train as well.
    seconds: Wall time of the step.
    units: All units in groups.
    left_alone: The reason for each layer whose units cannot be pruned.
    input_range: The range of each input and who says so, by name.
    layers: What was asked of each group of units and what was removed, by the
      name of its first layer; rounding down makes the difference.
    verdict: How the pruned model answers beside the original, and on whose
      inputs; None in `fit`, where weights train as well, and for a run that
      was resumed where the original is not known, or whose inputs are of open
      sizes.
  """

  step: list[int] = dataclasses.field(default_factory=list)
  sparsity: list[float] = dataclasses.field(default_factory=list)
  units_removed: list[int] = dataclasses.field(default_factory=list)
  bound: list[float] = dataclasses.field(default_factory=list)
  seconds: list[float] = dataclasses.field(default_factory=list)
  units: int = 0
  left_alone: dict[str, str] = dataclasses.field(default_factory=dict)
  input_range: dict[str, str] = dataclasses.field(default_factory=dict)
  layers: dict[str, LayerShare] = dataclasses.field(default_factory=dict)
  verdict: Verdict | None = None

  def progress(self) -> list[tuple[str, float]]:
    """The latest figures, as a progress bar shows them."""
    if not self.step:
      return []
    return [('sparsity', self.sparsity[-1]), ('bound', self.bound[-1])]
