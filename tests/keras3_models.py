"""Keras 3 models of many kinds, with random weights, inputs and outputs."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip('keras', minversion='3')
L = keras.layers


def randomized(model, seed=0):
  rng = np.random.default_rng(seed)
  for weight in model.weights:
    if not str(weight.dtype).startswith('float'):  # a seed's state
      continue
    value = rng.normal(size=weight.shape) * 0.3
    weight.assign(np.abs(value) + 0.5 if 'variance' in weight.path else value)
  return model


def inputs_of(model, seed=0):
  rng = np.random.default_rng(seed)
  return [
    rng.integers(0, 2, (3, *x.shape[1:])).astype(str(x.dtype))
    if str(x.dtype) in ('bool', 'int32')
    else rng.uniform(0, 1, (3, *x.shape[1:])).astype(str(x.dtype))
    for x in model.inputs
  ]


def outputs_of(model, x):
  found = model(x if len(x) > 1 else x[0], training=False)
  if isinstance(found, dict):
    found = [found[key] for key in sorted(found)]
  found = found if isinstance(found, (list, tuple)) else [found]
  return [np.asarray(y) for y in found]


def branches():
  inputs = keras.Input((8, 8, 3), name='image')
  x = L.Conv2D(4, 3, padding='same', name='conv')(inputs)
  y = L.ReLU(6.0)(L.BatchNormalization(name='norm')(x))
  x = L.Add()([x, L.DepthwiseConv2D(3, padding='same')(y)])
  x = L.Concatenate()([x, y])
  return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))


def nested():
  a, b = keras.Input((4,), name='a'), keras.Input((4,), name='b')
  inner = keras.Sequential(
    [keras.Input((4,)), L.Dense(4, 'relu', name='deep')], name='inner'
  )
  shared = L.Dense(4, name='shared')
  x = L.Add()([inner(a), inner(b)])
  x = L.Concatenate()([shared(x), shared(a)])
  return keras.Model([a, b], [L.Dense(2, name='one')(x), L.Multiply()([a, b])])


def operations():
  inputs = keras.Input((6, 6, 3))
  x = L.Conv2D(4, 3, name='conv')(inputs)
  y = keras.ops.relu(x * 2.0 + 1.0) - x / 3.0
  y = keras.ops.reshape(y, (-1, 16, 4))
  return keras.Model(inputs, keras.ops.mean(y * y, axis=1))


def named_outputs():
  inputs = keras.Input((4,))
  return keras.Model(inputs, {'b': L.Dense(2)(inputs), 'a': L.Dense(3)(inputs)})


def merged(x):
  return keras.Model(
    x,
    [
      L.Dot(axes=(1, 1))([x, x]),
      L.Average()([x, 2.0 * x]),
      L.Maximum()([x, 1.0 - x]),
      L.Minimum()([x, 1.0 - x]),
      L.Subtract()([x, x * x]),
      L.Concatenate(axis=1)([x, x]),
      L.Attention()([x, x]),
      L.RepeatVector(3)(L.Flatten()(x)),
    ],
  )


def sequential(*layers):
  return lambda: keras.Sequential([keras.Input(layers[0]), *layers[1]()])


def more_operations():
  inputs = keras.Input((4, 6))
  ops = keras.ops
  x = [
    ops.clip(inputs, 0.2, 0.8) ** 2,
    ops.gelu(inputs) - ops.leaky_relu(-inputs, 0.3),
    ops.hard_sigmoid(4 * inputs - 2) * ops.hard_silu(inputs * 2 / 3),
    ops.squeeze(ops.expand_dims(ops.elu(-inputs, 0.5), 1), 1),
    ops.log(inputs + 1.0) * ops.rsqrt(inputs + 1.0),
    ops.cast(ops.cast(inputs, 'int32') + 1, 'float32') * inputs,
    inputs - ops.max(inputs, axis=1, keepdims=True),
  ]
  y = ops.sum(ops.stack(x, axis=1), axis=1)
  return keras.Model(inputs, [y[:, 1], y[..., ::-1], y])


def states():
  inputs = keras.Input((5, 3))
  x, *state = L.LSTM(4, return_state=True)(inputs)
  y = L.LSTM(4, go_backwards=True)(inputs, initial_state=state)
  return keras.Model(inputs, [x, y])


def keyword_tensors():
  query, value = keras.Input((5, 6)), keras.Input((4, 6))
  mask = keras.Input((5, 4), dtype='bool')
  x, scores = L.MultiHeadAttention(2, 3, value_dim=4, output_shape=5)(
    query, value=value, attention_mask=mask, return_attention_scores=True
  )
  return keras.Model([query, value, mask], [x, scores])


def named_inputs():
  a, b = keras.Input((4,), name='a'), keras.Input((4,), name='b')
  inner = keras.Model({'b': b, 'a': a}, {'sum': a + b, 'a': L.Dense(3)(a)})
  c = keras.Input((4,), name='c')
  found = inner({'a': c, 'b': 2.0 * c})
  return keras.Model([c], [found['sum'], found['a'], c])


def twice():
  deep = L.Dense(4, name='deep')
  inputs = keras.Input((4,))
  inner = keras.Model(inputs, L.Dense(4)(deep(inputs)), name='inner')
  outer = keras.Input((4,))
  return keras.Model(outer, inner(deep(inner(outer))))


def steps_of_a_model():
  each = keras.Sequential(
    [
      keras.Input((6, 6, 2)),
      L.RandomFlip(),
      L.Conv2D(3, 3),
      L.BatchNormalization(),
      L.BatchNormalization(),  # of the same shapes, to be told apart
      L.Flatten(),
      L.Dense(4),
    ],
    name='each',
  )
  inputs = keras.Input((3, 6, 6, 2))
  x = L.LSTM(4)(L.TimeDistributed(each, name='steps')(inputs))
  return keras.Model(inputs, L.Dense(2)(x))


MODELS = {
  'branches': branches,
  'steps of a model': steps_of_a_model,
  'more operations': more_operations,
  'states': states,
  'keyword tensors': keyword_tensors,
  'named inputs': named_inputs,
  'twice': twice,
  'merging': lambda: merged(keras.Input((4, 3))),
  'masks': sequential(
    (5, 3),
    lambda: [
      L.Masking(0.5),
      L.GRU(4, return_sequences=True),
      L.RNN(L.LSTMCell(4), return_sequences=True),
      L.SimpleRNN(2),
    ],
  ),
  'recurrent layers inside others': sequential(
    (5, 3),
    lambda: [
      L.Masking(0.5),
      L.Bidirectional(L.GRU(4, return_sequences=True), merge_mode='sum'),
      L.Bidirectional(
        L.LSTM(4, return_sequences=True),
        backward_layer=L.LSTM(4, return_sequences=True, go_backwards=True),
      ),
      L.RNN([L.LSTMCell(4), L.GRUCell(3)]),
    ],
  ),
  'maps over time': sequential(
    (3, 6, 5, 2),
    lambda: [
      L.ConvLSTM2D(3, 3, return_sequences=True, go_backwards=True),
      L.ConvLSTM2D(2, 1, use_bias=False),
    ],
  ),
  'sizes': sequential(
    (8, 9, 3),
    lambda: [
      L.Resizing(6, 7, crop_to_aspect_ratio=True),
      L.CenterCrop(4, 5),
      L.Reshape((20, 3)),
      L.ZeroPadding1D(2),
    ],
  ),
  'one and three axes': sequential(
    (8, 8, 8, 2),
    lambda: [
      L.Conv3D(4, 2),
      L.MaxPooling3D(),
      L.Conv3DTranspose(2, 2),
      L.ZeroPadding3D(1),
      L.UpSampling3D(2),
      L.TimeDistributed(L.Conv2D(2, 3, groups=2, strides=2)),
      L.Reshape((-1, 8)),
      L.SeparableConv1D(4, 2),
      L.Conv1DTranspose(3, 2, strides=2),
      L.DepthwiseConv1D(2),
      L.AveragePooling1D(2),
      L.Cropping1D(1),
      L.GlobalMaxPooling1D(keepdims=True),
    ],
  ),
  'nested': nested,
  'operations': operations,
  'named outputs': named_outputs,
  'recurrent': sequential(
    (5, 3),
    lambda: [
      L.LSTM(3, return_sequences=True),
      L.GRU(2, return_sequences=True),
      L.Bidirectional(L.LSTM(2)),
    ],
  ),
  'convolutions': sequential(
    (8, 8, 3),
    lambda: [
      L.Rescaling(1 / 3.0),
      L.Conv2D(4, 3, activation='silu', kernel_regularizer='l2'),
      L.DepthwiseConv2D(3, depth_multiplier=2),
      L.SeparableConv2D(5, 1),
      L.Conv2DTranspose(3, 2),
      L.LeakyReLU(0.2),
      L.PReLU(shared_axes=[1, 2]),
      L.MaxPooling2D(),
      L.ZeroPadding2D(1),
      L.Cropping2D(1),
      L.UpSampling2D(2),
      L.Permute((3, 1, 2)),
      L.Reshape((-1,)),
      L.Dropout(0.2),
      L.Dense(3, 'softmax'),
    ],
  ),
  'normalizations': sequential(
    (8, 4),
    lambda: [
      L.Normalization(mean=[0.0, 1, 2, 3], variance=[1.0, 2, 3, 4]),
      L.LayerNormalization(),
      L.GroupNormalization(2),
      L.UnitNormalization(),
      # Since Keras 3.9.
      *([L.RMSNormalization()] if hasattr(L, 'RMSNormalization') else []),
      L.BatchNormalization(),
      L.SpatialDropout1D(0.1),
      L.Conv1D(3, 2, padding='causal', dilation_rate=2),
      L.Flatten(),
    ],
  ),
  'activations': sequential(
    (8,),
    lambda: [
      *(
        L.Activation(name)
        for name in ('relu', 'gelu', 'elu', 'selu', 'tanh', 'softplus')
      ),
      *(L.Activation(name) for name in ('softsign', 'leaky_relu', 'relu6')),
      L.Dense(4, 'hard_sigmoid'),
      L.Dense(4, 'hard_silu'),
      L.ELU(0.5),
    ],
  ),
}
