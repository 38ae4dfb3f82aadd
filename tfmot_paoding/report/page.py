"""A report as one HTML page."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Sequence

import numpy as np

from tfmot_paoding.report import headline
from tfmot_paoding.report.data import CurvePoint, LayerWidth, Report
from tfmot_paoding.tflite.npu import NpuProfile

_STYLE = """
:root { color-scheme: light dark; --bar: #3b82c4; --rest: #9aa5b133; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { border-bottom: 1px solid #8884; padding: .3rem .6rem;
  text-align: right; }
th:first-child, td:first-child, .text td, .text th {
  overflow-wrap: anywhere; text-align: left; }
.bar { background: var(--rest); height: 1rem; }
.bar div { background: var(--bar); height: 100%; }
td.wide { width: 45%; }
svg { height: auto; max-width: 100%; background: #fff; }
"""

# Colour, marker and style of lines that the colour-blind tell apart.
_LOOKS = (('#0072B2', 'o', '-'), ('#D55E00', 's', '--'), ('#009E73', '^', ':'))


def report_page(report: Report) -> str:
  """One HTML page that needs no other file.

  Raises:
    ImportError: the report has a curve, and matplotlib is not installed.
  """
  parts = [
    f'<h1>{html.escape(report.title)}: pruned</h1>',
    headline.headline(report),
    _summary(report),
    '<h2>What the files take</h2>',
    _table(['', 'original', 'pruned', 'ratio'], _costs(report)),
    '<h2>What the answers kept</h2>',
    _table(['', 'original', 'pruned'], _answers(report)),
    '<h2>Widths</h2>',
    _bars(report.layers),
  ]
  if report.input_range:
    rows = [
      [html.escape(name), html.escape(text)]
      for name, text in report.input_range.items()
    ]
    parts += ['<h2>Inputs</h2>', _table(['input', 'range'], rows, 'text')]
  if report.left_alone:
    rows = [
      [html.escape(name), html.escape(why)]
      for name, why in report.left_alone.items()
    ]
    parts += ['<h2>Left alone</h2>', _table(['layer', 'why'], rows, 'text')]
  if report.curve:
    parts += ['<h2>Trade-off</h2>', _drawing(report.curve)]
    heads = ['removed', 'bytes', 'MACs', 'agreement', 'accuracy']
    parts.append(_table(heads, [_curve_row(point) for point in report.curve]))
  body = '\n'.join(parts)
  return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(report.title)}: pruned</title>
<style>{_STYLE}{headline.STYLE}</style></head>
<body>
{body}
</body></html>
"""


def _summary(report: Report) -> str:
  one, two = report.original.profile, report.pruned.profile
  units = [
    sum(getattr(layer, name) for layer in report.layers)
    for name in ('before', 'after')
  ]
  return (
    f'<p>{units[0]} units became {units[1]}; the .tflite takes '
    f'{two.bytes:,} bytes in place of {one.bytes:,} '
    f'({two.bytes / one.bytes:.0%}), and {two.macs:,} multiply-accumulates in '
    f'place of {one.macs:,}.</p>'
  )


def _costs(report: Report) -> list[list[str]]:
  one, two = report.original.profile, report.pruned.profile
  pairs = [
    ('parameters', report.original.parameters, report.pruned.parameters),
    ('file, bytes', one.bytes, two.bytes),
    ('weights, bytes', one.weight_bytes, two.weight_bytes),
    ('multiply-accumulates', one.macs, two.macs),
    (
      'activations alive at once, bytes',
      one.peak_activation_bytes,
      two.peak_activation_bytes,
    ),
    ('tensor arena of tflite-micro, bytes', one.arena_bytes, two.arena_bytes),
    *_on_npu(one.npu, two.npu),
  ]
  rows = [
    [
      name,
      '' if before is None else f'{before:,}',
      '' if after is None else f'{after:,}',
      f'{after / before:.2f}' if before and after is not None else '',
    ]
    for name, before, after in pairs
  ]
  for name in sorted({*one.macs_by_operator, *two.macs_by_operator}):
    before, after = (p.macs_by_operator.get(name, 0) for p in (one, two))
    rows.append(
      [
        f'MACs in {name}',
        f'{before:,}',
        f'{after:,}',
        f'{after / before:.2f}' if before else '',
      ]
    )
  if one.latency and two.latency:
    times = [
      f'{1e3 * p.latency.median:.3f} &plusmn; {1e3 * p.latency.spread / 2:.3f}'
      for p in (one, two)
    ]
    ratio = '' if two.latency_ratio is None else f'{two.latency_ratio:.2f}'
    rows.append(['milliseconds on one thread here', *times, ratio])
  for name, profile in (('original', one), ('pruned', two)):
    if profile.npu and profile.npu.on_cpu:
      rows.append(_fallback(name, profile.npu))
    if profile.micro_error:
      missing = ', '.join(profile.missing_operators)
      why = f'{profile.micro_error} {missing and "Missing: " + missing}'
      rows.append([f'tflite-micro, {name}', html.escape(why), '', ''])
  return rows


def _on_npu(
  one: NpuProfile | None, two: NpuProfile | None
) -> list[tuple[str, int, int]]:
  """What both files take of an NPU, if one was asked for."""
  if one is None or two is None:
    return []
  where = f'{html.escape(two.npu)} ({html.escape(two.system)})'
  return [
    (f'cycles of {where}', one.cycles, two.cycles),
    ('SRAM there, bytes', one.sram_bytes, two.sram_bytes),
    ('flash there, bytes', one.flash_bytes, two.flash_bytes),
    ('DRAM there, bytes', one.dram_bytes, two.dram_bytes),
  ]


def _fallback(name: str, profile: NpuProfile) -> list[str]:
  """Which operators a file leaves to the CPU, and why."""
  whys = '; '.join(
    f'{count} {operator}: {profile.reasons.get(operator, "no reason given")}'
    for operator, count in profile.on_cpu.items()
  )
  share = f'{profile.cpu_share:.0%} of operators, whose time is not counted'
  told = f'left to the CPU, {name}: {share}: {whys}'
  return [html.escape(told), '', '', '']


def _answers(report: Report) -> list[list[str]]:
  one, two = report.original, report.pruned
  rows = []
  if two.accuracy is not None:
    rows.append(
      ['accuracy of the file on test data']
      + [f'{part.accuracy:.4f}' for part in (one, two)]
    )
  rows.append(
    ["same answers as the original's", '', _share(report.verdict.agreement)]
  )
  rows.append(
    [
      'same answers as the Keras model, by conversion',
      _share(one.conversion.agreement),
      _share(two.conversion.agreement),
    ]
  )
  rows.append(
    [
      "mean difference by conversion, of the outputs' spread",
      f'{one.conversion.mean:.2g}',
      f'{two.conversion.mean:.2g}',
    ]
  )
  rows.append(_bound(report))
  return rows


def _bound(report: Report) -> list[str]:
  """What is proved of the change, where that is less than outputs differ by."""
  told = 'no output moves by more than, over the whole input range (proved)'
  if report.bound < report.output_range:
    return [told, '', f'{report.bound:.4g}']
  if math.isnan(report.bound):
    why = 'a layer has no known bounds'
  else:
    why = 'the bound is wider than the range of the outputs'
  return [f'{told}: nothing, since {why}', '', '']


def _curve_row(point: CurvePoint) -> list[str]:
  accuracy = '' if point.accuracy is None else f'{point.accuracy:.4f}'
  return [
    f'{point.sparsity:.0%}',
    f'{point.bytes:,}',
    f'{point.macs:,}',
    _share(point.agreement),
    accuracy,
  ]


def _share(value: float) -> str:
  return 'no classes' if math.isnan(value) else f'{value:.4f}'


def _table(heads: list[str], rows: list[list[str]], kind: str = '') -> str:
  """A table; cells are HTML."""
  head = ''.join(f'<th>{text}</th>' for text in heads)
  lines = [
    '<tr>' + ''.join(f'<td>{text}</td>' for text in row) + '</tr>'
    for row in rows
  ]
  return (
    f'<table class="{kind}"><tr>{head}</tr>\n' + '\n'.join(lines) + '\n</table>'
  )


def _bars(layers: Sequence[LayerWidth]) -> str:
  widest = max((layer.before for layer in layers), default=1)
  rows = []
  for layer in layers:
    bar = (
      f'<div class="bar" style="width:{100 * layer.before / widest:.1f}%">'
      f'<div style="width:{100 * layer.after / layer.before:.1f}%"></div></div>'
    )
    rows.append(
      f'<tr><td>{html.escape(layer.name)}</td><td>{layer.before}</td>'
      f'<td>{layer.after}</td><td class="wide">{bar}</td></tr>'
    )
  head = '<tr><th>layer</th><th>before</th><th>after</th><th></th></tr>'
  return f'<table>{head}\n' + '\n'.join(rows) + '\n</table>'


def require_matplotlib() -> None:
  """Raises where a report's curve cannot be drawn.

  Raises:
    ImportError: matplotlib is missing; the extra to install is named.
  """
  try:
    import matplotlib  # noqa: F401
  except ImportError:
    raise ImportError(
      "The report's curve needs matplotlib: "
      "pip install 'tfmot_paoding[report]'."
    ) from None


def _drawing(curve: Sequence[CurvePoint]) -> str:
  """The curve as SVG.

  Raises:
    ImportError: matplotlib is missing.
  """
  require_matplotlib()
  import matplotlib
  from matplotlib.backends.backend_svg import FigureCanvasSVG
  from matplotlib.figure import Figure

  figure = Figure(figsize=(8, 4), layout='constrained')
  axis = figure.add_subplot()
  points = sorted(curve, key=lambda point: point.sparsity)
  x = [point.sparsity for point in points]
  series = {
    'accuracy': [point.accuracy for point in points],
    'agreement': [point.agreement for point in points],
    'bytes, of the most': [
      point.bytes / max(p.bytes for p in points) for point in points
    ],
  }
  looks = zip(series.items(), _LOOKS, strict=True)
  for (name, values), (colour, marker, style) in looks:
    known = [v is not None and math.isfinite(v) for v in values]
    if any(known):
      shown = [v if ok else np.nan for v, ok in zip(values, known, strict=True)]
      axis.plot(
        x, shown, color=colour, marker=marker, linestyle=style, label=name
      )
  axis.set(xlabel='fraction of units removed', ylim=(0, 1.02))
  axis.grid(alpha=0.3)
  figure.legend(loc='outside upper center', ncols=len(series), frameon=False)
  text = io.StringIO()
  with matplotlib.rc_context({'svg.hashsalt': 'report'}):
    FigureCanvasSVG(figure).print_svg(text, metadata={'Date': None})
  return text.getvalue()[text.getvalue().index('<svg') :]
