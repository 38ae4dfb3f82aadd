"""A report as one HTML page."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from tfmot_paoding.report import headline, targets
from tfmot_paoding.report.data import CurvePoint, LayerWidth, Report

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


def report_page(report: Report) -> str:
  """One HTML page that needs no other file.

  Raises:
    ImportError: the report has a curve, and matplotlib is not installed.
  """
  parts = [
    f'<h1>{html.escape(report.title)}: pruned</h1>',
    headline.headline(report),
    _summary(report),
    '<h2>On each target</h2>',
    _table(targets.HEADS, targets.target_rows(report)),
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
    parts += ['<h3>Answers for what they cost</h3>']
    parts += [targets.targets_drawing(report.curve), _curve(report.curve)]
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
  thin = sum(bool(layer.ranks) for layer in report.layers)
  chains = ''
  if thin:
    chains = (
      f', {thin} of {len(report.layers)} layers are chains of thinner ones'
    )
  return (
    f'<p>{units[0]} units became {units[1]}{chains}; the .tflite takes '
    f'{two.bytes:,} bytes in place of {one.bytes:,} '
    f'({two.bytes / one.bytes:.0%}), and {two.macs:,} multiply-accumulates in '
    f'place of {one.macs:,}.</p>'
  )


def _costs(report: Report) -> list[list[str]]:
  one, two = report.original.profile, report.pruned.profile
  pairs = [
    ('parameters', report.original.parameters, report.pruned.parameters),
    ('weights, bytes', one.weight_bytes, two.weight_bytes),
    ('multiply-accumulates', one.macs, two.macs),
    (
      'activations alive at once, bytes',
      one.peak_activation_bytes,
      two.peak_activation_bytes,
    ),
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
  return rows


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


def _curve(curve: Sequence[CurvePoint]) -> str:
  """A row a point, with every cost that was measured."""
  costs = targets.curve_costs(curve)
  rows = []
  for number, point in enumerate(curve):
    taken = [values[number] for values in costs.values()]
    accuracy = '' if point.accuracy is None else f'{point.accuracy:.4f}'
    rows.append(
      [
        f'{point.sparsity:.0%}',
        *map(_cost, taken),
        _share(point.agreement),
        accuracy,
      ]
    )
  return _table(['removed', *costs, 'agreement', 'accuracy'], rows)


def _cost(value: float | None) -> str:
  if value is None:
    return ''
  return f'{value:.3f}' if isinstance(value, float) else f'{value:,}'


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
  has_chains = any(layer.ranks for layer in layers)
  rows = []
  for layer in layers:
    bar = (
      f'<div class="bar" style="width:{100 * layer.before / widest:.1f}%">'
      f'<div style="width:{100 * layer.after / layer.before:.1f}%"></div></div>'
    )
    rows.append(
      f'<tr><td>{html.escape(layer.name)}</td><td>{layer.before}</td>'
      f'<td>{layer.after}</td>'
      + (f'<td>{_between(layer)}</td>' if has_chains else '')
      + f'<td class="wide">{bar}</td></tr>'
    )
  between = '<th>rank, channels in between</th>' if has_chains else ''
  head = (
    f'<tr><th>layer</th><th>before</th><th>after</th>{between}<th></th></tr>'
  )
  return f'<table>{head}\n' + '\n'.join(rows) + '\n</table>'


def _between(layer: LayerWidth) -> str:
  """The ranks of a chain, from the front on; '' of a layer that is one."""
  return ', '.join(map(str, layer.ranks))


def _drawing(curve: Sequence[CurvePoint]) -> str:
  """Answers and bytes over what is removed, as SVG.

  Raises:
    ImportError: matplotlib is missing.
  """
  points = sorted(curve, key=lambda point: point.sparsity)
  most = max(point.bytes for point in points)
  series = {
    'accuracy': [point.accuracy for point in points],
    'agreement': [point.agreement for point in points],
    'bytes, of the most': [point.bytes / most for point in points],
  }
  x = np.array([point.sparsity for point in points])
  return targets.drawing(
    # None is no number to draw.
    {name: (x, np.array(y, np.float64)) for name, y in series.items()},
    xlabel='fraction of units removed',
  )
