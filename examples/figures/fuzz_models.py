"""Prunes thousands of random networks and checks that all forms agree.

Random networks of the layers that the package knows (and some that it does
not), with branches, sums, concatenations, shared and nested layers, and random
weights, are pruned at random. The wrapped, the stripped, the saved-and-loaded
and the compact model must give the same outputs, no layer may leave its
bounds, and no output may move by more than `deviation_bound` says, over the
whole range and near samples.

  python examples/figures/fuzz_models.py --count=1000
"""

from __future__ import annotations

import collections
import os
import sys
import tempfile
import traceback

import numpy as np
import tensorflow as tf
from absl import app, flags

import tfmot_paoding as paoding
from tfmot_paoding.bounds import NoRelaxationError
from tfmot_paoding.bounds.whole_range import propagate, propagate_constants
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.inputs.ranges import input_boxes
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups

FLAGS = flags.FLAGS

flags.DEFINE_integer('count', 100, 'How many networks.')
flags.DEFINE_integer('first_seed', 0, 'The seed of the first one.')
flags.DEFINE_bool(
  'forms_alone',
  False,
  'Whether to leave out files and bounds, which take long.',
)

_layers = keras.layers
_ACTIVATIONS = (
  'relu',
  'tanh',
  'sigmoid',
  'gelu',
  'elu',
  'selu',
  'silu',
  'softplus',
  'hard_sigmoid',
  'softsign',
)
RANGE = (-1.0, 1.0)
# How many of the pictures a convolutional LSTM reads first.
_CONV_LSTM = 0.1
# How often samples are moved near where they were.
_ROUNDS = 8
# What float32 may differ by, relative to the largest output.
TOLERANCE = 1e-4


def choose(rng, options):
  """One of some options."""
  return options[int(rng.integers(len(options)))]


def activation(rng):
  """A name, or None so that a layer for it may follow."""
  return choose(rng, _ACTIVATIONS) if rng.random() < 0.6 else None


def activation_layer(rng, x):
  """An activation as a layer of its own."""
  kind = rng.integers(7)
  if kind == 6:
    return choose(rng, _SCALARS)(x)
  if kind == 0:
    return _layers.ReLU(max_value=choose(rng, (None, 1.0)))(x)
  if kind == 1:
    return _layers.LeakyReLU(float(rng.uniform(0, 0.5)))(x)
  if kind == 2:
    shared = None if len(x.shape) == 2 else list(range(1, len(x.shape) - 1))
    return _layers.PReLU(shared_axes=choose(rng, (shared, None)))(x)
  if kind == 3:
    return _layers.ELU(float(rng.uniform(0.5, 1.5)))(x)
  if kind == 4:
    return x * float(rng.uniform(0.5, 2)) + 0.25
  return _layers.Activation(choose(rng, _ACTIVATIONS))(x)


# TensorFlow's functions of each entry by itself.
_SCALARS = (
  tf.abs,
  tf.math.negative,
  tf.nn.gelu,
  tf.nn.leaky_relu,
  lambda x: tf.square(tf.tanh(x)),
  lambda x: tf.clip_by_value(x, -0.3, 0.6),
  lambda x: tf.maximum(x, -0.2),
  lambda x: tf.minimum(x, 0.4),
  # Without a jump, which the rounding of one form alone could lead over.
  lambda x: tf.where(x > 0.0, x, 0.3 * x),
  lambda x: tf.where(x <= 0.0, 0.0, tf.tanh(x)),
)


def of_channels(x, run):
  """Some channels; written out, for Keras cannot save an ellipsis."""
  return x[(*[slice(None)] * (len(x.shape) - 1), run)]


def gated(rng, x):
  """Halves of the channels, one of which gates the other."""
  x = _layers.Dense(2 * int(rng.integers(1, 5)))(x)
  if rng.random() < 0.5:
    value, gate = tf.split(x, 2, -1)
  else:
    value, gate = (of_channels(x, slice(k, None, 2)) for k in (0, 1))
  return choose(rng, (tf.maximum, lambda a, b: a * tf.sigmoid(b)))(value, gate)


