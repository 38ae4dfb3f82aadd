"""Model files of both generations; none of them runs code."""

from __future__ import annotations

import json
import pathlib
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras as keras2

keras3 = pytest.importorskip('keras', minversion='3')
X = testing.samples((5,), 10).astype(np.float32)


def plain(keras):
  inputs = keras.Input((5,))
  x = keras.layers.Dense(8, 'relu', name='hidden')(inputs)
  x = keras.layers.BatchNormalization()(x)
  return keras.Model(inputs, keras.layers.Dense(3, name='end')(x))


def saved(model, folder, kind):
  path = folder / {'SavedModel': 'model'}.get(kind, f'model.{kind}')
  settings = {'save_format': 'tf'} if kind == 'SavedModel' else {}
  model.save(path, **settings)
  return path


FILES = {
  'tf_keras h5': (keras2, 'h5'),
  'tf_keras keras': (keras2, 'keras'),
  'tf_keras SavedModel': (keras2, 'SavedModel'),
  'Keras 3 h5': (keras3, 'h5'),
  'Keras 3 keras': (keras3, 'keras'),
}


@pytest.mark.parametrize('name', FILES)
def test_every_format_gives_the_same_outputs(name, tmp_path):
  keras, kind = FILES[name]
  model = plain(keras)
  loaded = paoding.load_model(saved(model, tmp_path, kind))
  assert isinstance(loaded, keras2.Model)
  np.testing.assert_allclose(loaded(X), model(X), rtol=1e-5, atol=1e-6)
  assert paoding.prune(loaded, 0.5, verbose=0).get_layer('hidden').units == 4


@pytest.mark.parametrize('kind', ['h5', 'keras', 'SavedModel'])
def test_wrapped_models_load(kind, tmp_path):
  wrapped = paoding.prune_low_saliency(testing.mlp())
  paoding.run_schedule(wrapped, verbose=0)
  loaded = paoding.load_model(str(saved(wrapped, tmp_path, kind)))
  np.testing.assert_allclose(loaded(X), wrapped(X), rtol=1e-6)


def with_lambda(keras, marker):
  """A model whose function writes a file as soon as it is called."""

  def payload(x):
    import pathlib as p

    p.Path(marker).write_text('run')
    return x * 2

  inputs = keras.Input((5,))
  return keras.Model(
    inputs,
    keras.layers.Lambda(payload, output_shape=(5,), name='evil')(inputs),
  )


@pytest.mark.parametrize('name', FILES)
def test_lambdas_are_refused_and_do_not_run(name, tmp_path):
  keras, kind = FILES[name]
  marker = tmp_path / 'marker'
  path = saved(with_lambda(keras, str(marker)), tmp_path, kind)
  marker.unlink(missing_ok=True)
  with pytest.raises(ValueError, match=r'Lambda.*evil.*allow_code=True'):
    paoding.load_model(path)
  assert not marker.exists()
  if keras is keras2:
    loaded = paoding.load_model(path, allow_code=True)
    np.testing.assert_allclose(loaded(X), 2 * X)
    assert marker.exists()


def rewritten(path, change):
  """The same .keras file with its description changed."""
  with zipfile.ZipFile(path) as file:
    parts = {name: file.read(name) for name in file.namelist()}
  config = json.loads(parts['config.json'])
  change(config)
  parts['config.json'] = json.dumps(config).encode()
  with zipfile.ZipFile(path, 'w') as file:
    for name, content in parts.items():
      file.writestr(name, content)
  return path


ATTACKS = {
  'a function of the system': {
    'module': 'os',
    'class_name': 'system',
    'config': 'true',
    'registered_name': 'system',
  },
  'a builtin': {
    'module': 'builtins',
    'class_name': 'function',
    'config': 'eval',
    'registered_name': 'function',
  },
  'a helper of Keras': {
    'module': 'keras.utils',
    'class_name': 'get_file',
    'config': {},
    'registered_name': None,
  },
  'an unknown layer': {
    'module': None,
    'class_name': 'Evil',
    'config': {},
    'registered_name': 'Evil',
  },
  'pickled code': {
    'class_name': '__lambda__',
    'config': {'code': 'AAAA', 'defaults': None, 'closure': None},
  },
}


