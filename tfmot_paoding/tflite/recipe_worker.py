"""Quantizes a file by a recipe of ai-edge-quantizer, in a process of its own.

As a script it imports nothing of the package. Arguments: a .tflite of real
numbers, the .json of what `quantized` takes beside it, and where to write the
quantized file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Operators that take weights of 8 bits, and hardly any kernel of 4.
_EIGHT_BITS = ('BATCH_MATMUL', 'CONV_2D_TRANSPOSE', 'DEPTHWISE_CONV_2D')
# Those that take 4 beside activations of 8.
_FOUR_BITS = ('CONV_2D', 'FULLY_CONNECTED')


def recipe_of(kind: str, bits: Sequence[int], float_io: bool) -> Any:
  """A recipe; of 4 bits, the least squared error chooses weights' scales.

  Args:
    kind: 'dynamic', 'weight_only' or 'static'.
    bits: Of weights, where an operator takes so few, and of activations.
    float_io: Whether 'static' takes and gives real numbers all the same.
  """
  from ai_edge_quantizer import algorithm_manager, qtyping, recipe_manager

  algorithms, names = algorithm_manager.AlgorithmName, qtyping.TFLOperationName
  recipe = recipe_manager.RecipeManager()
  weights, activations = bits
  algorithm = algorithms.MIN_MAX_UNIFORM_QUANT
  # Ends of 15 steps cost kws 3 points of accuracy, the least error 1.
  fine = algorithms.MSE if weights < 8 else algorithm
  if kind == 'static':
    recipe.add_static_config('.*', names.ALL_SUPPORTED, activations, 8)
    if weights < 8:
      for name in _FOUR_BITS:
        recipe.add_static_config(
          '.*', names[name], activations, weights, algorithm_key=fine
        )
    if float_io:
      for name in (names.INPUT, names.OUTPUT):
        recipe.add_quantization_config(
          '.*', name, algorithm_key=algorithms.NO_QUANTIZE
        )
    return recipe.get_quantization_recipe()
  add = getattr(recipe, f'add_{kind}_config')
  add('.*', names.ALL_SUPPORTED, weights, algorithm_key=fine)
  for name in _EIGHT_BITS if weights < 8 else ():
    add('.*', names[name], 8, algorithm_key=algorithm)
  return recipe.get_quantization_recipe()


def quantized(
  data: bytes,
  kind: str,
  bits: Sequence[int],
  float_io: bool,
  ranges: Mapping[str, Sequence[float]],
) -> bytes:
  """The file by a recipe.

  Args:
    data: A file of real numbers.
    kind: As in `recipe_of`.
    bits: As in `recipe_of`.
    float_io: As in `recipe_of`.
    ranges: The lowest and highest value of each activation, by tensor.
  """
  from ai_edge_quantizer import quantizer

  made = quantizer.Quantizer(bytearray(data))
  made.load_quantization_recipe(recipe_of(kind, bits, float_io))
  known = {
    name: {'min': np.float32([low]), 'max': np.float32([high])}
    for name, (low, high) in ranges.items()
  }
  result = made.quantize(
    known if made.need_calibration else None,
    enable_progress_bar=False,
    enable_progress_report=False,
  )
  return bytes(result.quantized_model)


def main(model: str, given: str, output: str) -> None:
  """Quantizes a file."""
  with open(model, 'rb') as file:
    data = file.read()
  with open(given, encoding='utf-8') as file:
    made = quantized(data, **json.load(file))
  with open(output, 'wb') as file:
    file.write(made)


if __name__ == '__main__':
  main(*sys.argv[1:])