def moved_channels(rng, x):
  """Channels in other places, some of them several times or not at all."""
  size, rank = x.shape[-1], len(x.shape)
  kind = rng.integers(7)
  if kind == 0:
    return tf.gather(x, rng.integers(0, size, size + 1).tolist(), axis=-1)
  if kind == 1:
    return tf.tile(x, [*[1] * (rank - 1), 2])
  if kind == 2:
    return tf.repeat(x, 2, axis=-1)
  if kind == 3:
    return tf.reverse(x, [-1])
  if kind == 4:
    return tf.roll(x, int(rng.integers(-3, 4)), -1)
  if kind == 5:
    return of_channels(x, slice(int(rng.integers(0, size)), None))
  axis = int(rng.integers(1, rank + 1))
  doubled = tf.stack([x, choose(rng, _SCALARS)(x)], axis)
  reduce = choose(rng, (tf.reduce_mean, tf.reduce_max, tf.reduce_sum))
  return x + reduce(doubled, axis)


def moved_positions(rng, x):
  """Positions in other places, padded, reduced or made channels."""
  flat = len(x.shape) == 3
  kind = rng.integers(8)
  if kind == 0:
    return tf.reverse(x, [1])
  if kind == 1:
    return x[:, :: int(rng.choice([2, 3, -1]))]
  if kind == 2:
    return tf.roll(x, int(rng.integers(-2, 3)), 1)
  if kind == 3:
    pads = [[0, 0] for _ in x.shape]
    pads[1] = [int(rng.integers(0, 2)), 1]
    mode = choose(rng, ('CONSTANT', 'REFLECT', 'SYMMETRIC'))
    return tf.pad(x, pads, mode)
  if kind == 4:
    reduce = choose(
      rng, (tf.reduce_mean, tf.reduce_max, tf.reduce_min, tf.reduce_sum)
    )
    axes = choose(rng, (1, list(range(1, len(x.shape) - 1))))
    return x * reduce(tf.tanh(x), axes, keepdims=True)
  if kind == 5:
    index = rng.integers(0, x.shape[1], int(rng.integers(2, 5)))
    return tf.gather(x, index.tolist(), axis=1)
  if kind == 6:
    axes = choose(rng, (1, list(range(1, len(x.shape) - 1))))
    variance = tf.math.reduce_variance(x, axes, keepdims=True)
    return x * choose(rng, (variance, tf.sqrt(variance + 0.05)))
  if flat or x.shape[1] % 2 or x.shape[2] % 2:
    return x
  return tf.nn.space_to_depth(x, 2)


def normalization(rng, x):
  """Batch normalization, or by what the very input measures."""
  if rng.random() < 0.4:
    return measured(rng, x)
  return _layers.BatchNormalization(
    center=bool(rng.random() < 0.8), scale=bool(rng.random() < 0.8)
  )(x)


def measured(rng, x):
  """One of the normalizations without stored statistics."""
  kind = rng.integers(4)
  epsilon = float(rng.choice([1e-3, 0.3]))
  if kind == 0:
    return _layers.LayerNormalization(epsilon=epsilon)(x)
  if kind == 1:
    return _layers.UnitNormalization()(x)
  if kind == 2:
    channels = x.shape[-1]
    groups = [n for n in range(1, channels + 1) if channels % n == 0]
    return _layers.GroupNormalization(choose(rng, groups), epsilon=epsilon)(x)
  return paoding.layers.RMSNormalization(epsilon=epsilon)(x)


def dense_block(rng, x):
  """One layer for tensors of rank 2."""
  kind = rng.integers(12)
  if kind == 10:
    return gated(rng, x)
  if kind == 11:
    return moved_channels(rng, x)
  if kind <= 4:
    return _layers.Dense(
      int(rng.integers(1, 9)), activation(rng), bool(rng.random() < 0.8)
    )(x)
  if kind == 5:
    return normalization(rng, x)
  if kind == 6:
    return activation_layer(rng, x)
  if kind == 7:
    return _layers.Flatten()(_layers.Reshape((1, -1))(_layers.Dropout(0.3)(x)))
  if kind == 8:
    return join(rng, x, lambda units: _layers.Dense(units, activation(rng)))
  return nested(rng, x, dense_block)