@pytest.mark.parametrize('keras', [keras2, keras3], ids=['tf_keras', 'Keras 3'])
@pytest.mark.parametrize('attack', ATTACKS)
def test_named_code_is_refused(attack, keras, tmp_path):
  path = saved(plain(keras), tmp_path, 'keras')

  def change(config):
    config['config']['layers'][1]['config']['activation'] = ATTACKS[attack]

  with pytest.raises(ValueError, match='allow_code=True'):
    paoding.load_model(rewritten(path, change))


@pytest.mark.parametrize('kind', ['h5', 'keras', 'SavedModel'])
def test_functions_of_tensorflow_that_do_more_than_compute(kind, tmp_path):
  inputs = keras2.Input((5,))
  x = tf.nn.relu(inputs * 2.0) + inputs
  fine = keras2.Model(inputs, x)
  loaded = paoding.load_model(saved(fine, tmp_path, kind))
  np.testing.assert_allclose(loaded(X), fine(X), rtol=1e-6)
  text = tf.strings.as_string(inputs)
  evil = keras2.Model(inputs, text)
  (tmp_path / 'evil').mkdir()
  with pytest.raises(ValueError, match='calls the TensorFlow function'):
    paoding.load_model(saved(evil, tmp_path / 'evil', kind))


def test_registered_classes_are_allowed(tmp_path):
  @keras2.utils.register_keras_serializable(package='loading_test')
  class Twice(keras2.layers.Layer):
    def call(self, x):
      return 2 * x

  inputs = keras2.Input((5,))
  model = keras2.Model(inputs, Twice()(inputs))
  for kind in ('h5', 'keras'):
    loaded = paoding.load_model(saved(model, tmp_path, kind))
    np.testing.assert_allclose(loaded(X), 2 * X)


class Unknown(keras2.layers.Layer):
  def call(self, x):
    return 3 * x


@pytest.mark.parametrize('kind', ['h5', 'keras', 'SavedModel'])
def test_unknown_classes_are_refused(kind, tmp_path):
  inputs = keras2.Input((5,))
  path = saved(keras2.Model(inputs, Unknown()(inputs)), tmp_path, kind)
  with pytest.raises(ValueError, match=r"'Unknown'|Unknown"):
    paoding.load_model(path)


def test_saved_models_that_set_up_resources_are_refused(tmp_path):
  inputs = keras2.Input((1,), dtype='string')
  lookup = keras2.layers.StringLookup(vocabulary=['a', 'b'])
  path = saved(keras2.Model(inputs, lookup(inputs)), tmp_path, 'SavedModel')
  with pytest.raises(ValueError, match='resource'):
    paoding.load_model(path)


class TestFilesThatAreNone:
  def test_missing(self, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nothing\.h5'):
      paoding.load_model(tmp_path / 'nothing.h5')

  @pytest.mark.parametrize('content', [b'', b'garbage' * 100])
  @pytest.mark.parametrize('name', ['a.h5', 'a.keras', 'a.txt'])
  def test_garbage(self, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match='no model file'):
      paoding.load_model(path)

  def test_a_zip_of_something_else(self, tmp_path):
    path = tmp_path / 'a.keras'
    with zipfile.ZipFile(path, 'w') as file:
      file.writestr('hello.txt', 'hello')
    with pytest.raises(ValueError, match=r'no \.keras file'):
      paoding.load_model(path)

  def test_weights_alone(self, tmp_path):
    path = tmp_path / 'a.weights.h5'
    testing.mlp().save_weights(path)
    with pytest.raises(ValueError, match='weights but no model'):
      paoding.load_model(path)

  def test_a_broken_description(self, tmp_path):
    path = saved(plain(keras2), tmp_path, 'h5')
    with h5py.File(path, 'a') as file:
      file.attrs['model_config'] = '{"class_name": '
    with pytest.raises(ValueError, match='damaged'):
      paoding.load_model(path)

  def test_folders(self, tmp_path):
    with pytest.raises(ValueError, match='holds no Keras model'):
      paoding.load_model(tmp_path)
    exported = pathlib.Path(tmp_path) / 'exported'
    plain(keras3).export(exported, verbose=False)
    with pytest.raises(ValueError, match='save the model as'):
      paoding.load_model(exported)
