"""A .tflite as C++ source, for projects that compile models in."""

from __future__ import annotations

import dataclasses
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.files import write_files
from tfmot_paoding.tflite.arena_margin import arena_margin
from tfmot_paoding.tflite.c_tensors import tensor_lines
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.micro import measure_arena

# Words that C++ keeps for itself; as names they would not compile.
_KEYWORDS = frozenset(
  [
    'alignas',
    'alignof',
    'and',
    'asm',
    'auto',
    'bitand',
    'bitor',
    'bool',
    'break',
    'case',
    'catch',
    'char',
    'class',
    'compl',
    'concept',
    'const',
    'constexpr',
    'continue',
    'decltype',
    'default',
    'delete',
    'do',
    'double',
    'else',
    'enum',
    'explicit',
    'export',
    'extern',
    'false',
    'float',
    'for',
    'friend',
    'goto',
    'if',
    'inline',
    'int',
    'long',
    'mutable',
    'namespace',
    'new',
    'noexcept',
    'not',
    'nullptr',
    'operator',
    'or',
    'private',
    'protected',
    'public',
    'register',
    'requires',
    'return',
    'short',
    'signed',
    'sizeof',
    'static',
    'struct',
    'switch',
    'template',
    'this',
    'throw',
    'true',
    'try',
    'typedef',
    'typeid',
    'typename',
    'union',
    'unsigned',
    'using',
    'virtual',
    'void',
    'volatile',
    'while',
    'xor',
  ]
)
# Of the arena's size, across lines of a comment.
_MEASURED = """: {measured} measured in tflite-micro with its own
// kernels on a 64-bit host, of which 32-bit pointers take a little less, and a
// margin of {margin} for the buffers of CMSIS-NN's kernels"""


def write_c_array(
  data: bytes | Mapping[str, bytes],
  path: str,
  *,
  name: str | None = None,
  arena_bytes: int | Mapping[str, int] | None = None,
  model: keras.Model | Mapping[str, keras.Model] | None = None,
) -> tuple[str, str]:
  """Writes models as a .cc and a .h that a tflite-micro project compiles in.

  They define `NAME`, `NAME_len` and `NAME_arena_size`; the array is const, so
  that it stays in flash, and aligned to 16 bytes. Of each input and output, by
  its place in the interpreter, the header gives which of the model's it is
  (`NAME_input_X_index`), its shape and type, and the scale and zero point of
  integers. A .cc does not compile with the .h of another model.

  Args:
    data: The flatbuffer; or several by the names of their arrays. What else is
      given of several is a dict by these names too.
    path: Of the two files without an extension; '.cc' or '.h' at its end is
      left out.
    name: The array's name; None for that of the file. Several have theirs.
    arena_bytes: The arena to recommend; None to measure it in tflite-micro
      (the extra `[micro]`) and add `arena_margin`.
    model: The Keras model that was converted, to say in which order it has its
      inputs and outputs: files have them in another. None to leave that out.

  Returns:
    The paths of the .cc and the .h.

  Raises:
    ImportError: the arena shall be measured without tflite-micro.
    OSError: the folder cannot be written to; neither file is then.
    ValueError: `name` is no C identifier, `data` no .tflite or not that of
      `model`, tflite-micro does not run it, or what is given of several is no
      dict by their names.
  """
  if isinstance(data, Mapping):
    stem, guard = _guard(path, name, data)
    arenas, models = (
      _by_name(argument, given, data)
      for argument, given in (('arena_bytes', arena_bytes), ('model', model))
    )
    arrays = [
      _Array.of(data[one], one, arenas.get(one), models.get(one))
      for one in data
    ]
  else:
    stem, name = array_name(path, name)
    guard, arrays = name, [_Array.of(data, name, arena_bytes, model)]
  header = os.path.basename(stem) + '.h'
  source, declarations = stem + '.cc', stem + '.h'
  write_files(
    {
      source: _source(arrays, header).encode(),
      declarations: _header(arrays, guard).encode(),
    }
  )
  return source, declarations


@dataclasses.dataclass(frozen=True)
class _Array:
  """A model as it is declared.

  Attributes:
    name: Of the array.
    data: The flatbuffer.
    arena_bytes: To recommend.
    arena_source: Whose figure that is.
    lines: Of its inputs and outputs.
  """

  name: str
  data: bytes
  arena_bytes: int
  arena_source: str
  lines: list[str]

  @classmethod
  def of(
    cls,
    data: bytes,
    name: str,
    arena_bytes: int | None,
    model: keras.Model | None,
  ) -> _Array:
    """The array of a file; see `write_c_array`."""
    return cls(name, data, *_declared(data, name, arena_bytes, model))