def join(rng, x, make):
  """Two branches of a tensor that meet again; `make` gives a layer."""
  units = int(rng.integers(2, 7))
  one, other = make(units)(x), make(units)(x)
  if x.shape == one.shape and rng.random() < 0.5:
    other = x
  kinds = (
    _layers.Add,
    _layers.Subtract,
    _layers.Average,
    _layers.Multiply,
    _layers.Maximum,
    _layers.Concatenate,
  )
  kind = choose(rng, kinds)
  if kind is _layers.Concatenate:
    wide = make(int(rng.integers(1, 5)))(x)
    return kind()([one, wide] if rng.random() < 0.5 else [wide, one, other])
  return kind()([one, other])


def nested(rng, x, block):
  """A block inside a model of its own."""
  inside = keras.Input(x.shape[1:])
  return keras.Model(inside, block(rng, inside))(x)


def conv(rng, x, units=None):
  """A convolution of any sort; the same positions if `units` is given."""
  same = units is not None
  units = units or int(rng.integers(1, 8))
  settings = {
    'padding': 'same' if same or rng.random() < 0.6 else 'valid',
    'activation': activation(rng),
    'use_bias': bool(rng.random() < 0.8),
  }
  smallest = min(x.shape[1:-1])
  size = int(rng.integers(1, min(4, smallest + 1)))
  if not same:
    if rng.random() < 0.3:
      settings['strides'] = 2
    elif rng.random() < 0.2 and size * 2 <= smallest:
      settings['dilation_rate'] = 2
  flat = len(x.shape) == 3
  channels = x.shape[-1]
  kind = rng.integers(8)
  if kind <= 3:
    plain = _layers.Conv1D if flat else _layers.Conv2D
    return plain(units, size, **settings)(x)
  if kind == 4:
    separable = _layers.SeparableConv1D if flat else _layers.SeparableConv2D
    return separable(
      units, size, depth_multiplier=int(rng.integers(1, 3)), **settings
    )(x)
  if kind == 5 and not same:
    depthwise = _layers.DepthwiseConv1D if flat else _layers.DepthwiseConv2D
    return depthwise(
      size, depth_multiplier=int(rng.integers(1, 3)), **settings
    )(x)
  if kind == 6 and not same:
    settings.pop('dilation_rate', None)
    transpose = _layers.Conv1DTranspose if flat else _layers.Conv2DTranspose
    return transpose(units, size, **settings)(x)
  grouped = _layers.Conv1D if flat else _layers.Conv2D
  if channels % 2 == 0:
    units = units if same else 2 * units
    if units % 2 == 0:
      return grouped(units, size, groups=2, **settings)(x)
  return grouped(units, size, **settings)(x)


def positions(rng, x):
  """Pooling, padding, cropping or upsampling."""
  flat = len(x.shape) == 3
  names = ['MaxPooling', 'AveragePooling', 'ZeroPadding', 'UpSampling']
  if min(x.shape[1:-1]) > 2:
    names.append('Cropping')
  name = choose(rng, names)
  layer = getattr(_layers, name + ('1D' if flat else '2D'))
  if name.endswith('Pooling'):
    return layer(2, padding=choose(rng, ('same', 'valid')))(x)
  if name == 'UpSampling':
    return x if max(x.shape[1:-1]) > 12 else layer(2)(x)
  return layer(1)(x)


def excite(rng, x):
  """A squeeze-and-excite block."""
  flat = len(x.shape) == 3
  pool = (
    _layers.GlobalAveragePooling1D if flat else (_layers.GlobalAveragePooling2D)
  )
  channels = x.shape[-1]
  y = pool(keepdims=True)(x)
  y = _layers.Dense(int(rng.integers(1, 4)), 'relu')(y)
  return _layers.Multiply()([x, _layers.Dense(channels, 'sigmoid')(y)])


