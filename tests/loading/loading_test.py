"""Model files of both generations; none of them runs code."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import compat
from tfmot_paoding.compat import keras as keras2
from tfmot_paoding.network.told_tasks import told_tasks

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


@pytest.mark.parametrize('allow_code', [False, True])
def test_what_keras_3_does_not_read_of_h5_comes_back(allow_code, tmp_path):
  inputs = keras3.Input((4, 6))
  a, b = keras3.ops.split(inputs, 2, axis=-1)
  x = keras3.layers.Concatenate()([a * b + 1.0, keras3.ops.sqrt(b + 2.0)])
  inner_in = keras3.Input((4, 6))
  inner = keras3.Model(
    inner_in, keras3.ops.concatenate([inner_in, inner_in], axis=1)
  )
  x = keras3.layers.Add()([inner(x)[:, :4], x])
  x = keras3.layers.Attention()([x, x])
  x = x[..., None, 1:][:, :, 0]
  x = keras3.ops.cast(keras3.ops.mean(x, axis=1), 'float32')
  model = keras3.Model(inputs, keras3.layers.Dense(3)(x))
  path = saved(model, tmp_path, 'h5')
  x = testing.samples((4, 6), 5).astype(np.float32)
  loaded = paoding.load_model(path, allow_code)
  np.testing.assert_allclose(loaded(x), model(x), atol=1e-5)


def clustered(model):
  start = tfmot.clustering.keras.CentroidInitialization.LINEAR
  return tfmot.clustering.keras.cluster_weights(
    model, number_of_clusters=2, cluster_centroids_init=start
  )


@pytest.mark.parametrize('kind', ['h5', 'keras', 'SavedModel'])
@pytest.mark.parametrize(
  ('wrap', 'scope', 'advice'),
  [
    (
      tfmot.quantization.keras.quantize_model,
      tfmot.quantization.keras.quantize_scope,
      'that quantize_model was given',
    ),
    (
      clustered,
      tfmot.clustering.keras.cluster_scope,
      'what strip_clustering makes',
    ),
  ],
)
def test_what_tfmot_has_wrapped_says_what_to_do(
  wrap, scope, advice, kind, tmp_path
):
  model = keras2.Sequential([keras2.Input((4,)), keras2.layers.Dense(3)])
  path = saved(wrap(model), tmp_path, kind)
  for allow_code in (False, True):
    with pytest.raises(ValueError, match=advice):
      paoding.load_model(path, allow_code)
  if kind == 'h5':
    with scope():
      paoding.load_model(path)


class Halved(keras3.layers.Layer):
  def call(self, x):
    return x / 2


@pytest.mark.parametrize('kind', ['h5', 'keras'])
def test_what_a_scope_of_keras_3_holds_is_known(kind, tmp_path):
  inputs = keras3.Input((5,))
  model = keras3.Model(inputs, keras3.ops.abs(Halved()(inputs)))
  path = saved(model, tmp_path, kind)
  with keras3.saving.custom_object_scope({'Halved': Halved}):
    loaded = paoding.load_model(path)
  np.testing.assert_allclose(loaded(X), model(X), atol=1e-6)


def own_loss(wanted, found):
  return (wanted - found) ** 2


@pytest.mark.parametrize('name', FILES)
def test_every_format_says_what_outputs_are(name, tmp_path):
  keras, kind = FILES[name]
  model = plain(keras)
  for loss, task in (
    ('mse', 'regression'),
    (keras.losses.LogCosh(), 'regression'),
    (keras.losses.log_cosh, 'regression'),
    (keras.losses.SparseCategoricalCrossentropy(), 'classification'),
    (own_loss, None),  # which is not loaded
  ):
    model.compile('adam', loss)
    loaded = paoding.load_model(saved(model, tmp_path, kind))
    assert told_tasks(loaded) == [task]


def test_what_training_is_not_written_does_not_hinder(tmp_path):
  path = saved(plain(keras2), tmp_path, 'h5')
  with h5py.File(path, 'a') as file:
    file.attrs['training_config'] = '{'
  assert told_tasks(paoding.load_model(path)) == [None]


@pytest.mark.parametrize('name', FILES)
def test_every_format_gives_the_same_outputs(name, tmp_path):
  keras, kind = FILES[name]
  model = plain(keras)
  loaded = paoding.load_model(saved(model, tmp_path, kind))
  assert isinstance(loaded, keras2.Model)
  np.testing.assert_allclose(loaded(X), model(X), rtol=1e-5, atol=1e-6)
  assert (
    paoding.prune(loaded, 0.5, method='l1', verbose=0).get_layer('hidden').units
    == 4
  )


def adapted():
  layer = keras2.layers.Normalization()
  layer.adapt(3 * X + 1)
  return layer


def tensorflow_functions():
  inputs = keras2.Input((6, 5))
  flat = tf.reshape(inputs, [tf.shape(inputs)[0], 30])
  return keras2.Model(
    inputs, tf.concat([flat, tf.reduce_mean(inputs, 1)], axis=-1)
  )


def nested():
  inputs = [keras2.Input((5,), name=name) for name in 'ab']
  inner = keras2.Sequential(
    [keras2.Input((5,)), keras2.layers.Dense(5, tf.nn.relu6)], name='inner'
  )
  x = inner(inputs[0]) + inner(inputs[1])
  return keras2.Model(inputs, [x, keras2.layers.Dense(2)(inputs[0])])


def attention():
  inputs = keras2.Input((4, 5))
  return keras2.Model(
    inputs, keras2.layers.MultiHeadAttention(2, 3)(inputs, inputs)
  )


MODELS = {
  'adapted': lambda: keras2.Sequential(
    [
      keras2.Input((5,)),
      adapted(),
      keras2.layers.Dropout(0.5),
      keras2.layers.Dense(3, kernel_regularizer='l2'),
      keras2.layers.PReLU(),
    ]
  ),
  'recurrent': lambda: keras2.Sequential(
    [
      keras2.Input((6, 5), batch_size=2),
      keras2.layers.Bidirectional(keras2.layers.LSTM(3, return_sequences=True)),
      keras2.layers.GRU(2, stateful=True),
    ]
  ),
  'TensorFlow functions': tensorflow_functions,
  'nested': nested,
  'attention': attention,
}


@pytest.mark.parametrize('kind', ['h5', 'keras', 'SavedModel'])
@pytest.mark.parametrize('name', MODELS)
def test_what_models_are_made_of(name, kind, tmp_path):
  model = MODELS[name]()
  loaded = paoding.load_model(saved(model, tmp_path, kind))
  rng = np.random.default_rng(0)
  x = [
    rng.normal(size=(2, *tensor.shape[1:])).astype('float32')
    for tensor in model.inputs
  ]
  for want, got in zip(
    tf.nest.flatten(model(x)), tf.nest.flatten(loaded(x)), strict=True
  ):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', FILES)
def test_how_a_model_was_trained_does_not_matter(name, tmp_path):
  """Losses and metrics of the writer's are not loaded, nor refused."""
  keras, kind = FILES[name]
  model = plain(keras)
  rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
  model.compile(keras.optimizers.SGD(rate), loss=lambda y, z: (y - z) ** 2)
  loaded = paoding.load_model(saved(model, tmp_path, kind))
  np.testing.assert_allclose(loaded(X), model(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('kind', ['h5', 'keras', 'SavedModel'])
def test_models_wrapped_by_tfmot_load(kind, tmp_path):
  wrapped = compat.PruneLowMagnitude(keras2.layers.Dense(3), input_shape=(5,))
  model = keras2.Sequential([wrapped])
  loaded = paoding.load_model(saved(model, tmp_path, kind))
  np.testing.assert_allclose(loaded(X), model(X), rtol=1e-6)


def test_operations_of_keras_3_load(tmp_path):
  inputs = keras3.Input((5,))
  x = keras3.ops.relu(inputs * 2.0) - keras3.ops.mean(inputs, 1, keepdims=True)
  model = keras3.Model(inputs, x)
  loaded = paoding.load_model(saved(model, tmp_path, 'keras'))
  np.testing.assert_allclose(loaded(X), model(X), rtol=1e-5, atol=1e-6)


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


def importable(folder, monkeypatch):
  """The name of a module that leaves a file behind when it is imported."""
  marker = folder / 'marker'
  name = 'payload_of_loading_test'
  (folder / f'{name}.py').write_text(
    f'open({str(marker)!r}, "w").close()\ndef relu(x): return x\n'
  )
  monkeypatch.syspath_prepend(str(folder))
  return name, marker


def disguised_lambda():
  return {
    'function': 'system',
    'function_type': 'function',
    'module': 'os',
    'name': 'd',
  }


# What a description may say of its outermost object, {} for a module.
DISGUISES = {
  'a function': {'class_name': 'function', 'config': 'relu'},
  'a class as a function': {
    'class_name': 'evil',
    'registered_name': 'function',
    'config': 'relu',
  },
  'a registered class of another package': {
    'class_name': 'Dense',
    'registered_name': 'evil>PruneLowSaliency',
    'config': {},
  },
  'a class that goes by a registered name': {
    'class_name': '__typespec__',
    'spec_name': 'evil',
    'registered_name': 'tfmot_paoding>PruneLowSaliency',
    'config': [],
  },
  'a type': {
    'class_name': '__typespec__',
    'spec_name': 'evil',
    'registered_name': None,
    'config': [],
  },
  'a Lambda as a type': {
    'class_name': '__typespec__',
    'spec_name': 'Lambda',
    'module': 'keras.layers',
    'registered_name': 'x',
    'config': disguised_lambda(),
  },
  'a Lambda as a dict': {
    'class_name': 'dict',
    'module': 'keras.layers',
    'registered_name': 'Lambda',
    'config': disguised_lambda(),
  },
  'a Lambda in a module': {
    'class_name': 'lambda_layer.Lambda',
    'module': 'keras.src.layers.core',
    'registered_name': None,
    'config': disguised_lambda(),
  },
}


@pytest.mark.parametrize('keras', [keras2, keras3], ids=['tf_keras', 'Keras 3'])
@pytest.mark.parametrize('disguise', DISGUISES)
def test_no_module_of_a_file_is_imported(
  disguise, keras, tmp_path, monkeypatch
):
  module, marker = importable(tmp_path, monkeypatch)
  attack = {'module': module, 'registered_name': module, **DISGUISES[disguise]}

  def replaced(config):
    config.clear()
    config.update(attack)

  def inside(config):
    config['config']['layers'][1].update(attack)

  for change in (replaced, inside):
    path = saved(plain(keras), tmp_path, 'keras')
    with pytest.raises(ValueError, match='allow_code=True'):
      paoding.load_model(rewritten(path, change))
    assert not marker.exists()
    assert module not in sys.modules


def test_a_file_of_two_formats_is_refused(tmp_path):
  marker = tmp_path / 'marker'
  path = saved(with_lambda(keras2, str(marker)), tmp_path, 'h5')
  marker.unlink(missing_ok=True)
  other = saved(plain(keras2), tmp_path, 'keras')
  path.write_bytes(path.read_bytes() + other.read_bytes())
  with pytest.raises(ValueError, match='holds a zip file, but'):
    paoding.load_model(path)
  assert not marker.exists()
  other.rename(tmp_path / 'model.zip')
  with pytest.raises(ValueError, match=r'name that ends in \.keras'):
    paoding.load_model(tmp_path / 'model.zip')


@pytest.mark.parametrize(
  'disguise', [{}, {'registered_name': 'tfmot_paoding>PruneLowSaliency'}]
)
def test_no_function_of_tensorflow_writes_a_file(disguise, tmp_path):
  marker = tmp_path / 'marker'
  inputs = keras2.Input((5,))
  path = saved(keras2.Model(inputs, tf.math.add(inputs, 1.0)), tmp_path, 'h5')
  with h5py.File(path, 'a') as file:
    config = json.loads(file.attrs['model_config'])
    layer = config['config']['layers'][1]
    layer['config']['function'] = 'io.write_file'
    layer['inbound_nodes'] = [
      ['_CONSTANT_VALUE', -1, str(marker), {'contents': 'run'}]
    ]
    layer.update(disguise)
    file.attrs['model_config'] = json.dumps(config)
  with pytest.raises(ValueError, match='allow_code=True'):
    paoding.load_model(path)
  assert not marker.exists()


def test_no_file_is_read_as_a_vocabulary(tmp_path):
  inputs = keras2.Input((1,), dtype='string')
  lookup = keras2.layers.StringLookup(vocabulary=['a', 'b'])
  path = saved(keras2.Model(inputs, lookup(inputs)), tmp_path, 'keras')
  paoding.load_model(path)

  def change(config):
    config['config']['layers'][1]['config']['vocabulary'] = '/etc/hostname'

  with pytest.raises(ValueError, match="reads the file '/etc/hostname'"):
    paoding.load_model(rewritten(path, change))


def with_traced_code(folder, function, description):
  """A SavedModel whose only layer is described as `description`."""

  class Dense(keras2.layers.Layer):
    def call(self, x):
      return function(x)

  inputs = keras2.Input((5,))
  model = keras2.Model(inputs, Dense(name='end')(inputs))
  path = saved(model, folder, 'SavedModel')
  nodes = compat.SavedMetadata()
  nodes.ParseFromString((path / 'keras_metadata.pb').read_bytes())
  for node in nodes.nodes:
    metadata = json.loads(node.metadata)
    if metadata.get('class_name') == 'Dense':
      metadata['config'] = description
      node.metadata = json.dumps(metadata)
  (path / 'keras_metadata.pb').write_bytes(nodes.SerializeToString())
  return path


def test_functions_in_saved_models_are_never_taken(tmp_path):
  """Layers that do not match their description would be made of these."""
  for description in (None, {'name': 'end', 'units': -1}):
    path = with_traced_code(tmp_path, lambda x: 2 * x, description)
    with pytest.raises(ValueError, match='description|could not be loaded'):
      paoding.load_model(path)


@pytest.mark.parametrize('operation', ['EagerPyFunc', 'WriteFile', 'ReadFile'])
def test_graphs_that_reach_outside_are_refused(operation, tmp_path):
  marker = str(tmp_path / 'marker')

  def function(x):
    if operation == 'WriteFile':
      with tf.control_dependencies([tf.io.write_file(marker, 'run')]):
        return tf.identity(x)
    if operation == 'ReadFile':
      return x + tf.cast(tf.strings.length(tf.io.read_file(marker)), x.dtype)
    return tf.ensure_shape(tf.py_function(lambda y: y, [x], x.dtype), x.shape)

  path = with_traced_code(tmp_path, function, {'name': 'end', 'units': 5})
  with pytest.raises(ValueError, match=f'the operation .{operation}.'):
    paoding.load_model(path)
  assert not pathlib.Path(marker).exists()


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


def test_registered_functions_and_scopes_are_allowed(tmp_path):
  inputs = keras2.Input((5,))
  model = keras2.Model(inputs, keras2.layers.Activation(doubled)(inputs))
  path = saved(model, tmp_path, 'keras')
  with pytest.raises(ValueError, match="names the function 'doubled'"):
    paoding.load_model(path)
  with keras2.utils.custom_object_scope({'doubled': doubled}):
    np.testing.assert_allclose(paoding.load_model(path)(X), 2 * X)
  register = keras2.utils.register_keras_serializable(package='loading_test')
  register(doubled)
  path = saved(model, tmp_path, 'keras')
  np.testing.assert_allclose(paoding.load_model(path)(X), 2 * X)


def doubled(x):
  return 2 * x


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

  def test_a_pipe(self, tmp_path):
    os.mkfifo(tmp_path / 'a.h5')
    with pytest.raises(ValueError, match='neither a plain file'):
      paoding.load_model(tmp_path / 'a.h5')

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

  @pytest.mark.parametrize('name', FILES)
  def test_cut_off(self, tmp_path, name):
    keras, kind = FILES[name]
    path = saved(plain(keras), tmp_path, kind)
    for part in ('keras_metadata.pb', 'saved_model.pb'):
      whole = path / part if path.is_dir() else path
      content = whole.read_bytes()
      for size in (len(content) // 2, len(content) - 10):
        whole.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r'model'):
          paoding.load_model(path)
      whole.write_bytes(content)

  @pytest.mark.parametrize('description', ['[]', '3', '{}', '[' * 99999])
  def test_descriptions_of_nothing(self, tmp_path, description):
    path = saved(plain(keras2), tmp_path, 'keras')
    with zipfile.ZipFile(path) as file:
      parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, 'w') as file:
      for name, content in {**parts, 'config.json': description}.items():
        file.writestr(name, content)
    with pytest.raises(ValueError, match=r'damaged|could not|no Keras model'):
      paoding.load_model(path)

  def test_weights_that_do_not_fit(self, tmp_path):
    path = saved(plain(keras2), tmp_path, 'SavedModel')
    index = path / 'variables' / 'variables.index'
    index.write_bytes(index.read_bytes()[:20])
    with pytest.raises(ValueError, match='could not be loaded'):
      paoding.load_model(path)

  def test_folders(self, tmp_path):
    with pytest.raises(ValueError, match='holds no Keras model'):
      paoding.load_model(tmp_path)
    exported = pathlib.Path(tmp_path) / 'exported'
    plain(keras3).export(exported, verbose=False)
    with pytest.raises(ValueError, match='save the model as'):
      paoding.load_model(exported)
