"""Distillation: the pruned network learns the original's answers, without data.

The teacher is the original, the inputs are what `samples` has: no label and no
sample of the training data is needed. Inputs that were kept apart judge the
result, and on the way whether to go on; if it does not come nearer to the
original on them, nothing changes.

What is drawn without data says little of the borders between classes, so half
of a small network's inputs are moved to where student and teacher differ more,
and a larger one is told what stands behind its teacher's activations as well.

Reference: Hinton et al. 2015, arXiv 1503.02531; on logits: Ba and Caruana 2014,
arXiv 1312.6184.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import numpy as np

from tfmot_paoding import replicas
from tfmot_paoding.arguments import check_seed, warn_idle
from tfmot_paoding.compat import keras
from tfmot_paoding.deprecation import takes_old_calls
from tfmot_paoding.inputs.familiarity import families_for, tells_pictures
from tfmot_paoding.inputs.prior import PriorLike
from tfmot_paoding.inputs.ranges import RangeLike
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.inputs.user_data import Inputs
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.network.agreement import check_ends
from tfmot_paoding.network.cloning import (
  clone_with,
  computes_halves,
  copy_weights,
  fresh_layer,
  has_state,
  plain_copy,
  without_halves,
)
from tfmot_paoding.network.graph import check_model, layers_of, unwrapped
from tfmot_paoding.network.network import Network
from tfmot_paoding.network.outputs import Head
from tfmot_paoding.progress import finish, progress_bar
from tfmot_paoding.training.adversarial_inputs import (
  AdversarialInputs,
  renewals,
)
from tfmot_paoding.training.distill_settings import DistillSettings
from tfmot_paoding.training.hints import Hints
from tfmot_paoding.training.lesson import Lesson, learned_from
from tfmot_paoding.training.nearing import leads_away
from tfmot_paoding.training.steps import Steps
from tfmot_paoding.training.watch import ALIKE, Watch, looks

Array = np.ndarray

# The part of a lesson that a learning rate is tried on.
_TRIAL = 8


@takes_old_calls()
def distill(
  original: keras.Model,
  pruned: keras.Model,
  *,
  input_range: RangeLike = None,
  seed: int = 0,
  data: Inputs = None,
  prior: PriorLike = None,
  settings: DistillSettings | None = None,
  verbose: int | str = 'auto',
) -> keras.Model:
  """Trains a pruned model to answer as the original does.

  Removed units stay removed: weights of matrices and kernels that are zero
  stay so. Layers with `trainable=False` stay as they are, batch normalization
  keeps its statistics, dropout is off. Several linear outputs are scores of
  classes or numbers as the loss says that `original` was compiled with; where
  it has none, they are taught as numbers if a lesson by classes leads away from
  these. In the scope of a `tf.distribute` strategy its replicas share each
  batch.

  Args:
    original: The model before pruning, not changed.
    pruned: The compact or stripped model, not changed.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    seed: Of inputs and batches.
    data: Unlabelled inputs, if you have some: an array, a list or dict of
      arrays for several inputs, or a batched `tf.data.Dataset`.
    prior: Where inputs come from otherwise: 'recalled' (by `recall_inputs`),
      'statistics', a name of `inputs.NAMED_PRIORS` such as 'smooth' or
      'leaves', an object such as `inputs.Prior`, a sequence of these, which
      are drawn in equal shares, or a dict of input name to one. None: what the
      model knows, see `inputs`.
    settings: Of the optimization.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.

  Returns:
    A model of the same structure as `pruned`; with the weights of `pruned` if
    training brought its answers no nearer on the inputs kept apart, or if
    they were alike already. An interrupt ends training early, and so do
    answers that are alike, or go further and further away.

  Raises:
    TypeError: an argument is no Keras model.
    ValueError: the models' inputs or outputs differ or come in the wrong order,
      `pruned` is still wrapped, an output has other rows than the inputs
      (`RowsError`), or another argument is not as described.
  """
  settings = DistillSettings() if settings is None else settings
  if not isinstance(settings, DistillSettings):
    raise ValueError(
      f'`settings` must be None or a DistillSettings, but got {settings!r}.'
    )
  check_seed(seed)
  network = Network.of(as_opened(original))
  pruned = as_opened(pruned)
  check_model(pruned)
  _check_pair(network.model, pruned)
  source = InputSource.of(
    network,
    input_range,
    seed=seed,
    data=data,
    prior=prior,
    verbose=verbose,
  )
  return taught(network, pruned, source, settings)


def taught(
  network: Network,
  pruned: keras.Model,
  source: InputSource,
  settings: DistillSettings | None = None,
) -> keras.Model:
  """`distill` of a pair that fits, on a source's inputs.

  What is taken for the scores of classes by its shape alone may be numbers: a
  lesson by classes that leads away from these is given anew by numbers.
  """
  settings, source = settings or DistillSettings(), source.settled(network)
  heads = network.heads()
  student = _taught(network, pruned, source, settings, heads)
  if leads_away(network, pruned, student, source):
    numbers = [h.as_numbers() if h.is_guessed else h for h in heads]
    student = _taught(network, pruned, source, settings, numbers)
  return student


def _taught(
  network: Network,
  pruned: keras.Model,
  source: InputSource,
  settings: DistillSettings,
  heads: list[Head],
) -> keras.Model:
  """The student of one lesson."""
  original = network.model
  student = without_halves(plain_copy(pruned))
  if not student.trainable_variables:
    return _with_state(student, pruned)
  macs = network.macs
  entries = _drawn_entries(network, source)
  count = settings.count(macs, entries)
  samples = source.samples(network, count, otherwise=families_for(network))
  # A copy's weights are on every replica.
  copies = has_state(original) or replicas.sharing() is not None
  teacher = without_halves(plain_copy(original) if copies else original)
  numbers = sum(map(math.prod, network.graph.shapes))
  batch, at_once = settings.batch(numbers), settings.at_once(numbers)
  lesson = Lesson(teacher, samples, heads, settings, batch, at_once)
  watch = Watch(student, lambda: lesson.distance(student))
  if watch.distances[0] < ALIKE:
    return _with_state(student, pruned)
  with contextlib.suppress(KeyboardInterrupt):  # what is learned so far counts
    gap = watch.distances[0]
    rates = settings.rates(macs, network.has_statistics, gap)
    usual = settings.usual_count(len(samples[0]), macs, entries)
    length = settings.length(macs, learned_from(usual), batch, gap)
    steps, rate = None, rates[0]
    if len(rates) > 1:
      # Traced once, for the lesson too: hints alone make it another.
      steps = Steps(student, lesson)
      rate = _best_rate(student, steps, lesson, rates, length, source)
    given = None if source.data is None else len(samples[0])
    reach = settings.reach(macs, given, gap)
    moved = None
    if reach:
      rng = np.random.default_rng([source.seed, 6])
      moved = AdversarialInputs(lesson, teacher, student, reach, rng)
    hints = _hints(network, lesson, teacher, student, settings)
    if hints or steps is None:
      steps = Steps(student, lesson, hints)
    _train(steps, lesson, rate, length, source, watch, moved, hints)
  watch.settle()
  return _with_state(student, pruned)


def _best_rate(
  student: keras.Model,
  steps: Steps,
  lesson: Lesson,
  rates: Sequence[float],
  length: int,
  source: InputSource,
) -> float:
  """The learning rate that a short trial goes furthest with."""
  start, gaps, silent = student.get_weights(), [], source.like(verbose=0)
  for rate in rates:
    _train(steps, lesson, rate, max(1, length // _TRIAL), silent)
    gaps.append(lesson.distance(student))
    student.set_weights(start)
  # A rate that leads to no number is none.
  return rates[int(np.argmin(np.nan_to_num(gaps, nan=np.inf)))]


def _hints(
  network: Network,
  lesson: Lesson,
  teacher: keras.Model,
  student: keras.Model,
  settings: DistillSettings,
) -> Hints | None:
  """What the student is told of hidden values, if anything."""
  weight = settings.hint_weight(network.macs, tells_pictures(network))
  if not weight:
    return None
  hints = Hints(lesson, teacher, student, weight)
  if settings.hints and not hints:
    warn_idle(
      {'hints': settings.hints},
      'since the two models have no activation at the same place, with '
      'positions, that the outputs depend on',
      'Leave it out.',
    )
  return hints


def _drawn_entries(network: Network, source: InputSource) -> int:
  """Numbers of one input that is drawn; what is there already takes nothing."""
  if source.data is not None:
    return 1
  return network.input_entries


def _with_state(student: keras.Model, pruned: keras.Model) -> keras.Model:
  """The student as `pruned` is called: batches of its size, its numbers."""
  if not (has_state(pruned) or computes_halves(pruned)):
    return student
  found = clone_with(pruned, lambda layer, _: fresh_layer(layer))
  copy_weights(student, found)
  return found


def _train(
  steps: Steps,
  lesson: Lesson,
  learning_rate: float,
  count: int,
  source: InputSource,
  watch: Watch | None = None,
  moved: AdversarialInputs | None = None,
  hints: Hints | None = None,
) -> None:
  """So many steps, or as many as a watch does not find too many."""
  steps.begin(learning_rate, count)
  batches = list(lesson.batches(count, np.random.default_rng([source.seed, 2])))
  bar = progress_bar(count, source.verbose, 'step')
  done = 0
  looked = looks(count) if watch else ()
  renewed = renewals(count) if moved else ()

  def renew() -> None:
    moved.renew()
    if hints:
      hints.renew()

  if moved:
    renew()
  for until in sorted({*looked, *renewed, count}):
    for start in range(done, until, steps.together):
      chosen = np.stack(batches[start : min(start + steps.together, until)])
      steps.take(chosen)
      bar.add(len(chosen))
    done = until
    if done in looked and watch.look():
      finish(bar, done)
      break
    if done in renewed:
      renew()


def _check_pair(original: keras.Model, pruned: keras.Model) -> None:
  """Raises unless one is what pruning made of the other.

  Raises:
    ValueError: it is not.
  """
  if any(layer is not unwrapped(layer) for layer in layers_of(pruned).values()):
    raise ValueError(
      '`pruned` is still wrapped for pruning. Call strip_pruning first.'
    )
  check_ends(original, pruned)
  ours, theirs = _size(original), _size(pruned)
  if ours < theirs:
    raise ValueError(
      f'`original` is smaller than `pruned` ({ours[0]} weights against '
      f'{theirs[0]}, {ours[1]} units against {theirs[1]}): the two are '
      'swapped. The original comes first, distill(original, pruned).'
    )


def _size(model: keras.Model) -> tuple[int, int]:
  """Weights, and units that have any of a matrix or kernel."""
  matrices = [w for w in model.get_weights() if w.ndim > 1]
  units = sum(int(w.any(tuple(range(w.ndim - 1))).sum()) for w in matrices)
  return model.count_params(), units
