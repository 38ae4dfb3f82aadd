"""A .tflite as C++ source, for projects that compile models in."""

from __future__ import annotations

import os
import re

from tfmot_paoding.tflite.files import write_files
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


def write_c_array(
  data: bytes,
  path: str,
  name: str | None = None,
  arena_bytes: int | None = None,
) -> tuple[str, str]:
  """Writes a model as a .cc and a .h that a tflite-micro project compiles in.

  They define `NAME`, `NAME_len` and `NAME_arena_size`; the array is const, so
  that it stays in flash, and aligned to 16 bytes.

  Args:
    data: The flatbuffer.
    path: Of the two files without an extension; '.cc' or '.h' at its end is
      left out.
    name: The array's name; None for that of the file.
    arena_bytes: The arena to recommend; None to measure it in tflite-micro
      (the extra `[micro]`).

  Returns:
    The paths of the .cc and the .h.

  Raises:
    ImportError: the arena shall be measured without tflite-micro.
    OSError: the folder cannot be written to; neither file is then.
    ValueError: `name` is no C identifier, `data` no .tflite, or tflite-micro
      does not run it.
  """
  TFLiteFile(data)  # raises for anything else
  stem = re.sub(r'\.(cc|h)$', '', path)
  if name is None:
    name = re.sub(r'\W', '_', os.path.basename(stem))
  if not re.fullmatch(r'[A-Za-z_][A-Za-z0-9_]*', name) or name in _KEYWORDS:
    raise ValueError(
      f'`name` must be a C identifier such as g_model, but got {name!r}.'
    )
  if arena_bytes is None:
    arena_bytes = measure_arena(data)
  if isinstance(arena_bytes, bool) or arena_bytes < 1:
    raise ValueError(f'`arena_bytes` must be positive, got {arena_bytes!r}.')
  header = os.path.basename(stem) + '.h'
  source, declarations = stem + '.cc', stem + '.h'
  write_files(
    {
      source: _source(data, name, header).encode(),
      declarations: _header(data, name, arena_bytes).encode(),
    }
  )
  return source, declarations


def _header(data: bytes, name: str, arena_bytes: int) -> str:
  guard = f'{name.upper()}_H_'
  return f"""#ifndef {guard}
#define {guard}

#include <cstddef>

// A TensorFlow Lite model of {len(data)} bytes.
extern const unsigned char {name}[];
extern const unsigned int {name}_len;

// Bytes of tensor arena, measured in tflite-micro on a 64-bit host; with
// 32-bit pointers a little less will do.
constexpr std::size_t {name}_arena_size = {arena_bytes};

#endif  // {guard}
"""


def _source(data: bytes, name: str, header: str) -> str:
  lines = [
    '  ' + ' '.join(f'0x{byte:02x},' for byte in data[start : start + 12])
    for start in range(0, len(data), 12)
  ]
  body = '\n'.join(lines)
  return f"""#include "{header}"

alignas(16) const unsigned char {name}[] = {{
{body}
}};
const unsigned int {name}_len = {len(data)};
"""
