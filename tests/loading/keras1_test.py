"""Files of Keras 1: today's layers under the names of then."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras

L = keras.layers
TRAINED = {'init': 'glorot_uniform', 'W_regularizer': None, 'trainable': True}


def layer(cls, name, **config):
  return {'class_name': cls, 'config': {'name': name, **TRAINED, **config}}


def convolution(name, **config):
  return layer(
    'Convolution2D',
    name,
    nb_filter=4,
    nb_row=3,
    nb_col=2,
    subsample=[2, 1],
    border_mode='same',
    dim_ordering='tf',
    bias=True,
    activation='relu',
    **config,
  )


def image_model():
  old = [
    convolution('c', batch_input_shape=[None, 6, 6, 2]),
    layer('BatchNormalization', 'n', mode=0, axis=-1, epsilon=1e-3),
    layer('Dropout', 'd', p=0.5),
    layer('MaxPooling2D', 'm', pool_size=[2, 2], border_mode='valid'),
    layer('Flatten', 'f'),
    layer('Dense', 'h', output_dim=6, input_dim=36, bias=True),
    layer('Dense', 'e', output_dim=3, bias=False, activation='softmax'),
  ]
  new = [
    keras.Input((6, 6, 2)),
    L.Conv2D(4, (3, 2), (2, 1), 'same', activation='relu', name='c'),
    L.BatchNormalization(name='n'),
    L.Dropout(0.5, name='d'),
    L.MaxPooling2D(name='m'),
    L.Flatten(name='f'),
    L.Dense(6, name='h'),
    L.Dense(3, 'softmax', use_bias=False, name='e'),
  ]
  return {'class_name': 'Sequential', 'config': old}, keras.Sequential(new)


def text_model():
  old = [
    layer(
      'Embedding',
      'w',
      input_dim=7,
      output_dim=4,
      input_length=5,
      batch_input_shape=[None, 5],
      input_dtype='int32',
      dropout=0.2,
    ),
    layer(
      'Convolution1D',
      'c',
      nb_filter=4,
      filter_length=2,
      border_mode='valid',
      subsample_length=1,
      input_dim=4,
    ),
    layer(
      'GRU',
      'g',
      output_dim=3,
      inner_activation='hard_sigmoid',
      dropout_W=0.1,
      dropout_U=0.1,
      activation='tanh',
      return_sequences=True,
    ),
    {
      'class_name': 'TimeDistributed',
      'config': {'name': 't', 'layer': layer('Dense', 'i', output_dim=2)},
    },
  ]
  new = [
    keras.Input((5,), dtype='int32'),
    L.Embedding(7, 4, name='w'),
    L.Conv1D(4, 2, name='c'),
    L.GRU(
      3,
      recurrent_activation='hard_sigmoid',
      reset_after=False,
      return_sequences=True,
      name='g',
    ),
    L.TimeDistributed(L.Dense(2, name='i'), name='t'),
  ]
  return {'class_name': 'Sequential', 'config': old}, keras.Sequential(new)


def merged_model(mode='concat'):
  def call(of, *names):
    of['inbound_nodes'] = [[[name, 0, 0] for name in names]] if names else []
    return {**of, 'name': of['config']['name']}

  old = [
    {
      'class_name': 'InputLayer',
      'name': 'x',
      'config': {
        'name': 'x',
        'batch_input_shape': [None, 4],
        'input_dtype': 'float32',
        'sparse': False,
      },
      'inbound_nodes': [],
    },
    call(layer('Dense', 'a', output_dim=3, activation='relu'), 'x'),
    call(layer('Dense', 'b', output_dim=3), 'x'),
    call(
      layer(
        'Merge', 'm', mode=mode, concat_axis=-1, mode_type='raw', dot_axes=-1
      ),
      'a',
      'b',
    ),
    call(layer('Dense', 'e', output_dim=2), 'm'),
  ]
  config = {
    'name': 'model',
    'layers': old,
    'input_layers': [['x', 0, 0]],
    'output_layers': [['e', 0, 0]],
  }
  x = keras.Input((4,), name='x')
  both = [L.Dense(3, 'relu', name='a')(x), L.Dense(3, name='b')(x)]
  x = keras.Model(x, L.Dense(2, name='e')(L.Concatenate(name='m')(both)))
  return {'class_name': 'Model', 'config': config}, x


def written(old, new, path):
  """An .h5 file as Keras 1 would have written it."""
  new.save(path)
  with h5py.File(path, 'a') as file:
    file.attrs['model_config'] = json.dumps(old)
    file.attrs['keras_version'] = '1.2.1'
    group = file['model_weights']
    del group.attrs['keras_version']
    for name in ('c',):
      kernel = f'{name}/{name}/kernel:0'
      if kernel in group and group[kernel].ndim == 3:
        value = group[kernel][()][:, None]
        del group[kernel]
        group[kernel] = value
  return path


@pytest.mark.parametrize('make', [image_model, text_model, merged_model])
def test_models_of_keras_1(make, tmp_path):
  old, new = make()
  testing.fill(new)
  path = written(old, new, tmp_path / 'model.h5')
  with pytest.warns(UserWarning, match='written by Keras 1'):
    loaded = paoding.load_model(path)
  rng = np.random.default_rng(0)
  x = rng.uniform(0, 6, (8, *new.input_shape[1:])).astype('float32')
  np.testing.assert_allclose(loaded(x), new(x), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings('ignore:.*written by Keras 1')
@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'dim_ordering': 'th'}, 'axis order'),
    ({'nb_filter': None}, 'could not be loaded'),
    ({'unheard_of': 3}, 'could not be loaded'),
  ],
)
def test_what_cannot_be_said_today(change, message, tmp_path):
  old, new = image_model()
  old['config'][0]['config'].update(change)
  path = written(old, new, tmp_path / 'model.h5')
  with pytest.raises(ValueError, match=message):
    paoding.load_model(path)


@pytest.mark.filterwarnings('ignore:.*written by Keras 1')
def test_layers_that_are_no_more(tmp_path):
  old, new = merged_model('dot')
  path = written(old, new, tmp_path / 'model.h5')
  with pytest.raises(ValueError, match="merges by 'dot'"):
    paoding.load_model(path)
  old, new = image_model()
  old['config'][2]['class_name'] = 'Highway'
  path = written(old, new, tmp_path / 'model.h5')
  with pytest.raises(ValueError, match="layer 'Highway'"):
    paoding.load_model(path)
  old['config'][1]['config']['mode'] = 2
  old['config'][2]['class_name'] = 'Dropout'
  path = written(old, new, tmp_path / 'model.h5')
  with pytest.raises(ValueError, match='mode 2'):
    paoding.load_model(path)
