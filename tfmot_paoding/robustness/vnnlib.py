"""Properties read from VNN-LIB files: a box, and what must not happen in it.

The part of VNN-LIB that VNN-COMP uses for boxes: `declare-const` of X_0 ... and
Y_0 ..., and `assert` of linear inequalities, of which those over inputs bound
one input each; `or` of `and` over outputs. Together they describe a
counterexample. What goes beyond is refused, and named.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tfmot_paoding.bounds.domains import Goals
from tfmot_paoding.numerics.intervals import Interval
from tfmot_paoding.robustness.vnnlib_text import (
  PropertyFileError,
  as_lists,
  read_text,
  refused,
)

Array = np.ndarray

_NAME = re.compile(r'([XY])_([0-9]+)')
_MOST = 10_000  # goals of one property
_NUMBERS = 20_000_000  # of all their rows
_ZERO, _ONE = Fraction(0), Fraction(1)


@dataclasses.dataclass(frozen=True)
class Property:
  """What must not happen: a point of a box that meets any of some goals.

  Attributes:
    low: The least of each input entry, (inputs,), row by row as ONNX lays
      inputs out.
    high: The greatest.
    rows: Factors of the outputs, (goals, rows, outputs): a goal is met where
      all of its rows have row y <= offset.
    offsets: Shape (goals, rows).
  """

  low: Array
  high: Array
  rows: Array
  offsets: Array

  @property
  def box(self) -> Interval:
    """Both ends."""
    return Interval(self.low, self.high)

  @property
  def goals(self) -> Goals:
    """What to show impossible."""
    return Goals(self.rows, self.offsets)


def read_property(path: str) -> Property:
  """Reads a VNN-LIB file; one whose name ends in .gz is unpacked.

  Args:
    path: The file.

  Raises:
    OSError: it cannot be read.
    PropertyFileError: it is no such file, or has more than a box of inputs and
      linear inequalities of outputs; what is too much is named.
  """
  try:
    return parse_property(read_text(path))
  except PropertyFileError as error:
    raise PropertyFileError(f'{path!r}: {error}') from None


def parse_property(text: str) -> Property:
  """The property that a text in VNN-LIB describes.

  Raises:
    PropertyFileError: see `read_property`.
  """
  reader = _Reader()
  for command in as_lists(text):
    reader.take(command)
  return reader.property()


@dataclasses.dataclass(frozen=True)
class _Linear:
  """A sum of factors of variables and a number, exact."""

  factors: dict[tuple[str, int], Fraction]
  number: Fraction = _ZERO

  def plus(self, other: _Linear, times: Fraction = _ONE) -> _Linear:
    factors = dict(self.factors)
    for name, factor in other.factors.items():
      factors[name] = factors.get(name, _ZERO) + times * factor
    return _Linear(factors, self.number + times * other.number)


# Disjunctions of conjunctions of forms that are at most 0.
_Cases = list[list[_Linear]]


class _Reader:
  """What a file has declared and asserted so far."""

  def __init__(self):
    self._counts = {'X': 0, 'Y': 0}
    self._low: dict[int, float] = {}
    self._high: dict[int, float] = {}
    self._asserted: list[_Cases] = []

  def take(self, command: Any) -> None:
    """One command of the file."""
    match command:
      case ['declare-const', str(name), 'Real']:
        self._declare(name)
      case ['assert', formula]:
        cases = self._cases(formula)
        # What holds together is as good as asserted one by one.
        parts = [[[form]] for form in cases[0]] if len(cases) == 1 else [cases]
        self._asserted += [part for part in parts if not self._bounds(part)]
      case _:
        raise refused(
          command, '(declare-const X_0 Real) and (assert ...) are read'
        )

  def property(self) -> Property:
    """All of it together."""
    inputs, outputs = self._counts['X'], self._counts['Y']
    if not (inputs and outputs and self._asserted):
      raise PropertyFileError(
        f'expected inputs X_0 ..., outputs Y_0 ... and an assertion about '
        f'outputs, but found {inputs}, {outputs} and {len(self._asserted)}'
      )
    missing = [
      f'X_{k}'
      for k in range(inputs)
      if k not in self._low or k not in self._high
    ]
    if missing:
      raise PropertyFileError(
        'each input needs a lower and an upper bound, but '
        f'{", ".join(missing[:5])} of {inputs} has not both'
      )
    low, high = (
      np.array([ends[k] for k in range(inputs)])
      for ends in (self._low, self._high)
    )
    if np.any(low > high):
      at = int(np.flatnonzero(low > high)[0])
      raise PropertyFileError(
        f'X_{at} must be at least {low[at]} and at most {high[at]}: the box is '
        'empty'
      )
    return Property(low, high, *self._goals(outputs))

  def _declare(self, name: str) -> None:
    kind, number = _variable(name)
    if number != self._counts[kind]:
      raise PropertyFileError(
        f'{name} is declared where {kind}_{self._counts[kind]} is expected: '
        'names count up from 0'
      )
    self._counts[kind] += 1

  def _cases(self, formula: Any) -> _Cases:
    """A formula as a disjunction of conjunctions."""
    match formula:
      case ['or', *parts] if parts:
        return [case for part in parts for case in self._cases(part)]
      case ['and', *parts] if parts:
        return _all_of([self._cases(part) for part in parts])
      case ['<=', one, other]:
        return [[self._linear(one).plus(self._linear(other), -_ONE)]]
      case ['>=', one, other]:
        return [[self._linear(other).plus(self._linear(one), -_ONE)]]
    raise refused(formula, 'or, and, <= and >= are read')

  def _linear(self, term: Any) -> _Linear:
    match term:
      case str(name) if _NAME.fullmatch(name):
        kind, number = _variable(name)
        if number >= self._counts[kind]:
          raise PropertyFileError(f'{name} is not declared')
        return _Linear({(kind, number): _ONE})
      case str(text):
        return _Linear({}, _number(text))
      case ['+', *parts] if parts:
        found = _Linear({})
        for part in parts:
          found = found.plus(self._linear(part))
        return found
      case ['-', one]:
        return _Linear({}).plus(self._linear(one), -_ONE)
      case ['-', one, *parts]:
        found = self._linear(one)
        for part in parts:
          found = found.plus(self._linear(part), -_ONE)
        return found
      case ['*', one, other]:
        one, other = self._linear(one), self._linear(other)
        if one.factors and other.factors:
          raise refused(term, 'a product needs a number')
        form, times = (one, other) if one.factors else (other, one)
        return _Linear({}).plus(form, times.number)
    raise refused(term, 'numbers, X_k, Y_k, +, - and * are read')

  def _bounds(self, cases: _Cases) -> bool:
    """Takes bounds of inputs; whether an assertion was about these."""
    kinds = {
      kind for case in cases for form in case for kind, _ in form.factors
    }
    if 'X' not in kinds:
      return False
    if 'Y' in kinds:
      raise PropertyFileError(
        'an assertion is about inputs and outputs at once; a box of inputs, '
        'and inequalities of outputs alone, are read'
      )
    if len(cases) > 1:
      raise PropertyFileError(
        'a disjunction is about inputs; one box of inputs is read. Split the '
        'file into one for each box.'
      )
    for form in cases[0]:
      self._bound(form)
    return True

  def _bound(self, form: _Linear) -> None:
    used = {name: f for name, f in form.factors.items() if f}
    if len(used) != 1:
      names = ', '.join(f'X_{k}' for _, k in form.factors)
      raise PropertyFileError(
        f'an inequality is about {names} at once; bounds of one input each are '
        'read'
      )
    (((_, number), factor),) = used.items()
    exact = -form.number / factor
    end = _float(exact)
    # The box may be too large by a hair, but never too small.
    if factor > 0 and end < exact:
      end = float(np.nextafter(end, np.inf))
    if factor < 0 and end > exact:
      end = float(np.nextafter(end, -np.inf))
    if factor > 0:
      self._high[number] = min(self._high.get(number, np.inf), end)
    else:
      self._low[number] = max(self._low.get(number, -np.inf), end)

  def _goals(self, outputs: int) -> Goals:
    cases = _all_of(self._asserted)
    most = max(len(case) for case in cases)
    if len(cases) * most * outputs > _NUMBERS:
      raise PropertyFileError(
        f'its assertions are {len(cases)} cases of up to {most} inequalities '
        f'of {outputs} outputs; up to {_NUMBERS} numbers are read'
      )
    rows = np.zeros((len(cases), most, outputs))
    offsets = np.zeros((len(cases), most))
    for goal, case in enumerate(cases):
      for k in range(most):
        # The last stands for what others have more.
        form = case[min(k, len(case) - 1)]
        for (_, number), factor in form.factors.items():
          rows[goal, k, number] = _float(factor)
        offsets[goal, k] = _float(-form.number)
    return Goals(rows, offsets)


def _all_of(parts: Sequence[_Cases]) -> _Cases:
  """Disjunctions that hold together, as one."""
  count = math.prod(len(part) for part in parts)
  if count > _MOST:
    raise PropertyFileError(
      f'its assertions together have {count} cases; up to {_MOST} are read'
    )
  return [
    [form for case in chosen for form in case]
    for chosen in itertools.product(*parts)
  ]


def _variable(name: str) -> tuple[str, int]:
  match = _NAME.fullmatch(name)
  if match is None:
    raise PropertyFileError(
      f'variables are called X_0 ... and Y_0 ..., but one is {name!r}'
    )
  return match.group(1), int(match.group(2))


def _number(text: str) -> Fraction:
  try:
    # Python's own underscores are no part of a number here.
    value = math.nan if '_' in text else float(text)
  except ValueError:
    value = math.nan
  if not math.isfinite(value):
    raise PropertyFileError(f'{text!r} is no number, and no X_k or Y_k')
  return Fraction(value)


def _float(value: Fraction) -> float:
  try:
    return float(value)
  except OverflowError:
    raise PropertyFileError(
      'a number, or a bound that follows from two, is too large for 64 bits'
    ) from None
