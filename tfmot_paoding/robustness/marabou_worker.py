"""Solves one query with Marabou, in a process of its own.

Started by `marabou` as a script: it imports nothing of the package and
nothing of maraboupy but the solver, whose readers would turn TensorFlow's
eager execution off. Arguments: an .npz with the query, seconds, and where to
write the answer's .npz.

The query: `low` and `high` of every variable (infinite for none); `columns`,
`factors`, `starts` and `constants` of equations sum factor x = constant, laid
out one after another; `relus` (k, 2) and `sigmoids` (k, 2) pairs of input and
output; `leaky` pairs with `slopes`; `maxima`, variables whose largest is in
`tops`, from `max_starts`; `goal_columns` and `goal_factors` of the one
inequality sum factor x >= `goal_bound`; `inputs`, how many variables are the
network's inputs: the first ones.
"""

from __future__ import annotations

import sys

import numpy as np


def main(query: str, seconds: str, answer: str) -> None:
  """Solves, and writes 'sat' with the variables, 'unsat' or 'unknown'."""
  from maraboupy import MarabouCore

  with np.load(query) as file:
    q = dict(file)
  ipq = MarabouCore.InputQuery()
  ipq.setNumberOfVariables(len(q['low']))
  for k, (low, high) in enumerate(zip(q['low'], q['high'], strict=True)):
    if np.isfinite(low):
      ipq.setLowerBound(k, float(low))
    if np.isfinite(high):
      ipq.setUpperBound(k, float(high))
  for k in range(int(q['inputs'])):
    ipq.markInputVariable(k, k)
  ends = q['starts'][1:]
  for start, end, constant in zip(
    q['starts'][:-1], ends, q['constants'], strict=True
  ):
    equation = MarabouCore.Equation(MarabouCore.Equation.EQ)
    for column, factor in zip(
      q['columns'][start:end], q['factors'][start:end], strict=True
    ):
      equation.addAddend(float(factor), int(column))
    equation.setScalar(float(constant))
    ipq.addEquation(equation)
  goal = MarabouCore.Equation(MarabouCore.Equation.GE)
  for column, factor in zip(q['goal_columns'], q['goal_factors'], strict=True):
    goal.addAddend(float(factor), int(column))
  goal.setScalar(float(q['goal_bound']))
  ipq.addEquation(goal)
  for a, b in q['relus']:
    MarabouCore.addReluConstraint(ipq, int(a), int(b))
  for (a, b), slope in zip(q['leaky'], q['slopes'], strict=True):
    MarabouCore.addLeakyReluConstraint(ipq, int(a), int(b), float(slope))
  for a, b in q['sigmoids']:
    MarabouCore.addSigmoidConstraint(ipq, int(a), int(b))
  for top, start, end in zip(
    q['tops'], q['max_starts'][:-1], q['max_starts'][1:], strict=True
  ):
    elements = {int(v) for v in q['maxima'][start:end]}
    MarabouCore.addMaxConstraint(ipq, elements, int(top))
  options = MarabouCore.Options()
  options._timeoutInSeconds = max(1, int(float(seconds)))
  options._verbosity = 0
  code, values, _ = MarabouCore.solve(ipq, options, '')
  found = np.array([values.get(k, np.nan) for k in range(int(q['inputs']))])
  with open(answer, 'wb') as file:
    np.savez(file, code=np.array(code), inputs=found)


if __name__ == '__main__':
  main(*sys.argv[1:])
