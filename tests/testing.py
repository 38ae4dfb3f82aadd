"""Small models and slow, obvious references that tests share."""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.inputs.prior import Prior, prior_samples
from tfmot_paoding.methods.consumer_fits import FitSettings, Fitting
from tfmot_paoding.methods.group_edit import GroupEdit
from tfmot_paoding.methods.group_view import GroupView
from tfmot_paoding.methods.network_view import NetworkView
from tfmot_paoding.network.graph import build_graph, read_params
from tfmot_paoding.network.groups import find_groups
from tfmot_paoding.numerics import activations
from tfmot_paoding.numerics.intervals import Interval

# What float64 sums in another order may differ by, relative to their terms.
ROUNDING = 1e-9


def paired(*columns) -> list[tuple]:
  """Rows in which every value of each column is met, if not with all others.

  For what one path of the code leads through, whatever it is met with.
  """
  columns = [list(column) for column in columns]
  return [
    # Each round begins one later, else columns of one length would march
    # together.
    tuple(column[(k + k // len(column)) % len(column)] for column in columns)
    for k in range(max(map(len, columns)))
  ]


def _keras_knows(name: str) -> bool:
  try:
    keras.activations.get(name)
  except ValueError:
    return False
  return True


# What a layer's `activation` may be named.
ACTIVATIONS = [name for name in activations.names() if _keras_knows(name)]
# Those that networks of several layers stay finite with.
TAME = [name for name in ACTIVATIONS if not activations.by_name(name).overflows]


def on_steps(model: keras.Model, steps: int = 7) -> keras.Model:
  """The model with kernels that so many steps to either side hold exactly."""
  for weight in model.weights:
    value = weight.numpy()
    if value.ndim > 1:
      axes = tuple(range(value.ndim - 1))
      step = np.abs(value).max(axes, keepdims=True) / steps
      weight.assign(np.rint(value / step) * step)
  return model


def fill(model: keras.Model, seed: int = 0, scale: float = 1.0) -> keras.Model:
  """Sets every weight at random; variances positive."""
  rng = np.random.default_rng(seed)
  for layer in model.layers:
    if isinstance(layer, keras.Model):
      fill(layer, seed + 1, scale)
      continue
    for weight in layer.weights:
      shape = tuple(weight.shape)
      fan_in = shape[0] if len(shape) > 1 else 1
      value = rng.normal(size=shape) * scale / np.sqrt(fan_in)
      if 'variance' in weight.name:
        value = rng.uniform(0.5, 2.0, shape)
      if 'gamma' in weight.name:
        value = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
      keras.backend.set_value(weight, value)
  return model


def mlp(
  widths=(5, 8, 6, 3), hidden='relu', seed=0, use_bias=True, **last
) -> keras.Model:
  """A Sequential MLP: inputs, hidden widths, outputs."""
  layers = [keras.Input((widths[0],))]
  for k, width in enumerate(widths[1:-1]):
    layers.append(
      keras.layers.Dense(
        width, activation=hidden, use_bias=use_bias, name=f'hidden_{k}'
      )
    )
  layers.append(keras.layers.Dense(widths[-1], name='logits', **last))
  return fill(keras.Sequential(layers), seed)


def with_batch_norm(before=True, activation='relu', seed=0) -> keras.Model:
  """Two hidden layers with batch normalization around the activation."""
  inputs = keras.Input((5,))
  x = inputs
  for k, width in enumerate((8, 6)):
    x = keras.layers.Dense(width, name=f'hidden_{k}')(x)
    if before:
      x = keras.layers.BatchNormalization(name=f'norm_{k}')(x)
    x = keras.layers.Activation(activation, name=f'act_{k}')(x)
    if not before:
      x = keras.layers.BatchNormalization(name=f'norm_{k}')(x)
  outputs = keras.layers.Dense(3, name='logits')(x)
  return fill(keras.Model(inputs, outputs), seed)


def box(graph, low=-1.0, high=1.0) -> list[Interval]:
  """The same range for every input."""
  return [
    Interval(np.full(graph.shapes[v], low), np.full(graph.shapes[v], high))
    for v in graph.inputs
  ]


def samples(shape, count=200, low=-1.0, high=1.0, seed=0) -> np.ndarray:
  """Random inputs in a box, its corners among them."""
  rng = np.random.default_rng(seed)
  inside = rng.uniform(low, high, (count, *shape))
  corners = rng.choice([low, high], (count, *shape))
  return np.concatenate([inside, corners])


def forward(graph, params, x) -> dict[int, np.ndarray]:
  """Every value of a single-input graph for a batch, by plain NumPy."""
  values = {graph.inputs[0]: np.asarray(x, np.float64)}
  for node in graph.nodes:
    source = values[node.inputs[0]]
    values[node.outputs[0]] = _apply(node.op, params, source)
  return values


def _apply(op, params, x):
  kind = type(op).__name__
  if kind == 'MatMul':
    return x @ params[op.kernel] + op.offset(params)
  if kind == 'Scale':
    deviation = np.sqrt(params[op.variance] + op.epsilon)
    gamma = 1.0 if op.gamma is None else params[op.gamma]
    beta = 0.0 if op.beta is None else params[op.beta]
    return gamma * (x - params[op.mean]) / deviation + beta
  if kind == 'Elementwise':
    return op.activation.value(x)
  if kind == 'Softmax':
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
  if kind == 'Permute':
    return x.transpose(0, *(axis + 1 for axis in op.axes))
  assert kind == 'Reshape', kind
  return x.reshape(len(x), *op.shape)


def assert_inside(values, bounds, axis=0) -> None:
  """Every sample of `values` lies in `bounds`, up to ROUNDING."""
  slack = ROUNDING * (1 + np.abs(values).max(initial=0.0))
  assert np.all(values >= np.expand_dims(bounds.low, axis) - slack)
  assert np.all(values <= np.expand_dims(bounds.high, axis) + slack)


def group_view(model, index=0, low=-1.0, high=1.0) -> GroupView:
  """The view of one group of a model with all its units alive."""
  return group_edit(model, index, low, high).view


def group_edit(model, index=0, low=-1.0, high=1.0) -> GroupEdit:
  """An edit of one group of a model with all its units alive."""
  graph = build_graph(model)
  group = find_groups(graph).groups[index]
  params, boxes = read_params(graph), box(graph, low, high)
  network = NetworkView(
    graph, params, boxes, fitting=fitting(model, graph, params, boxes)
  )
  return GroupEdit(network, group, np.ones(group.size, bool))


def fitting(model, graph, params, boxes, **settings) -> Fitting:
  """Moments from samples of the prior."""
  settings = FitSettings(**{'samples': 200, **settings})
  shapes = [graph.shapes[value] for value in graph.inputs]
  rng = np.random.default_rng(0)
  drawn = prior_samples(Prior(), boxes, shapes, settings.samples, rng)
  return Fitting(model, params, drawn, settings)


def two_layer(incoming, bias, outgoing, activation='relu') -> keras.Model:
  """A network of one hidden layer with the given weights."""
  incoming, outgoing = np.asarray(incoming), np.asarray(outgoing)
  model = keras.Sequential(
    [
      keras.Input((incoming.shape[0],)),
      keras.layers.Dense(
        incoming.shape[1], activation=activation, name='hidden'
      ),
      keras.layers.Dense(outgoing.shape[1], name='logits'),
    ]
  )
  model.set_weights(
    [incoming, np.asarray(bias), outgoing, np.zeros(outgoing.shape[1])]
  )
  return model


def pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
  """All ordered pairs of different units."""
  left, right = np.array(list(itertools.permutations(range(n), 2))).T
  return left, right


def draw(shape, count=4, seed=0) -> np.ndarray:
  """Samples well inside [-1, 1]."""
  return np.random.default_rng(seed).uniform(-0.8, 0.8, (count, *shape))


def conv_net(seed=0) -> keras.Model:
  """Convolutions, batch normalization, a residual branch and max pooling."""
  inputs = keras.Input((7, 6, 2))
  x = keras.layers.Conv2D(4, 3, padding='same', strides=2, activation='relu')(
    inputs
  )
  x = keras.layers.BatchNormalization()(x)
  y = keras.layers.DepthwiseConv2D(3, padding='same', depth_multiplier=2)(x)
  y = keras.layers.Conv2D(4, 1, activation='tanh')(y)
  x = keras.layers.Add()([x, y])
  x = keras.layers.MaxPooling2D(2, padding='same')(x)
  x = keras.layers.Flatten()(x)
  return fill(keras.Model(inputs, keras.layers.Dense(3)(x)), seed)


def pooled(seed=0) -> keras.Model:
  """Padding, pooling, cropping, upsampling and a transposed convolution."""
  inputs = keras.Input((8, 8, 3))
  x = keras.layers.ZeroPadding2D(((1, 0), (0, 2)))(inputs)
  x = keras.layers.SeparableConv2D(6, 3, dilation_rate=2)(x)
  x = keras.layers.LeakyReLU(0.1)(x)
  a = keras.layers.AveragePooling2D(2, padding='same')(x)
  b = keras.layers.MaxPooling2D(2, padding='same')(x)
  x = keras.layers.Concatenate()([a, b])
  x = keras.layers.Cropping2D(((0, 1), (1, 0)))(x)
  x = keras.layers.UpSampling2D(2)(x)
  x = keras.layers.Conv2DTranspose(4, 3, strides=2, padding='same')(x)
  x = keras.layers.PReLU(shared_axes=[1, 2])(x)
  a, b = (
    keras.layers.GlobalAveragePooling2D()(x),
    keras.layers.GlobalMaxPooling2D()(x),
  )
  x = keras.layers.Maximum()([a, b])
  return fill(
    keras.Model(inputs, keras.layers.Dense(3, activation='softmax')(x)), seed
  )


def sequence(seed=0) -> keras.Model:
  """Causal, dilated and grouped convolutions of a sequence."""
  inputs = keras.Input((9, 3))
  x = keras.layers.Conv1D(
    4, 3, padding='causal', dilation_rate=2, activation='elu'
  )(inputs)
  x = keras.layers.Conv1D(4, 3, padding='same', groups=2, activation='sigmoid')(
    x
  )
  y = keras.layers.Permute((2, 1))(keras.layers.MaxPooling1D(3)(x))
  x = keras.layers.Reshape((3, 4))(y)
  x = keras.layers.AveragePooling1D(2, padding='same')(x)
  return fill(
    keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x))), seed
  )


