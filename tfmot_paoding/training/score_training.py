"""Which weights or units stay, learned under the user's own objective.

Scores are trained on a copy whose weights are fixed (`mask_learner`); what
scores highest stays. Fine-tuning under the same objective comes after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding.arguments import check_sparsity, check_whole
from tfmot_paoding.compat import keras
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.methods.plan import units_to_remove
from tfmot_paoding.methods.unit_weights import producer_kernels
from tfmot_paoding.network.cloning import plain_copy
from tfmot_paoding.network.graph import check_model, read_params
from tfmot_paoding.network.groups import Group
from tfmot_paoding.network.named_layers import by_group, with_named
from tfmot_paoding.network.network import Network
from tfmot_paoding.training.mask_learner import (
  Gate,
  MaskLearner,
  Scored,
  ScoredModel,
  highest,
  scaled,
)
from tfmot_paoding.training.ticket_files import TicketFiles
from tfmot_paoding.training.tickets import (
  copy_of,
  masked_weights,
  masks_of,
  wrap_weights,
)

Array = np.ndarray
Train = Callable[[keras.Model], Any]


def learned_masks(
  wrapped: keras.Model,
  train: Train,
  sparsity: float,
  directory: str | None = None,
  ramp_steps: int = 0,
) -> list[Array]:
  """Masks that leave the weights whose scores training has raised most.

  HYDRA (Sehwag et al. 2020, arXiv 2002.10509): every weight has a score, which
  begins at the weight itself, scaled; of each layer the highest magnitudes
  stay; scores train under the loss of the network that they leave, the weights
  fixed. What has no mask in its layer (biases) is fixed as well; other layers
  (normalization) train along. `set_masks` and fine-tuning come next.

  Args:
    wrapped: From `with_fixed_masks`; it is not changed. Weights that are gone
      stay so.
    train: Trains the model that it is given in place, as in `find_tickets`: by
      `robust_model` under an objective, or by `compile` and `fit`, with TFMOT's
      `UpdatePruningStep` among the callbacks. Descend with momentum, from a
      high rate along a cosine, as in the example: scores are scaled for that.
      Adam moves all scores alike, whatever their gradients, and those of wide
      layers, which are small, leave their order behind: of a CNN for MNIST,
      trained adversarially, a tenth of the weights left, 23% of those kept of
      its widest layer were the largest, and 61% with what is below.

      ```python
      rate = keras.optimizers.schedules.CosineDecay(0.4, steps)
      trainee.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
      ```
    sparsity: The fraction of each weight's entries to be gone, in [0, 1).
    directory: Where the scores are written down when they are learned; a later
      call with the same model and sparsity reads them. For a run that is killed
      while `train` runs, give `fit` Keras's `BackupAndRestore`.
    ramp_steps: In how many steps of training `sparsity` is reached from 0, as
      by TFMOT's `PolynomialDecay`; half of those that `train` takes does. 0 for
      all of it from the start, as published: what is left of a network then
      may be too little for a gradient to come through.

  Returns:
    One array of bool a prunable weight, True where it is left.

  Raises:
    ValueError: nothing in the model is wrapped, a setting is out of range, the
      directory was begun with another model or sparsity, or `train` has trained
      no score or ends before `ramp_steps`.
  """
  check_sparsity(sparsity, 'sparsity', 'the fraction of weights to remove')
  before = masks_of(wrapped)
  copy, _ = wrap_weights(copy_of(wrapped))
  scored = []
  for (weight, _), alive in zip(masked_weights(copy), before, strict=True):
    value = keras.backend.get_value(weight) * alive
    kept = max(1, round(value.size * (1.0 - sparsity)))
    fan_in = value.size / value.shape[-1]
    scored.append(Scored(scaled(value, fan_in), kept, (Gate(weight),)))
  scores = _learned(copy, scored, train, sparsity, directory, ramp_steps)
  return [
    highest(np.abs(own), one.kept).numpy().astype(bool) & alive
    for own, one, alive in zip(scores, scored, before, strict=True)
  ]


def learned_scores(
  model: keras.Model,
  train: Train,
  sparsity: float | Mapping[str, float],
  directory: str | None = None,
  ramp_steps: int = 0,
) -> dict[str, Array]:
  """What each hidden unit is worth, learned as `learned_masks` does.

  A unit's score masks every weight that reads it, and begins at the norm of the
  weights that make it, scaled. The criterion `methods.GivenScores` takes what
  is returned:

  ```python
  scores = training.learned_scores(model, train, 0.5)
  method = paoding.Method(
    methods.GivenScores(scores), compensation='least_squares'
  )
  wrapped = paoding.prune_low_saliency(
    model, paoding.ProgressiveSparsity(0.5, 0.5), method
  )
  paoding.run_schedule(wrapped, data=x)
  ```

  Re-fit what reads them, and learn for a few epochs: of digits trained
  adversarially, a fifteenth of the weights left, .860 are answered right under
  PGD after fine-tuning, and .702 without the fit.

  Args:
    model: A trained model; it is not changed.
    train: As in `learned_masks`; what it is given has no wrappers.
    sparsity: The fraction of each group's units to be gone, in [0, 1); or a
      dict of that by the name of a layer, others kept whole unless '*' stands
      for them.
    directory: As in `learned_masks`.
    ramp_steps: As in `learned_masks`.

  Returns:
    By the name of each group, at least 0 for each of its units; higher is worth
    more.

  Raises:
    TypeError: `model` is no tf_keras model.
    ValueError: it is subclassed or not built, no units of it can be removed, a
      setting is out of range, the directory was begun with another model or
      sparsity, or `train` has trained no score or ends before `ramp_steps`.
  """
  model = as_tf_keras(model)
  check_model(model)
  copy = plain_copy(model)
  network = Network.of(copy)
  graph, groups = network.graph, _chosen(network, sparsity)
  params = read_params(graph)
  scored = [
    Scored(
      scaled(_norms(producer_kernels(params, group)), group.size),
      group.size - units_to_remove(group.size, asked),
      tuple(_readers(graph, group)),
    )
    for group, asked in groups
  ]
  asked = [share for _, share in groups]
  scores = _learned(copy, scored, train, asked, directory, ramp_steps)
  return {
    '/'.join(group.name): np.abs(own)
    for (group, _), own in zip(groups, scores, strict=True)
  }


def _learned(
  copy: keras.Model,
  scored: Sequence[Scored],
  train: Train,
  sparsity: float | Sequence[float],
  directory: str | None,
  ramp_steps: int,
) -> list[Array]:
  """The scores after training."""
  ramp_steps = check_whole('ramp_steps', ramp_steps, 0)
  files = None
  if directory:
    weights = copy.get_weights()
    start = [*weights, *(one.initial for one in scored)]
    # Directories of runs without a ramp are as they were before there was one.
    setting = [*np.ravel(sparsity), ramp_steps] if ramp_steps else sparsity
    files = TicketFiles(directory, start, setting, 'scores')
    found = files.load(0)
    if found is not None:
      return found[len(weights) :]
  for layer in _owners(copy, scored):
    layer.trainable = False
  model = ScoredModel(copy.inputs, copy.outputs, name=copy.name)
  model.learner = learner = MaskLearner(scored, ramp_steps)
  before = [keras.backend.get_value(x) for x in learner.scores]
  train(model)
  scores = [keras.backend.get_value(x) for x in learner.scores]
  if all(np.array_equal(a, b) for a, b in zip(before, scores, strict=True)):
    raise ValueError(
      '`train` has trained no score. Fit the model that it is given, or what '
      'robust_model makes of it, for at least a step; a training loop of your '
      'own calls `model.learner.descend(model, loss, tape)`. If it did, '
      'nothing reaches the outputs of the network that scores leave: lower '
      'the sparsity, or let it grow: `ramp_steps`.'
    )
  took = int(keras.backend.get_value(learner.step))
  if took < ramp_steps:
    raise ValueError(
      f'`train` took {took} steps, but sparsity grows for ramp_steps='
      f'{ramp_steps}. Train longer, or pass fewer: half of the steps does.'
    )
  if not all(np.all(np.isfinite(own)) for own in scores):
    raise ValueError(
      '`train` has led to scores that are no numbers. Lower the learning rate.'
    )
  if files:
    files.save(0, [*weights, *scores])
  return scores


def _owners(copy: keras.Model, scored: Sequence[Scored]) -> Iterator[Any]:
  """The layers that hold what scores mask: their other weights are fixed."""
  masked = {id(gate.weight) for one in scored for gate in one.gates}
  for layer in copy._flatten_layers(include_self=False):
    if isinstance(layer, keras.Model):
      continue
    if any(id(weight) in masked for weight in layer.weights):
      yield layer


def _chosen(
  network: Network, sparsity: float | Mapping[str, float]
) -> list[tuple[Group, float]]:
  """The groups that lose units, and what fraction each.

  Raises:
    ValueError: there are none, or a dict names another layer.
  """
  grouping = network.groups
  if not isinstance(sparsity, Mapping):
    check_sparsity(sparsity, 'sparsity')
    if not grouping.offered:
      raise ValueError(
        f'No units of the model can be removed. Left alone: {grouping.stays}.'
      )
    return [(group, sparsity) for group in grouping.offered]
  for name, share in sparsity.items():
    check_sparsity(share, f'sparsity[{name!r}]')
  groups = with_named(grouping.groups, sparsity)
  shares = by_group(network.graph, groups, sparsity, 'sparsity')
  return [
    (group, shares[group.layer]) for group in groups if group.layer in shares
  ]


def _readers(graph: Any, group: Group) -> Iterator[Gate]:
  """What reads a group's units."""
  for ref, axis, _, units in group.read_weights():
    weight = graph.weight(ref)
    yield Gate(weight, axis % len(weight.shape), units)


def _norms(kernels: Array) -> Array:
  return np.linalg.norm(kernels, axis=0)
