"""Quantizes a file by a recipe of ai-edge-quantizer, in a process of its own.

Which layers bear four bits is found by trying each alone: how far it moves the
outputs, beside a file of eight bits throughout. Those that move them least for
what they save are taken, as long as the sum is small.

As a script it imports nothing of the package. Arguments: a .tflite of real
numbers, the .json of a `Job`, an .npz of an array an input (samples first) by
its place, and where to write the quantized file.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# The most that outputs may move in all, as a share of their variance. Of five
# networks all lose at most a point of accuracy at .02; one loses two at .05.
_MOST = 0.02
_LEAST_LIKELY = 1e-6
# What finds the scales of weights: the least squared error is best for most
# layers, the ends for those whose weights lie on a grid.
_ALGORITHMS = ('MSE', 'OCTAV', 'MIN_MAX_UNIFORM_QUANT')
# A layer in four bits, and what finds its scales.
Choice = tuple[tuple[str, str, int], str]


@dataclasses.dataclass(frozen=True)
class Job:
  """What is to be done with a file.

  Attributes:
    kind: Of recipe: 'dynamic', 'weight_only' or 'static'.
    bits: Of weights, where a layer bears so few, and of activations.
    real: Whether 'static' takes, and gives, real numbers all the same.
    ranges: The lowest and highest value of each activation, by tensor.
    layers: What takes four bits: (operator, tensor that it makes, entries of
      its weights).
    likely: Whether each output is a probability, by its place.
  """

  kind: str
  bits: tuple[int, int]
  real: Sequence[bool]
  ranges: Mapping[str, Sequence[float]]
  layers: Sequence[tuple[str, str, int]]
  likely: Sequence[bool]

  def recipe(self, four: Sequence[Choice]) -> Any:
    """The recipe that has some layers in four bits, others in eight."""
    from ai_edge_quantizer import algorithm_manager, qtyping, recipe_manager

    names = qtyping.TFLOperationName
    algorithms = algorithm_manager.AlgorithmName
    recipe = recipe_manager.RecipeManager()
    add = getattr(recipe, f'add_{self.kind}_config')
    is_static = self.kind == 'static'
    before = (self.bits[1],) if is_static else ()
    add('.*', names.ALL_SUPPORTED, *before, 8)
    for (operator, made, _), algorithm in four:
      add(
        f'^{re.escape(made)};?$',
        names[operator],
        *before,
        self.bits[0],
        algorithm_key=algorithms[algorithm],
      )
    for name, real in zip((names.INPUT, names.OUTPUT), self.real, strict=False):
      if real:
        recipe.add_quantization_config(
          '.*', name, algorithm_key=algorithms.NO_QUANTIZE
        )
    return recipe.get_quantization_recipe()

  def quantized(self, data: bytes, four: Sequence[Choice]) -> bytes:
    """The file that has some layers in four bits, others in eight."""
    from ai_edge_quantizer import quantizer

    made = quantizer.Quantizer(bytearray(data))
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

  def bearing(self, data: bytes, batches: Sequence[np.ndarray]) -> list[Choice]:
    """The layers that bear four bits, each by what serves it best."""
    whole = self.answers(self.quantized(data, ()), batches)

    def moved(choice: Choice) -> float:
      made = self.quantized(data, [choice])
      return _moved(whole, self.answers(made, batches))

    tried = []
    for layer in self.layers:
      moves = {(layer, one): moved((layer, one)) for one in _ALGORITHMS}
      tried.append(min(moves.items(), key=lambda found: found[1]))
    tried.sort(key=lambda found: found[1] / found[0][0][2])
    found, total = [], 0.0
    for choice, move in tried:
      if total + move <= _MOST:
        total += move
        found.append(choice)
    return found


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


def main(model: str, given: str, inputs: str, output: str) -> None:
  """Quantizes a file."""
  with open(model, 'rb') as file:
    data = file.read()
  with open(given, encoding='utf-8') as file:
    fields = json.load(file)
  fields['layers'] = [tuple(layer) for layer in fields['layers']]
  job = Job(**fields)
  with np.load(inputs) as file:
    batches = [file[name] for name in sorted(file, key=int)]
  four = job.bearing(data, batches) if job.layers else []
  with open(output, 'wb') as file:
    file.write(job.quantized(data, four))


if __name__ == '__main__':
  main(*sys.argv[1:])
