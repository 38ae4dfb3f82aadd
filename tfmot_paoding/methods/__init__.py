"""How units are chosen, and how the kept ones make up for them."""

from tfmot_paoding.methods.compensation import (
  Compensation,
  Merge,
  NoCompensation,
  register_compensation,
)
from tfmot_paoding.methods.criteria import (
  Criterion,
  IntervalImpact,
  Norm,
  PairSaliency,
  register_criterion,
)
from tfmot_paoding.methods.named import (
  Method,
  get_method,
  method_names,
  register_method,
)
from tfmot_paoding.methods.selection import (
  Annealing,
  Greedy,
  Selection,
  register_selection,
)

__all__ = [
  'Annealing',
  'Compensation',
  'Criterion',
  'Greedy',
  'IntervalImpact',
  'Merge',
  'Method',
  'NoCompensation',
  'Norm',
  'PairSaliency',
  'Selection',
  'get_method',
  'method_names',
  'register_compensation',
  'register_criterion',
  'register_method',
  'register_selection',
]
