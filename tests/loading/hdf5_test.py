"""HDF5 files reach for nothing outside of themselves, nor unpack to more."""

from __future__ import annotations

import contextlib
import zipfile

import h5py
import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras as keras2
from tfmot_paoding.loading.hdf5 import check_hdf5

keras3 = pytest.importorskip('keras', minversion='3')
X = testing.samples((5,), 10).astype(np.float32)
GIGABYTES = (5, 2**30)


def plain(keras):
  inputs = keras.Input((5,))
  x = keras.layers.Dense(8, 'relu', name='hidden')(inputs)
  return keras.Model(inputs, keras.layers.Dense(3, name='end')(x))


FILES = {
  'tf_keras h5': (keras2, 'h5'),
  'tf_keras keras': (keras2, 'keras'),
  'Keras 3 h5': (keras3, 'h5'),
  'Keras 3 keras': (keras3, 'keras'),
}


@contextlib.contextmanager
def edited(path):
  """The HDF5 file at `path` or in the zip there, open to be changed."""
  if path.suffix == '.h5':
    with h5py.File(path, 'a') as file:
      yield file
    return
  with zipfile.ZipFile(path) as archive:
    parts = {name: archive.read(name) for name in archive.namelist()}
  weights = path.with_suffix('.h5')
  weights.write_bytes(parts['model.weights.h5'])
  with h5py.File(weights, 'a') as file:
    yield file
  parts['model.weights.h5'] = weights.read_bytes()
  with zipfile.ZipFile(path, 'w') as archive:
    for name, content in parts.items():
      archive.writestr(name, content)


def kernel(file):
  """The first dataset of two axes: its group and its name."""
  found = []

  def visit(name, thing):
    if isinstance(thing, h5py.Dataset) and thing.shape == (5, 8):
      found.append((thing.parent, name.split('/')[-1]))

  file.visititems(visit)
  return found[0]


def saved(name, folder):
  keras, kind = FILES[name]
  path = folder / f'model.{kind}'
  plain(keras).save(path)
  return path


def external_storage(group, name, folder):
  secret = folder / 'secret'
  secret.write_bytes(np.full(40, 7, np.float32).tobytes())
  group.create_dataset(name, (5, 8), 'f4', external=[(str(secret), 0, 160)])


def other_file(folder):
  with h5py.File(folder / 'other.h5', 'w') as other:
    other['secret'] = np.full((5, 8), 7, np.float32)
  return str(folder / 'other.h5')


def external_link(group, name, folder):
  group[name] = h5py.ExternalLink(other_file(folder), 'secret')


def soft_link(group, name, folder):
  group['elsewhere'] = np.full((5, 8), 7, np.float32)
  group[name] = h5py.SoftLink(f'{group.name}/elsewhere')


def virtual(group, name, folder):
  layout = h5py.VirtualLayout((5, 8), 'f4')
  layout[:] = h5py.VirtualSource(other_file(folder), 'secret', (5, 8))
  group.create_virtual_dataset(name, layout)


def references(group, name, folder):
  group['of'] = np.zeros(3)
  dataset = group.create_dataset(name, (5, 8), h5py.ref_dtype)
  dataset[0, 0] = group['of'].ref


def variable_length(group, name, folder):
  group.create_dataset(name, (5, 8), h5py.vlen_dtype(np.float32))


OUTSIDE = {
  'external storage': (external_storage, 'external file'),
  'an external link': (external_link, 'link'),
  'a soft link': (soft_link, 'link'),
  'a virtual dataset': (virtual, 'virtual'),
  'references': (references, 'plain numbers'),
  'variable length': (variable_length, 'plain numbers'),
}


@pytest.mark.parametrize('file', FILES)
@pytest.mark.parametrize('way', OUTSIDE)
def test_weights_from_elsewhere_are_refused(way, file, tmp_path):
  make, message = OUTSIDE[way]
  path = saved(file, tmp_path)
  with edited(path) as opened:
    group, name = kernel(opened)
    del group[name]
    make(group, name, tmp_path)
  with pytest.raises(ValueError, match=message) as caught:
    paoding.load_model(path)
  assert path.name in str(caught.value)
  assert 'allow_code=True' in str(caught.value)


