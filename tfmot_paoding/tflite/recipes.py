"""Files of four-bit weights, by the recipes of ai-edge-quantizer.

It quantizes files, not models: a file of real numbers goes in, with the ranges
that were taken of its activations where a recipe asks for them. Weights of four
bits are fitted before (`narrow_layers`); layers that do not bear them keep
eight.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping

import numpy as np

from tfmot_paoding import extras
from tfmot_paoding.network.outputs import Head
from tfmot_paoding.quantization import Quantization
from tfmot_paoding.tflite.end_types import EndTypes
from tfmot_paoding.tflite.flatbuffer import TFLiteFile
from tfmot_paoding.tflite.integers import ends_of
from tfmot_paoding.tflite.narrow_layers import NarrowLayer, narrow_layers
from tfmot_paoding.tflite.processes import checked_script
from tfmot_paoding.tflite.representative import Representative

_TRIED = 64  # inputs that layers are tried on
_WORKER = os.path.join(os.path.dirname(__file__), 'recipe_worker.py')


def require_recipes(mode: Quantization) -> None:
  """Raises where a mode takes ai-edge-quantizer, and that is not installed.

  Raises:
    ImportError: it is not; the extra to install is named.
  """
  if mode.recipe:
    extras.RECIPES.require(f'`quantization` {mode.name!r}')


def recipe_file(
  plain: bytes,
  mode: Quantization,
  drawn: Representative,
  heads: Mapping[str, Head],
  *,
  ranged: bytes | None = None,
  ends: EndTypes | None = None,
) -> bytes:
  """A file by a mode's recipe.

  Args:
    plain: The file of real numbers.
    mode: What it shall hold.
    drawn: Inputs that narrow layers are fitted and tried on.
    heads: What the outputs mean, by output name.
    ranged: The same with ranges, for modes that are calibrated.
    ends: What a calibrated mode takes and gives.

  Raises:
    EndedError: the quantizer ended with its process.
    RuntimeError: it refuses the file.
  """
  layers: list[NarrowLayer] = []
  if mode.weight_bits < 8:
    plain, layers = narrow_layers(plain, drawn.ranging, mode.one_step)
  file = TFLiteFile(plain)
  places, outputs = (file.signature(of_inputs=x) for x in (True, False))
  kinds = {outputs[name]: head.kind for name, head in heads.items()}
  job = {
    'kind': mode.recipe,
    'bits': (mode.weight_bits, mode.activation_bits),
    'real': [ends.takes_real, ends.gives_real] if ends else [],
    'ranges': {} if ranged is None else _ranges(ranged),
    'layers': [(one.operator, one.made, one.size) for one in layers],
    'one_step': mode.one_step,
    'likely': [kinds.get(k) == 'softmax' for k in range(len(file.outputs))],
  }
  batches = {str(places[name]): x[:_TRIED] for name, x in drawn.checked.items()}
  contents = {
    f'{number} {place}': content
    for number, one in enumerate(layers)
    for place, content in one.contents.items()
  }
  with tempfile.TemporaryDirectory() as folder:
    model, given, inputs, fitted, output = (
      os.path.join(folder, name)
      for name in ('in', 'job.json', 'in.npz', 'fitted.npz', 'out')
    )
    with open(model, 'wb') as opened:
      opened.write(plain)
    with open(given, 'w', encoding='utf-8') as opened:
      json.dump(job, opened)
    np.savez(inputs, **batches)
    np.savez(fitted, **contents)
    checked_script(_WORKER, [model, given, inputs, fitted, output])
    with open(output, 'rb') as opened:
      return opened.read()


def _ranges(ranged: bytes) -> dict[str, tuple[float, float]]:
  """The ends of every activation, by the tensor's name."""
  found = {}
  for tensor in TFLiteFile(ranged).object.subgraphs[0].tensors:
    ends = ends_of(tensor)
    if ends is not None:
      found[tensor.name.decode()] = ends
  return found
