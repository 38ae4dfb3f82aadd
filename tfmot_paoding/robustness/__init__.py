"""Attacks on classifiers, and what is proved of them."""

from tfmot_paoding.relaxation import AlphaSettings, NoRelaxationError
from tfmot_paoding.robustness.agreement import Agreement, certified_agreement
from tfmot_paoding.robustness.attacks import fgsm, pgd
from tfmot_paoding.robustness.certification import (
  certified,
  margins,
  output_bounds,
)
from tfmot_paoding.robustness.scores import scores_model

__all__ = [
  'Agreement',
  'AlphaSettings',
  'NoRelaxationError',
  'certified',
  'certified_agreement',
  'fgsm',
  'margins',
  'output_bounds',
  'pgd',
  'scores_model',
]