def residual(rng, x):
  """A residual block."""
  y = normalization(rng, conv(rng, x, int(rng.integers(2, 7))))
  y = conv(rng, _layers.ReLU()(y), x.shape[-1])
  return _layers.Add()([x, y])


def conv_block(rng, x):
  """One step for tensors with positions."""
  if min(x.shape[1:-1]) < 2:
    return _layers.Dense(int(rng.integers(1, 6)), activation(rng))(x)
  kind = rng.integers(15)
  if kind == 12:
    return gated(rng, x)
  if kind == 13:
    return moved_channels(rng, x)
  if kind == 14:
    return moved_positions(rng, x)
  if kind <= 3:
    return conv(rng, x)
  if kind == 4:
    return normalization(rng, x)
  if kind == 5:
    return activation_layer(rng, x)
  if kind == 6:
    return positions(rng, x)
  if kind == 7:
    return residual(rng, x)
  if kind == 8:
    return excite(rng, x)
  if kind == 9:

    def branch(units):
      return lambda y: conv(rng, y, units)

    return join(rng, x, branch)
  if kind == 10:
    return (
      _layers.SpatialDropout1D(0.2)(x)
      if len(x.shape) == 3
      else (_layers.Dropout(0.2)(x))
    )
  return nested(rng, x, conv_block)


def recurrent(rng, x):
  """From a sequence to what a recurrent layer makes of it."""
  kind = choose(rng, (_layers.LSTM, _layers.GRU, _layers.SimpleRNN))
  layer = kind(
    int(rng.integers(1, 6)),
    use_bias=bool(rng.random() < 0.8),
    go_backwards=bool(rng.random() < 0.3),
    return_sequences=bool(rng.random() < 0.4),
  )
  if rng.random() < 0.4:
    mode = choose(rng, ('concat', 'sum', 'ave', 'mul'))
    layer = _layers.Bidirectional(layer, mode)
  return _layers.Flatten()(layer(x))


def attention(rng, x):
  """A sequence that attends to itself, or to a part of it."""
  other = x
  if rng.random() < 0.5:
    width = int(rng.integers(1, 6))
    other = _layers.Dense(width, activation(rng))(x[:, : rng.integers(1, 4)])
  kind = rng.integers(7)
  if kind == 6:
    return _layers.Flatten()(by_hand(rng, x, other))
  if kind == 0:
    layer = choose(rng, (_layers.Attention, _layers.AdditiveAttention))
    keys = _layers.Dense(x.shape[-1])(other)
    return _layers.Flatten()(layer()([x, keys]))
  if kind == 1:
    units = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    y = _layers.EinsumDense('abc,cde->abde', (None, *units))(x)
    return _layers.Flatten()(y)
  layer = _layers.MultiHeadAttention(
    int(rng.integers(1, 5)),
    int(rng.integers(1, 4)),
    choose(rng, (None, 2)),
    use_bias=bool(rng.random() < 0.8),
    output_shape=choose(rng, (None, 3)),
  )
  y = layer(x, other, use_causal_mask=bool(rng.random() < 0.3))
  if y.shape == x.shape and rng.random() < 0.5:
    y = _layers.Add()([x, y])
  return _layers.Flatten()(y)


def by_hand(rng, x, other):
  """Attention by products of tensors."""
  width = int(rng.integers(1, 5))
  query, key = (_layers.Dense(width)(part) for part in (x, other))
  value = choose(rng, (other, _layers.Dense(width, activation(rng))(other)))
  if rng.random() < 0.5:
    scores = _layers.Softmax()(_layers.Dot((2, 2))([query, key]))
    return _layers.Dot((2, 1))([scores, value])
  scores = tf.nn.softmax(tf.matmul(query, key, transpose_b=True))
  return tf.matmul(scores, value)


