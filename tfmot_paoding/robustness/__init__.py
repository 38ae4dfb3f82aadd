"""Attacks on classifiers, and what is proved of them.

Attack a classifier, prove what no attack can do, and see what pruning leaves of
both. `x`, `y` are test samples and integer labels, `model` and `small` a
classifier and what pruning made of it; epsilon is in units of the inputs, the
norm is L-infinity:

```python
import tfmot_paoding as paoding
from tfmot_paoding import robustness

adversarial = robustness.pgd(model, x, y, epsilon=0.05, restarts=2)
proved = robustness.certified(model, x, y, epsilon=0.05, method='crown')
low, high = robustness.output_bounds(model, x, epsilon=0.05)
for answer in robustness.verify(model, x[:10], y[:10], epsilon=0.05):
  print(answer.verdict, answer.subdomains, answer.gap)

kept = robustness.preserved_robustness(model, small, x, y, epsilon=0.05)
print(f'{kept.kept} of {kept.before} robust instances are still robust')

bound = paoding.deviation_bound(model, small, x=x, epsilon=0.05, method='crown')
same = robustness.certified_agreement(model, small, x, epsilon=0.05).same
for layer in robustness.neuron_stability(model, x, epsilon=0.05):
  print(layer.layer, layer.neurons, layer.unstable)
```

Attacks: `fgsm`, `pgd` follow the scores in front of softmax, so that a network
that is sure of itself does not hide its gradient. `as_art` and `as_foolbox`
hand the same model to the Adversarial Robustness Toolbox (AutoAttack) and
Foolbox: `pip install 'tfmot_paoding[attacks]'`.

Certificates by `method`: 'ibp' (intervals), 'crown-ibp', 'crown' (linear bounds
in front of every activation, CROWN and DeepPoly) and 'alpha-crown' (slopes
optimised). All are sound, rounded outwards in float64, position by position
through convolutions, batch normalization, pooling, sums, products and all
activations that the package knows; a layer without a sound relaxation is named
and refused.

Complete answers, within a time limit a sample: `verify` splits neurons until
every part of the ball is proved or a point of it breaks the network (branch and
bound over beta-CROWN), and tells how many parts that took; `method='marabou'`
asks Marabou. `export_properties` writes ONNX, VNN-LIB and `instances.csv` for
alpha-beta-CROWN and others; `verify_property(model, read_property(path))`
decides such a property, of a network read by `tfmot_paoding.loading.read_onnx`
too. For files and Marabou: `pip install 'tfmot_paoding[verify]'` (Marabou has
wheels for Python up to 3.11).

Pruning: `deviation_bound(..., x=x, epsilon=e)` bounds the change near samples
by the difference of the two networks; `certified_agreement` says whose answer
provably is the same. `method='stability'` prefers units whose activation is
unstable over the input range.

From the command line (`verify` ends with 0 where all is proved; of the scripts
the first four train on digits when no network is given):

```sh
tfmot-paoding verify --model=in.h5 --test_data=test.npz --epsilon=.02
tfmot-paoding verify --model=model.onnx --property=property_0.vnnlib
python examples/figures/evaluate_robustness.py --methods=impact --epsilons=.01
python examples/figures/robustness_schedule.py --sparsity=.5 --step=.1
python examples/figures/certify_deviation.py --epsilons=.001,.01
python examples/figures/verify_networks.py --epsilons=.02,.05
python examples/figures/paoding_tables.py --data=mnist.npz
```
"""

from tfmot_paoding.bounds import AlphaSettings, NoRelaxationError
from tfmot_paoding.bounds.domains import Ascent
from tfmot_paoding.robustness.adapters import as_art, as_foolbox
from tfmot_paoding.robustness.agreement import Agreement, certified_agreement
from tfmot_paoding.robustness.answer import Answer
from tfmot_paoding.robustness.attacks import fgsm, pgd
from tfmot_paoding.robustness.branching import BranchSettings
from tfmot_paoding.robustness.certification import (
  certified,
  margins,
  output_bounds,
)
from tfmot_paoding.robustness.neurons import LayerStability, neuron_stability
from tfmot_paoding.robustness.properties import export_onnx, export_properties
from tfmot_paoding.robustness.property_answers import verify_property
from tfmot_paoding.robustness.protocol import (
  Preserved,
  answered_right,
  preserved_robustness,
  robust_instances,
)
from tfmot_paoding.robustness.scores import scores_model
from tfmot_paoding.robustness.smoothing import Smoothed, smoothed
from tfmot_paoding.robustness.verification import verify
from tfmot_paoding.robustness.vnnlib import (
  Property,
  PropertyFileError,
  read_property,
)

__all__ = [
  'Agreement',
  'AlphaSettings',
  'Answer',
  'Ascent',
  'BranchSettings',
  'LayerStability',
  'NoRelaxationError',
  'Preserved',
  'Property',
  'PropertyFileError',
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
  'read_property',
  'robust_instances',
  'scores_model',
  'smoothed',
  'verify',
  'verify_property',
]
