"""Lambda layers with functions of the caller's: no code of the file runs."""

from __future__ import annotations

import functools
import json

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras as keras2

keras3 = pytest.importorskip('keras', minversion='3')
X = testing.samples((5,), 10).astype(np.float32)

FILES = {
  'tf_keras h5': (keras2, 'h5'),
  'tf_keras keras': (keras2, 'keras'),
  'tf_keras SavedModel': (keras2, 'SavedModel'),
  'Keras 3 h5': (keras3, 'h5'),
  'Keras 3 keras': (keras3, 'keras'),
}


def with_lambdas(keras, marker):
  """A model whose functions write a file as soon as they are called."""

  def scaled(x, scale=1.0):
    import pathlib as p

    p.Path(marker).write_text('run')
    return x * scale

  layers = keras.layers
  inputs = keras.Input((5,))
  x = layers.Lambda(
    scaled, output_shape=(5,), arguments={'scale': 3.0}, name='scaled'
  )(inputs)
  x = layers.Dense(8, 'relu', name='first')(x)
  x = layers.Lambda(lambda y: y + 1, output_shape=(8,), name='moved')(x)
  x = layers.Dense(8, 'relu', name='second')(x)
  return keras.Model(inputs, layers.Dense(3, name='end')(x))


def saved(model, folder, kind):
  path = folder / {'SavedModel': 'model'}.get(kind, f'model.{kind}')
  model.save(path, **({'save_format': 'tf'} if kind == 'SavedModel' else {}))
  return path


def times(x, scale):
  return x * scale


def plus_one(x):
  return x + 1


@pytest.fixture(params=FILES)
def case(request, tmp_path):
  """A file, what its model answers, and what its code leaves behind."""
  keras, kind = FILES[request.param]
  marker = tmp_path / 'marker'
  model = with_lambdas(keras, str(marker))
  want = np.asarray(model(X))
  path = saved(model, tmp_path, kind)
  marker.unlink()
  return path, want, marker


def test_functions_by_layer_name(case):
  path, want, marker = case
  functions = {'scaled': times, 'moved': plus_one}
  model = paoding.load_model(path, functions=functions)
  np.testing.assert_allclose(model(X), want, rtol=1e-5, atol=1e-6)
  assert not marker.exists()
  assert model.get_layer('scaled').function is times
  small = paoding.prune(model, 0.5, method='l1', verbose=0)
  assert small.get_layer('first').units == 4  # what `moved` does shows inside
  assert small.get_layer('second').units == 4
  assert not marker.exists()


def test_what_was_not_given_is_refused_with_advice(case):
  path, _, marker = case
  with pytest.raises(ValueError) as caught:
    paoding.load_model(path, functions={'moved': plus_one})
  message = str(caught.value)
  assert str(path) in message
  assert "functions={'scaled': f}" in message
  assert 'allow_code=True' in message
  assert "'moved'" not in message
  with pytest.raises(ValueError, match=r"'moved' \(takes the output of 'first"):
    paoding.load_model(path)
  with pytest.raises(ValueError, match=r"arguments {'scale': 3.0}"):
    paoding.load_model(path)
  assert not marker.exists()


def test_names_of_no_lambda_layer_are_refused(case):
  path, _, marker = case
  with pytest.raises(ValueError, match=r"\['first', 'movd'\].*'moved'"):
    paoding.load_model(path, functions={'movd': times, 'first': times})
  assert not marker.exists()


def test_code_and_functions_together(tmp_path):
  """What is given is taken; the rest runs as it is allowed to."""
  for kind in ('h5', 'keras', 'SavedModel'):
    marker = tmp_path / 'marker'
    model = with_lambdas(keras2, str(marker))
    path = saved(model, tmp_path, kind)
    marker.unlink()
    loaded = paoding.load_model(
      path, allow_code=True, functions={'scaled': times}
    )
    np.testing.assert_allclose(loaded(X), model(X), rtol=1e-5)
    assert loaded.get_layer('scaled').function is times


@pytest.mark.parametrize('functions', [[times], {'scaled': 3}, {1: times}])
def test_functions_are_a_dict_of_functions(functions, tmp_path):
  path = saved(testing.mlp(), tmp_path, 'h5')
  with pytest.raises(TypeError, match='dict of layer name to function'):
    paoding.load_model(path, functions=functions)


def test_files_without_lambdas_say_so(tmp_path):
  path = saved(testing.mlp(), tmp_path, 'h5')
  paoding.load_model(path, functions={})
  with pytest.raises(ValueError, match='holds no Lambda layer'):
    paoding.load_model(path, functions={'x': times})


class Doubled:
  """A callable that is no Python function."""

  def __call__(self, x):
    return 2 * x


