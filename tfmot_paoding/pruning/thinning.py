"""Models that lose units first, and whose layers become chains then."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.factorization.candidates import Candidate, find_candidates
from tfmot_paoding.factorization.fits import ChainFits
from tfmot_paoding.factorization.forms import Form
from tfmot_paoding.factorization.splitting import with_chains
from tfmot_paoding.factorization.worth import Chain
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.methods.consumer_fits import FitSettings
from tfmot_paoding.methods.stairs import MultipleOf
from tfmot_paoding.network.network import Network
from tfmot_paoding.pruning.budget import ChainRanks, Cut, Sparsities
from tfmot_paoding.pruning.rank_choice import Choice, rank_multiples

Array = np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class _Thinned:
  """A network whose units have left, and what its layers may become."""

  network: Network
  fits: ChainFits
  choice: Choice


class Thinner:
  """Makes models of cuts; what units leave is pruned and weighed only once.

  Args:
    network: The original.
    prune: The original without units, by the fraction of each layer's.
    source: Where inputs come from, settled.
    cost: What chains save: 'parameters' or 'macs'.
    multiple_of: What ranks are multiples of; those of single layers are of
      their units.
  """

  def __init__(
    self,
    network: Network,
    prune: Callable[[Sparsities], keras.Model],
    source: InputSource,
    cost: str,
    multiple_of: MultipleOf,
  ):
    self._network, self._prune, self._source = network, prune, source
    self._cost = cost
    self._multiple = None if isinstance(multiple_of, Mapping) else multiple_of
    self._known: dict[tuple, _Thinned] = {}

  def applies(self) -> bool:
    """Whether any layer can become a chain."""
    return any(len(one.forms) > 1 for one in self._thinned({}).choice.options)

  def earnest(self, cut: Cut) -> keras.Model:
    """The model of a cut, fitted."""
    one = self._thinned(cut.sparsity)
    fitted = one.fits.fitted(one.choice.forms(cut.saved))
    return with_chains(one.network.model, fitted.chains, fitted.statistics)

  def quick(self, cut: Cut) -> keras.Model:
    """A model of the same sizes."""
    one, rng = self._thinned(cut.sparsity), np.random.default_rng(0)
    forms = one.choice.forms(cut.saved)
    chains = {
      layer.path: _any_chain(layer, forms[layer.path], rng)
      for layer in one.choice.layers
      if layer.path in forms
    }
    return with_chains(one.network.model, chains)

  def ranks(self, cut: Cut) -> ChainRanks:
    """The ranks of a cut, by layer name."""
    forms = self._thinned(cut.sparsity).choice.forms(cut.saved)
    return {'/'.join(path): form.ranks for path, form in forms.items()}

  def _thinned(self, sparsity: Sparsities) -> _Thinned:
    key = tuple(sorted(sparsity.items()))
    if key not in self._known:
      network = self._network
      if any(sparsity.values()):
        network = Network.of(self._prune(sparsity))
      self._known[key] = self._weighed(network)
    return self._known[key]

  def _weighed(self, network: Network) -> _Thinned:
    candidates, source = find_candidates(network), self._source
    count = FitSettings().count_for(network)
    fits = ChainFits(
      network,
      candidates.layers,
      source.samples(self._network, count),
      source.apart(self._network, count),
    )
    multiples = rank_multiples(candidates, self._multiple)
    choice = Choice.of(
      network, candidates.hidden(), fits, self._cost, multiples
    )
    return _Thinned(network, fits, choice)


def _any_chain(
  layer: Candidate, form: Form, rng: np.random.Generator
) -> tuple[Chain, Array | None]:
  """Matrices of a form's sizes."""
  size = layer.size
  front = form.front or size.channels
  behind = form.behind or size.columns
  chain = Chain(
    None if form.front is None else rng.normal(size=(size.channels, front)),
    rng.normal(size=(size.taps * front, behind)),
    None if form.behind is None else rng.normal(size=(behind, size.columns)),
  )
  return chain, None if layer.op.bias is None else rng.normal(size=size.columns)