def squeezed(seed=0) -> keras.Model:
  """A squeeze-and-excite block."""
  inputs = keras.Input((4, 4, 3))
  x = keras.layers.Conv2D(4, 3, padding='same', activation='relu6')(inputs)
  gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
  gate = keras.layers.Dense(4, activation='sigmoid')(gate)
  x = keras.layers.Multiply()([x, gate])
  x = keras.layers.Subtract()([x, keras.layers.Rescaling(0.5, 0.1)(x)])
  return fill(
    keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x))), seed
  )


def with_twins(model: keras.Model) -> keras.Model:
  """The model, in place: every second unit of each group like the one before.

  Half of all units can go and nothing need be lost.
  """
  graph = build_graph(model)
  params = read_params(graph)
  for group in find_groups(graph).groups:
    for ref, axis, _, units in group.own_weights():
      value = np.moveaxis(np.array(params[ref]), axis, 0)
      for unit in range(1, group.size, 2):
        (to,), (source,) = (np.nonzero(units == u) for u in (unit, unit - 1))
        value[to] = value[source]
      params[ref] = np.moveaxis(value, 0, axis)
  for ref, value in params.items():
    keras.backend.set_value(graph.weight(ref), value)
  return model


def answers(model, x):
  """A model's outputs as arrays: what `predict` gives, without its graph."""
  return tf.nest.map_structure(np.asarray, model(x, training=False))


def largest_change(one, other, x) -> float:
  """Of any output, as a share of its deviation."""
  pairs = zip(*(tf.nest.flatten(m(x)) for m in (one, other)), strict=True)
  return max(float(np.abs(a - b).max() / np.asarray(a).std()) for a, b in pairs)


def buffer_starts(data):
  """Where in a .tflite the contents of each buffer begin."""
  from tensorflow.lite.python import schema_py_generated as schema

  model = schema.Model.GetRootAsModel(data, 0)
  tables = [model.Buffers(k)._tab for k in range(model.BuffersLength())]
  return [t.Vector(t.Offset(4)) for t in tables if t.Offset(4)]