def conv_recurrent(rng, x):
  """A picture read row by row."""
  layer = _layers.ConvLSTM1D(
    int(rng.integers(2, 6)),
    choose(rng, (1, 2, 3)),
    padding='same',
    activation=choose(rng, ('tanh', 'relu')),
    recurrent_activation=choose(rng, ('sigmoid', 'hard_sigmoid')),
    use_bias=bool(rng.random() < 0.8),
    go_backwards=bool(rng.random() < 0.3),
    return_sequences=True,
  )
  return layer(x)


def to_features(rng, x):
  """From positions to a tensor of rank 2."""
  flat = len(x.shape) == 3
  kind = rng.integers(5)
  if kind == 0:
    pool = 'GlobalAveragePooling' if rng.random() < 0.5 else 'GlobalMaxPooling'
    return getattr(_layers, pool + ('1D' if flat else '2D'))()(x)
  if kind == 1:
    steps = int(np.prod(x.shape[1:-1]))
    x = _layers.Reshape((steps, x.shape[-1]))(x)
    return _layers.Flatten()(
      _layers.TimeDistributed(_layers.Dense(int(rng.integers(1, 4))))(x)
    )
  if kind == 2:
    axes = list(range(1, len(x.shape)))
    return _layers.Flatten()(_layers.Permute((axes[-1], *axes[:-1]))(x))
  if kind == 3 and flat:
    return choose(rng, (recurrent, attention))(rng, x)
  return _layers.Flatten()(x)


def random_input(rng):
  """An input of any rank, and a tensor of rank 2 made from it."""
  kind = rng.integers(4)
  if kind == 0:
    x = inputs = keras.Input((4,))
    return inputs, x
  if kind == 1:
    x = inputs = keras.Input((int(rng.integers(5, 10)), 3))
  else:
    side = int(rng.integers(5, 9))
    x = inputs = keras.Input((side, side, int(rng.integers(1, 4))))
    # By chance of its own, so that a seed's other networks stay as they were.
    own = np.random.default_rng(rng.bit_generator.seed_seq.spawn(1)[0])
    if own.random() < _CONV_LSTM:
      x = conv_recurrent(own, x)
  for _ in range(rng.integers(1, 5)):
    x = conv_block(rng, x)
  return inputs, to_features(rng, x)


def random_model(rng: np.random.Generator) -> keras.Model:
  """A random network with random weights."""
  pairs = [random_input(rng) for _ in range(rng.integers(1, 3))]
  inputs, tensors = [list(part) for part in zip(*pairs, strict=True)]
  if len(tensors) > 1 and rng.random() < 0.5:
    tensors = [_layers.Concatenate()(tensors)]
  outputs = []
  for x in tensors:
    for _ in range(rng.integers(1, 3)):
      x = dense_block(rng, x)
    for _ in range(rng.integers(1, 3)):
      ending = choose(rng, ('linear', 'softmax', 'sigmoid'))
      branch = dense_block(rng, x)
      outputs.append(_layers.Dense(int(rng.integers(1, 4)), ending)(branch))
  if rng.random() < 0.2:
    shared = _layers.Dense(4, 'relu')
    twice = shared(shared(_layers.Dense(4)(outputs[0])))
    outputs.append(_layers.Dense(2)(twice))
  return fill(keras.Model(inputs, outputs), rng)


def fill(model: keras.Model, rng: np.random.Generator) -> keras.Model:
  """Random weights of unit gain; variances positive; some units constant."""
  for weight in model.weights:
    shape = tuple(weight.shape)
    fan_in = int(np.prod(shape[:-1])) if len(shape) > 1 else 1
    value = rng.normal(size=shape) / np.sqrt(fan_in)
    if 'variance' in weight.name:
      value = rng.uniform(0.5, 2.0, shape)
    elif 'gamma' in weight.name:
      value = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
    elif len(shape) > 1 and rng.random() < 0.2:
      value[..., 0] = 0.0  # a unit that no input moves
    weight.assign(value)
  return model


