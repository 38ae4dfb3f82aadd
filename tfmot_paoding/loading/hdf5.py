"""What an HDF5 file of weights may hold: plain numbers of its own, no more.

HDF5 lets a dataset live in any other file (external storage, links, virtual
datasets), so that loading a stranger's model would read one's own files into
its weights. It also lets a small file claim to hold terabytes. Neither is what
Keras writes, and neither is read here: a file is walked without following
anything.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any

import h5py

from tfmot_paoding.loading.errors import ModelFileError

# What may be unpacked of any file, and of a larger one per byte it has. Keras
# packs nothing; weights that are mostly zero may shrink to a twentieth.
SMALL_BYTES = 2**28
LARGEST_RATIO = 32
# An array of strings of any length may hold one long string many times over.
_LARGEST_STRINGS = 2**32
_PIECE = 2**20
_LZF = 32000  # registered by h5py itself
_TRUST = 'If you trust whoever made it, pass allow_code=True.'


def largest_unpacked(file_bytes: int) -> int:
  """How many bytes the contents of a file of `file_bytes` may come to."""
  return max(SMALL_BYTES, LARGEST_RATIO * file_bytes)


def check_hdf5(file: h5py.File, path: str, file_bytes: int) -> int:
  """Raises if a file of weights holds more than its own plain numbers.

  Args:
    file: The file, open. None of its data is read, but for packed chunks,
      which are unpacked piece by piece to see how much is in them.
    path: Where it came from, for the message.
    file_bytes: Its size.

  Returns:
    How many numbers it holds in all.

  Raises:
    ModelFileError: a dataset is not stored in the file itself, is not made of
      numbers, or would unpack to much more than a file of that size can hold.
  """
  numbers = unpacked = 0
  for name, thing in _objects(file, path):
    for attribute in thing.attrs:
      unpacked += _check_attribute(thing, attribute, path, file_bytes)
    if isinstance(thing, h5py.Dataset):
      unpacked += _check_dataset(thing, name, path)
      numbers += thing.size or 0
    if unpacked > largest_unpacked(file_bytes):
      raise ModelFileError(
        f'{path!r} has {file_bytes} bytes and would unpack to {unpacked} or '
        f'more, with {name!r}. {_TRUST}'
      )
  return numbers


def has_backslashes(file: h5py.File) -> bool:
  """Whether the names in a file were joined as Windows joins them."""
  found = []
  file.visit(lambda name: found.append(name) if '\\' in name else None)
  return bool(found)


def copy_with_slashes(source: h5py.File, target: h5py.File) -> None:
  """Copies groups and datasets; a backslash in a name divides it."""

  def copy(name: str, thing: Any) -> None:
    name = name.replace('\\', '/')
    if isinstance(thing, h5py.Dataset):
      target.create_dataset(name, data=thing[()])
    else:
      target.require_group(name)
    for key, value in thing.attrs.items():
      target[name].attrs[key] = value

  source.visititems(copy)


@contextlib.contextmanager
def changed_hdf5(path: str, config: dict) -> Iterator[str]:
  """A copy of an .h5 file for a while, with another description."""
  with tempfile.TemporaryDirectory() as folder:
    copy = os.path.join(folder, 'model.h5')
    shutil.copyfile(path, copy)
    with h5py.File(copy, 'a') as file:
      file.attrs['model_config'] = json.dumps(config)
    yield copy


def _objects(file: h5py.File, path: str) -> Iterator[tuple[str, Any]]:
  """All groups and datasets by name; nothing is followed out of the file."""
  waiting, seen = [file['/']], {_address(file['/'])}
  while waiting:
    group = waiting.pop()
    yield group.name, group
    for name in group:
      link = group.get(name, getlink=True)
      where = f'{group.name.rstrip("/")}/{name}'
      if not isinstance(link, h5py.HardLink):
        raise ModelFileError(
          f'{path!r} holds a link, {where!r}, in the place of data: loading '
          f'it could read files of yours. {_TRUST}'
        )
      thing = group[name]
      if isinstance(thing, h5py.Dataset):
        yield where, thing
        continue
      if not isinstance(thing, h5py.Group):
        raise ModelFileError(
          f'{path!r} holds neither a group nor plain numbers at {where!r}, '
          f'but {thing!r}. {_TRUST}'
        )
      if _address(thing) in seen:
        raise ModelFileError(
          f'{path!r} is damaged: its group {where!r} is reached twice.'
        )
      seen.add(_address(thing))
      waiting.append(thing)


def _address(group: h5py.Group) -> int:
  return h5py.h5o.get_info(group.id).addr


def _check_attribute(thing: Any, name: str, path: str, file_bytes: int) -> int:
  """The bytes of an attribute, not read."""
  attribute = thing.attrs.get_id(name)
  count = math.prod(attribute.shape or ())
  if _is_reference(attribute.dtype):
    raise ModelFileError(
      f'{path!r} holds references where plain values belong: attribute '
      f'{name!r} of {thing.name!r}. {_TRUST}'
    )
  # The string of a scalar is in the file once; those of an array may all be
  # the same long one.
  varies = attribute.dtype.kind == 'O' and count > 1
  if varies and count * file_bytes > _LARGEST_STRINGS:
    raise ModelFileError(
      f'{path!r} holds {count} values of variable length in the attribute '
      f'{name!r} of {thing.name!r}, which could come to any size. Save the '
      f'model again with Keras, which gives them a fixed one. {_TRUST}'
    )
  return count * attribute.dtype.itemsize


def _check_dataset(dataset: h5py.Dataset, name: str, path: str) -> int:
  """The bytes that reading a dataset takes."""
  if dataset.external or dataset.is_virtual:
    kind = 'a virtual dataset' if dataset.is_virtual else 'an external file'
    raise ModelFileError(
      f'{path!r} takes {name!r} from {kind}: loading it could read files of '
      f'yours into the weights. {_TRUST}'
    )
  dtype, size = dataset.dtype, dataset.dtype.itemsize
  if dtype.kind not in 'biufSV' or dtype.names or dtype.subdtype:
    raise ModelFileError(
      f'{path!r} holds {dtype} at {name!r} where plain numbers belong. {_TRUST}'
    )
  data = (dataset.size or 0) * size
  if dataset.chunks is None:
    return data
  _check_filters(dataset, name, path)
  chunk = math.prod(dataset.chunks) * size
  # What is refused for its size need not be looked at chunk by chunk.
  if data <= largest_unpacked(dataset.id.get_storage_size()):
    _check_chunks(dataset, name, path, chunk)
  return max(data, chunk)


def _is_reference(dtype: Any) -> bool:
  return h5py.check_ref_dtype(dtype) is not None


def _check_filters(dataset: h5py.Dataset, name: str, path: str) -> None:
  plist = dataset.id.get_create_plist()
  filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
  left = list(filters)
  if left[-1:] == [h5py.h5z.FILTER_FLETCHER32]:  # a checksum at the end
    left.pop()
  if left[:1] == [h5py.h5z.FILTER_SHUFFLE]:
    left.pop(0)
  if left not in ([], [h5py.h5z.FILTER_DEFLATE], [_LZF]):
    raise ModelFileError(
      f'{path!r} holds {name!r} packed by the HDF5 filters {filters}, of which '
      'it cannot be told how much is in them. Expected none, or one of gzip '
      f'or lzf: save the model again with Keras. {_TRUST}'
    )


def _check_chunks(
  dataset: h5py.Dataset, name: str, path: str, chunk: int
) -> None:
  """Raises if a gzip chunk unpacks to more than a chunk holds.

  HDF5 itself unpacks to the end, whatever the chunk's size. (lzf packs to a
  ninetieth at best.)
  """
  if dataset.compression != 'gzip':
    return
  for index in range(dataset.id.get_num_chunks()):
    start = dataset.id.get_chunk_info(index).chunk_offset
    _, packed = dataset.id.read_direct_chunk(start)
    if not _inflates_to(packed, chunk):
      raise ModelFileError(
        f'{path!r} is damaged: a chunk of {name!r} unpacks to more than the '
        f'{chunk} bytes that it should hold.'
      )


def _inflates_to(packed: bytes, most: int) -> bool:
  """Whether deflated bytes come to at most so many (or are none at all)."""
  stream, total = zlib.decompressobj(), 0
  try:
    while packed and not stream.eof:
      total += len(stream.decompress(packed, _PIECE))
      if total > most:
        return False
      packed = stream.unconsumed_tail
  except zlib.error:
    return True  # HDF5 will say so
  return True
