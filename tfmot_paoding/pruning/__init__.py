"""Units leave: wrappers and schedules, one call, and budgets."""

from tfmot_paoding.pruning.budget import Budget, BudgetError, Fitted
from tfmot_paoding.pruning.callbacks import UpdatePruningStep
from tfmot_paoding.pruning.driver import History
from tfmot_paoding.pruning.one_call import (
  prune,
  prune_low_saliency,
  prune_to_budget,
  run_schedule,
)
from tfmot_paoding.pruning.schedule import ProgressiveSparsity
from tfmot_paoding.pruning.shares import LayerShare, RoundingWarning
from tfmot_paoding.pruning.wrapper import PruneLowSaliency, prune_scope

__all__ = [
  'Budget',
  'BudgetError',
  'Fitted',
  'History',
  'LayerShare',
  'ProgressiveSparsity',
  'PruneLowSaliency',
  'RoundingWarning',
  'UpdatePruningStep',
  'prune',
  'prune_low_saliency',
  'prune_scope',
  'prune_to_budget',
  'run_schedule',
]
