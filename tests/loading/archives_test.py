"""The zip that a .keras file is: bombs are refused, Windows' names are read."""

from __future__ import annotations

import io
import json
import zipfile

import h5py
import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras as keras2
from tfmot_paoding.loading import archives, hdf5

keras3 = pytest.importorskip('keras', minversion='3')
X = testing.samples((5,), 10).astype(np.float32)
ZEROS = bytes(2**20)


def plain(keras):
  inputs = keras.Input((5,))
  x = keras.layers.Dense(8, 'relu', name='hidden')(inputs)
  x = keras.layers.BatchNormalization()(x)
  return keras.Model(inputs, keras.layers.Dense(3, name='end')(x))


@pytest.fixture(params=[keras2, keras3], ids=['tf_keras', 'Keras 3'])
def path(request, tmp_path):
  """A .keras file of either generation."""
  plain(request.param).save(tmp_path / 'model.keras')
  return tmp_path / 'model.keras'


def rewritten(path, change):
  """The same file with its parts, by name, changed."""
  with zipfile.ZipFile(path) as file:
    parts = {name: file.read(name) for name in file.namelist()}
  change(parts)
  with zipfile.ZipFile(path, 'w') as file:
    for name, content in parts.items():
      file.writestr(name, content)


def with_backslashes(content):
  """Weights named as Keras 2.15 names them on Windows."""
  target = io.BytesIO()
  with (
    h5py.File(io.BytesIO(content), 'r') as old,
    h5py.File(target, 'w') as new,
  ):

    def copy(name, thing):
      if isinstance(thing, h5py.Dataset):
        group, rest = name.split('/vars/')
        name = group.replace('/', '\\') + '/vars/' + rest
        new.create_dataset(name, data=thing[()]).attrs.update(thing.attrs)

    old.visititems(copy)
    new.require_group('vars')
  return target.getvalue()


def test_names_of_windows_are_read(tmp_path):
  model = testing.fill(
    keras2.Sequential([plain(keras2), keras2.layers.Dense(2)])
  )
  path = tmp_path / 'model.keras'
  model.save(path)

  def change(parts):
    parts['model.weights.h5'] = with_backslashes(parts['model.weights.h5'])

  rewritten(path, change)
  before = path.read_bytes()
  with pytest.raises(ValueError, match='0 variables'):
    keras2.models.load_model(path)
  loaded = paoding.load_model(path)
  np.testing.assert_array_equal(loaded(X), model(X))
  assert path.read_bytes() == before


@pytest.mark.parametrize(
  'name', ['../outside', '/etc/outside', 'assets/../../x', 'C:/x', '..\\x']
)
def test_names_that_lead_elsewhere_are_refused(name, path):
  with zipfile.ZipFile(path, 'a') as file:
    file.writestr(name, 'x')
  with pytest.raises(ValueError, match='lies outside') as caught:
    paoding.load_model(path)
  assert str(path) in str(caught.value)


def test_symbolic_links_are_refused(path):
  link = zipfile.ZipInfo('assets/link')
  link.external_attr = 0o120777 << 16
  with zipfile.ZipFile(path, 'a') as file:
    file.writestr(link, '/etc/passwd')
  with pytest.raises(ValueError, match='is a symbolic link'):
    paoding.load_model(path)


def test_names_used_twice_are_refused(path):
  with (
    pytest.warns(UserWarning, match='Duplicate'),
    zipfile.ZipFile(path, 'a') as file,
  ):
    file.writestr('config.json', '{}')
  with pytest.raises(ValueError, match='each once'):
    paoding.load_model(path)


@pytest.mark.parametrize('method', [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions_are_refused(method, path):
  """Python unpacks these at any length, whatever they are said to hold."""
  with zipfile.ZipFile(path, 'a') as file:
    file.writestr('assets/x', ZEROS, compress_type=method)
  with pytest.raises(ValueError, match='packed in a way'):
    paoding.load_model(path)


def test_bombs_are_refused(path, monkeypatch):
  """An asset that unpacks to far more than the file is."""
  with zipfile.ZipFile(path, 'a') as file:
    file.writestr('assets/x', ZEROS, compress_type=zipfile.ZIP_DEFLATED)
  paoding.load_model(path)  # a megabyte is no harm
  monkeypatch.setattr(hdf5, 'SMALL_BYTES', 2**18)
  monkeypatch.setattr(hdf5, 'LARGEST_RATIO', 4)
  with pytest.raises(ValueError, match='would unpack to'):
    paoding.load_model(path)


def test_many_files_are_refused(path, monkeypatch):
  monkeypatch.setattr(archives, '_MOST_FILES', 5)
  paoding.load_model(path)
  with zipfile.ZipFile(path, 'a') as file:
    for index in range(5):
      file.writestr(f'assets/{index}', '')
  with pytest.raises(ValueError, match='Expected at most'):
    paoding.load_model(path)


def test_descriptions_too_large_are_refused(path, monkeypatch):
  monkeypatch.setattr(archives, '_LARGEST_CONFIG', 100)
  with pytest.raises(ValueError, match='absurdly large'):
    paoding.load_model(path)


def test_compressed_files_load(path):
  """As whoever zips them anew would have them."""
  want = paoding.load_model(path)(X)
  with zipfile.ZipFile(path) as file:
    parts = {name: file.read(name) for name in file.namelist()}
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
    for name, content in parts.items():
      file.writestr(name, content)
  np.testing.assert_array_equal(paoding.load_model(path)(X), want)


def test_other_weights_are_named(path):
  def change(parts):
    del parts['model.weights.h5']
    content = io.BytesIO()
    np.savez(content, a=np.zeros(3))
    parts['model.weights.npz'] = content.getvalue()

  rewritten(path, change)
  with pytest.raises(ValueError, match=r'holds no model\.weights\.h5'):
    paoding.load_model(path)


def test_a_description_nested_without_end(path):
  def change(parts):
    config = json.loads(parts['config.json'])
    for _ in range(300):
      config = {
        'class_name': 'Sequential',
        'module': 'keras',
        'registered_name': None,
        'config': {'name': 'x', 'layers': [config]},
      }
    parts['config.json'] = json.dumps(config).encode()

  rewritten(path, change)
  with pytest.raises(ValueError, match=r'model\.keras'):
    paoding.load_model(path)
