"""What a network takes on each target, and the answers that are left for it."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfmot_paoding import extras
from tfmot_paoding.report.data import CurvePoint, FileReport, Report
from tfmot_paoding.tflite.npu import NpuProfile

Array = np.ndarray

# Colours that the colour-blind tell apart, with markers and styles.
_LOOKS = (
  ('#0072B2', 'o', '-'),
  ('#D55E00', 's', '--'),
  ('#009E73', '^', ':'),
  ('#CC79A7', 'D', '-.'),
  ('#E69F00', 'v', '-'),
  ('#56B4E9', 'P', '--'),
  ('#000000', 'X', ':'),
)
HEADS = ['target', 'what it takes', 'original', 'pruned', 'ratio']


def target_rows(report: Report) -> list[list[str]]:
  """A row for each cost of each target that was measured, as HTML."""
  one, two = report.original, report.pruned
  rows = [
    _row('any', 'bytes of flash', one, two, lambda file: file.profile.bytes),
    _row(
      'microcontroller, tflite-micro',
      'bytes of tensor arena',
      one,
      two,
      lambda file: file.profile.arena_bytes,
    ),
    *_on_phones(one, two),
  ]
  for before, after in zip(one.npus, two.npus, strict=True):
    rows += _on_npu(before, after)
  for name, file in (('original', one), ('pruned', two)):
    rows += [_fallback(name, npu) for npu in file.npus if npu.on_cpu]
    profile = file.profile
    if profile.micro_error:
      missing = ', '.join(profile.missing_operators)
      why = f'{profile.micro_error} {missing and "Missing: " + missing}'
      rows.append([f'tflite-micro, {name}', html.escape(why), '', '', ''])
  return [row for row in rows if row is not None]


def _row(
  target: str,
  what: str,
  one: Any,
  two: Any,
  cost: Callable[[Any], float | None],
) -> list[str] | None:
  """None where neither was measured."""
  costs = cost(one), cost(two)
  if costs == (None, None):
    return None
  before, after = costs
  return [
    html.escape(target),
    what,
    *('' if x is None else f'{x:,}' for x in costs),
    f'{after / before:.2f}' if before and after is not None else '',
  ]


def _on_phones(one: FileReport, two: FileReport) -> list[list[str]]:
  """Milliseconds of LiteRT on this machine's processor."""
  times = [file.profile.latency for file in (one, two)]
  if None in times:
    return []
  ratio = two.profile.latency_ratio
  told = [
    f'{1e3 * time.median:.3f} &plusmn; {1e3 * time.spread / 2:.3f}'
    for time in times
  ]
  return [
    [
      'phone, LiteRT on one thread of this machine',
      'milliseconds',
      *told,
      '' if ratio is None else f'{ratio:.2f}',
    ]
  ]


def _on_npu(one: NpuProfile, two: NpuProfile) -> list[list[str] | None]:
  """Of Vela's figures those that are not 0 for both."""
  where = f'{two.npu} ({two.system})'
  costs = {
    'cycles': lambda npu: npu.cycles,
    'bytes of SRAM': lambda npu: npu.sram_bytes or None,
    'bytes of flash': lambda npu: npu.flash_bytes or None,
    'bytes of DRAM': lambda npu: npu.dram_bytes or None,
  }
  return [_row(where, what, one, two, cost) for what, cost in costs.items()]


def _fallback(name: str, npu: NpuProfile) -> list[str]:
  """Which operators a file leaves to the CPU, and why."""
  whys = '; '.join(
    f'{count} {operator}: {npu.reasons.get(operator, "no reason given")}'
    for operator, count in npu.on_cpu.items()
  )
  share = f'{npu.cpu_share:.0%} of operators, whose time is not counted'
  told = f'left to the CPU, {name}: {share}: {whys}'
  return [html.escape(npu.npu), html.escape(told), '', '', '']


def curve_costs(curve: Sequence[CurvePoint]) -> dict[str, list[float | None]]:
  """What was measured along a curve, by what it is: a number a point."""
  npus = dict.fromkeys(name for point in curve for name in point.npu_cycles)
  found = {
    'bytes': [point.bytes for point in curve],
    'MACs': [point.macs for point in curve],
    'arena': [point.arena_bytes for point in curve],
    'milliseconds': [point.milliseconds for point in curve],
    **{
      f'cycles of {name}': [point.npu_cycles.get(name) for point in curve]
      for name in npus
    },
  }
  return {
    name: values
    for name, values in found.items()
    if any(value is not None for value in values)
  }


def kept(point: CurvePoint) -> float:
  """Its accuracy, or the share of the original's answers without labels."""
  return point.agreement if point.accuracy is None else point.accuracy


def targets_drawing(curve: Sequence[CurvePoint]) -> str:
  """Answers over what they cost, as SVG: a line for each cost.

  Costs are shares of the most that any point of the curve takes.

  Raises:
    ImportError: matplotlib is missing.
  """
  lines = {}
  for name, values in curve_costs(curve).items():
    pairs = sorted(
      (value, kept(point))
      for value, point in zip(values, curve, strict=True)
      if value is not None
    )
    x, y = np.array(pairs).T
    lines[name] = x / x.max(), y
  labelled = all(point.accuracy is not None for point in curve)
  return drawing(
    lines,
    xlabel='cost, as a share of the most',
    ylabel='accuracy' if labelled else "the original's answers",
    xlim=(0, 1.03),
  )


def drawing(lines: Mapping[str, tuple[Array, Array]], **settings: Any) -> str:
  """Lines with a legend above, as SVG.

  Args:
    lines: Where the points of each lie, by name; what is not finite is left
      out, and so is a line without points.
    **settings: Of the axes, as `matplotlib.axes.Axes.set` takes them.

  Raises:
    ImportError: matplotlib is missing.
  """
  extras.MATPLOTLIB.require()
  import matplotlib
  from matplotlib.backends.backend_svg import FigureCanvasSVG
  from matplotlib.figure import Figure

  figure = Figure(figsize=(8, 4), layout='constrained')
  axis = figure.add_subplot()
  for number, (name, (x, y)) in enumerate(lines.items()):
    colour, marker, style = _LOOKS[number % len(_LOOKS)]
    if np.isfinite(y).any():
      axis.plot(x, y, color=colour, marker=marker, linestyle=style, label=name)
  axis.set(ylim=(0, 1.02), **settings)
  axis.grid(alpha=0.3)
  figure.legend(loc='outside upper center', ncols=3, frameon=False)
  text = io.StringIO()
  with matplotlib.rc_context({'svg.hashsalt': 'report'}):
    FigureCanvasSVG(figure).print_svg(text, metadata={'Date': None})
  return text.getvalue()[text.getvalue().index('<svg') :]
