"""Inputs that are found once, for all that is done with one model."""

from __future__ import annotations

from tfmot_paoding.arguments import check_seed
from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.prior import PriorLike
from tfmot_paoding.inputs.ranges import RangeLike
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.network.input_shapes import check_sizes
from tfmot_paoding.network.network import Network


def find_inputs(
  model: keras.Model,
  input_range: RangeLike = None,
  *,
  seed: int = 0,
  prior: PriorLike = None,
  verbose: int | str = 'auto',
) -> InputSource:
  """Inputs for all that is done with a model, found once and carried along.

  Pass what it returns as `prior=` to whatever takes one: `prune`,
  `prune_to_budget`, `run_schedule`, `distill`, `draw_samples`,
  `compare_answers`, and `convert_to_tflite` of the model and of what pruning
  made of it. Inputs that are recalled take seconds to minutes, which each of
  these would take anew.

  Args:
    model: A model that `prune` takes; it is not changed.
    input_range: The range of its inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    seed: The only source of chance.
    prior: Where inputs come from, as in `draw_samples`. None: what the model
      knows, see `inputs`.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook where
      inputs are recalled, 1 anywhere, 0 nowhere.

  Returns:
    The source, which keeps the inputs that were recalled, and the range.

  Raises:
    TypeError: `model` is not a Keras model.
    ValueError: the range or the prior do not fit the model, or it leaves sizes
      of its inputs open.
  """
  check_seed(seed)
  network = Network.of(as_tf_keras(model))
  check_sizes(network.model, 'inputs cannot be drawn without them')
  source = InputSource.of(
    network, input_range, seed=seed, prior=prior, verbose=verbose
  )
  return source.settled(network).with_told(network)
