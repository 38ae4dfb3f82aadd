"""What pruning did to a model, for people and for programs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding import extras
from tfmot_paoding.accelerators import check_npu
from tfmot_paoding.bounds.deviation import largest_deviation
from tfmot_paoding.compaction.left_whole import (
  check_unwrapped,
  warn_of_same_widths,
)
from tfmot_paoding.compat import keras
from tfmot_paoding.deprecation import takes_old_calls
from tfmot_paoding.files import write_files
from tfmot_paoding.inputs.ranges import RangeLike, resolve_range
from tfmot_paoding.inputs.source import InputSource
from tfmot_paoding.keras3.model import as_opened, as_tf_keras
from tfmot_paoding.network.agreement import Verdict, all_outputs
from tfmot_paoding.network.chains import multiplied_out
from tfmot_paoding.network.graph import Graph, build_graph
from tfmot_paoding.network.network import Network
from tfmot_paoding.network.outputs import heads_of
from tfmot_paoding.pruning.budget import used
from tfmot_paoding.pruning.few_answers import beside_another, judged
from tfmot_paoding.report.data import (
  CurvePoint,
  FileReport,
  LayerWidth,
  Limit,
  Report,
)
from tfmot_paoding.report.judging import judge
from tfmot_paoding.report.page import report_page
from tfmot_paoding.tflite.comparison import clipped, compare_tflite
from tfmot_paoding.tflite.litert import run_tflite
from tfmot_paoding.tflite.npu import profile_npu
from tfmot_paoding.tflite.profile import TFLiteProfile, profile_tflite

Array = np.ndarray

_SAMPLES = 256
_COMPARED = 64


@takes_old_calls(renamed={'samples': 'data'})
def make_report(
  original: keras.Model,
  pruned: keras.Model,
  files: tuple[bytes, bytes],
  *,
  input_range: RangeLike = None,
  test_data: tuple[Array, Array] | None = None,
  data: Sequence[Array] | None = None,
  seed: int = 0,
  micro: bool = True,
  title: str = '',
  curve: Sequence[CurvePoint] = (),
  verdict: Verdict | None = None,
  limits: Mapping[str, float] | None = None,
  npu: str | Sequence[str] | None = None,
) -> Report:
  """Measures a pruned model beside its original.

  Args:
    original: The model before pruning, of any kind that `prune` takes.
    pruned: The compact model, or what `factorize` made; of Keras 3, too.
    files: The .tflite of each, converted likewise.
    input_range: The range of the inputs: a pair (low, high), a dict of input
      name to such a pair, or None for what the first layers say.
    test_data: Inputs and classes that no method has seen, if there are any.
    data: Unlabelled inputs to compare answers on, one array an input of the
      model; None to recall or draw them.
    seed: Of inputs that are drawn.
    micro: Whether to run tflite-micro (the extra `[micro]`).
    title: What the report is called; '' for the model's name.
    curve: Points of a trade-off curve, as `curve_point` gives them.
    verdict: How the pruned model's answers compare, where that has been
      measured, as in `Fitted.verdict`; None to compare them on `data`.
    limits: What the file may take, as `Budget.limits`; the page begins with
      whether it does. None where there is no budget.
    npu: An NPU to count cycles of, or several, see `profile_tflite`.

  Raises:
    ImportError: `micro` without tflite-micro, or `npu` without Vela.
    NpuError: the NPU runs no operator of a file.
    ValueError: the models or the data do not fit each other, or a model is
      still wrapped for pruning.

  Warns where the pruned model is as wide as the original.
  """
  if micro:
    extras.MICRO.require()
  npus = _checked_npus(npu)
  check_unwrapped(original, 'original', 'the model as it was before wrapping')
  check_unwrapped(pruned, 'pruned', 'compact(strip_pruning(pruned))')
  original, pruned = as_opened(original), as_opened(pruned)
  network = Network.of(original)
  source = InputSource(resolve_range(network, input_range), seed, data)
  source = source.with_told(network)
  samples = source.samples(network, _SAMPLES) if data is None else data
  samples = clipped(samples, source.boxes(network))
  widths = _widths(network.graph, build_graph(pruned, network.graph.views))
  # A whole model may well be what meets a budget.
  if not limits and not any(layer.ranks for layer in widths):
    units = [[layer.before, layer.after] for layer in widths]
    warn_of_same_widths(*np.sum(units, 0, int))
  reports = [
    _file_report(model, file, other, samples, test_data, micro, npus)
    for model, file, other in (
      (original, files[0], None),
      (pruned, files[1], files[0]),
    )
  ]
  return Report(
    title or original.name,
    tuple(widths),
    {'/'.join(p): reason for p, reason in network.groups.stays.items()},
    *reports,
    verdict or _verdict(network, pruned, samples, source),
    largest_deviation(original, pruned, source.range),
    tuple(curve),
    source.range.described(),
    _limits(limits or {}, reports[1].profile),
    _output_range(original, samples),
  )


def _verdict(
  network: Network,
  pruned: keras.Model,
  samples: list[Array],
  source: InputSource,
) -> Verdict:
  """How a pruned network answers, where nobody has told yet."""
  found = judged(network, pruned, samples, source)
  if not source.nobody_said:
    return found
  return beside_another(network, pruned, source, found)


@takes_old_calls(renamed={'samples': 'data'})
def curve_point(
  original: keras.Model,
  pruned: keras.Model,
  file: bytes,
  *,
  sparsity: float,
  data: Sequence[Array],
  test_data: tuple[Array, Array] | None = None,
  micro: bool = False,
  latency: bool = False,
  npu: str | Sequence[str] | None = None,
) -> CurvePoint:
  """One point of a trade-off curve.

  Args:
    original: The model before pruning, of any kind that `prune` takes.
    pruned: The compact model at this sparsity; of Keras 3, too.
    file: Its .tflite.
    sparsity: The fraction of units removed.
    data: Unlabelled inputs to compare answers on, one array an input of the
      model.
    test_data: Inputs and classes, if there are any.
    micro: Whether to measure the arena in tflite-micro (the extra `[micro]`).
    latency: Whether to time the interpreter.
    npu: NPUs to count cycles of (the extra `[npu]`).

  Raises:
    ImportError: `micro` without tflite-micro, or `npu` without Vela.
    NpuError: an NPU runs no operator of the file.
    ValueError: the models, the file or the data do not fit each other.
  """
  npus = _checked_npus(npu)
  pruned = as_tf_keras(pruned)
  profile = profile_tflite(file, micro=micro, latency=latency)
  return CurvePoint(
    sparsity,
    profile.bytes,
    profile.macs,
    judge(original, pruned, data).agreement,
    _accuracy(pruned, file, test_data),
    profile.arena_bytes,
    profile.latency and 1e3 * profile.latency.median,
    {name: profile_npu(file, name).cycles for name in npus},
  )


def _checked_npus(npu: str | Sequence[str] | None) -> tuple[str, ...]:
  """The NPUs that a user names, each once.

  Raises:
    ImportError: there are some, and Vela is not installed.
    ValueError: there is none of such a name.
  """
  given = () if npu is None else (npu,) if isinstance(npu, str) else tuple(npu)
  found = tuple(dict.fromkeys(map(check_npu, given)))
  if found:
    extras.NPU.require()
  return found


def write_report(report: Report, path: str) -> tuple[str, str]:
  """Writes `path`.html, which needs no other file, and `path`.json.

  Args:
    report: What to write.
    path: Of the two files without an extension; '.html' is left out.

  Returns:
    The paths of both.

  Raises:
    ImportError: the report has a curve, and matplotlib is not installed.
    OSError: the folder cannot be written to; neither file is then.
  """
  page, data = report_paths(path)
  text = json.dumps(_finite(dataclasses.asdict(report)), indent=1)
  write_files({page: report_page(report).encode(), data: text.encode()})
  return page, data


def report_paths(path: str) -> tuple[str, str]:
  """Where `write_report` writes its two files."""
  stem = path.removesuffix('.html').removesuffix('.json')
  return stem + '.html', stem + '.json'


def _file_report(
  model: keras.Model,
  data: bytes,
  reference: bytes | None,
  samples: Sequence[Array],
  test_data: tuple[Array, Array] | None,
  micro: bool,
  npus: Sequence[str],
) -> FileReport:
  inputs = {
    name: x[:_COMPARED]
    for name, x in zip(model.input_names, samples, strict=True)
  }
  # A budget's NPU is the first.
  first, others = (npus[0] if npus else None), npus[1:]
  profile = profile_tflite(data, reference, micro=micro, npu=first)
  found = [profile.npu] if first else []
  found += [profile_npu(data, other) for other in others]
  return FileReport(
    model.count_params(),
    profile,
    compare_tflite(model, data, inputs=inputs),
    _accuracy(model, data, test_data),
    tuple(found),
  )


def _accuracy(
  model: keras.Model, data: bytes, test_data: tuple[Array, Array] | None
) -> float | None:
  """Of the file, by the classes that its first output stands for."""
  if test_data is None:
    return None
  x, y = test_data
  outputs = model.output_names[:1]
  (found,) = run_tflite(data, {model.input_names[0]: x}, outputs=outputs)
  head = heads_of(build_graph(model))[0]
  if head.kind == 'sigmoid' and found[0].size > 1:
    answers = found.argmax(-1)  # one of them, as labels say
  else:
    answers = head.answers(found) if head.is_classes else found.argmax(-1)
  return float(np.mean(np.ravel(answers) == np.ravel(y)))


def _limits(
  limits: Mapping[str, float], profile: TFLiteProfile
) -> tuple[Limit, ...]:
  """What a file takes of each limit.

  Raises:
    ValueError: a limit has no such name.
  """
  taken = used(profile)
  if not limits.keys() <= taken.keys():
    raise ValueError(
      f'`limits` are of {sorted(taken)}, but got {sorted(limits)}. Pass '
      '`Budget(...).limits`.'
    )
  return tuple(Limit(name, most, taken[name]) for name, most in limits.items())


def _output_range(model: keras.Model, samples: Sequence[Array]) -> float:
  """How far apart two values of one output entry lie, at most."""
  return max(float(np.ptp(x, 0).max()) for x in all_outputs(model, samples))


def _widths(before: Graph, after: Graph) -> list[LayerWidth]:
  """Every layer that makes units, in the order of computation.

  Raises:
    ValueError: the models do not have the same layers.
  """
  chains = multiplied_out(before, after)
  after = chains.graph
  paths = [[node.path for node in graph.nodes] for graph in (before, after)]
  if paths[0] != paths[1]:
    ours, theirs = (sorted({'/'.join(p) for p in found}) for found in paths)
    raise ValueError(
      "The pruned model must have the original's layers, by name, but got "
      f'{theirs} beside {ours}. Pass a model and what pruning made of it.'
    )
  found: dict[str, LayerWidth] = {}
  for one, two in zip(before.nodes, after.nodes, strict=True):
    if one.op.makes_units:
      name = '/'.join(one.path)
      sizes = [
        graph.shapes[node.outputs[0]][-1]
        for graph, node in ((before, one), (after, two))
      ]
      ranks = chains.ranks.get(one.path, ())
      found[name] = LayerWidth(name, *sizes, ranks)
  return list(found.values())


def _finite(value: Any) -> Any:
  """The same with None for NaN and infinity, which JSON does not have."""
  if isinstance(value, dict):
    return {key: _finite(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_finite(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
