"""Weights that a file does not hold are not allocated."""

from __future__ import annotations

import json
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tfmot_paoding import compat
from tfmot_paoding.compat import keras as keras2
from tfmot_paoding.loading.allocation import limited_allocation

keras3 = pytest.importorskip('keras', minversion='3')
UNITS = 10**7  # of five weights each: 200 MB

FILES = {
  'tf_keras h5': (keras2, 'h5'),
  'tf_keras keras': (keras2, 'keras'),
  'tf_keras SavedModel': (keras2, 'SavedModel'),
  'Keras 3 h5': (keras3, 'h5'),
  'Keras 3 keras': (keras3, 'keras'),
}


def saved(keras, kind, folder):
  inputs = keras.Input((5,))
  x = keras.layers.Dense(8, 'relu', name='hidden')(inputs)
  model = keras.Model(inputs, keras.layers.Dense(3, name='end')(x))
  path = folder / {'SavedModel': 'model'}.get(kind, f'model.{kind}')
  settings = {'save_format': 'tf'} if kind == 'SavedModel' else {}
  model.save(path, **settings)
  return path


def enlarged(text):
  """A description whose first layer has a great many units."""
  config = json.loads(text)
  layers = config['config']['layers']
  layers[1]['config']['units'] = UNITS
  return json.dumps(config)


def rewrite(path):
  if path.is_dir():
    nodes = compat.SavedMetadata()
    nodes.ParseFromString((path / 'keras_metadata.pb').read_bytes())
    for node in nodes.nodes:
      if node.node_path == 'root':
        node.metadata = enlarged(node.metadata)
    (path / 'keras_metadata.pb').write_bytes(nodes.SerializeToString())
  elif path.suffix == '.h5':
    with h5py.File(path, 'a') as file:
      file.attrs['model_config'] = enlarged(file.attrs['model_config'])
  else:
    with zipfile.ZipFile(path) as file:
      parts = {name: file.read(name) for name in file.namelist()}
    parts['config.json'] = enlarged(parts['config.json'])
    with zipfile.ZipFile(path, 'w') as file:
      for name, content in parts.items():
        file.writestr(name, content)


@pytest.mark.parametrize('name', FILES)
def test_layers_beyond_the_file_are_not_allocated(name, tmp_path):
  path = saved(*FILES[name], tmp_path)
  rewrite(path)
  made = []

  def record(next_creator, **kwargs):
    variable = next_creator(**kwargs)
    made.append(int(np.prod(variable.shape)))
    return variable

  with (
    tf.variable_creator_scope(record),
    pytest.raises(ValueError, match='describes weights that it does not hold'),
  ):
    paoding.load_model(path)
  assert max(made, default=0) < UNITS


def test_all_variables_count():
  """Many small ones are as much as a large one; what is stored is allowed."""
  with limited_allocation('x', 2**24):
    many(32)
  with (
    pytest.raises(ValueError, match='come to'),
    limited_allocation('x', 2**10),
  ):
    many(32)


def many(count):
  for _ in range(count):
    keras2.layers.Dense(2**10).build((None, 2**10))


def test_seeds_and_states_of_keras_3_are_no_weights():
  with limited_allocation('x', 100):
    seed = keras3.random.SeedGenerator(1)
    layer = keras3.layers.Dense(
      3, kernel_initializer=keras3.initializers.RandomNormal(seed=seed)
    )
    layer.build((None, 5))
    keras3.layers.Dropout(0.5, seed=3)
    tf.Variable(1.0)
    tf.Variable(np.zeros((2, 3)))
    tf.Variable(tf.zeros((2, 3)), shape=tf.TensorShape(None))
  assert np.std(layer.kernel) > 0


@pytest.mark.parametrize('nested', [False, True])
def test_outputs_beyond_any_memory_are_not_computed(nested, tmp_path):
  """Keras 3 models are run while they load."""
  inputs = keras3.Input((2, 2, 1))
  x = keras3.layers.UpSampling2D(2**16, name='vast')(inputs)
  x = keras3.layers.GlobalAveragePooling2D()(x)
  model = keras3.Model(inputs, x)
  if nested:
    model = keras3.Sequential([keras3.Input((2, 2, 1)), model])
  model.save(tmp_path / 'model.keras')
  with pytest.raises(ValueError, match=r"'vast', that gives 17179869184"):
    paoding.load_model(tmp_path / 'model.keras')
