"""Converts every kind of layer alone: what the file takes, and who runs it.

  python examples/figures/sweep_layers.py --output=layers.json

A layer that the converter blows up, or that tflite-micro does not take, shows
here before it shows in a network. `--only=UpSampling` converts those whose name
holds that text. Needs the extra `[micro]`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import app, flags, logging
from kept_rows import load_rows, save_rows

import tfmot_paoding as paoding
from tfmot_paoding import extras
from tfmot_paoding.command.one_line import script
from tfmot_paoding.compat import keras
from tfmot_paoding.files import check_writable

_OUTPUT = flags.DEFINE_string('output', None, 'Where the rows go, a .json.')
_ONLY = flags.DEFINE_string('only', '', 'A part of the names to convert.')

L = keras.layers
_LINE, _IMAGE, _VOLUME = (12, 6), (8, 8, 6), (4, 6, 6, 4)
_FLAT = (12,)
_ACTIVATIONS = [
  'elu',
  'exponential',
  'gelu',
  'hard_sigmoid',
  'mish',
  'relu',
  'relu6',
  'selu',
  'sigmoid',
  'silu',
  'softmax',
  'softplus',
  'softsign',
  'swish',
  'tanh',
]


@dataclasses.dataclass
class Row:
  """One layer in one form.

  Attributes:
    layer: What it is.
    form: What it was converted to.
    bytes: Of the file; 0 where there is none.
    weights: Bytes of its weights, where each is stored once in that form.
    operators: How many there are.
    kinds: Which.
    verdict: 'yes' where tflite-micro runs it, or why not; or the bytes of the
      file that is written for it.
  """

  layer: str
  form: str
  bytes: int
  weights: int
  operators: int
  kinds: list[str]
  verdict: str


@dataclasses.dataclass(frozen=True)
class Case:
  """A layer, or a function, and the shape of what it takes."""

  shape: tuple[int, ...]
  call: Callable


def _cases() -> dict[str, Case]:
  """All of them, by name."""
  one = {
    'Dense': (_FLAT, L.Dense(8)),
    'Dense on a sequence': (_LINE, L.Dense(8)),
    'EinsumDense': (_LINE, L.EinsumDense('abc,cd->abd', (None, 8))),
    'Embedding': (_FLAT, L.Embedding(30, 8)),
    'Conv1D': (_LINE, L.Conv1D(8, 3)),
    'Conv1D, causal': (_LINE, L.Conv1D(8, 3, padding='causal')),
    'Conv1D, dilated': (_LINE, L.Conv1D(8, 3, dilation_rate=2)),
    'Conv2D': (_IMAGE, L.Conv2D(8, 3)),
    'Conv2D, strided': (_IMAGE, L.Conv2D(8, 3, strides=2, padding='same')),
    'Conv2D, dilated': (_IMAGE, L.Conv2D(8, 3, dilation_rate=2)),
    'Conv2D, grouped': (_IMAGE, L.Conv2D(6, 3, groups=2)),
    'Conv3D': (_VOLUME, L.Conv3D(4, 3)),
    'Conv1DTranspose': (_LINE, L.Conv1DTranspose(8, 3, strides=2)),
    'Conv2DTranspose': (_IMAGE, L.Conv2DTranspose(8, 3, strides=2)),
    'Conv3DTranspose': (_VOLUME, L.Conv3DTranspose(4, 2, strides=2)),
    'DepthwiseConv1D': (_LINE, L.DepthwiseConv1D(3)),
    'DepthwiseConv2D': (_IMAGE, L.DepthwiseConv2D(3)),
    'SeparableConv1D': (_LINE, L.SeparableConv1D(8, 3)),
    'SeparableConv2D': (_IMAGE, L.SeparableConv2D(8, 3)),
    'LocallyConnected1D': (_LINE, L.LocallyConnected1D(4, 3)),
    'LocallyConnected2D': (_IMAGE, L.LocallyConnected2D(4, 3)),
    'LSTM': (_LINE, L.LSTM(8)),
    'LSTM, sequences': (_LINE, L.LSTM(8, return_sequences=True)),
    'GRU': (_LINE, L.GRU(8)),
    'SimpleRNN': (_LINE, L.SimpleRNN(8)),
    'Bidirectional LSTM': (_LINE, L.Bidirectional(L.LSTM(8))),
    'TimeDistributed Dense': (_LINE, L.TimeDistributed(L.Dense(8))),
    'Attention': (_LINE, lambda x: L.Attention()([x, x])),
    'AdditiveAttention': (_LINE, lambda x: L.AdditiveAttention()([x, x])),
    'MultiHeadAttention': (_LINE, lambda x: L.MultiHeadAttention(2, 3)(x, x)),
    'BatchNormalization': (_IMAGE, L.BatchNormalization()),
    'LayerNormalization': (_IMAGE, L.LayerNormalization()),
    'GroupNormalization': (_IMAGE, L.GroupNormalization(2)),
    'UnitNormalization': (_IMAGE, L.UnitNormalization()),
    'Normalization': (_IMAGE, L.Normalization(mean=0.5, variance=2.0)),
    'Rescaling': (_IMAGE, L.Rescaling(0.5)),
    'ReLU': (_IMAGE, L.ReLU()),
    'ReLU, up to 6': (_IMAGE, L.ReLU(6.0)),
    'LeakyReLU': (_IMAGE, L.LeakyReLU()),
    'PReLU': (_IMAGE, L.PReLU(shared_axes=[1, 2])),
    'ELU': (_IMAGE, L.ELU()),
    'ThresholdedReLU': (_IMAGE, L.ThresholdedReLU(0.3)),
    'Softmax': (_IMAGE, L.Softmax()),
    'AveragePooling1D': (_LINE, L.AveragePooling1D()),
    'AveragePooling2D': (_IMAGE, L.AveragePooling2D()),
    'AveragePooling3D': (_VOLUME, L.AveragePooling3D()),
    'MaxPooling1D': (_LINE, L.MaxPooling1D()),
    'MaxPooling2D': (_IMAGE, L.MaxPooling2D()),
    'MaxPooling3D': (_VOLUME, L.MaxPooling3D()),
    'MaxPooling3D, overlapping': (_VOLUME, L.MaxPooling3D(3, strides=1)),
    'GlobalAveragePooling1D': (_LINE, L.GlobalAveragePooling1D()),
    'GlobalAveragePooling2D': (_IMAGE, L.GlobalAveragePooling2D()),
    'GlobalAveragePooling3D': (_VOLUME, L.GlobalAveragePooling3D()),
    'GlobalMaxPooling1D': (_LINE, L.GlobalMaxPooling1D()),
    'GlobalMaxPooling2D': (_IMAGE, L.GlobalMaxPooling2D()),
    'Cropping1D': (_LINE, L.Cropping1D(1)),
    'Cropping2D': (_IMAGE, L.Cropping2D(1)),
    'Cropping3D': (_VOLUME, L.Cropping3D(1)),
    'ZeroPadding1D': (_LINE, L.ZeroPadding1D(1)),
    'ZeroPadding2D': (_IMAGE, L.ZeroPadding2D(1)),
    'ZeroPadding3D': (_VOLUME, L.ZeroPadding3D(1)),
    'UpSampling1D': (_LINE, L.UpSampling1D(3)),
    'UpSampling2D': (_IMAGE, L.UpSampling2D()),
    'UpSampling2D, bilinear': (
      _IMAGE,
      L.UpSampling2D(interpolation='bilinear'),
    ),
    'UpSampling3D': (_VOLUME, L.UpSampling3D()),
    'Flatten': (_IMAGE, L.Flatten()),
    'Permute': (_IMAGE, L.Permute((2, 1, 3))),
    'Reshape': (_IMAGE, L.Reshape((16, 24))),
    'RepeatVector': (_FLAT, L.RepeatVector(4)),
    'Add': (_IMAGE, lambda x: L.Add()([x, L.Conv2D(6, 1)(x)])),
    'Subtract': (_IMAGE, lambda x: L.Subtract()([x, L.Conv2D(6, 1)(x)])),
    'Multiply': (_IMAGE, lambda x: L.Multiply()([x, L.Conv2D(6, 1)(x)])),
    'Maximum': (_IMAGE, lambda x: L.Maximum()([x, L.Conv2D(6, 1)(x)])),
    'Minimum': (_IMAGE, lambda x: L.Minimum()([x, L.Conv2D(6, 1)(x)])),
    'Average': (_IMAGE, lambda x: L.Average()([x, L.Conv2D(6, 1)(x)])),
    'Concatenate': (_IMAGE, lambda x: L.Concatenate()([x, L.ReLU()(x)])),
    'Dot': (_LINE, lambda x: L.Dot(2)([x, x])),
    'tf.repeat': (_LINE, lambda x: tf.repeat(x, 3, 1)),
    'tf.tile': (_LINE, lambda x: tf.tile(x, [1, 3, 1])),
    'tf.roll': (_LINE, lambda x: tf.roll(x, 2, 1)),
    'tf.reverse': (_LINE, lambda x: tf.reverse(x, [1])),
    'tf.split': (_LINE, lambda x: tf.multiply(*tf.split(x, 2, -1))),
    'strided slice': (_LINE, lambda x: x[:, ::2]),
    'tf.nn.depth_to_space': (
      (4, 4, 8),
      lambda x: tf.nn.depth_to_space(x, 2),
    ),
    'tf.pad, reflect': (
      _IMAGE,
      lambda x: tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], 'REFLECT'),
    ),
    'tf.stack': (_FLAT, lambda x: tf.stack([x, tf.nn.relu(x)], -1)),
    'tf.linalg.matmul': (_LINE, lambda x: tf.matmul(x, x, transpose_b=True)),
  }
  for name in _ACTIVATIONS:
    one[f'activation {name}'] = (_IMAGE, L.Activation(name))
  # As MobileNetV3 has it.
  one['hard swish'] = (_IMAGE, lambda x: x * tf.nn.relu6(x + 3.0) / 6.0)
  return {name: Case(*pair) for name, pair in one.items()}


def _model(case: Case) -> keras.Model:
  inputs = keras.Input(case.shape)
  model = keras.Model(inputs, case.call(inputs))
  rng = np.random.default_rng(0)
  for weight in model.trainable_weights:
    weight.assign(rng.normal(0.0, 0.3, weight.shape))
  return model


def _short(text: str) -> str:
  """A text on one line, without paths, as far as a table has room."""
  return ' '.join(word for word in text.split() if '/' not in word)[:120]


def _row(name: str, case: Case, form: str | None) -> Row:
  model = _model(case)
  numbers = 1 if form == 'int8' else 4
  weights = numbers * model.count_params()
  top = 29 if isinstance(case.call, L.Embedding) else 1
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      data = paoding.convert_to_tflite(
        model, form, input_range=(0, top), verbose=0
      )
  except ValueError as error:
    why = f'not converted: {_short(str(error))}'
    return Row(name, form or 'none', 0, weights, 0, [], why)
  found = paoding.profile_tflite(data, latency=False)
  missing = ', '.join(found.missing_operators)
  verdict = missing or found.micro_error
  if verdict:
    size = _micro_bytes(model, form, top)
    verdict = f'with `micro=True`, {size}' if size else verdict
  return Row(
    name,
    form or 'none',
    found.bytes,
    weights,
    sum(found.operators.values()),
    sorted(found.operators),
    _short(verdict or 'yes'),
  )


def _micro_bytes(model: keras.Model, form: str | None, top: int) -> int:
  """What a file takes that is written for tflite-micro; 0 if it runs none."""
  try:
    data = paoding.convert_to_tflite(
      model, form, input_range=(0, top), verbose=0, micro=True
    )
  except ValueError:
    return 0
  return len(data)


def main() -> None:
  """Converts all, and keeps what is done."""
  extras.MICRO.require()
  check_writable([_OUTPUT.value])
  rows = load_rows(_OUTPUT.value, Row)
  done = {(row.layer, row.form) for row in rows}
  for name, case in _cases().items():
    for form in (None, 'int8'):
      if _ONLY.value not in name or (name, form or 'none') in done:
        continue
      rows.append(_row(name, case, form))
      logging.info('%s', rows[-1])
      save_rows(_OUTPUT.value, rows)
  _print_table(rows)


def _print_table(rows: list[Row]) -> None:
  """A line a layer, as Markdown."""
  print('| layer | float32: bytes | operators | int8: bytes | operators |')
  print('| --- | --- | --- | --- | --- |')
  for name in dict.fromkeys(row.layer for row in rows):
    told = [_told(row) for row in rows if row.layer == name]
    print(f'| {name} | {" | ".join(told)} |')


def _told(row: Row) -> str:
  kinds = ', '.join(row.kinds) if row.operators == len(row.kinds) else ''
  counted = kinds or f'{row.operators} of {len(row.kinds)} kinds'
  if not row.bytes:
    return f'none | {row.verdict}'
  refused = ''
  if 'micro=True' in row.verdict:
    refused = f'; {row.verdict}'
  elif row.verdict != 'yes':
    refused = f'; **not in tflite-micro**: {row.verdict}'
  return f'{row.bytes} | {counted}{refused}'


if __name__ == '__main__':
  flags.mark_flag_as_required('output')
  app.run(script(main))
