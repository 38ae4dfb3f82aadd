"""Complete verification of a property: a box, and what must not happen."""

from __future__ import annotations

import numpy as np

from tfmot_paoding.bounds import build_program
from tfmot_paoding.compat import keras
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.network.graph import Graph, read_params
from tfmot_paoding.network.network import Network
from tfmot_paoding.progress import progress_bar
from tfmot_paoding.robustness.answer import Answer
from tfmot_paoding.robustness.attacks import inward
from tfmot_paoding.robustness.branch_and_bound import BranchAndBound
from tfmot_paoding.robustness.branching import BranchSettings, settled
from tfmot_paoding.robustness.judging import Case, Judge
from tfmot_paoding.robustness.verification import check_seconds
from tfmot_paoding.robustness.vnnlib import Property

Array = np.ndarray


def verify_property(
  model: keras.Model,
  property: Property,
  *,
  seconds: float = 60.0,
  settings: BranchSettings | None = None,
  verbose: int | str = 'auto',
) -> Answer:
  """Decides whether a property of a model's outputs holds in its whole box.

  By branch and bound, as `verify` does; of outputs as they are, so that of a
  classifier that ends in softmax `scores_model` is what to ask of. A
  counterexample is found in float32: an entry whose bounds have no such number
  between them is taken at the nearest.

  Args:
    model: A model with one input and one output of shape (outputs,); see
      `tfmot_paoding.loading.read_onnx`.
    property: What must not happen; see `read_property`.
    seconds: How long to work.
    settings: How to work.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.

  Returns:
    'robust' where nothing of it happens ('unsat'), 'broken' with a point where
    it does ('sat'), or 'unknown'. `low` and `high` are of a goal's largest
    row y - offset.

  Raises:
    TypeError: `model` is no tf_keras model, or `settings` are of another
      kind.
    NoRelaxationError: an operation has no sound relaxation.
    ValueError: an argument is bad, the property is of another number of inputs
      or outputs, or an activation cannot be split.
  """
  check_seconds(seconds)
  settings = settled(settings)
  model = as_opened(model)
  graph = Network.of(model).graph
  _check_sizes(graph, property)
  (value,) = graph.outputs
  if not settings.relax_the_rest:
    _check_last(graph, value)
  program = build_program(graph, read_params(graph))
  solver = BranchAndBound(graph, program, value, settings)
  shape = 1, *graph.shapes[graph.inputs[0]]
  box = property.box.reshape(shape)
  goals = property.goals

  def confirms(point: Array) -> bool:
    outputs = model(point[None], training=False).numpy()[0].astype(np.float64)
    return bool(np.any(np.all(goals.rows @ outputs <= goals.offsets, 1)))

  bar = progress_bar(1, verbose, 'property', ('subdomains', 'open'))

  def watch(visited: int, left: int) -> None:
    bar.update(0, [('subdomains', visited), ('open', left)])

  case = Case(Judge(model), goals, inward(box), confirms)
  rng = np.random.default_rng(settings.seed)
  answer = solver.decide(box, goals, case, seconds, watch, rng)
  bar.update(1)
  return answer


def _check_last(graph: Graph, value: int) -> None:
  """Raises where outputs are probabilities.

  Raises:
    ValueError: a softmax or sigmoid makes them.
  """
  node = graph.writer().get(value)
  if node is not None and node.op.answers in ('softmax', 'sigmoid'):
    raise ValueError(
      f'The model ends in a {node.op.answers}, which branch and bound does not '
      'split. If the property is of the class scores in front of it, ask of '
      'robustness.scores_model(model), from the command line with --scores; '
      'else pass BranchSettings(relax_the_rest=True).'
    )


def _check_sizes(graph: Graph, property: Property) -> None:
  """Raises unless a property is of the graph's inputs and outputs."""
  shapes = [
    [graph.shapes[value] for value in values]
    for values in (graph.inputs, graph.outputs)
  ]
  inputs, outputs = shapes
  wanted = len(property.low), property.rows.shape[-1]
  if len(inputs) != 1 or len(outputs) != 1 or len(outputs[0]) != 1:
    raise ValueError(
      'Expected a model with one input and one output of shape (outputs,), but '
      f'it has inputs of shapes {inputs} and outputs of shapes {outputs}.'
    )
  found = int(np.prod(inputs[0])), outputs[0][0]
  if found != wanted:
    raise ValueError(
      f'The property is of {wanted[0]} inputs and {wanted[1]} outputs, but the '
      f'model has {found[0]} and {found[1]}.'
    )
