"""Data-free structured pruning for TensorFlow Model Optimization.

Removes whole units of a trained Keras model without one training sample, in
TFMOT's own terms, and makes the model physically smaller. See README.md.
"""

# TFMOT comes first: importing it before `tf.keras` is touched makes
# `tf.keras` resolve to tf_keras, which TFMOT needs.
from tfmot_paoding import compat  # noqa: F401 isort: skip
from tfmot_paoding import robustness, training
from tfmot_paoding.activations import Activation
from tfmot_paoding.budget import Budget, BudgetError, Fitted
from tfmot_paoding.callbacks import UpdatePruningStep
from tfmot_paoding.compact import compact
from tfmot_paoding.compensation import (
  Compensation,
  Merge,
  NoCompensation,
  register_compensation,
)
from tfmot_paoding.cost import count_macs
from tfmot_paoding.criteria import (
  Criterion,
  IntervalImpact,
  Norm,
  PairSaliency,
  register_criterion,
)
from tfmot_paoding.deviation import deviation_bound
from tfmot_paoding.distillation import DistillSettings, distill
from tfmot_paoding.driver import History
from tfmot_paoding.judge import Verdict, judge
from tfmot_paoding.keras3 import from_keras3
from tfmot_paoding.layers import LayerHandler, register_handler
from tfmot_paoding.loading import load_model
from tfmot_paoding.methods import (
  Method,
  get_method,
  method_names,
  register_method,
)
from tfmot_paoding.prior import GaussianPrior, Prior
from tfmot_paoding.prune import (
  prune,
  prune_low_saliency,
  prune_to_budget,
  run_schedule,
)
from tfmot_paoding.recall import RecallSettings, recall_inputs
from tfmot_paoding.report import curve_point, make_report, write_report
from tfmot_paoding.report_data import CurvePoint, Report
from tfmot_paoding.samples import draw_samples
from tfmot_paoding.schedule import ProgressiveSparsity
from tfmot_paoding.selection import (
  Annealing,
  Greedy,
  Selection,
  register_selection,
)
from tfmot_paoding.shares import LayerShare, RoundingWarning
from tfmot_paoding.subclassed import from_subclassed
from tfmot_paoding.tflite import (
  Comparison,
  Latency,
  MicroError,
  TFLiteProfile,
  compare_tflite,
  convert_to_tflite,
  profile_tflite,
  run_micro,
  run_tflite,
  write_c_array,
  write_file,
)
from tfmot_paoding.to_keras3 import to_keras3
from tfmot_paoding.version import __version__
from tfmot_paoding.wrapper import PruneLowSaliency, prune_scope

__all__ = [
  'Activation',
  'Annealing',
  'Budget',
  'BudgetError',
  'Comparison',
  'Compensation',
  'Criterion',
  'CurvePoint',
  'DistillSettings',
  'Fitted',
  'GaussianPrior',
  'Greedy',
  'History',
  'IntervalImpact',
  'Latency',
  'LayerHandler',
  'LayerShare',
  'Merge',
  'Method',
  'MicroError',
  'NoCompensation',
  'Norm',
  'PairSaliency',
  'Prior',
  'ProgressiveSparsity',
  'PruneLowSaliency',
  'RecallSettings',
  'Report',
  'RoundingWarning',
  'Selection',
  'TFLiteProfile',
  'UpdatePruningStep',
  'Verdict',
  '__version__',
  'compact',
  'compare_tflite',
  'convert_to_tflite',
  'count_macs',
  'curve_point',
  'deviation_bound',
  'distill',
  'draw_samples',
  'from_keras3',
  'from_subclassed',
  'get_method',
  'judge',
  'load_model',
  'make_report',
  'method_names',
  'profile_tflite',
  'prune',
  'prune_low_saliency',
  'prune_scope',
  'prune_to_budget',
  'recall_inputs',
  'register_compensation',
  'register_criterion',
  'register_handler',
  'register_method',
  'register_selection',
  'robustness',
  'run_micro',
  'run_schedule',
  'run_tflite',
  'to_keras3',
  'training',
  'write_c_array',
  'write_file',
  'write_report',
]