def answers(model: keras.Model, x: list[np.ndarray]) -> list[np.ndarray]:
  """The outputs as a list."""
  found = model(x if len(x) > 1 else x[0], training=False)
  found = found if isinstance(found, (list, tuple)) else [found]
  return [np.asarray(y, np.float64) for y in found]


def check(seed: int, save: bool = True, bounds: bool = True) -> str:
  """Prunes one random network; what became of it.

  Args:
    seed: Of the network and of all else.
    save: Whether to save and load the wrapped model as well.
    bounds: Whether to look at bounds as well.

  Returns:
    'bounded', 'bounded, near samples too', 'no bound' (an operation without
    bounds leads to an output), 'nothing to prune', or 'alike' where nobody
    looked at bounds.

  Raises:
    AssertionError: two forms disagree, or a bound does not hold.
  """
  rng = np.random.default_rng(seed)
  keras.backend.clear_session()
  model = random_model(rng)
  method = choose(rng, paoding.methods.method_names())
  schedule = paoding.ProgressiveSparsity(float(rng.uniform(0.2, 0.95)), 0.4)
  kinds = [type(layer) for layer in model.layers]
  attends = _layers.MultiHeadAttention in kinds
  attention = choose(rng, ('heads', 'channels')) if attends else 'heads'
  try:
    wrapped = paoding.prune_low_saliency(
      model,
      for_all_units(model, schedule, attention),
      method,
      RANGE,
      seed,
      attention=attention,
    )
  except ValueError as error:
    if 'no units that can be pruned' not in str(error):
      raise
    paoding.compact(model)
    return 'nothing to prune'
  paoding.run_schedule(wrapped, verbose=0)
  forms = {'wrapped': wrapped}
  if save:
    forms['loaded'] = _saved_and_loaded(wrapped, choose(rng, ('h5', 'keras')))
  forms['stripped'] = strip_pruning(forms.get('loaded', wrapped))
  small = forms['compact'] = paoding.compact(forms['stripped'])
  shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
  x = [rng.uniform(*RANGE, (16, *s)).astype(np.float32) for s in shapes]
  x = [np.where(rng.random(a.shape) < 0.3, np.sign(a), a) for a in x]
  wanted = answers(wrapped, x)
  for name, form in forms.items():
    for one, two in zip(wanted, answers(form, x), strict=True):
      gap = np.abs(one - two).max() / (1 + np.abs(one).max())
      assert gap <= TOLERANCE, f'{name} differs by {gap:.2g}'
  if not bounds:
    return 'alike'
  original = answers(model, x)
  check_layers(model, x, attention)
  near = check_balls(model, small, x, rng)
  try:
    moves = paoding.deviation_bound(model, small, RANGE)
  except ValueError as error:
    if 'No sound bound' not in str(error):
      raise
    assert not near, 'bounded near samples, but not over the range'
    return 'no bound'
  check_moves(moves, original, answers(small, x), 'bound broken')
  return 'bounded, near samples too' if near else 'bounded'


def for_all_units(
  model: keras.Model, schedule: paoding.ProgressiveSparsity, attention: str
) -> paoding.ProgressiveSparsity | dict[str, paoding.ProgressiveSparsity]:
  """The schedule, for units that leave only where they are named as well."""
  groups = find_groups(build_graph(model, attention)).groups
  asked = [g for g in groups if g.why_named is not None and g.can_be_named]
  named = ['/'.join(group.layer) for group in asked]
  if not named:
    return schedule
  return dict.fromkeys(['*', *named], schedule)


