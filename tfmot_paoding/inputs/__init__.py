"""What goes into a model: its range, and inputs where there are none."""

from tfmot_paoding.inputs.prior import GaussianPrior, Prior
from tfmot_paoding.inputs.ranges import InputRange
from tfmot_paoding.inputs.recall import RecallSettings, recall_inputs
from tfmot_paoding.inputs.samples import draw_samples

__all__ = [
  'GaussianPrior',
  'InputRange',
  'Prior',
  'RecallSettings',
  'draw_samples',
  'recall_inputs',
]
