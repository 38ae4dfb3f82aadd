"""Units leave: wrappers and schedules, one call, and budgets.

`prune` is one call. `sparsity` is the fraction of units removed from *every*
hidden layer, or a dict of layer name to fraction; with `scope='global'` it is
the fraction of *all* units, and those go first whose removal moves the outputs
least for what it saves (`cost='parameters'` or 'macs'), while `floor` of each
layer stays. `input_range` is the range of the inputs that the model was trained
on: two numbers, or two arrays with one entry a feature, or a dict of input name
to such a pair. Left out, it is what the first layers say (`Rescaling` or
`x / 255.`, `Normalization`, `Embedding`, batch normalization), with a warning
that names it, and (0, 1) where they say nothing.

Inside a TFMOT workflow, with data that trains while units leave:

```python
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding

wrapped = paoding.prune_low_saliency(
  model,
  pruning_schedule=paoding.ProgressiveSparsity(0.5, step_sparsity=0.25),
  method='impact',
  input_range=(0.0, 1.0),
)
wrapped.compile('sgd', 'mse')
wrapped.fit(
  x,
  model(x),
  batch_size=2,
  verbose=0,
  callbacks=[paoding.UpdatePruningStep()],
)
stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
small = paoding.compact(stripped)
```

TFMOT's `PolynomialDecay` and `ConstantSparsity` serve as schedules too,
`PruningSummaries` (which needs TensorBoard) and a `pruning_policy` work, and
wrapped models load from .h5, .keras and SavedModel without a scope and prune on
where they stopped. Removed units stay removed in `fit`: every weight of theirs
carries a mask, on both sides. TFMOT's own `UpdatePruningStep` prunes as well,
at the end of each epoch, and so do training loops of your own, and layers that
`clone_model` wraps in `PruneLowSaliency` one by one, as long as all layers that
a group of units passes are wrapped. Keras masks, call arguments, activity
penalties and the precision of each layer pass through the wrappers.
`History.layers` says what was asked of each group and what was removed. Blocks
and m-by-n sparsity come after units:
`prune_low_magnitude(small, schedule, sparsity_m_by_n=(2, 4))`. Stripped models
have zeros in tensors of the old shape: only `compact` makes files smaller.

Units are not all that can leave. `factorize` makes single layers of thinner
ones, a Dense layer of two and a convolution of up to three, and keeps every
unit: `factorize(model, 0.5)` saves half of the parameters where it moves the
outputs least, `factorize(model, ranks={'hidden_0': 2})` says where.
`factorizable(model)` lists the layers that can be, and why others cannot. What
`prune` leaves can be factorized, and the other way round.

If you know what the device has rather than a sparsity, `prune_to_budget` finds
the least pruning whose converted file meets every limit, spread over the layers
in the way that keeps the answers best, or says how near it came
(`prune(model, budget=...)` gives the model alone). With `low_rank=True` it
tries thinner layers as well, alone and behind fewer units.

Hardware works in steps of width: on an Ethos-U55 49 channels take what 56 do.
`multiple_of=8`, or the name of an accelerator (`'xnnpack'` and each Ethos-U55
and U65: 8, `'cmsis-nn'`: 4, `'ethos-u85'`: 16, and 8 below these), or a dict of
layer name to either, ends every width at a multiple: the one nearest to what
the sparsity asks for, and the larger of two as near. A width of the original's
own that is no multiple may stay. Where the device has an NPU, say what it may
take there:

```python
budget = paoding.Budget(npu_cycles=60_000, npu='ethos-u55-128')  # needs [npu]
```

Its widths are then multiples of 8; `multiple_of=1` allows any. One fraction of
all layers takes several of them a stair lower at once, so that from there
layers climb one again, alone or while another descends, as long as every limit
is met.
"""

from tfmot_paoding.compaction.standing import UnfinishedWarning
from tfmot_paoding.pruning.budget import Budget, BudgetError, Fitted
from tfmot_paoding.pruning.callbacks import UpdatePruningStep
from tfmot_paoding.pruning.few_answers import FewAnswersWarning, compare_answers
from tfmot_paoding.pruning.history import History
from tfmot_paoding.pruning.low_rank import factorize
from tfmot_paoding.pruning.one_call import prune
from tfmot_paoding.pruning.rank_choice import Factorizable, factorizable
from tfmot_paoding.pruning.running import run_schedule
from tfmot_paoding.pruning.schedule import ProgressiveSparsity
from tfmot_paoding.pruning.shares import LayerShare, RoundingWarning
from tfmot_paoding.pruning.to_budget import prune_to_budget
from tfmot_paoding.pruning.wrap import prune_low_saliency
from tfmot_paoding.pruning.wrapper import PruneLowSaliency, prune_scope

__all__ = [
  'Budget',
  'BudgetError',
  'Factorizable',
  'FewAnswersWarning',
  'Fitted',
  'History',
  'LayerShare',
  'ProgressiveSparsity',
  'PruneLowSaliency',
  'RoundingWarning',
  'UnfinishedWarning',
  'UpdatePruningStep',
  'compare_answers',
  'factorizable',
  'factorize',
  'prune',
  'prune_low_saliency',
  'prune_scope',
  'prune_to_budget',
  'run_schedule',
]
