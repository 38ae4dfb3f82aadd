"""Training with data: robust objectives, before, while and after pruning."""

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
from tfmot_paoding.training.trainer import RobustModel, robust_model

__all__ = [
  'Adversarial',
  'Natural',
  'Objective',
  'Ramp',
  'RobustModel',
  'Smoothing',
  'StabilityRegularizer',
  'Verifiable',
  'register_objective',
  'robust_model',
]