def check_layers(
  model: keras.Model, x: list[np.ndarray], attention: str
) -> None:
  """Raises unless every layer's output is within its bounds.

  And unless what counts as constant is: the same for all inputs.
  """
  graph = build_graph(model, attention)
  params = read_params(graph)
  boxes = input_boxes(model, RANGE, [graph.shapes[v] for v in graph.inputs])
  bounds = propagate(graph, params, boxes)
  constants = propagate_constants(graph, params)
  values = {
    graph.layer_outputs[path][0]: model.get_layer(path[0]).output
    for path in graph.layer_outputs
    if len(path) == 1
    and graph.calls[path] == 1
    and not isinstance(graph.layers[path], keras.Model)
  }
  values = {v: t for v, t in values.items() if not isinstance(t, list)}
  seen = answers(keras.Model(model.inputs, list(values.values())), x)
  for value, found in zip(values, seen, strict=True):
    if bounds[value] is None:
      continue
    slack = TOLERANCE * (1 + np.abs(found).max())
    low, high = bounds[value]
    assert np.all(found >= low[None] - slack), f'below the bound of {value}'
    assert np.all(found <= high[None] + slack), f'above the bound of {value}'
    fixed = constants[value]
    gap = np.abs(found - fixed[None])
    assert not np.any(gap > slack), f'{value} is no constant'


def check_balls(
  model: keras.Model,
  small: keras.Model,
  x: list[np.ndarray],
  rng: np.random.Generator,
) -> bool:
  """Raises unless bounds on the change near samples hold.

  Returns:
    Whether there are any: every operation on the way has to have lines.
  """
  epsilon = choose(rng, (0.003, 0.03, 0.3))
  method = choose(rng, ('ibp', 'crown-ibp', 'crown'))
  centre = [a[:4] for a in x]
  try:
    bounds = paoding.deviation_bound(
      model, small, RANGE, x=centre, epsilon=epsilon, method=method
    )
  except NoRelaxationError:
    return False
  rounds = []
  for _ in range(_ROUNDS):
    moves = [epsilon * rng.uniform(-1, 1, a.shape) for a in centre]
    if rng.random() < 0.5:
      moves = [epsilon * np.sign(move) for move in moves]
    rounds.append(
      [
        np.clip(a + move, *RANGE).astype(np.float32)
        for a, move in zip(centre, moves, strict=True)
      ]
    )
  moved = [np.concatenate(parts) for parts in zip(*rounds, strict=True)]
  before, after = (
    [np.split(y, _ROUNDS) for y in answers(one, moved)]
    for one in (model, small)
  )
  for k in range(_ROUNDS):
    old, new = ([y[k] for y in found] for found in (before, after))
    check_moves(bounds, old, new, f'{method} broken within {epsilon}')
  return True


def check_moves(
  bounds: np.ndarray | list[np.ndarray],
  before: list[np.ndarray],
  after: list[np.ndarray],
  message: str,
) -> None:
  """Raises if an output moved by more than its bound."""
  bounds = bounds if isinstance(bounds, list) else [bounds]
  for bound, old, new in zip(bounds, before, after, strict=True):
    slack = TOLERANCE * (1 + np.abs(old).max())
    assert np.all(np.abs(old - new) <= bound + slack), message


def _saved_and_loaded(model: keras.Model, kind: str) -> keras.Model:
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, f'model.{kind}')
    model.save(path)
    return keras.models.load_model(path, compile=False)


def main() -> None:
  """Runs the seeds; exit code 1 if any failed."""
  bar = keras.utils.Progbar(
    FLAGS.count,
    verbose=int(sys.stdout.isatty()),
    unit_name='network',
    stateful_metrics=['failed'],
  )
  found, failed = collections.Counter(), {}
  for seed in range(FLAGS.first_seed, FLAGS.first_seed + FLAGS.count):
    try:
      whole = not FLAGS.forms_alone
      found[check(seed, whole, whole)] += 1
    except Exception:  # every find is reported, by its seed
      failed[seed] = traceback.format_exc()
      found['failed'] += 1
    except KeyboardInterrupt:
      print(f'\ninterrupted before seed {seed}', file=sys.stderr)
      break
    bar.add(1, [('failed', found['failed'])])
  print()
  for kind, count in found.most_common():
    print(f'{kind}: {count}')
  for seed, trace in failed.items():
    print(f'seed {seed}:\n{trace}', file=sys.stderr)
  sys.exit(1 if failed else 0)


if __name__ == '__main__':
  app.run(script(main))
