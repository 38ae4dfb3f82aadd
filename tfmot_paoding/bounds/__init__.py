"""Sound bounds of single samples: intervals, and linear ones."""

from tfmot_paoding.bounds.program import (
  NoRelaxationError,
  Program,
  build_program,
  in_front,
)
from tfmot_paoding.bounds.twins import build_difference
from tfmot_paoding.bounds.walks import METHODS, AlphaSettings, Walk, walks

__all__ = [
  'METHODS',
  'AlphaSettings',
  'NoRelaxationError',
  'Program',
  'Walk',
  'build_difference',
  'build_program',
  'in_front',
  'walks',
]
