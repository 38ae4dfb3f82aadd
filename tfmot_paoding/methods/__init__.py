"""How units are chosen, and how the kept ones make up for them.

A method is three independent choices, each a registry that takes your own
class. By the name that `method=` takes:

* 'reconstruction': criterion `reconstruction`, the error that is left when
  everything that reads the unit is re-fitted; selection `greedy`; compensation
  `least_squares`, or folding and a re-fit where that is better.
* 'impact': `impact`, saliency and how far the merge can move the outputs over
  the input range; `greedy`; `merge`.
* 'saliency': `saliency`, how unlike the most similar unit it is, times what it
  feeds; `greedy`; `merge`.
* 'stochastic': `impact`; `annealing`; `merge`.
* 'stability': `stability`, impact, less for units whose activation is unstable
  over the input range; `greedy`; `merge_live`.
* 'l1': `norm`, the unit's incoming weights; `greedy`; `none`.
* 'folding': `ward`, what folding two units adds to the spread within clusters;
  `greedy`; `fold`.
* 'neuron_merging': `norm`; `ranking`; `scaled_merge`.
* 'lbyl': `norm` of order 2; `ranking`; `weight_space`.

The last three are rivals, built from their papers so that one table compares
all: model folding, neuron merging and LBYL, which are published to prune in one
step (`step_sparsity=1`).

`merge` adds a removed unit's outgoing weights to its partner's, so that
identical units merge without a trace. `least_squares` lets *all* kept units
take over, by the best fit on second moments of the activations; `fold` replaces
several units by one at their centroid. On each layer 'reconstruction' tries
elimination, and folding with a re-fit, and keeps what moves the network's
answers less. At the end the pruned network is trained for a few hundred steps
to answer as the original does (`distillation=False` leaves that out; `distill`
does it for any pruned model).

All this needs inputs, and you need not have any. For networks with batch
normalization they are recalled: `recall_inputs` finds inputs that show every
batch normalization the statistics that it has stored, and that the network
takes for its classes. For others they are drawn from a prior (`prior=`: a
Gaussian, smooth along positions; `Prior` and `GaussianPrior` make your own). If
you do have unlabelled inputs, `data=` of `prune` and `run_schedule`
takes them instead. Moments are those of the samples as they run through the
real network, pruned so far, so that any layer may stand in the way. With
`scope='global'` each layer is cut to a few widths, the others left whole, and
how far the answers move, on inputs drawn once more as those of the fits, says
how much it can lose of the whole cut.

The settings of each part are frozen dataclasses; these are the paper's:

```python
import tfmot_paoding as paoding
from tfmot_paoding import methods

method = paoding.Method(
  criterion=methods.IntervalImpact(alpha=0.75, beta=0.25, squash=True),
  selection=methods.Annealing(temperature=1.0),
  compensation='merge',
)
small = paoding.prune(model, 0.5, method=method)
```

Scores of units that were learned or measured elsewhere are a criterion too,
`GivenScores`. Your own criterion is one hook. What it may look at is a
`GroupView`, which cannot be written to: `name`, `incoming` and `outgoing`
weights, `pair_distances`, `difference` and `output_gain` (bounds over the input
range, where there are any: `has_bounds`), `masses`, `silent`, and `fits` on
samples for a class that says `needs_samples`. A compensation is given a
`GroupEdit`: it changes the group by `absorb`, `fold`, `eliminate` or `refit`,
and reads `edit.view`.

```python
import dataclasses


@paoding.register_criterion('weakest')
@dataclasses.dataclass(frozen=True)
class Weakest(methods.Criterion):
  def scores(self, view, units):
    return abs(view.outgoing[units]).sum(1)


small = paoding.prune(model, 0.5, method=paoding.Method('weakest'))
```

To add one to the package, write one file: a frozen dataclass that derives from
`Criterion`, with `scores` and the decorator `@register_criterion('name')`. A
user's own needs no more; one of the package needs its import below (one line)
and the BUILD file, which `.ci/make_build.py` writes. It is told of as
`Method('name')` at once, and the tests that run over the registry hold it to
the traits that its class claims. Selections and compensations are added in the
same way; a combination that deserves a name of its own is a line in `named`.
"""

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
from tfmot_paoding.methods.given_scores import GivenScores
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
  'GivenScores',
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
