"""Descriptions that Keras 1 wrote, in the words of Keras 2.

tf_keras reads the weights of such files, but no longer their descriptions.
How a layer was trained (initializers, penalties, constraints) is left out.
"""

from __future__ import annotations

import warnings
from typing import Any

from tfmot_paoding import callers
from tfmot_paoding.loading.errors import ModelFileError

# Settings of training alone, or that say again what others do.
_IDLE = frozenset(
  {
    'W_constraint',
    'W_regularizer',
    'U_regularizer',
    'activity_regularizer',
    'b_constraint',
    'b_regularizer',
    'beta_init',
    'beta_regularizer',
    'consume_less',
    'forget_bias_init',
    'gamma_init',
    'gamma_regularizer',
    'init',
    'inner_init',
    'input_dtype',
  }
)
_RENAMED = {
  'atrous_rate': 'dilation_rate',
  'bias': 'use_bias',
  'border_mode': 'padding',
  'dropout_U': 'recurrent_dropout',
  'dropout_W': 'dropout',
  'filter_length': 'kernel_size',
  'inner_activation': 'recurrent_activation',
  'nb_filter': 'filters',
  'p': 'rate',
  'pool_length': 'pool_size',
  'sigma': 'stddev',
  'stride': 'strides',
  'subsample': 'strides',
  'subsample_length': 'strides',
}
_CLASSES = {
  'AtrousConvolution1D': 'Conv1D',
  'AtrousConvolution2D': 'Conv2D',
  'Convolution1D': 'Conv1D',
  'Convolution2D': 'Conv2D',
  'SeparableConvolution2D': 'SeparableConv2D',
}
_UNITS = frozenset({'Dense', 'GRU', 'LSTM', 'SimpleRNN'})
# Layers that are called alike and do the same.
_SAME = frozenset(
  {
    'Activation',
    'AveragePooling1D',
    'AveragePooling2D',
    'BatchNormalization',
    'Cropping1D',
    'Cropping2D',
    'Dropout',
    'ELU',
    'Embedding',
    'Flatten',
    'GaussianDropout',
    'GaussianNoise',
    'GlobalAveragePooling1D',
    'GlobalAveragePooling2D',
    'GlobalMaxPooling1D',
    'GlobalMaxPooling2D',
    'InputLayer',
    'Lambda',
    'LeakyReLU',
    'Masking',
    'MaxPooling1D',
    'MaxPooling2D',
    'Permute',
    'RepeatVector',
    'Reshape',
    'SpatialDropout1D',
    'SpatialDropout2D',
    'UpSampling2D',
    'ZeroPadding1D',
    'ZeroPadding2D',
  }
)
_MERGES = {
  'ave': 'Average',
  'concat': 'Concatenate',
  'max': 'Maximum',
  'mul': 'Multiply',
  'sum': 'Add',
}
_MODELS = frozenset({'Model', 'Sequential'})


def from_keras1(config: dict, path: str) -> dict:
  """The description of a Keras 1 model as Keras 2 would have written it.

  Args:
    config: The description of a Model, a Sequential or one of their layers;
      not changed.
    path: Where it came from, for messages.

  Raises:
    ModelFileError: a layer or a setting of it has no counterpart.
  """
  warnings.warn(
    f'{path!r} was written by Keras 1, which does not say on what it ran. Its '
    'convolutions are taken as those of TensorFlow; were they trained with '
    'Theano, each kernel is upside down. Check the answers.',
    stacklevel=callers.level(),
  )
  return _layer(config, path)


def _layer(part: dict, path: str) -> dict:
  name, config = part['class_name'], part['config']
  if name in _MODELS:
    return {**part, 'config': _model(config, path)}
  if name in ('Bidirectional', 'TimeDistributed'):
    inner = _layer(config['layer'], path)
    return {**part, 'config': {**config, 'layer': inner}}
  if name == 'Merge':
    return {**part, **_merge(config, path)}
  if name not in _SAME | set(_CLASSES) | _UNITS:
    raise ModelFileError(
      f'{path!r} was written by Keras 1, and its layer {name!r} '
      f'({config.get("name")!r}) is not known any more. Load it with Keras 2.0 '
      'to 2.2 and save it again.'
    )
  new = _settings(name, config, path)
  return {**part, 'class_name': _CLASSES.get(name, name), 'config': new}


def _model(config: Any, path: str) -> Any:
  layers = config if isinstance(config, list) else config['layers']
  layers = [_layer(part, path) for part in layers]
  return layers if isinstance(config, list) else {**config, 'layers': layers}


def _settings(name: str, config: dict, path: str) -> dict:
  """One layer's settings under their new names."""
  old = {key: value for key, value in config.items() if key not in _IDLE}
  new = {}
  if 'nb_row' in old:
    new['kernel_size'] = [old.pop('nb_row'), old.pop('nb_col')]
  if name in _UNITS:
    new['units'] = old.pop('output_dim')
    old.pop('input_dim', None)
    old.pop('input_length', None)
  if name == 'InputLayer':
    new['dtype'] = config.get('input_dtype', 'float32')
  if name == 'GRU':
    new['reset_after'] = False
  if name == 'Embedding':
    old.pop('dropout', None)  # of whole words, while training
  ordering, mode = old.pop('dim_ordering', 'tf'), old.pop('mode', 0)
  if ordering != 'tf' or mode != 0:
    what = f'mode {mode}' if mode else f'the axis order {ordering!r}'
    raise ModelFileError(
      f'{path!r} was written by Keras 1, and its layer {config.get("name")!r} '
      f'has {what}, which is not supported.'
    )
  return {**new, **{_RENAMED.get(key, key): x for key, x in old.items()}}


def _merge(config: dict, path: str) -> dict:
  mode, name = config.get('mode'), config.get('name')
  if mode not in _MERGES or config.get('mode_type', 'raw') != 'raw':
    raise ModelFileError(
      f'{path!r} was written by Keras 1, and its layer {name!r} merges by '
      f'{mode!r:.80}. Expected one of {sorted(_MERGES)}.'
    )
  settings = {'name': name}
  if mode == 'concat':
    settings['axis'] = config.get('concat_axis', -1)
  return {'class_name': _MERGES[mode], 'config': settings}