def _guard(
  path: str, name: str | None, arrays: Mapping[str, bytes]
) -> tuple[str, str]:
  """Where several arrays go, and what guards their header.

  Raises:
    ValueError: there is none, one's name is no C identifier, or a `name` is
      given beside theirs.
  """
  if name is not None or not arrays:
    raise ValueError(
      'Several models in one file come as a dict of array name to bytes, of at '
      f'least one, and without `name`, but got name={name!r} and '
      f'{len(arrays)} models.'
    )
  for one in arrays:
    array_name(path, one)
  return array_name(path)


def _by_name(
  argument: str, given: Any, arrays: Mapping[str, bytes]
) -> Mapping[str, Any]:
  """What is given of several arrays, by their names.

  Raises:
    ValueError: it is no dict of some of these names.
  """
  if given is None:
    return {}
  if not isinstance(given, Mapping) or not given.keys() <= arrays.keys():
    raise ValueError(
      f'`{argument}` of several models must be a dict by their names '
      f'{sorted(arrays)}, but got {given!r}.'
    )
  return given


def _declared(
  data: bytes, name: str, arena_bytes: int | None, model: keras.Model | None
) -> tuple[int, str, list[str]]:
  """The arena, whose figure it is, and the lines of inputs and outputs.

  Raises:
    ValueError: as `write_c_array`.
  """
  file = TFLiteFile(data)
  arena_source = ', as they were asked for'
  if arena_bytes is None:
    measured, margin = measure_arena(data), arena_margin(data)
    arena_bytes = measured + margin
    arena_source = _MEASURED.format(measured=measured, margin=margin)
  if isinstance(arena_bytes, bool) or arena_bytes < 1:
    raise ValueError(f'`arena_bytes` must be positive, got {arena_bytes!r}.')
  names = (None, None)
  if model is not None:
    names = model.input_names, model.output_names
  lines = [
    line
    for order, is_input in zip(names, (True, False), strict=True)
    for line in tensor_lines(file, name, is_input, order)
  ]
  return arena_bytes, arena_source, lines


def array_name(path: str, name: str | None = None) -> tuple[str, str]:
  """Where `write_c_array` writes, without extensions, and the array's name.

  Args:
    path: As in `write_c_array`.
    name: As in `write_c_array`.

  Raises:
    ValueError: the name is no C identifier.
  """
  stem = re.sub(r'\.(cc|h)$', '', path)
  if name is None:
    name = re.sub(r'\W', '_', os.path.basename(stem))
  if not re.fullmatch(r'[A-Za-z_][A-Za-z0-9_]*', name) or name in _KEYWORDS:
    raise ValueError(
      f'`name` must be a C identifier such as g_model, but got {name!r}.'
    )
  return stem, name


def _header(arrays: Sequence[_Array], guard: str) -> str:
  guard = f'{guard.upper()}_H_'
  body = '\n'.join(map(_declarations, arrays))
  return f"""#ifndef {guard}
#define {guard}

#include <cstddef>

{body}
#endif  // {guard}
"""


def _declarations(array: _Array) -> str:
  name, data, tensors = array.name, array.data, '\n'.join(array.lines)
  return f"""// A TensorFlow Lite model of {len(data)} bytes.
extern const unsigned char {name}[];
extern const unsigned int {name}_len;

// Bytes of tensor arena{array.arena_source}.
constexpr std::size_t {name}_arena_size = {array.arena_bytes};

// Inputs and outputs, by their place in the interpreter. Where there is a
// scale, the integer round(x / scale) + zero_point stands for the number x.
{tensors}

// Of the model's bytes: that of the .cc must be the same.
constexpr unsigned int {name}_crc32 = 0x{zlib.crc32(data):08x};
"""


def _source(arrays: Sequence[_Array], header: str) -> str:
  body = '\n'.join(_definition(array, header) for array in arrays)
  return f'#include "{header}"\n\n{body}'


def _definition(array: _Array, header: str) -> str:
  name, data = array.name, array.data
  lines = [
    '  ' + ' '.join(f'0x{byte:02x},' for byte in data[start : start + 12])
    for start in range(0, len(data), 12)
  ]
  body = '\n'.join(lines)
  return f"""static_assert({name}_crc32 == 0x{zlib.crc32(data):08x},
              "{header} is of another model: write both files again");

alignas(16) const unsigned char {name}[] = {{
{body}
}};
const unsigned int {name}_len = {len(data)};
"""
