"""Methods: a criterion, a selection and a compensation by one name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfmot_paoding.methods.compensation import Compensation, compensations
from tfmot_paoding.methods.criteria import Criterion, Norm, criteria
from tfmot_paoding.methods.selection import Selection, selections
from tfmot_paoding.registry import Registry


@dataclasses.dataclass(frozen=True)
class Method:
  """How to prune: three independent choices.

  Each may be given as a registered name, a config or an object.

  Attributes:
    criterion: What a removal costs.
    selection: Which units go at a step.
    compensation: How the kept units make up for it.
    alternatives: Other methods to try on each group in turn; the one that
      moves the network's answers on the samples least is kept.
  """

  criterion: Criterion | str = 'saliency'
  selection: Selection | str = 'greedy'
  compensation: Compensation | str = 'merge'
  alternatives: tuple[Method, ...] = ()

  def __post_init__(self):
    others = tuple(
      method if isinstance(method, Method) else Method.from_config(method)
      for method in self.alternatives
    )
    object.__setattr__(self, 'alternatives', others)
    for name, registry in _PARTS.items():
      object.__setattr__(self, name, registry.get(getattr(self, name)))

  @property
  def needs_samples(self) -> bool:
    """Whether a part of it fits on inputs, or is judged on them."""
    return bool(
      self.criterion.needs_samples
      or self.compensation.needs_samples
      or self.alternatives
    )

  @property
  def twins_are_exact(self) -> bool:
    """Whether units that equal kept ones go without changing the function."""
    return self.compensation.twins_are_exact

  @property
  def moves_units(self) -> bool:
    """Whether kept units may be changed themselves, by any alternative."""
    return self.compensation.moves_units or any(
      method.moves_units for method in self.alternatives
    )

  def get_config(self) -> dict[str, Any]:
    """The three parts, each `{'class_name': ..., 'config': ...}`."""
    config: dict[str, Any] = {
      name: registry.serialize(getattr(self, name))
      for name, registry in _PARTS.items()
    }
    if self.alternatives:
      others = [method.get_config() for method in self.alternatives]
      config['alternatives'] = others
    return config

  @classmethod
  def from_config(cls, config: Mapping[str, Any]) -> Method:
    """The method whose `get_config` gave `config`."""
    return cls(**config)


_PARTS: dict[str, Registry] = {
  'criterion': criteria,
  'selection': selections,
  'compensation': compensations,
}

_NAMED = {
  # PAODING's SCALE.
  'l1': Method('norm', 'greedy', 'none'),
  # PAODING's BASELINE: Srinivas and Babu.
  'saliency': Method('saliency', 'greedy', 'merge'),
  'impact': Method('impact', 'greedy', 'merge'),
  # The paper's method.
  'stochastic': Method('impact', 'annealing', 'merge'),
  'stability': Method('stability', 'greedy', 'merge_live'),
  # Rivals that need no data either.
  'neuron_merging': Method('norm', 'ranking', 'scaled_merge'),
  'lbyl': Method(Norm(order=2), 'ranking', 'weight_space'),
  'folding': Method('ward', 'greedy', 'fold'),
  'reconstruction': Method(
    'reconstruction',
    'greedy',
    'least_squares',
    alternatives=(Method('ward', 'greedy', 'fold_least_squares'),),
  ),
}


# What every function prunes by that is not told how: the one that keeps the
# most answers where nothing is trained (digits, half of all hidden units gone:
# .956 of .962, where 'impact' keeps .763). `fit` gives no reason for another.
# Over six epochs (three seeds) it ends at .961 with half of the units gone and
# .948 with 80 %; 'impact' at .947 and .869, 'saliency' at .950 and .825, 'l1'
# at .949 and .681. It takes four to five times their time.
DEFAULT_METHOD = 'reconstruction'


def method_names() -> list[str]:
  """The named methods, sorted."""
  return sorted(_NAMED)


def register_method(name: str, method: Method) -> None:
  """Files a user's own combination under a name.

  Raises:
    ValueError: another method has the name.
  """
  if _NAMED.get(name, method) != method:
    raise ValueError(f'The method name {name!r} is taken; choose another one.')
  _NAMED[name] = method


# What a user may pass for a method.
MethodLike = str | Mapping[str, Any] | Method


def get_method(method: MethodLike) -> Method:
  """The method that a name, a config or the method itself stands for.

  Raises:
    ValueError: the name is unknown, or `method` is none of the three.
  """
  if isinstance(method, Method):
    return method
  if isinstance(method, Mapping):
    return Method.from_config(method)
  if isinstance(method, str) and method in _NAMED:
    return _NAMED[method]
  raise ValueError(
    f'`method` must be one of {", ".join(method_names())}, or a '
    f'tfmot_paoding.Method, but got {method!r}.'
  )
