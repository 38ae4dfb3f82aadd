"""Training with data: robust objectives, before, while and after pruning.

Who has data trains before, while and after pruning under the objective that
matters: `fit` follows it on any classifier, with TFMOT's wrappers and
callbacks, mixed precision and `tf.distribute` (masks are the same on every
replica). `x` and `y` are samples and integer labels:

```python
import tf_keras

import tfmot_paoding as paoding
from tfmot_paoding import training

wrapped = paoding.prune_low_saliency(
  model, paoding.ProgressiveSparsity(0.5, 0.25), method='impact'
)
trainee = training.robust_model(
  wrapped,
  training.Verifiable(
    epsilon=training.Ramp(0.0, 0.05, begin_step=2, end_step=6)
  ),
  stability=training.StabilityRegularizer(epsilon=0.05, weight=0.001),
)
trainee.compile(
  'adam', tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
trainee.fit(
  x,
  y,
  batch_size=2,
  epochs=2,
  verbose=0,
  callbacks=[paoding.UpdatePruningStep()],
)
robust = paoding.compact(paoding.compat.strip_pruning(wrapped))
```

Under `Verifiable`, begin with `initialized_for_bounds(model)`, of a model with
batch normalization in front of its activations: intervals that keep their width
from layer to layer are learned from soonest. Let epsilon grow from 0 under
`Adversarial` as well.

Objectives: `Natural`, `Adversarial` (PGD; `trades=6.` for TRADES), `Verifiable`
(IBP with ramps of epsilon and kappa; `linear=` for CROWN-IBP), `Smoothing`
(certified by `robustness.smoothed`), and your own. The stability term makes
ReLUs linear around the data, which is what certificates gain from.

`find_tickets` is iterative magnitude pruning with rewinding (with `directory=`
a killed search goes on from its last round); `with_fixed_masks`,
`magnitude_masks` and `snip_masks` are its parts. `learned_masks` trains a score
for every weight under the objective, the weights fixed (HYDRA);
`learned_scores` one for every unit, which the criterion
`methods.GivenScores` takes, as it takes `stability_scores` (NRS), which say how
stable a unit's activations are around samples.

From the command line, on digits in one or two minutes when nothing else is
named, with checkpoints that a killed run goes on from, and TensorBoard logs:
pre-train, prune, fine-tune; and methods by certified accuracy.

```sh
python examples/figures/robust_training.py --objective=adversarial
python examples/figures/certified_pruning.py --directory=run
```
"""

from tfmot_paoding.training.bound_starts import initialized_for_bounds
from tfmot_paoding.training.distill_settings import DistillSettings
from tfmot_paoding.training.distillation import distill
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
from tfmot_paoding.training.score_training import (
  learned_masks,
  learned_scores,
)
from tfmot_paoding.training.tickets import (
  Ticket,
  find_tickets,
  magnitude_masks,
  masks_of,
  set_masks,
  snip_masks,
  with_fixed_masks,
)
from tfmot_paoding.training.trainer import RobustModel, robust_model
from tfmot_paoding.training.unit_stability import stability_scores

__all__ = [
  'Adversarial',
  'DistillSettings',
  'Natural',
  'Objective',
  'Ramp',
  'RobustModel',
  'Smoothing',
  'StabilityRegularizer',
  'Ticket',
  'Verifiable',
  'distill',
  'find_tickets',
  'initialized_for_bounds',
  'learned_masks',
  'learned_scores',
  'magnitude_masks',
  'masks_of',
  'register_objective',
  'robust_model',
  'set_masks',
  'snip_masks',
  'stability_scores',
  'with_fixed_masks',
]