@pytest.mark.parametrize('link', [external_link, soft_link])
def test_groups_from_elsewhere_are_refused(link, tmp_path):
  path = saved('tf_keras h5', tmp_path)
  with edited(path) as opened:
    group, _ = kernel(opened)
    name = group.name
    parent = group.parent
    del opened[name]
    link(parent, name.split('/')[-1], tmp_path)
  with pytest.raises(ValueError, match='link'):
    paoding.load_model(path)


def test_a_group_inside_itself_is_refused(tmp_path):
  path = saved('tf_keras h5', tmp_path)
  with edited(path) as opened:
    opened['model_weights/again'] = opened['model_weights']
  with pytest.raises(ValueError, match='reached twice'):
    paoding.load_model(path)


def never_written(group, name):
  group.create_dataset(name, GIGABYTES, 'f4')


def never_written_in_chunks(group, name):
  group.create_dataset(name, GIGABYTES, 'f4', chunks=(5, 1024))


def compressed(group, name):
  """Ten times as much in a chunk as the dataset says it holds."""
  dataset = group.create_dataset(
    name, (5, 8), 'f4', chunks=(5, 8), compression='gzip'
  )
  dataset.id.write_direct_chunk((0, 0), _deflated(1600))


def compressed_twice(group, name):
  plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
  plist.set_chunk((5, 8))
  plist.set_deflate(9)
  plist.set_deflate(9)
  space = h5py.h5s.create_simple((5, 8))
  h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, plist)


def large_chunks(group, name):
  group.create_dataset(
    name, (5, 8), 'f4', chunks=(2**14, 2**14), maxshape=(None, None)
  )


def scaled(group, name):
  group.create_dataset(name, (5, 8), 'i4', chunks=(5, 8), scaleoffset=0)


def _deflated(size):
  import zlib

  return zlib.compress(bytes(size))


BOMBS = {
  'never written': (never_written, 'unpack to'),
  'never written, in chunks': (never_written_in_chunks, 'unpack to'),
  'more in a chunk than said': (compressed, 'unpacks to more'),
  'compressed twice': (compressed_twice, 'gzip or lzf'),
  'large chunks': (large_chunks, 'unpack to'),
  'other filters': (scaled, 'gzip or lzf'),
}


@pytest.mark.parametrize('file', ['tf_keras h5', 'Keras 3 keras'])
@pytest.mark.parametrize('bomb', BOMBS)
def test_what_unpacks_to_gigabytes_is_refused(bomb, file, tmp_path):
  make, message = BOMBS[bomb]
  path = saved(file, tmp_path)
  with edited(path) as opened:
    group, name = kernel(opened)
    del group[name]
    make(group, name)
  with pytest.raises(ValueError, match=message):
    paoding.load_model(path)


def test_attributes_that_unpack_to_gigabytes_are_refused(tmp_path):
  path = tmp_path / 'names.h5'
  with h5py.File(path, 'w') as file:
    file.attrs['one'] = 'x' * 2**22  # of any length, but in the file once
    file.attrs['names'] = ['a', 'b']
    check_hdf5(file, str(path), 2**22)
    kind = h5py.h5t.py_create(h5py.string_dtype(), logical=True)
    space = h5py.h5s.create_simple((2000,))
    h5py.h5a.create(file.id, b'many', kind, space)
  with h5py.File(path) as file:
    size = path.stat().st_size
    assert size > 2**22
    with pytest.raises(ValueError, match='2000 values of variable length'):
      check_hdf5(file, str(path), size)


@pytest.mark.parametrize('file', FILES)
@pytest.mark.parametrize(
  'options',
  [
    {},
    {'compression': 'gzip', 'shuffle': True, 'fletcher32': True},
    {'compression': 'lzf'},
  ],
)
def test_compressed_weights_load(options, file, tmp_path):
  path = saved(file, tmp_path)
  value = np.random.default_rng(0).normal(size=(5, 8)).astype('f4')
  with edited(path) as opened:
    group, name = kernel(opened)
    del group[name]
    group.create_dataset(name, data=value, chunks=(3, 4), **options)
  loaded = paoding.load_model(path)
  np.testing.assert_array_equal(loaded.get_layer('hidden').kernel, value)
