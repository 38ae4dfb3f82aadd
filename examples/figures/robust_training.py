"""Pre-trains, prunes and fine-tunes a network under one robust objective.

  python examples/figures/robust_training.py --objective=adversarial \
      --directory=run
  python examples/figures/robust_training.py --data=mnist --network=cnn \
      --objective=verifiable --epsilon=.1 --prune=magnitude --compression=10

The protocol of Sehwag et al. 2019: the same objective before and after pruning.
`--prune` is `magnitude` (single weights, by TFMOT), `learned` (single weights,
by scores that train under the objective for `--score_epochs` of the epochs of
fine-tuning), one of this package's methods (whole units, chosen without data),
`learned-units`, `stable-units` (NRS scores) or `scratch`: a network of as few
units, trained from scratch for as many epochs in all. `--compression` is how
many times fewer weights are left; with `--gradual` units that are chosen
without data leave step by step in the first half of fine-tuning. Epsilon grows
from 0 while a network is trained, and under `verifiable` and `crown-ibp` it has
batch normalization, and kernels to begin with that keep intervals narrow. Shown
are accuracy, accuracy under PGD, and the accuracy that is proved (by IBP and by
CROWN within epsilon; of smoothed networks within an L2 radius of `--radius`),
before and after, and how much is kept; means and standard deviations over
seeds.

`--data` is `digits` (the default: ships with scikit-learn, done in a minute),
`mnist` or `cifar10` (fetched by Keras), or an .npz in Keras's layout. With
`--directory` every stage is written down: a run that is killed goes on from its
last epoch, and TensorBoard shows losses and TFMOT's pruning summaries.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_model_optimization as tfmot
from absl import app, flags, logging

import tfmot_paoding as paoding
from tfmot_paoding import compat, methods, robustness, training
from tfmot_paoding.command.downloads import downloaded_images
from tfmot_paoding.command.model_files import read_arrays
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras, strip_pruning

_DATA = flags.DEFINE_string(
  'data',
  'digits',
  'What to train on: digits, mnist, cifar10, or an .npz of x_train, y_train, '
  'x_test and y_test.',
)
_NETWORK = flags.DEFINE_enum('network', 'mlp', ['mlp', 'cnn'], 'What trains.')
_WIDTHS = flags.DEFINE_list('widths', ['128', '64'], "An MLP's hidden widths.")
_OBJECTIVE = flags.DEFINE_list(
  'objective',
  ['natural', 'adversarial', 'verifiable', 'smoothing'],
  'What to train for: natural, adversarial, trades, verifiable, crown-ibp, '
  'smoothing.',
)
_OBJECTIVES = {
  'natural',
  'adversarial',
  'trades',
  'verifiable',
  'crown-ibp',
  'smoothing',
}
flags.register_validator(
  'objective',
  lambda names: set(names) <= _OBJECTIVES,
  message=f'Known: {", ".join(sorted(_OBJECTIVES))}.',
)
_EPSILON = flags.DEFINE_float('epsilon', 0.05, 'Radius, inputs in [0, 1].')
_SIGMA = flags.DEFINE_float('sigma', 0.25, "Smoothing's standard deviation.")
_RADIUS = flags.DEFINE_float('radius', 0.25, 'L2 radius to certify within.')
_PRUNE = flags.DEFINE_list(
  'prune',
  ['magnitude', 'impact'],
  'Methods: magnitude, learned, learned-units, stable-units, scratch, or those '
  'of units.',
)
_COMPRESSION = flags.DEFINE_float(
  'compression', 10.0, 'How many times fewer weights are left.', lower_bound=1
)
_SCOPE = flags.DEFINE_enum(
  'scope', 'local', ['local', 'global'], 'Units: of each layer, or of all.'
)
_GRADUAL = flags.DEFINE_bool(
  'gradual',
  False,
  'Units chosen without data leave in fine-tuning, step by step, not before.',
)
_RAMP = flags.DEFINE_bool(
  'ramp', True, 'adversarial, trades: epsilon grows as it does for bounds.'
)
_STARTS = flags.DEFINE_bool(
  'bound_starts',
  True,
  'verifiable, crown-ibp: batch normalization, and kernels drawn for bounds.',
)
_SCORING = flags.DEFINE_integer(
  'score_epochs', 4, 'Epochs of fine-tuning that scores are learned in.'
)
_SCORE_RATE = flags.DEFINE_float(
  'score_rate', 0.4, 'Rate that scores begin to descend at, with momentum.'
)
_SCORE_RAMP = flags.DEFINE_bool(
  'score_ramp', False, 'Sparsity grows in the first half of scores learned.'
)
_STABILITY = flags.DEFINE_float(
  'stability', 0.0, 'Weight of the term that makes ReLUs stable.'
)
_EPOCHS = flags.DEFINE_integer('epochs', 20, 'Epochs of pre-training.')
_FINE = flags.DEFINE_integer('finetune_epochs', 20, 'Epochs of fine-tuning.')
_BATCH = flags.DEFINE_integer('batch_size', 64, 'Batch size.')
_RATE = flags.DEFINE_float('learning_rate', 0.001, "Adam's rate.")
_TRAINED = flags.DEFINE_integer('train_samples', 0, 'How many; 0 for all.')
_TESTED = flags.DEFINE_integer('test_samples', 500, 'Test samples to measure.')
_PROVED = flags.DEFINE_integer(
  'certified', 0, 'Of these, how many to certify; 0 for all.'
)
_SEEDS = flags.DEFINE_integer('seeds', 1, 'Runs, from the training on.')
_DIRECTORY = flags.DEFINE_string('directory', None, 'For checkpoints and logs.')


# In how many steps units leave a network that is trained again afterwards.
_STEPS = 4
# What leaves in training anyway, or never was there.
_BY_TRAINING = {
  'magnitude',
  'learned',
  'learned-units',
  'stable-units',
  'scratch',
}


@dataclasses.dataclass(frozen=True)
class Images:
  """Training and test data, inputs in [0, 1]."""

  x: np.ndarray
  y: np.ndarray
  x_test: np.ndarray
  y_test: np.ndarray


def load_images() -> Images:
  """What `--data` names.

  Raises:
    ImportError: the digits' package is missing.
    OSError: the file cannot be read, or nothing can be downloaded.
    ValueError: the file holds no images.
  """
  if _DATA.value == 'digits':
    try:
      from sklearn import datasets
    except ImportError:
      raise ImportError(
        'The digits ship with scikit-learn: '
        "pip install 'tfmot_paoding[examples]'; or pass --data."
      ) from None
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).reshape(-1, 8, 8, 1), y[order]
    parts = x[:1297], y[:1297], x[1297:], y[1297:]
  else:
    names = ('x_train', 'y_train', 'x_test', 'y_test')
    a, b, c, d = (
      downloaded_images(_DATA.value)
      if _DATA.value in ('mnist', 'cifar10')
      else read_arrays(_DATA.value, *names)
    )
    parts = a / 255, b.ravel(), c / 255, d.ravel()
  x, y, x_test, y_test = parts
  if x.ndim == 3:
    x, x_test = x[..., None], x_test[..., None]
  some = slice(0, _TRAINED.value or None)
  tested = slice(0, _TESTED.value)
  return Images(
    x[some].astype(np.float32),
    y[some].astype(np.int64),
    x_test[tested].astype(np.float32),
    y_test[tested].astype(np.int64),
  )


def network(
  shape: Sequence[int],
  classes: int,
  normalized: bool = False,
  widths: Sequence[int] = (),
) -> keras.Model:
  """A small MLP, or a CNN of two strided convolutions.

  Args:
    shape: Of an input.
    classes: How many there are.
    normalized: Whether batch normalization stands in front of activations.
    widths: Of all hidden layers; none for those of the flags.
  """
  layers = keras.layers
  filters = 2 if _NETWORK.value == 'cnn' else 0
  if not widths:
    widths = [16, 32, 100] if filters else [int(x) for x in _WIDTHS.value]
  body = []
  for k, width in enumerate(widths):
    if k == filters:
      body.append(layers.Flatten())
    body.append(
      layers.Conv2D(width, 4, 2, padding='same')
      if k < filters
      else layers.Dense(width)
    )
    body += [layers.BatchNormalization()] if normalized else []
    body.append(layers.ReLU())
  return keras.Sequential([keras.Input(shape), *body, layers.Dense(classes)])


def fresh(
  objective: str, images: Images, widths: Sequence[int] = ()
) -> keras.Model:
  """A network to train under an objective."""
  bounded = _STARTS.value and objective in ('verifiable', 'crown-ibp')
  shape, classes = images.x.shape[1:], int(images.y.max()) + 1
  model = network(shape, classes, bounded, widths)
  if not bounded:
    return model
  # Drawn from what `run` has seeded.
  seed = int(np.random.randint(2**31))
  return training.initialized_for_bounds(model, seed)


def objective_of(name: str, steps: int) -> training.Objective:
  """The objective of a name; ramps take the middle of so many steps."""
  begin, end = steps // 10, max(steps // 10 + 1, steps * 6 // 10)
  radius = training.Ramp(0.0, _EPSILON.value, begin, end)
  kappa = training.Ramp(1.0, 0.5, begin, end)
  linear = training.Ramp(1.0, 0.0, begin, end)
  attacked = radius if _RAMP.value else _EPSILON.value
  return {
    'natural': lambda: training.Natural(),
    'adversarial': lambda: training.Adversarial(attacked),
    'trades': lambda: training.Adversarial(attacked, trades=6.0),
    'verifiable': lambda: training.Verifiable(radius, kappa),
    'crown-ibp': lambda: training.Verifiable(radius, kappa, linear),
    'smoothing': lambda: training.Smoothing(_SIGMA.value),
  }[name]()


def settled(objective: training.Objective) -> training.Objective:
  """The objective as it is at the end of its ramps, for fine-tuning."""
  ends = {
    field.name: getattr(objective, field.name).last
    for field in dataclasses.fields(objective)
    if isinstance(getattr(objective, field.name), training.Ramp)
  }
  return dataclasses.replace(objective, **ends)


def fit(
  model: keras.Model,
  objective: training.Objective,
  images: Images,
  epochs: int,
  callbacks: Sequence[keras.callbacks.Callback] = (),
  folder: str | None = None,
  optimizer: keras.optimizers.Optimizer | None = None,
) -> None:
  """Trains under an objective; with a folder, goes on where it was killed.

  Args:
    model: Trained in place.
    objective: What for.
    images: On what.
    epochs: How long.
    callbacks: For `fit`.
    folder: Where checkpoints and logs go.
    optimizer: None for Adam.
  """
  stability = None
  if _STABILITY.value:
    # In a large ball the term is flat for neurons that begin unstable: it
    # grows along with the objective's, if that does.
    radius = getattr(objective, 'epsilon', _EPSILON.value)
    stability = training.StabilityRegularizer(radius, _STABILITY.value)
  steps = epochs * -(-len(images.x) // _BATCH.value)
  trainee = training.robust_model(
    model, objective, stability=stability, steps=steps
  )
  trainee.compile(
    optimizer or keras.optimizers.Adam(_RATE.value),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=['accuracy'],
  )
  callbacks = list(callbacks)
  if folder:
    callbacks.append(keras.callbacks.BackupAndRestore(f'{folder}/backup'))
    callbacks.append(keras.callbacks.TensorBoard(f'{folder}/logs'))
  trainee.fit(
    images.x,
    images.y,
    batch_size=_BATCH.value,
    epochs=epochs,
    callbacks=callbacks,
    verbose=verbosity(folder),
  )


def verbosity(folder: str | None) -> int:
  """A bar on a terminal; elsewhere a line an epoch where runs are kept."""
  if sys.stdout.isatty():
    return 1
  return 2 if folder else 0


def pruning_callbacks(folder: str | None) -> list[keras.callbacks.Callback]:
  """What a model in TFMOT's wrappers is trained with."""
  found = [paoding.UpdatePruningStep()]
  if folder:
    found.append(tfmot.sparsity.keras.PruningSummaries(f'{folder}/logs'))
  return found


