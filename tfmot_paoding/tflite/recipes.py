"""Files of four-bit weights, by the recipes of ai-edge-quantizer.

It quantizes files, not models: a file of real numbers goes in, with the ranges
that were taken of its activations where a recipe asks for them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile

from tfmot_paoding.quantization import Quantization
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.integers import ends_of
from tfmot_paoding.tflite.processes import checked_script

_WORKER = os.path.join(os.path.dirname(__file__), 'recipe_worker.py')


def require_recipes(mode: Quantization) -> None:
  """Raises where a mode takes ai-edge-quantizer, and that is not installed.

  Raises:
    ImportError: it is not; the extra to install is named.
  """
  if mode.recipe and importlib.util.find_spec('ai_edge_quantizer') is None:
    raise ImportError(
      f'`quantization` {mode.name!r} takes ai-edge-quantizer, which is not '
      "installed: pip install 'tfmot_paoding[quantize]'."
    )


def recipe_file(
  plain: bytes,
  mode: Quantization,
  *,
  ranged: bytes | None = None,
  float_io: bool = False,
) -> bytes:
  """A file by a mode's recipe.

  Args:
    plain: The file of real numbers.
    mode: What it shall hold.
    ranged: The same with ranges, for modes that are calibrated.
    float_io: Whether integers throughout take and give real numbers.

  Raises:
    EndedError: the quantizer ended with its process.
    RuntimeError: it refuses the file.
  """
  job = {
    'kind': mode.recipe,
    'bits': (mode.weight_bits, mode.activation_bits),
    'float_io': float_io,
    'ranges': {} if ranged is None else _ranges(ranged),
  }
  with tempfile.TemporaryDirectory() as folder:
    model, given, output = (
      os.path.join(folder, name) for name in ('in', 'job.json', 'out')
    )
    with open(model, 'wb') as file:
      file.write(plain)
    with open(given, 'w', encoding='utf-8') as file:
      json.dump(job, file)
    checked_script(_WORKER, [model, given, output])
    with open(output, 'rb') as file:
      return file.read()


def _ranges(ranged: bytes) -> dict[str, tuple[float, float]]:
  """The ends of every activation, by the tensor's name."""
  found = {}
  for tensor in TFLiteFile(ranged).object.subgraphs[0].tensors:
    ends = ends_of(tensor)
    if ends is not None:
      found[tensor.name.decode()] = ends
  return found
