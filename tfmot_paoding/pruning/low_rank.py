"""One call: layers of a model made of thinner ones, and the model taught."""

from __future__ import annotations

import warnings
from typing import Any

from tfmot_paoding import callers
from tfmot_paoding.arguments import (
  check_flag,
  check_seed,
  check_sparsity,
  warn_idle,
)
from tfmot_paoding.compat import keras
from tfmot_paoding.factorization.candidates import find_candidates
from tfmot_paoding.factorization.fits import ChainFits
from tfmot_paoding.factorization.splitting import with_chains
from tfmot_paoding.functional.own_training import warn_of_own_training
from tfmot_paoding.inputs.prior import PriorLike
from tfmot_paoding.inputs.ranges import RangeLike
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.inputs.user_data import Inputs
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.methods.consumer_fits import FitSettings
from tfmot_paoding.methods.stairs import MultipleOf
from tfmot_paoding.network.costs import COSTS
from tfmot_paoding.network.network import Network
from tfmot_paoding.progress import finish, progress_bar
from tfmot_paoding.pruning.few_answers import warn_of_few_answers
from tfmot_paoding.pruning.pruned import check_distillation, polished
from tfmot_paoding.pruning.rank_choice import (
  Ranks,
  check_any,
  checked_ranks,
  chosen_forms,
  rank_multiples,
)
from tfmot_paoding.pruning.running import verdict_on
from tfmot_paoding.pruning.wrap import check_unwrapped
from tfmot_paoding.training.distill_settings import DistillSettings


def factorize(
  model: keras.Model,
  sparsity: float | None = None,
  *,
  ranks: Ranks | None = None,
  input_range: RangeLike = None,
  seed: int = 0,
  verbose: int | str = 'auto',
  cost: str = 'parameters',
  multiple_of: MultipleOf = None,
  outputs: bool = False,
  data: Inputs = None,
  prior: PriorLike = None,
  distillation: bool | DistillSettings | None = None,
  input_shape: Any = None,
) -> keras.Model:
  """Makes layers of a trained model of thinner ones, without data.

  A Dense layer becomes two, a convolution up to three: a 1 x 1 one in front,
  its window on fewer channels, and a 1 x 1 one behind. No unit of the model
  leaves, so that it keeps its structure, and layers it does not help stay.
  What the matrices are follows at once from what each layer reads and from how
  the outputs move with what it makes. It saves weights and
  multiply-accumulates, and takes a little more memory while it runs; `prune`
  saves all three. Both go together, one after the other. `deviation_bound` and
  reports take a chain for the layer that it stands for.

  Args:
    model: A model that `prune` takes; it is not changed.
    sparsity: The fraction of the model's parameters that leaves, in [0, 1),
      spread over layers so that the outputs move least. None with `ranks`.
    ranks: In its place, the rank by layer name: how many channels stand in
      between; of a convolution also a pair, in front of its window and behind
      it, of which one may be None. Layers without a rank stay.
    input_range: The range of the inputs that the model was trained on: a pair
      (low, high) of numbers or arrays, or a dict of input name to such a pair.
      None: what the first layers say, with a warning that names it, and (0, 1)
      where they say nothing.
    seed: The only source of chance.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.
    cost: What `sparsity` is a fraction of: the 'parameters', or the 'macs'
      (multiply-accumulates).
    multiple_of: What ranks are multiples of, since hardware works in steps: a
      number, the name of an accelerator ('xnnpack', 'cmsis-nn', 'ethos-u55',
      ...), which stands for its number, or a dict of layer name to either.
    outputs: Whether layers that make the model's outputs may become thinner
      too, which costs classifiers most; `ranks` may always name them.
    data: Unlabelled inputs, if you have some: an array, a list or dict of
      arrays for several inputs, or a batched `tf.data.Dataset`. They take the
      place of the prior, and answers are compared on them.
    prior: Where inputs come from otherwise: 'recalled' (by `recall_inputs`),
      'statistics', a name of `inputs.NAMED_PRIORS` such as 'smooth' or
      'leaves', an object such as `inputs.Prior`, a sequence of these, which
      are drawn in equal shares, or a dict of input name to one. None: what the
      model knows, see `inputs`.
    distillation: Whether, or how, the model is trained at the end to answer as
      `model` does, by `distill`. None: where the outputs are classes.
    input_shape: Of one sample, without the batch axis, where a subclassed model
      was not built or called yet.

  Returns:
    A tf_keras model with fewer parameters. The last of the layers in a layer's
    place has its name; `<name>_low_rank` and `<name>_front` stand before it.

  Raises:
    TypeError: `model` is not a Keras model.
    ValueError: an argument is not as described, so much cannot be saved, or no
      layer can be made of thinner ones; the message says why. See
      `pruning.factorizable`.

  Warns of a layer in `ranks` that would not become smaller, and stays.

  References: Eckart and Young 1936; Tucker 1966; Kim et al. 2016, arXiv
  1511.06530.
  """
  if (sparsity is None) == (ranks is None):
    raise ValueError(
      'Pass either `sparsity` or `ranks`, but got '
      + ('neither.' if ranks is None else 'both.')
    )
  network = Network.of(as_opened(model, input_shape))
  check_unwrapped(network)
  warn_of_own_training(network.model)
  check_seed(seed)
  check_distillation(distillation)
  _check_cost(cost)
  check_flag('outputs', outputs)
  candidates = find_candidates(network)
  check_any(candidates, outputs or ranks is not None)
  multiples = rank_multiples(candidates, multiple_of)
  forms = None
  if ranks is not None:
    forms = checked_ranks(ranks, candidates)
    macs = cost if cost != COSTS[0] else None
    warn_idle(
      {'multiple_of': multiple_of, 'outputs': outputs, 'cost': macs},
      'since `ranks` say what becomes of each layer',
      'Leave it out, or pass a `sparsity`.',
    )
  else:
    check_sparsity(sparsity, 'sparsity', 'the fraction of parameters to save')
  source = InputSource.of(
    network,
    input_range,
    seed=seed,
    data=data,
    prior=prior,
    verbose=verbose,
  )
  network.params()  # raises for weights that are no numbers
  # Each layer is weighed, if ranks are to be chosen, and fitted.
  steps = len(candidates.layers) * (1 if ranks is not None else 2)
  bar = progress_bar(steps, verbose, 'layer')
  drawn = source.settled(network)
  count = FitSettings().count_for(network)
  samples = drawn.samples(network, count)
  fits = ChainFits(
    network,
    candidates.layers,
    samples,
    drawn.apart(network, count),
    lambda: bar.add(1),
  )
  if forms is None:
    forms = chosen_forms(
      network, candidates, fits, sparsity, cost, multiples, outputs
    )
  fitted = fits.fitted(forms)
  small = with_chains(network.model, fitted.chains, fitted.statistics)
  finish(bar, steps)
  if not forms:
    warnings.warn(
      f'No layer of {network.model.name!r} was factorized, since nothing was '
      'to be saved. Ask for more: a larger `sparsity`, or smaller `ranks`.',
      stacklevel=callers.level(),
    )
    return small
  small, distilled = polished(network, small, True, distillation, drawn)
  verdict = verdict_on(network, small, samples, drawn, source)
  warn_of_few_answers(verdict, distilled)
  return small


def _check_cost(cost: Any) -> None:
  """Raises unless it is one of those that are counted.

  Raises:
    ValueError: it is not.
  """
  if cost not in COSTS:
    raise ValueError(
      f'`cost` must be one of {", ".join(map(repr, COSTS))}, but got {cost!r}.'
    )
