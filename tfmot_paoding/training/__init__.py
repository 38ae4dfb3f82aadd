"""Training with data: robust objectives, before, while and after pruning."""

from tfmot_paoding.training.distillation import DistillSettings, distill
from tfmot_paoding.training.objectives import (
  Adversarial,
  Natural,
  Objective,
  Smoothing,
  StabilityRegularizer,
  Verifiable,
  register_objective,
)
from tfmot_paoding.training.ramps import Ramp
from tfmot_paoding.training.tickets import (
  Ticket,
  find_tickets,
  magnitude_masks,
  masks_of,
  set_masks,
  snip_masks,
  with_fixed_masks,
)
from tfmot_paoding.training.trainer import RobustModel, robust_model

__all__ = [
  'Adversarial',
  'DistillSettings',
  'Natural',
  'Objective',
  'Ramp',
  'RobustModel',
  'Smoothing',
  'StabilityRegularizer',
  'Ticket',
  'Verifiable',
  'distill',
  'find_tickets',
  'magnitude_masks',
  'masks_of',
  'register_objective',
  'robust_model',
  'set_masks',
  'snip_masks',
  'with_fixed_masks',
]