@pytest.mark.parametrize('kind', ['h5', 'keras', 'SavedModel'])
@pytest.mark.parametrize(
  'function',
  [
    Doubled(),
    functools.partial(times, scale=2.0),
    tf.function(lambda x: 2 * x),
  ],
  ids=['object', 'partial', 'tf.function'],
)
def test_whatever_can_be_called(function, kind, tmp_path):
  inner = keras2.Sequential(
    [keras2.Input((5,)), keras2.layers.Lambda(lambda x: x * 2, name='l')],
    name='inner',
  )
  inputs = keras2.Input((5,))
  x = keras2.layers.Dense(8, 'relu', name='hidden')(inner(inputs))
  model = keras2.Model(inputs, keras2.layers.Dense(3)(x))
  path = saved(model, tmp_path, kind)
  loaded = paoding.load_model(path, functions={'l': function})
  np.testing.assert_allclose(loaded(X), model(X), rtol=1e-5)
  wrapped = paoding.prune_low_saliency(loaded)
  paoding.run_schedule(wrapped, verbose=0)
  stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
  small = paoding.compact(stripped)
  np.testing.assert_allclose(stripped(X), wrapped(X), rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(small(X), wrapped(X), rtol=1e-5, atol=1e-6)
  assert small.get_layer('hidden').units < 8


def test_conversion_keeps_the_function(tmp_path):
  path = saved(with_lambdas(keras2, str(tmp_path / 'm')), tmp_path, 'h5')
  model = paoding.load_model(
    path, functions={'scaled': times, 'moved': plus_one}
  )
  interpreter = tf.lite.Interpreter(
    model_content=paoding.convert_to_tflite(
      paoding.prune(model, 0.5, method='l1', verbose=0)
    )
  )
  assert interpreter.get_output_details()[0]['shape'][-1] == 3


def test_bytecode_of_another_python_is_explained(tmp_path):
  path = saved(with_lambdas(keras2, str(tmp_path / 'm')), tmp_path, 'h5')
  with h5py.File(path, 'a') as file:
    config = json.loads(file.attrs['model_config'])
    for layer in config['config']['layers']:
      if layer['class_name'] == 'Lambda':
        layer['config']['function'][0] = '4wEAAAA=\n'
    file.attrs['model_config'] = json.dumps(config)
  with pytest.raises(ValueError, match=r"marshal.*functions={'scaled': f"):
    paoding.load_model(path, allow_code=True)


def test_masks_that_are_code_are_refused(tmp_path):
  inputs = keras2.Input((5,))
  layer = keras2.layers.Lambda(
    lambda x: x, mask=lambda x, mask: mask, name='masked'
  )
  path = saved(keras2.Model(inputs, layer(inputs)), tmp_path, 'keras')
  with pytest.raises(ValueError, match='computes its mask by code'):
    paoding.load_model(path, functions={'masked': plus_one})


def test_disguised_functions_are_none(tmp_path):
  """A file that names what the given functions go by while they load."""
  path = saved(with_lambdas(keras2, str(tmp_path / 'm')), tmp_path, 'h5')
  with h5py.File(path, 'a') as file:
    config = json.loads(file.attrs['model_config'])
    for layer in config['config']['layers']:
      if layer['config']['name'] == 'first':
        layer['class_name'] = 'tfmot_paoding>GivenFunction'
    file.attrs['model_config'] = json.dumps(config)
  functions = {'scaled': times, 'moved': plus_one}
  with pytest.raises(ValueError, match=str(path)):
    paoding.load_model(path, functions=functions)


class Tripled(keras2.layers.Layer):
  def call(self, x):
    return 3 * x


def test_layers_of_traced_functions_alone_are_refused(tmp_path):
  inputs = keras2.Input((5,))
  x = keras2.layers.Dense(4, 'relu')(Tripled(name='tripled')(inputs))
  model = keras2.Model(inputs, keras2.layers.Dense(2)(x))
  path = saved(model, tmp_path, 'SavedModel')
  with pytest.raises(ValueError, match=r"'tripled' of the class 'Tripled'"):
    paoding.load_model(path, allow_code=True)
  with keras2.utils.custom_object_scope({'Tripled': Tripled}):
    loaded = paoding.load_model(path)
    np.testing.assert_allclose(loaded(X), model(X), rtol=1e-6)
    assert paoding.prune(loaded, 0.5, verbose=0).count_params() > 0
  revived = keras2.models.load_model(path, compile=False)
  with pytest.raises(ValueError, match='holds only functions traced from it'):
    paoding.prune(revived, 0.5, verbose=0)


@pytest.mark.shared
def test_a_function_of_python_3_5(shared):
  path = shared / 'models' / 'field' / 'lambda_py35_pilotnet.h5'
  with pytest.raises(ValueError, match=r"functions={'lambda_1': f}"):
    paoding.load_model(path)
  with pytest.raises(ValueError, match=r"could not.*functions={'lambda_1': f}"):
    paoding.load_model(path, allow_code=True)
  model = paoding.load_model(
    path, functions={'lambda_1': lambda x: x / 127.5 - 1}
  )
  assert model.get_layer('lambda_1')(tf.constant([255.0])).numpy() == [1.0]
