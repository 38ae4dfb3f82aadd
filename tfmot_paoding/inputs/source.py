"""Where the inputs come from that fits, distillation and comparisons run on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding.compat import keras
from tfmot_paoding.deprecation import takes_old_calls
from tfmot_paoding.inputs.familiarity import (
  families_for,
  knows_leaves,
  knows_rows,
  tells_pictures,
)
from tfmot_paoding.inputs.prior import (
  CarriedInputs,
  InputPrior,
  PriorLike,
  VariedPrior,
  parts_of,
)
from tfmot_paoding.inputs.ranges import (
  InputRange,
  RangeLike,
  input_boxes,
  resolve_range,
  resolve_with_data,
)
from tfmot_paoding.inputs.recall import RecallSettings
from tfmot_paoding.inputs.rows import RowsPrior
from tfmot_paoding.inputs.samples import (
  check_source,
  mixes,
  of_prior,
  recalled_samples,
  recalls,
  shuffled,
  warn_of_two,
  with_answers,
)
from tfmot_paoding.inputs.statistics_fit import STATISTICS, told_priors
from tfmot_paoding.inputs.statistics_prior import StatisticsPrior
from tfmot_paoding.inputs.user_data import Inputs, calibration_samples
from tfmot_paoding.network.input_shapes import check_sizes
from tfmot_paoding.network.network import Network
from tfmot_paoding.numerics.intervals import Interval

Array = np.ndarray

# More recalled inputs than these take long and bring nothing beside leaves.
_BESIDE_LEAVES = 256
# Of inputs that candidates are told apart on, and of their numbers: drawing
# four times as many large ones takes longer than running them.
_JUDGED, _JUDGED_ENTRIES = 512, 1e7
# Where activations end is told by an eighth of the steps.
_FOR_RANGES = RecallSettings(steps=25, learning_rate=0.08)


@dataclasses.dataclass(frozen=True, eq=False)
class InputSource(CarriedInputs):
  """A network's inputs: their range, and where samples of them come from.

  Settled once, at the public function, and handed on. `find_inputs` settles one
  for a user to hand on.

  Attributes:
    range: The range of the inputs; None where data stand for it.
    seed: The only source of chance.
    data: Inputs that the user has, as in `calibration_samples`; or None.
    prior: Where inputs come from otherwise, as in `draw_samples`.
    verbose: Whether to show a progress bar where inputs are recalled: 'auto'
      (on a terminal and in a notebook), 1 or 0.
    recollection: Inputs that were recalled already, one array an input.
    told: The prior that the first statistics tell of each input, once it was
      fitted; None before that, and where nobody asks for it.
    is_settled: Whether it is `settled`.
    recall: How inputs are recalled; None for the usual way.
  """

  range: InputRange | None
  seed: int = 0
  data: Inputs = None
  prior: PriorLike = None
  verbose: int | str = 0
  recollection: Sequence[Array] | None = None
  told: Sequence[StatisticsPrior | None] | None = None
  is_settled: bool = False
  recall: RecallSettings | None = None

  @classmethod
  def of(
    cls,
    network: Network,
    input_range: RangeLike = None,
    *,
    seed: int = 0,
    data: Inputs = None,
    prior: PriorLike = None,
    verbose: int | str = 0,
  ) -> InputSource:
    """The source of what a user passed, with the warnings that it deserves.

    Args:
      network: The model.
      input_range: A pair (low, high), a dict of input name to such a pair, or
        None for what the first layers say.
      seed: See the class; so are the others.
      data: Unlabelled inputs.
      prior: Where inputs come from otherwise.
      verbose: Whether to show a progress bar.

    Raises:
      ValueError: the range or the data do not fit the model.
    """
    check_source(network, data, prior)
    if data is None and isinstance(prior, InputSource):
      return prior.given_to(network, input_range, verbose)
    settled = resolve_with_data(network, input_range, data)
    return cls(settled, seed, data, prior, verbose)

  def given_to(
    self, network: Network, input_range: RangeLike, verbose: int | str
  ) -> InputSource:
    """The same source, as a user passes it for a network.

    Args:
      network: The network that it was found for, or what pruning made of it.
      input_range: The range that the user passed beside it, or None.
      verbose: Whether to show a progress bar for what is drawn yet.

    Raises:
      ValueError: it is one of inputs of other shapes, or of another range.
    """
    shapes = [x.shape[1:] for x in self.recollection or ()]
    if shapes and shapes != network.input_shapes:
      raise ValueError(
        f'The inputs that are carried along have shapes {shapes}, those of '
        f'{network.model.name!r} {network.input_shapes}. Pass what was found '
        'for this model.'
      )
    if input_range is not None:
      boxes = input_boxes(network, input_range, network.input_shapes)
      for own, other in zip(self.boxes(network), boxes, strict=True):
        if not all(map(np.array_equal, own, other)):
          raise ValueError(
            '`input_range` differs from that of the inputs that are carried '
            'along, of which `prior` is one. Leave `input_range` out, or find '
            'inputs in that range.'
          )
    return self.like(verbose=verbose)

  @property
  def nobody_said(self) -> bool:
    """Whether a user has left open where inputs come from.

    Of the source as it was passed: one that is settled knows where.
    """
    return self.data is None and self.prior is None

  def like(self, **changes: Any) -> InputSource:
    """The same source but for some attributes."""
    return dataclasses.replace(self, **changes)

  def boxes(self, network: Network) -> list[Interval]:
    """The box that each input of the network lies in."""
    return input_boxes(network, self.range, network.input_shapes)

  def recalls(self, network: Network) -> bool:
    """Whether samples are recalled from the network.

    Raises:
      ValueError: they shall be, but are whole numbers.
    """
    return self.data is None and recalls(network, self.prior)

  def settled(self, network: Network) -> InputSource:
    """The same source, told once what fits and lessons are to run on.

    Where nobody says, it is dead leaves for a network that knows these, and
    inputs recalled from its statistics beside them, if it stores any; rows
    of pictures for one that reads rows or vectors and tells these apart. What
    is recalled is recalled now, and only once.

    Args:
      network: The network before pruning.
    """
    if self.data is not None or self.is_settled:
      return self
    prior, recalls_any = self.prior, self.recalls(network)
    known = self._known(network) if prior is None else None
    if known is not None:
      prior = (known, 'recalled') if recalls_any else known
    parts = parts_of(prior)
    found = self.like(prior=prior, is_settled=True).with_told(network)
    if not (recalls_any or 'recalled' in parts):
      return found
    count = _BESIDE_LEAVES if parts else None
    return found.like(recollection=found._recalled(network, count))

  def _known(self, network: Network) -> str | None:
    """The family that a network knows, and that is none of the usual ones."""
    if knows_leaves(network, self.range, self.seed):
      return 'leaves'
    if knows_rows(network, self.range, self.seed):
      # An LSTM for digits with half of its units gone has .76 of answers right
      # as it is fitted to smooth noise, a GRU .83, a transformer .984, and to
      # rows .96, .97 and .991.
      return 'rows'
    return None

  def with_told(self, network: Network) -> InputSource:
    """The same source, with what statistics tell, if samples go by that."""
    if self.told is not None or self.data is not None:
      return self
    parts = parts_of(self.prior) or [self.prior]
    if self.recalls(network) or any(map(_goes_by_statistics, parts)):
      return self.like(told=told_priors(network))
    return self

  def for_ranges(self, network: Network) -> InputSource:
    """The same source where nothing but ranges is taken from it, in less time.

    Where nobody says and nothing was recalled yet: many kinds of picture for a
    classifier of these, which has as many answers right with them as with real
    data; for others what the first statistics tell, if that explains them, or
    else inputs after a short descent.

    Args:
      network: The network whose ranges are wanted.
    """
    is_open = self.prior is None and self.recollection is None
    if not is_open or not self.recalls(network):
      return self
    if tells_pictures(network):
      return self.like(prior=families_for(network))
    found = self.with_told(network)
    if mixes(found.told):
      return found.like(prior=STATISTICS)
    return found.like(recall=_FOR_RANGES)

  def mixes(self, network: Network) -> bool:
    """Whether most of its recalled samples are drawn as statistics tell."""
    if self.prior is not None or not self.recalls(network):
      return False
    return mixes(self.with_told(network).told)

  def another(self, network: Network) -> InputSource:
    """Other inputs than these, to judge on what was fitted or learned on them.

    What is left of a fit's error on its own kind of input tells little of
    others. Inputs that a user has, or describes by an object, are all there
    are.

    Args:
      network: The network before pruning.
    """
    fresh = self.like(seed=self.seed + 1)
    if 'rows' in (parts_of(self.prior) or [self.prior]):
      return fresh.like(prior=RowsPrior(VariedPrior()), recollection=None)
    is_own = not (self.prior is None or isinstance(self.prior, str))
    if self.data is not None or (is_own and not parts_of(self.prior)):
      return fresh
    families = families_for(network)
    if self.prior == families:
      families = 'smooth' if families == 'varied' else 'varied'
    return fresh.like(prior=families, recollection=None)

  def anew(self, network: Network, count: int) -> list[Array]:
    """So many samples at most, drawn once more as these, to tell spreads apart.

    Which layers a cut goes to shows on inputs like those that every candidate
    is fitted and taught on: noise of another kind tells half of a spotter of
    keywords that keeps .77 from one that keeps .83 the wrong way round, and a
    ResNet of .57 from one of .62. Inputs that are recalled are the same again.

    Args:
      network: The network before pruning.
      count: How many.
    """
    return self.like(seed=self.seed + 2).samples(network, count)

  def apart(self, network: Network, count: int) -> list[Array]:
    """Samples of `another`, so many at most, to choose among fits on.

    Args:
      network: The network before pruning.
      count: How many are fitted on.
    """
    count = few_of(network, count)
    return self.another(network).samples(network, count)

  def samples(
    self, network: Network, count: int, otherwise: str = 'smooth'
  ) -> list[Array]:
    """So many inputs at most, as in `draw_samples`."""
    if self.data is not None:
      found = calibration_samples(network.model, self.data, count)
      return with_answers(network, found, '`data`')
    check_sizes(network.model, 'inputs cannot be drawn without them')
    source = self.with_told(network)
    if parts := parts_of(self.prior):
      found = source._together(network, count, parts)
    elif self.recalls(network):
      found = source._recalled(network, count)
    else:
      prior = otherwise if self.prior is None else self.prior
      told = source.told or ()
      found = of_prior(network, self.range, count, self.seed, prior, told)
    return with_answers(network, found)

  def _recalled(self, network: Network, count: int | None) -> list[Array]:
    """So many recalled inputs at most; None for as many as time allows."""
    if self.recollection is not None:
      return [x[:count] for x in self.recollection]
    return recalled_samples(
      network,
      self.range,
      self.seed,
      self.verbose,
      self.told,
      count,
      may_mix=self.prior is None,
      settings=self.recall,
    )

  def _together(
    self, network: Network, count: int, parts: Sequence[str | InputPrior]
  ) -> list[Array]:
    """Inputs of several sources in equal shares, in random order."""
    shares = [
      self.like(prior=part).samples(network, len(range(k, count, len(parts))))
      for k, part in enumerate(parts[:count])
    ]
    return shuffled(shares, np.random.default_rng([self.seed, 4]))


def few_of(network: Network, count: int) -> int:
  """How many inputs candidates are told apart on, of so many to fit on."""
  few = int(_JUDGED_ENTRIES / max(network.input_entries, 1))
  return min(count, _JUDGED, max(16, few))


def _goes_by_statistics(part: object) -> bool:
  """Whether what a user passes, or a part of it, needs what these tell."""
  if isinstance(part, Mapping):
    return any(map(_goes_by_statistics, part.values()))
  return isinstance(part, str) and part in (STATISTICS, 'recalled')


def loose_source(
  network: Network,
  input_range: RangeLike,
  seed: int,
  data: Inputs,
  prior: PriorLike,
  verbose: int | str,
) -> InputSource:
  """A source whose range is asked for only where no data stand for it.

  Raises:
    ValueError: the range or the data do not fit the model.
  """
  warn_of_two(data, prior)
  if data is None and isinstance(prior, InputSource):
    return prior.given_to(network, input_range, verbose)
  if data is None:
    check_sizes(network.model, 'inputs cannot be drawn without them')
    input_range = resolve_range(network, input_range)
  elif input_range is not None:
    input_range = resolve_with_data(network, input_range, data)
  return InputSource(input_range, seed, data, prior, verbose)


@takes_old_calls()
def draw_samples(
  model: keras.Model,
  input_range: RangeLike,
  count: int,
  *,
  seed: int = 0,
  data: Inputs = None,
  prior: PriorLike = None,
  verbose: int | str = 'auto',
  otherwise: str = 'smooth',
) -> list[Array]:
  """Inputs for a model, one array an input of the model.

  Args:
    model: The trained model, wrapped or not.
    input_range: The range of its inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    count: How many at most; recalled ones are fewer.
    seed: The only source of chance.
    data: Unlabelled inputs, if you have some: an array, a list or dict of
      arrays for several inputs, or a batched `tf.data.Dataset`.
    prior: 'recalled', 'statistics' (what the first normalization tells of
      inputs), a name of `inputs.NAMED_PRIORS` such as 'smooth' or 'leaves', an
      object such as `Prior`, a sequence of these, which are drawn in equal
      shares, or a dict of input name to one. None: 'recalled' for models of up
      to 6e7 multiply-accumulates that have batch normalization, most of them
      'statistics' where that explains them well, `otherwise` for others.
    otherwise: See `prior`.
    verbose: Whether to show a progress bar where inputs are recalled: 'auto'
      (on a terminal and in a notebook), 1 or 0.

  Returns:
    One array an input, samples first; for inputs of whole numbers, such as
    indices, whole numbers from all over their range, whatever the prior.

  Raises:
    ValueError: the data or the prior do not fit the model.
  """
  network = Network.of(model)
  source = loose_source(network, input_range, seed, data, prior, verbose)
  return source.samples(network, count, otherwise)
