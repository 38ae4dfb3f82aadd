"""Lower bounds of subdomains: on which side of zero neurons are is fixed.

Beta-CROWN (Wang et al. 2021, arXiv 2103.06624). A neuron whose sign is fixed is
a straight line; slopes of the lines below the others, and multipliers of what
is fixed, are optimised for each subdomain. What counts is a last evaluation,
whose rounding is taken off.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfmot_paoding.bounds.domains import Ascent, Bounded, Domains, Goals, Root
from tfmot_paoding.bounds.program import Program
from tfmot_paoding.bounds.split_pass import (
  ByValue,
  Fixed,
  Free,
  SplitPass,
  double,
  line_tensors,
)
from tfmot_paoding.bounds.steps import AffineStep, CurvedStep, HeldLines, Step
from tfmot_paoding.bounds.walks import Walk
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray


class SubdomainBounds:
  """Bounds of goals about one value of a program, on subdomains.

  Args:
    program: The steps.
    value: The value, of shape (outputs,).

  Attributes:
    neurons: How many neurons can be split.
    whole: The curved steps whose neurons cannot be.
  """

  def __init__(self, program: Program, value: int):
    self._program = program
    self._value = value
    self._curved = [s for s in program.steps if isinstance(s, CurvedStep)]
    self.whole = [s for s in self._curved if not _splits(s)]
    self._parts: dict[int, slice] = {}
    self.neurons = 0
    for step in self._curved:
      if _splits(step):
        end = self.neurons + int(np.prod(step.out_shape))
        self._parts[step.output] = slice(self.neurons, end)
        self.neurons = end
    self._steps = {step.output: step for step in program.steps}
    self._pass = SplitPass(program, value, self._parts)

  @property
  def biases(self) -> Array:
    """What the affine step in front adds to each neuron, (neurons,)."""
    found = np.zeros(self.neurons)
    for output, part in self._parts.items():
      before = self._steps.get(self._steps[output].inputs[0])
      if isinstance(before, AffineStep):
        found[part] = before.shift.ravel()
    return found

  def root(self, walk: Walk) -> Root:
    """What a walk of one box knows; not one by 'ibp'."""
    read = {v for s in self._curved for v in (*s.inputs, *s.context)}
    affine = [s.output for s in self._steps.values() if _is_affine(s)]
    ends: list[list[Array]] = [[], []]
    for output in self._parts:
      for end, bound in zip(
        ends, walk.bounds(self._steps[output].inputs[0]), strict=True
      ):
        end.append(bound.ravel())
    return Root(
      [walk.bounds(value) for value in self._program.inputs],
      {value: walk.bounds(value) for value in read},
      {value: walk.size(value) for value in affine},
      Interval(*(np.concatenate([np.zeros(0), *end]) for end in ends)),
      walk.bounds(self._value).magnitude[0],
    )

  def start(self, root: Root, goals: Goals) -> Domains:
    """The whole box, once for each goal."""
    count, rows = goals.offsets.shape
    slopes = np.zeros(self.neurons, np.float32)
    for output, part in self._parts.items():
      held = self._held(self._steps[output], root, None)
      slopes[part] = held.low_slopes[0].ravel()
    shape = count, self.neurons
    return Domains(
      np.arange(count),
      np.zeros(shape, np.int8),
      np.tile(slopes, (count, 1)),
      np.zeros(shape, np.float32),
      np.full((count, rows), 1.0 / rows),
    )

  def bound(
    self,
    root: Root,
    goals: Goals,
    domains: Domains,
    ascent: Ascent | None = None,
  ) -> Bounded:
    """Bounds of subdomains.

    Args:
      root: What is known of the whole box.
      goals: What to show impossible.
      domains: The subdomains, at least one.
      ascent: How to optimise slopes and multipliers; None for not at all.
    """
    fixed = self._prepared(root, goals, domains)
    free = self._free(domains)
    if ascent is not None and ascent.steps:
      rates = tf.constant([ascent.slope_rate, ascent.multiplier_rate])
      free = self._pass.ascend(fixed, free, tf.constant(ascent.steps), rates)
    low, seen, points = self._pass.evaluate(fixed, free)
    found = Domains(
      domains.goals,
      domains.signs,
      self._flat(free.slopes, len(domains)),
      self._flat(free.multipliers, len(domains)),
      free.mix.numpy(),
    )
    return Bounded(
      low.numpy(),
      found,
      self._flat(seen, len(domains)),
      [points[value].numpy()[:, 0] for value in self._program.inputs],
    )

  def estimate(self, root: Root, goals: Goals, domains: Domains) -> Array:
    """Bounds as they stand up to rounding, to choose by and prove nothing.

    Args:
      root: What is known of the whole box.
      goals: What to show impossible.
      domains: The subdomains, at least one.

    Returns:
      Shape (domains,).
    """
    fixed = self._prepared(root, goals, domains)
    return self._pass.estimate(fixed, self._free(domains)).numpy()

  def _free(self, domains: Domains) -> Free:
    """What is optimised, as tensors."""
    return Free(
      self._apart(domains.slopes),
      self._apart(domains.multipliers),
      tf.constant(domains.mix),
    )

  def _prepared(self, root: Root, goals: Goals, domains: Domains) -> Fixed:
    """Lines and whatever else the subdomains allow, as tensors."""
    lines, least, most, signs = {}, {}, {}, {}
    sizes = {value: size[:, None] for value, size in root.sizes.items()}
    for step in self._curved:
      part = self._parts.get(step.output)
      sign = None if part is None else domains.signs[:, part]
      held = self._held(step, root, sign)
      sizes[step.output] = held.size[:, None]
      lines[step.output] = line_tensors(held)
      if sign is not None:
        shape = len(domains), 1, *step.in_shapes[0]
        signs[step.output] = double(sign.reshape(shape))
        least[step.output], most[step.output] = map(double, held.tilt)
    boxes = {
      value: (double(box.low[:, None]), double(box.high[:, None]))
      for value, box in zip(self._program.inputs, root.boxes, strict=True)
    }
    return Fixed(
      double(goals.rows[domains.goals]),
      double(goals.offsets[domains.goals]),
      lines,
      least,
      most,
      signs,
      boxes,
      {value: double(size) for value, size in sizes.items()},
      double(root.size),
    )

  def _held(
    self, step: CurvedStep, root: Root, signs: Array | None
  ) -> HeldLines:
    """A step's lines on each subdomain, or on the whole box."""
    bounds = [root.bounds[v] for v in (*step.inputs, *step.context)]
    if signs is not None:
      (whole,) = bounds
      signs = signs.reshape(len(signs), *step.in_shapes[0])
      low = np.where(signs > 0, np.maximum(whole.low, 0.0), whole.low)
      high = np.where(signs < 0, np.minimum(whole.high, 0.0), whole.high)
      bounds = [Interval(low, high)]
    return step.relax(*bounds)

  def _apart(self, flat: Array) -> ByValue:
    """What each neuron has, step by step, (domains, 1, *shape)."""
    return {
      output: double(
        flat[:, part].reshape(len(flat), 1, *self._steps[output].in_shapes[0])
      )
      for output, part in self._parts.items()
    }

  def _flat(self, parts: ByValue, count: int) -> Array:
    """What steps have, neuron by neuron, (domains, neurons)."""
    found = np.zeros((count, self.neurons), np.float32)
    for output, part in self._parts.items():
      if output in parts:
        found[:, part] = parts[output].numpy().reshape(count, -1)
    return found


def _is_affine(step: Step) -> bool:
  return isinstance(step, AffineStep)


def _splits(step: CurvedStep) -> bool:
  """Whether each of its entries is a line on either side of zero."""
  return step.op is not None and step.op.rectifies and not step.context
