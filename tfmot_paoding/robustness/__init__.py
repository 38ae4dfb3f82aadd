"""Attacks on classifiers, and what is proved of them."""

from tfmot_paoding.bounds import AlphaSettings, NoRelaxationError
from tfmot_paoding.robustness.adapters import as_art, as_foolbox
from tfmot_paoding.robustness.agreement import Agreement, certified_agreement
from tfmot_paoding.robustness.attacks import fgsm, pgd
from tfmot_paoding.robustness.certification import (
  certified,
  margins,
  output_bounds,
)
from tfmot_paoding.robustness.neurons import LayerStability, neuron_stability
from tfmot_paoding.robustness.properties import export_onnx, export_properties
from tfmot_paoding.robustness.protocol import (
  Preserved,
  answered_right,
  preserved_robustness,
  robust_instances,
)
from tfmot_paoding.robustness.scores import scores_model
from tfmot_paoding.robustness.smoothing import Smoothed, smoothed
from tfmot_paoding.robustness.verification import Answer, verify

__all__ = [
  'Agreement',
  'AlphaSettings',
  'Answer',
  'LayerStability',
  'NoRelaxationError',
  'Preserved',
  'Smoothed',
  'answered_right',
  'as_art',
  'as_foolbox',
  'certified',
  'certified_agreement',
  'export_onnx',
  'export_properties',
  'fgsm',
  'margins',
  'neuron_stability',
  'output_bounds',
  'pgd',
  'preserved_robustness',
  'robust_instances',
  'scores_model',
  'smoothed',
  'verify',
]
