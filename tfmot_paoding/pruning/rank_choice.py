"""Which chains layers become: as a user says, or by what is to be saved."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from tfmot_paoding import callers
from tfmot_paoding.accelerators import accelerator_of
from tfmot_paoding.arguments import check_whole
from tfmot_paoding.compat import keras
from tfmot_paoding.factorization.candidates import (
  Candidate,
  Candidates,
  find_candidates,
)
from tfmot_paoding.factorization.fits import ChainFits
from tfmot_paoding.factorization.forms import WHOLE, Form, Options
from tfmot_paoding.factorization.ranks import choose, least
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.layers.base import Path
from tfmot_paoding.methods.stairs import MultipleOf, checked_multiple
from tfmot_paoding.network.network import Network

Ranks = Mapping[str, int | tuple[int | None, int | None]]


@dataclasses.dataclass(frozen=True)
class Factorizable:
  """What of a model `factorize` can make thinner.

  Attributes:
    largest_ranks: The largest rank that takes less than the layer itself, by
      layer; of those that make the model's outputs too, though they stay
      unless they are asked for.
    outputs: The layers that make the model's outputs.
    left_alone: Why each other layer with a kernel stays as it is.
  """

  largest_ranks: dict[str, int]
  outputs: tuple[str, ...]
  left_alone: dict[str, str]


def factorizable(model: keras.Model) -> Factorizable:
  """Which layers of a model `factorize` can make thinner, and why not others.

  Args:
    model: A model that `factorize` takes.

  Raises:
    TypeError: `model` is not a Keras model.
    ValueError: it is subclassed or not built.
  """
  found = find_candidates(Network.of(as_tf_keras(model)))
  ranks, left_alone = {}, dict(found.left_alone)
  for layer in found.layers:
    most = largest_rank(layer)
    if most:
      ranks[layer.name] = most
    else:
      left_alone[layer.name] = _TOO_SMALL
  outputs = tuple(one.name for one in found.layers if one.name in found.outputs)
  return Factorizable(ranks, outputs, left_alone)


_TOO_SMALL = 'it is so small that even rank 1 takes as much'


def largest_rank(layer: Candidate) -> int:
  """The largest rank behind the window that takes less than the layer."""
  size = layer.size
  whole = float(size.cost(None, None, 'parameters'))
  each = float(size.cost(None, 1, 'parameters'))
  return max(0, min(size.most.behind, -int(-whole // each) - 1))


def checked_ranks(ranks: Any, candidates: Candidates) -> dict[Path, Form]:
  """The chains that a user gave by layer name.

  A layer whose chain takes no less than itself stays, with a warning.

  Raises:
    ValueError: a name is unknown, a layer cannot become a chain, or a rank is
      none.
  """
  if not isinstance(ranks, Mapping) or not ranks:
    raise ValueError(
      '`ranks` must be a dict of layer name to rank that names a layer, but '
      f'got {ranks!r}. Layers that have ranks: {_names(candidates)}.'
    )
  known = {layer.name: layer for layer in candidates.layers}
  found = {}
  for name, value in ranks.items():
    if name not in known:
      why = candidates.left_alone.get(name, 'there is none of that name')
      raise ValueError(
        f'`ranks` names layer {name!r}, which cannot become a chain: {why}. '
        f'Layers that can: {_names(candidates)}.'
      )
    layer = known[name]
    form = _checked_form(layer, value, f'ranks[{name!r}]')
    costs = [
      float(layer.size.cost(*one, 'parameters')) for one in (form, WHOLE)
    ]
    if costs[0] < costs[1]:
      found[layer.path] = form
      continue
    warnings.warn(
      f'Layer {name!r} stays as it is: a chain of rank {form} would take '
      f'{costs[0]:.0f} weights, the layer takes {costs[1]:.0f}. Give it a rank '
      f'of at most {largest_rank(layer)}.',
      stacklevel=callers.level(),
    )
  return found


def _checked_form(layer: Candidate, value: Any, name: str) -> Form:
  """A rank, or a pair of them, as a form.

  Raises:
    ValueError: it is none, or the layer has no such ranks.
  """
  pair = value if isinstance(value, (tuple, list)) else (None, value)
  if len(pair) != 2 or tuple(pair) == (None, None):
    raise ValueError(
      f'`{name}` must be a rank or, of a convolution, a pair of ranks (in '
      f'front, behind), of which one may be None, but got {value!r}.'
    )
  most = layer.size.most
  for rank, end in zip(pair, most, strict=True):
    if rank is None:
      continue
    check_whole(name, rank, 1)
    if rank > end:
      raise ValueError(
        f'`{name}` is {value!r}, but layer {layer.name!r} has ranks of at most '
        + (f'{tuple(most)}.' if most.front else f'{most.behind}.')
      )
  return Form(*pair)


def rank_multiples(
  candidates: Candidates, multiple_of: MultipleOf
) -> dict[Path, int]:
  """What each layer's ranks are multiples of.

  Raises:
    ValueError: a dict names a layer that cannot become a chain, or what it
      names is no number and no accelerator.
  """
  said = checked_multiple(multiple_of)
  if not isinstance(said, Mapping):
    return {layer.path: _number(said) for layer in candidates.layers}
  known = {layer.name for layer in candidates.layers}
  for name in said:
    if name not in known:
      raise ValueError(
        f'`multiple_of` names layer {name!r}, which does not exist, or cannot '
        f'become a chain. Layers that can: {_names(candidates)}.'
      )
  return {
    layer.path: _number(said.get(layer.name)) for layer in candidates.layers
  }


def _number(said: int | str | None) -> int:
  if said is None:
    return 1
  return accelerator_of(said).multiple if isinstance(said, str) else said


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
  """What layers of a network may become, weighed once for any saving.

  Attributes:
    layers: The layers.
    options: Of each, the chains.
    total: What the whole network takes.
  """

  layers: tuple[Candidate, ...]
  options: tuple[Options, ...]
  total: float

  @classmethod
  def of(
    cls,
    network: Network,
    layers: Sequence[Candidate],
    fits: ChainFits,
    cost: str,
    multiples: Mapping[Path, int],
  ) -> Choice:
    """Weighs layers; see `chosen_forms`."""
    options = [
      fits.options(layer, cost, multiples[layer.path]) for layer in layers
    ]
    whole = network.macs
    if cost == 'parameters':
      whole = network.model.count_params()
    return cls(tuple(layers), tuple(options), float(whole))

  @property
  def most(self) -> float:
    """The largest fraction that can be saved."""
    return 1 - (self._fixed + least(self.options)) / self.total

  def forms(self, saved: float) -> dict[Path, Form]:
    """The chains that lose least, for a fraction saved; for the most at most.

    Args:
      saved: The fraction of the whole.
    """
    # A rounding of `1 - saved` must not forbid what is just saved.
    limit = self.total * (1 - saved) * (1 + 1e-12) - self._fixed
    found = choose(self.options, max(limit, least(self.options)))
    forms = {
      layer.path: one.forms[number]
      for layer, one, number in zip(
        self.layers, self.options, found, strict=True
      )
    }
    return {path: form for path, form in forms.items() if not form.is_whole}

  @property
  def _fixed(self) -> float:
    """What stays, whatever becomes of the layers."""
    return self.total - sum(float(one.costs[-1]) for one in self.options)


def chosen_forms(
  network: Network,
  candidates: Candidates,
  fits: ChainFits,
  sparsity: float,
  cost: str,
  multiples: Mapping[Path, int],
  outputs: bool,
) -> dict[Path, Form]:
  """The chains that lose least, so that a fraction of all is saved.

  Args:
    network: The model.
    candidates: Its layers.
    fits: Tells what chains lose.
    sparsity: The fraction of its 'parameters' or 'macs' that shall leave.
    cost: Which of the two.
    multiples: What ranks are multiples of, by layer.
    outputs: Whether layers that make the outputs may be changed as well.

  Raises:
    ValueError: it cannot be saved; the message says how much can.
  """
  layers = list(candidates.layers if outputs else candidates.hidden())
  choice = Choice.of(network, layers, fits, cost, multiples)
  if sparsity > choice.most:
    raise ValueError(
      f'`sparsity` is {sparsity}, but factorizing can save at most '
      f'{choice.most:.3g} of the {choice.total:.0f} {cost} of '
      f'{network.model.name!r}, at rank '
      f'{max(multiples.values(), default=1)} everywhere. '
      + _advice(candidates, outputs)
    )
  return choice.forms(sparsity)


def check_any(candidates: Candidates, outputs: bool) -> None:
  """Raises where no layer can become a chain.

  Raises:
    ValueError: so it is; the message says why.
  """
  layers = candidates.layers if outputs else candidates.hidden()
  if not any(map(largest_rank, layers)):
    raise ValueError(
      'The model has no layer that could be factorized. '
      + _advice(candidates, outputs)
    )


def _advice(candidates: Candidates, outputs: bool) -> str:
  """What stays as it is, and what else could be done."""
  left = dict(candidates.left_alone)
  for layer in candidates.layers:
    if layer.name in candidates.outputs and not outputs:
      left[layer.name] = 'it makes outputs of the model (see `outputs`)'
    elif not largest_rank(layer):
      left[layer.name] = _TOO_SMALL
  reasons = '; '.join(f'{name}: {why}' for name, why in left.items())
  return (
    f'Left alone: {reasons}. ' if reasons else 'It has no such layer. '
  ) + 'Ask for less, or remove units, by `prune`.'


def _names(candidates: Candidates) -> str:
  return ', '.join(layer.name for layer in candidates.layers) or 'none'
