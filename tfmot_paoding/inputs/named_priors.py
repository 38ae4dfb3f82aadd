"""Priors by name."""

from __future__ import annotations

from tfmot_paoding.inputs.leaves import BLOBS, LeavesPrior
from tfmot_paoding.inputs.mixture import MixturePrior
from tfmot_paoding.inputs.photos import PhotosPrior
from tfmot_paoding.inputs.prior import InputPrior, Prior, VariedPrior
from tfmot_paoding.inputs.rows import RowsPrior
from tfmot_paoding.inputs.spectra import SpectralPrior
from tfmot_paoding.inputs.strokes import StrokesPrior

# Families that have little in common: the network chooses among them.
_MIXED = MixturePrior((VariedPrior(), LeavesPrior(), BLOBS, StrokesPrior()))

# What `prior=` may say beside 'recalled'.
NAMED_PRIORS: dict[str, InputPrior] = {
  'smooth': Prior(),
  'varied': VariedPrior(),
  'leaves': LeavesPrior(),
  'blobs': BLOBS,
  'spectral': SpectralPrior(),
  'strokes': StrokesPrior(),
  'photos': PhotosPrior(),
  'mixed': _MIXED,
  'rows': RowsPrior(_MIXED),
}
