"""SavedModels of old and new TensorFlow; what is in their folders."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import compat
from tfmot_paoding.compat import keras

X = testing.samples((5,), 10).astype(np.float32)


def plain():
  inputs = keras.Input((5,))
  inner = keras.Sequential(
    [keras.Input((5,)), keras.layers.Dense(5, tf.nn.relu6)], name='inner'
  )
  x = keras.layers.BatchNormalization()(inner(inputs))
  x = keras.layers.Dense(8, 'relu', name='hidden')(x)
  return testing.fill(keras.Model(inputs, keras.layers.Dense(3, name='end')(x)))


def saved(model, folder):
  model.save(folder / 'model', save_format='tf')
  return folder / 'model'


def aged(path):
  """The same SavedModel as TensorFlow 2.0 to 2.4 would have written it."""
  nodes = compat.SavedMetadata()
  nodes.ParseFromString((path / 'keras_metadata.pb').read_bytes())
  graph = saved_model_pb2.SavedModel()
  graph.ParseFromString((path / 'saved_model.pb').read_bytes())
  objects = graph.meta_graphs[0].object_graph_def.nodes
  for node in nodes.nodes:
    objects[node.node_id].user_object.metadata = node.metadata
  (path / 'saved_model.pb').write_bytes(graph.SerializeToString())
  (path / 'keras_metadata.pb').unlink()
  return path


def test_descriptions_in_the_graph_are_read(tmp_path):
  model = plain()
  loaded = paoding.load_model(aged(saved(model, tmp_path)))
  np.testing.assert_allclose(loaded(X), model(X), rtol=1e-6)
  assert (
    paoding.prune(loaded, 0.5, method='l1', verbose=0).get_layer('hidden').units
    == 4
  )


def test_descriptions_in_the_graph_are_checked(tmp_path):
  inputs = keras.Input((5,))
  code = keras.layers.Lambda(lambda x: 2 * x, name='evil')(inputs)
  path = aged(saved(keras.Model(inputs, code), tmp_path))
  with pytest.raises(ValueError, match=r'Lambda.*evil'):
    paoding.load_model(path)


def test_exported_graphs_are_named_as_such(tmp_path):
  """A module of variables, say, without any Keras model."""
  module = tf.Module()
  module.v = tf.Variable(1.0)
  tf.saved_model.save(module, tmp_path / 'model')
  with pytest.raises(ValueError, match='exported inference graph'):
    paoding.load_model(tmp_path / 'model')
  path = aged(saved(plain(), tmp_path / 'other'))
  graph = saved_model_pb2.SavedModel()
  graph.ParseFromString((path / 'saved_model.pb').read_bytes())
  for node in graph.meta_graphs[0].object_graph_def.nodes:
    node.user_object.metadata = ''
  (path / 'saved_model.pb').write_bytes(graph.SerializeToString())
  with pytest.raises(ValueError, match='exported inference graph'):
    paoding.load_model(path)


def test_no_other_file_becomes_weights(tmp_path):
  """TensorFlow holds what it reads against checksums in the index."""
  path = saved(plain(), tmp_path)
  data = path / 'variables' / 'variables.data-00000-of-00001'
  secret = tmp_path / 'secret'
  secret.write_bytes(b's' * data.stat().st_size)
  data.unlink()
  data.symlink_to(secret)
  with pytest.raises(ValueError, match=r'(?i)checksum'):
    paoding.load_model(path)
  data.unlink()
  os.mkfifo(data)
  with pytest.raises(ValueError, match='no plain file'):
    paoding.load_model(path)


def test_linked_folders_load(tmp_path):
  """As caches of downloaded models keep their files."""
  model = plain()
  path = saved(model, tmp_path)
  for file in [*path.rglob('*')]:
    if file.is_file():
      target = tmp_path / 'blobs' / file.name
      target.parent.mkdir(exist_ok=True)
      file.rename(target)
      file.symlink_to(target)
  np.testing.assert_allclose(paoding.load_model(path)(X), model(X), rtol=1e-6)


@pytest.mark.shared
def test_a_model_of_tensorflow_2_3(shared):
  path = shared / 'models' / 'field' / 'legacy_savedmodel_kws'
  loaded = paoding.load_model(path)
  want = keras.models.load_model(path, compile=False)
  x = np.random.default_rng(0).normal(size=(4, *want.input_shape[1:]))
  np.testing.assert_allclose(
    loaded(x.astype('f4')), want(x.astype('f4')), rtol=1e-5, atol=1e-6
  )
