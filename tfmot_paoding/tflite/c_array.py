"""A .tflite as C++ source, for projects that compile models in."""

from __future__ import annotations

import os
import re
import zlib

from tfmot_paoding.compat import keras
from tfmot_paoding.files import write_files
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
# Of the arena's size, across two lines of a comment.
_MEASURED = """, measured in tflite-micro on a 64-bit host; with
// 32-bit pointers a little less will do"""


def write_c_array(
  data: bytes,
  path: str,
  *,
  name: str | None = None,
  arena_bytes: int | None = None,
  model: keras.Model | None = None,
) -> tuple[str, str]:
  """Writes a model as a .cc and a .h that a tflite-micro project compiles in.

  They define `NAME`, `NAME_len` and `NAME_arena_size`; the array is const, so
  that it stays in flash, and aligned to 16 bytes. Of each input and output, by
  its place in the interpreter, the header gives which of the model's it is
  (`NAME_input_X_index`), its shape and type, and the scale and zero point of
  integers. A .cc does not compile with the .h of another model.

  Args:
    data: The flatbuffer.
    path: Of the two files without an extension; '.cc' or '.h' at its end is
      left out.
    name: The array's name; None for that of the file.
    arena_bytes: The arena to recommend; None to measure it in tflite-micro
      (the extra `[micro]`).
    model: The Keras model that was converted, to say in which order it has its
      inputs and outputs: files have them in another. None to leave that out.

  Returns:
    The paths of the .cc and the .h.

  Raises:
    ImportError: the arena shall be measured without tflite-micro.
    OSError: the folder cannot be written to; neither file is then.
    ValueError: `name` is no C identifier, `data` no .tflite or not that of
      `model`, or tflite-micro does not run it.
  """
  file = TFLiteFile(data)
  stem, name = array_name(path, name)
  arena_source = ', as they were asked for'
  if arena_bytes is None:
    arena_bytes, arena_source = measure_arena(data), _MEASURED
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
  header = os.path.basename(stem) + '.h'
  source, declarations = stem + '.cc', stem + '.h'
  write_files(
    {
      source: _source(data, name, header).encode(),
      declarations: _header(
        data, name, arena_bytes, arena_source, lines
      ).encode(),
    }
  )
  return source, declarations


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


def _header(
  data: bytes, name: str, arena_bytes: int, arena_source: str, lines: list[str]
) -> str:
  guard = f'{name.upper()}_H_'
  tensors = '\n'.join(lines)
  return f"""#ifndef {guard}
#define {guard}

#include <cstddef>

// A TensorFlow Lite model of {len(data)} bytes.
extern const unsigned char {name}[];
extern const unsigned int {name}_len;

// Bytes of tensor arena{arena_source}.
constexpr std::size_t {name}_arena_size = {arena_bytes};

// Inputs and outputs, by their place in the interpreter. Where there is a
// scale, the integer round(x / scale) + zero_point stands for the number x.
{tensors}

// Of the model's bytes: that of the .cc must be the same.
constexpr unsigned int {name}_crc32 = 0x{zlib.crc32(data):08x};

#endif  // {guard}
"""


def _source(data: bytes, name: str, header: str) -> str:
  lines = [
    '  ' + ' '.join(f'0x{byte:02x},' for byte in data[start : start + 12])
    for start in range(0, len(data), 12)
  ]
  body = '\n'.join(lines)
  return f"""#include "{header}"

static_assert({name}_crc32 == 0x{zlib.crc32(data):08x},
              "{header} is of another model: write both files again");

alignas(16) const unsigned char {name}[] = {{
{body}
}};
const unsigned int {name}_len = {len(data)};
"""