def pretrained(
  objective: str, images: Images, folder: str | None
) -> keras.Model:
  """The dense network, or what an earlier run has left of it.

  Raises:
    ValueError: the folder holds a network of other settings.
  """
  model = fresh(objective, images)
  done = folder and f'{folder}/pretrained.h5'
  if done and os.path.exists(done):
    found = paoding.load_model(done)
    shapes = [w.shape for w in found.get_weights()]
    if shapes != [w.shape for w in model.get_weights()]:
      raise ValueError(
        f'{done} holds weights of shapes {shapes}, which are not those of the '
        'network that the flags describe. Pass another --directory.'
      )
    return found
  steps = _EPOCHS.value * -(-len(images.x) // _BATCH.value)
  fit(
    model,
    objective_of(objective, steps),
    images,
    _EPOCHS.value,
    folder=folder and f'{folder}/pretraining',
  )
  if done:
    save(model, done)
  return model


def save(model: keras.Model, path: str) -> None:
  """Writes a .h5 file whole or not at all."""
  with tempfile.TemporaryDirectory() as folder:
    name = os.path.join(folder, 'model.h5')
    model.save(name)
    with open(name, 'rb') as file:
      paoding.files.write_file(path, file.read())


def pruned(
  model: keras.Model,
  objective: str,
  method: str,
  images: Images,
  folder: str | None,
) -> keras.Model:
  """The network after pruning and fine-tuning, single weights or units."""
  if method == 'scratch':
    return from_scratch(model, objective, images, folder)
  end = settled(objective_of(objective, 100))
  epochs = _FINE.value
  if method in ('learned', 'learned-units'):
    epochs -= _SCORING.value
    wrapped = learned(model, method, end, images, folder)
  else:
    wrapped = wrapped_by(model, method, images)
  fit(wrapped, end, images, epochs, pruning_callbacks(folder), folder)
  stripped = strip_pruning(wrapped)
  single = method in ('magnitude', 'learned')
  return stripped if single else paoding.compact(stripped)


def wrapped_by(model: keras.Model, method: str, images: Images) -> keras.Model:
  """A wrapped copy that has lost weights or units, or does in fine-tuning."""
  left = 1.0 / _COMPRESSION.value
  # Ten steps over the first half; the last one falls on the end.
  batches = -(-len(images.x) // _BATCH.value)
  frequency = max(1, _FINE.value * batches // 20)
  gradual = functools.partial(
    tfmot.sparsity.keras.PolynomialDecay,
    0.0,
    begin_step=0,
    end_step=10 * frequency,
    frequency=frequency,
  )
  if method == 'magnitude':
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return tfmot.sparsity.keras.prune_low_magnitude(
      copy, gradual(final_sparsity=1.0 - left)
    )
  if method == 'stable-units':
    scores = training.stability_scores(model, images.x[:512], _EPSILON.value)
    return by_scores(model, scores, shares_for(model, left), images)
  if _GRADUAL.value:
    sparsity = sparsity_for(model, left, method)
    return wrapped_units(model, gradual(final_sparsity=sparsity), method)
  return without_units(model, left, method)


def learned(
  model: keras.Model,
  method: str,
  objective: training.Objective,
  images: Images,
  folder: str | None,
) -> keras.Model:
  """A wrapped copy of what scores leave that train under an objective."""

  def train(scored: keras.Model) -> None:
    callbacks = [paoding.UpdatePruningStep()]
    inside = folder and f'{folder}/scores'
    rate = keras.optimizers.schedules.CosineDecay(_SCORE_RATE.value, steps)
    descent = keras.optimizers.SGD(rate, momentum=0.9)
    fit(scored, objective, images, epochs, callbacks, inside, descent)

  left, epochs = 1.0 / _COMPRESSION.value, _SCORING.value
  steps = epochs * -(-len(images.x) // _BATCH.value)
  ramp = steps // 2 if _SCORE_RAMP.value else 0
  done = folder and f'{folder}/learned'
  if method == 'learned':
    wrapped = training.with_fixed_masks(model)
    masks = training.learned_masks(wrapped, train, 1.0 - left, done, ramp)
    training.set_masks(wrapped, masks)
    return wrapped
  shares = shares_for(model, left)
  scores = training.learned_scores(model, train, shares, done, ramp)
  return by_scores(model, scores, shares, images)


def by_scores(
  model: keras.Model,
  scores: Mapping[str, np.ndarray],
  shares: Mapping[str, float],
  images: Images,
) -> keras.Model:
  """A wrapped copy without the units of the lowest scores, re-fitted."""
  method = paoding.Method(
    methods.GivenScores(scores), compensation='least_squares'
  )
  schedules = {
    name: paoding.ProgressiveSparsity(share, share)
    for name, share in shares.items()
  }
  wrapped = paoding.prune_low_saliency(model, schedules, method)
  paoding.run_schedule(wrapped, data=images.x[:2000], verbose=0)
  return wrapped


def from_scratch(
  model: keras.Model,
  objective: str,
  images: Images,
  folder: str | None,
) -> keras.Model:
  """A network of as many units as are left, trained for all the epochs."""
  widths = widths_left(model, 1.0 / _COMPRESSION.value)
  small = fresh(objective, images, list(widths.values()))
  epochs = _EPOCHS.value + _FINE.value
  steps = epochs * -(-len(images.x) // _BATCH.value)
  goal = objective_of(objective, steps)
  fit(small, goal, images, epochs, folder=folder)
  return small


def shares_for(model: keras.Model, left: float) -> dict[str, float]:
  """What fraction of each layer's units goes till so few weights are left."""
  kept = widths_left(model, left)
  sizes = hidden_widths(model)
  return {name: 1.0 - width / sizes[name] for name, width in kept.items()}


def widths_left(model: keras.Model, left: float) -> dict[str, int]:
  """The hidden widths at which so few weights are left, by layer.

  The same fraction of each; with a global scope, as 'reconstruction' spreads
  it.
  """
  method = 'reconstruction' if _SCOPE.value == 'global' else 'l1'
  wrapped = without_units(model, left, method)
  return hidden_widths(paoding.compact(strip_pruning(wrapped)))


def hidden_widths(model: keras.Model) -> dict[str, int]:
  """Units of each layer with a kernel but the last, inputs first."""
  found = {
    layer.name: layer.kernel.shape[-1]
    for layer in model.layers
    if hasattr(layer, 'kernel')
  }
  found.popitem()
  return found


def without_units(model: keras.Model, left: float, method: str) -> keras.Model:
  """A wrapped copy from which units are gone till so many weights are left."""
  return unit_pruned(model, sparsity_for(model, left, method), method)


def sparsity_for(model: keras.Model, left: float, method: str) -> float:
  """The least fraction of units whose removal leaves so few weights."""
  steps = _STEPS
  if _SCOPE.value == 'local':
    # How many go of each layer is no matter of the method, nor of the steps.
    method, steps = 'l1', 1
  low, high, total = 0.0, 0.98, model.count_params()
  for _ in range(7):
    middle = 0.5 * (low + high)
    wrapped = unit_pruned(model, middle, method, steps)
    small = paoding.compact(strip_pruning(wrapped))
    enough = small.count_params() <= left * total
    low, high = (low, middle) if enough else (middle, high)
  return high


def unit_pruned(
  model: keras.Model, sparsity: float, method: str, steps: int = _STEPS
) -> keras.Model:
  """A wrapped copy without a fraction of its units, gone in so many steps."""
  schedule = paoding.ProgressiveSparsity(sparsity, sparsity / steps)
  wrapped = wrapped_units(model, schedule, method)
  paoding.run_schedule(wrapped, verbose=0)
  return wrapped


def wrapped_units(
  model: keras.Model, schedule: compat.PruningSchedule, method: str
) -> keras.Model:
  """A copy that loses units of each layer, or of all, by a schedule."""
  spread = (
    {'scope': 'global', 'floor': 0.02} if _SCOPE.value == 'global' else {}
  )
  return paoding.prune_low_saliency(model, schedule, method, **spread)


def measured(
  model: keras.Model, objective: str, images: Images
) -> dict[str, float]:
  """Benign, attacked and proved accuracy."""
  x, y = images.x_test, images.y_test
  found = {'benign': robustness.answered_right(model, x, y).mean()}
  attacked = robustness.pgd(model, x, y, _EPSILON.value, restarts=2)
  broken = ~robustness.answered_right(model, attacked, y)
  found['PGD'] = 1 - broken.mean()
  some = slice(0, _PROVED.value or None)
  x, y, broken = x[some], y[some], broken[some]
  if objective == 'smoothing':
    smooth = robustness.smoothed(model, x, _SIGMA.value)
    proved = smooth.certified(y, _RADIUS.value)
    found['proved (smoothed)'] = proved.mean()
    return {name: float(value) for name, value in found.items()}
  for method in ('ibp', 'crown'):
    sure = robustness.certified(model, x, y, _EPSILON.value, method=method)
    if np.any(sure & broken):
      raise AssertionError(f'{method} certified what PGD broke.')
    found[f'proved ({method})'] = sure.mean()
  return {name: float(value) for name, value in found.items()}


def weights_left(model: keras.Model) -> int:
  """How many weights are not zero."""
  return int(sum(np.count_nonzero(w) for w in model.get_weights()))


def run(
  objective: str, images: Images, seed: int
) -> dict[str, tuple[int, dict[str, float]]]:
  """Everything of one objective and seed, by form."""
  keras.utils.set_random_seed(seed)
  folder = None
  if _DIRECTORY.value:
    folder = os.path.join(_DIRECTORY.value, f'{objective}_{seed}')
    os.makedirs(folder, exist_ok=True)
  model = pretrained(objective, images, folder)
  forms = {'dense': (weights_left(model), measured(model, objective, images))}
  for method in _PRUNE.value:
    done = folder and f'{folder}/{method}.json'
    if done and os.path.exists(done):
      with open(done, encoding='utf-8') as file:
        count, found = json.load(file)
        forms[method] = (count, found)
      continue
    small = pruned(
      model, objective, method, images, folder and f'{folder}/{method}'
    )
    forms[method] = weights_left(small), measured(small, objective, images)
    if done:
      save(small, f'{folder}/{method}.h5')
      paoding.files.write_file(done, json.dumps(forms[method]).encode())
  logging.info('%s %d: %s', objective, seed, forms)
  return forms


def check_settings(more: Sequence[str] = ()) -> None:
  """Holds the flags against those that a directory was begun with.

  Args:
    more: Further flags that may not change.

  Raises:
    ValueError: they differ.
  """
  if not _DIRECTORY.value:
    return
  os.makedirs(_DIRECTORY.value, exist_ok=True)
  path = os.path.join(_DIRECTORY.value, 'settings.json')
  names = ('data', 'network', 'widths', 'epsilon', 'sigma', 'compression')
  names += ('stability', 'epochs', 'finetune_epochs', 'batch_size')
  names += ('learning_rate', 'train_samples', 'test_samples', 'radius')
  names += ('certified', 'scope', 'gradual', 'ramp', 'bound_starts')
  names += ('score_epochs', 'score_rate', 'score_ramp', *more)
  mine = {name: flags.FLAGS[name].value for name in names}
  if os.path.exists(path):
    with open(path, encoding='utf-8') as file:
      theirs = json.load(file)
    # A flag that an older run did not have is as it is by default, but for one
    # that changes what such a run did.
    older = {name: flags.FLAGS[name].default for name in names}
    theirs = {**older, 'bound_starts': False, **theirs}
    differ = [name for name in names if theirs[name] != mine[name]]
    if differ:
      raise ValueError(
        f'{_DIRECTORY.value!r} was begun with other settings of '
        f'{", ".join(differ)}: {[theirs[name] for name in differ]}. Pass '
        'these, or another --directory.'
      )
  paoding.files.write_file(path, json.dumps(mine).encode())


def check_flags() -> None:
  """Raises where flags do not fit one another, before anything is trained.

  Raises:
    ValueError: a method is not known, or a flag has no effect or leaves no
      epoch to train.
  """
  known = _BY_TRAINING | set(methods.method_names())
  unknown = sorted(set(_PRUNE.value) - known)
  if unknown:
    raise ValueError(
      f'--prune names {", ".join(unknown)}. Known: {", ".join(sorted(known))}.'
    )
  learn = {'learned', 'learned-units'} & set(_PRUNE.value)
  if learn and not 0 < _SCORING.value < _FINE.value:
    raise ValueError(
      f'--score_epochs={_SCORING.value} are of the {_FINE.value} of '
      '--finetune_epochs: at least one, and fewer than all.'
    )
  if _SCORE_RAMP.value and not learn:
    raise ValueError(
      f'--score_ramp has no effect on --prune={",".join(_PRUNE.value)}: it is '
      'for learned and learned-units. Leave it out.'
    )
  if _NETWORK.value == 'cnn' and flags.FLAGS['widths'].present:
    raise ValueError("--widths are an MLP's. Leave them out, or --network=cnn.")
  if _GRADUAL.value and set(_PRUNE.value) <= _BY_TRAINING:
    raise ValueError(
      f'--gradual has no effect on --prune={",".join(_PRUNE.value)}: it is for '
      'units chosen without data, as by impact or reconstruction. Leave it out.'
    )


def table(
  results: dict[str, list[dict[str, tuple[int, dict[str, float]]]]],
) -> str:
  """A line an objective and form; in brackets what is kept of the dense one."""
  measures = list(
    dict.fromkeys(
      name
      for runs in results.values()
      for one in runs
      for name in one['dense'][1]
    )
  )
  heads = ['objective', 'form', 'weights', *measures]
  rows = [heads, ['---'] * len(heads)]
  for objective, runs in results.items():
    for form in runs[0]:
      count = np.mean([one[form][0] for one in runs])
      cells = [shown(runs, form, measure) for measure in measures]
      rows.append([objective, form, f'{count:.0f}', *cells])
  return '\n'.join('| ' + ' | '.join(row) + ' |' for row in rows)


def shown(
  runs: list[dict[str, tuple[int, dict[str, float]]]], form: str, measure: str
) -> str:
  """Mean, spread over seeds, and the share of the dense network's."""
  values = [one[form][1].get(measure) for one in runs]
  if None in values:
    return ''
  text = f'{np.mean(values):.3f}'
  if len(values) > 1:
    text += f' ±{np.std(values):.3f}'
  dense = np.mean([one['dense'][1][measure] for one in runs])
  # Of next to nothing there is no share to tell.
  if form != 'dense' and dense > 0.05:
    text += f' ({np.mean(values) / dense:.0%})'
  return text


def main() -> None:
  """Prints the table."""
  check_flags()
  check_settings()
  images = load_images()
  results = {
    objective: [run(objective, images, seed) for seed in range(_SEEDS.value)]
    for objective in _OBJECTIVE.value
  }
  print(table(results))


if __name__ == '__main__':
  app.run(script(main))
