"""Methods: a criterion, a selection and a compensation by one name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfmot_paoding.compensation import Compensation, compensations
from tfmot_paoding.criteria import Criterion, criteria
from tfmot_paoding.registry import Registry
from tfmot_paoding.selection import Selection, selections


@dataclasses.dataclass(frozen=True)
class Method:
  """How to prune: three independent choices.

  Each may be given as a registered name, a config or an object.

  Attributes:
    criterion: What a removal costs.
    selection: Which units go at a step.
    compensation: How the kept units make up for it.
  """

  criterion: Criterion | str = 'saliency'
  selection: Selection | str = 'greedy'
  compensation: Compensation | str = 'merge'

  def __post_init__(self):
    for name, registry in _PARTS.items():
      object.__setattr__(self, name, registry.get(getattr(self, name)))

  @property
  def needs_samples(self) -> bool:
    """Whether a part of it fits on samples."""
    return self.criterion.needs_samples or self.compensation.needs_samples

  def get_config(self) -> dict[str, Any]:
    """The three parts, each `{'class_name': ..., 'config': ...}`."""
    return {
      name: registry.serialize(getattr(self, name))
      for name, registry in _PARTS.items()
    }

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
  'reconstruction': Method('reconstruction', 'greedy', 'least_squares'),
}


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


def get_method(method: str | Mapping[str, Any] | Method) -> Method:
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
