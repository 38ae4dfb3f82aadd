"""Data-free structured pruning for TensorFlow Model Optimization.

Removes whole units of a trained Keras model without one training sample, in
TFMOT's own terms, and makes the model physically smaller. See README.md.

The way through the package, from what stands on nothing to what stands on all;
what is asked of a folder is its first sentence:

* `compat`, `registry`, `callers`, `arguments`, `deprecation`: Keras and TFMOT
  as they are, names for classes, where warnings point, checks of arguments, and
  calls as they once were.
* `files`, `progress`, `replicas`, `version`, `extras`: files that are written
  whole, bars, how replicas share work, the version, and packages that not
  everybody has.
* `quantization`, `accelerators`: what of a file is an integer, and in which
  steps hardware works.
* `numerics`: intervals, how activations act on them, and least squares.
* `ops`: what each operation does to units and to bounds.
* `layers`: which operations a Keras layer is. A new layer is one handler here.
* `network`: a model as a graph of operations, the units that live and die
  together, and what it costs and answers.
* `functional`, `keras3`: subclassed and Keras 3 models as functional tf_keras
  ones, and back.
* `inputs`: the range of the inputs, and samples that are recalled or drawn.
* `bounds`: what is proved of activations, and of the change of outputs.
* `methods`: which units go, and how the kept ones make up for them. A new
  criterion, selection or compensation is one class here, or in yours.
* `factorization`: layers as chains of thinner ones: low rank.
* `compaction`: the same function in smaller layers.
* `robustness`, `training`: attacks and proofs, and objectives that train.
* `tflite`: files for devices, what they take and what they answer.
* `pruning`: TFMOT's side: wrappers, schedules, callbacks, one call, budgets.
* `report`: what pruning did, on one page.
* `loading`: model files of any age, without running code from them.
* `command`: all of it from a shell, as `tfmot-paoding`.

Who is listed later may import who is listed before, never the other way round;
a test holds that. `python .ci/show_imports.py` draws the folders and their
imports. `python .ci/make_build.py` writes them down for Bazel, a target a
module. Figures come from the scripts of `examples/figures`.
"""

import importlib
import warnings

from tfmot_paoding.command import starting

# The command reads its flags before TensorFlow is loaded, which takes seconds;
# in any other program this does nothing.
starting.start()

# TFMOT comes first: importing it before `tf.keras` is touched makes
# `tf.keras` resolve to tf_keras, which TFMOT needs.
from tfmot_paoding import compat  # noqa: F401 isort: skip
from tfmot_paoding import (
  callers,
  files,
  inputs,
  layers,
  methods,
  pruning,
  report,
  robustness,
  tflite,
  training,
)
from tfmot_paoding.bounds.deviation import deviation_bound
from tfmot_paoding.compaction.dead_units import compact
from tfmot_paoding.functional.subclassed import from_subclassed
from tfmot_paoding.inputs import recall_inputs
from tfmot_paoding.keras3.back import to_keras3
from tfmot_paoding.keras3.model import from_keras3
from tfmot_paoding.layers import register_handler
from tfmot_paoding.loading import load_model
from tfmot_paoding.methods import (
  Method,
  register_compensation,
  register_criterion,
  register_method,
  register_selection,
)
from tfmot_paoding.pruning import (
  Budget,
  ProgressiveSparsity,
  PruneLowSaliency,
  UpdatePruningStep,
  factorize,
  prune,
  prune_low_saliency,
  prune_scope,
  prune_to_budget,
  run_schedule,
)
from tfmot_paoding.tflite import (
  convert_to_tflite,
  profile_tflite,
  write_c_array,
)
from tfmot_paoding.version import __version__

__all__ = [
  'Budget',
  'Method',
  'ProgressiveSparsity',
  'PruneLowSaliency',
  'UpdatePruningStep',
  '__version__',
  'compact',
  'convert_to_tflite',
  'deviation_bound',
  'factorize',
  'files',
  'from_keras3',
  'from_subclassed',
  'inputs',
  'layers',
  'load_model',
  'methods',
  'profile_tflite',
  'prune',
  'prune_low_saliency',
  'prune_scope',
  'prune_to_budget',
  'pruning',
  'recall_inputs',
  'register_compensation',
  'register_criterion',
  'register_handler',
  'register_method',
  'register_selection',
  'report',
  'robustness',
  'run_schedule',
  'tflite',
  'to_keras3',
  'training',
  'write_c_array',
]

# Names that once stood here, by where they are.
_MOVED = {
  'files': ('write_file',),
  'inputs': (
    'GaussianPrior',
    'Prior',
    'RecallSettings',
    'draw_samples',
  ),
  'layers': (
    'Activation',
    'LayerHandler',
  ),
  'methods': (
    'Annealing',
    'Compensation',
    'Criterion',
    'Greedy',
    'IntervalImpact',
    'Merge',
    'NoCompensation',
    'Norm',
    'PairSaliency',
    'Selection',
    'get_method',
    'method_names',
  ),
  'pruning': (
    'BudgetError',
    'Fitted',
    'History',
    'LayerShare',
    'RoundingWarning',
  ),
  'report': (
    'CurvePoint',
    'Report',
    'Verdict',
    'count_macs',
    'curve_point',
    'judge',
    'make_report',
    'write_report',
  ),
  'tflite': (
    'Comparison',
    'Latency',
    'MicroError',
    'TFLiteProfile',
    'compare_tflite',
    'run_micro',
    'run_tflite',
  ),
  'training': (
    'DistillSettings',
    'distill',
  ),
}
_PLACES = {name: place for place, names in _MOVED.items() for name in names}


def __getattr__(name: str) -> object:
  """A name that has moved into a namespace, with a word on where it is."""
  if name not in _PLACES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  place = f'{__name__}.{_PLACES[name]}'
  warnings.warn(
    f'{__name__}.{name} is {place}.{name} now; the old name will go.',
    DeprecationWarning,
    stacklevel=callers.level(),
  )
  return getattr(importlib.import_module(place), name)
