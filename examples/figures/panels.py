"""Draws panels of a few lines each, under one legend that covers none of them.

A label has one colour, marker and line style in every panel. The colours are
those of Okabe and Ito, which the colour-blind tell apart, and do not repeat.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfmot_paoding.files import write_file

_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00')
_MARKERS = 'os^Dvp'
_STYLES = ('-', '--', ':', '-.', '-', '--')


@dataclasses.dataclass(frozen=True)
class Line:
  """One line of a panel.

  Attributes:
    label: What the legend calls it.
    x: Where its points are, in ascending order.
    y: Their values, as many.
    spread: Half the height of each point's error bar; empty for none.
  """

  label: str
  x: Sequence[float]
  y: Sequence[float]
  spread: Sequence[float] = ()


@dataclasses.dataclass(frozen=True)
class Panel:
  """One picture among others.

  Attributes:
    title: What stands above it.
    lines: What it shows.
    y_label: What its values are.
  """

  title: str
  lines: Sequence[Line]
  y_label: str = 'accuracy'


def load_pyplot() -> Any:
  """matplotlib.pyplot, drawing to files.

  Raises:
    ImportError: matplotlib is missing.
  """
  try:
    import matplotlib
  except ImportError:
    raise ImportError(
      "Plots need matplotlib: pip install 'tfmot_paoding[examples]'."
    ) from None
  matplotlib.use('Agg')
  from matplotlib import pyplot

  return pyplot


def check_labels(labels: Sequence[str]) -> None:
  """Raises what would keep lines of these labels from being drawn.

  Raises:
    ImportError: matplotlib is missing.
    ValueError: there are more labels than colours.
  """
  load_pyplot()
  if len(labels) > len(_COLOURS):
    raise ValueError(
      f'A picture has at most {len(_COLOURS)} lines that can be told apart, '
      f'but got {len(labels)}: {list(labels)}. Draw fewer.'
    )


def looks(panels: Sequence[Panel]) -> dict[str, dict[str, str]]:
  """Colour, marker and line style of every label, in the order of appearance.

  Raises:
    ImportError: matplotlib is missing.
    ValueError: there are more labels than colours.
  """
  labels = list(dict.fromkeys(x.label for p in panels for x in p.lines))
  check_labels(labels)
  return {
    label: {'color': colour, 'marker': marker, 'linestyle': style}
    for label, colour, marker, style in zip(
      labels, _COLOURS, _MARKERS, _STYLES, strict=False
    )
  }


def draw(
  panels: Sequence[Panel],
  path: str,
  x_label: str,
  columns: int = 3,
  percent: bool = False,
) -> None:
  """Writes a .png, whole or not at all.

  Args:
    panels: What to draw, at least one.
    path: Where to.
    x_label: What stands under the lowest panels.
    columns: Panels side by side.
    percent: Whether x is a fraction that is shown as per cent.

  Raises:
    ImportError: matplotlib is missing.
    OSError: the file cannot be written.
    ValueError: there are more labels than can be told apart.
  """
  pyplot = load_pyplot()
  from matplotlib import ticker

  styles = looks(panels)
  columns = min(columns, len(panels))
  lines = -(-len(panels) // columns)
  figure, axes = pyplot.subplots(
    lines,
    columns,
    figsize=(max(4 * columns, 6), 2.8 * lines + 0.5),
    squeeze=False,
    layout='constrained',
  )
  for axis in axes.ravel()[len(panels) :]:
    axis.set_visible(False)
  for k, (axis, panel) in enumerate(zip(axes.ravel(), panels, strict=False)):
    _draw_panel(axis, panel, styles)
    axis.set_ylabel(panel.y_label if k % columns == 0 else '')
    if k + columns >= len(panels):
      axis.set_xlabel(x_label)
    if percent:
      axis.xaxis.set_major_formatter(ticker.PercentFormatter(1, 0))
  handles = [pyplot.Line2D([], [], label=k, **v) for k, v in styles.items()]
  figure.legend(
    handles=handles, loc='outside upper center', ncols=len(handles), frameon=0
  )
  image = io.BytesIO()
  figure.savefig(image, format='png', dpi=90)
  pyplot.close(figure)
  write_file(path, image.getvalue())


def _draw_panel(
  axis: Any, panel: Panel, styles: dict[str, dict[str, str]]
) -> None:
  for line in panel.lines:
    axis.errorbar(
      line.x, line.y, line.spread or None, capsize=2, **styles[line.label]
    )
  axis.set_title(panel.title, fontsize='medium')
  highest = max(np.nanmax(line.y) for line in panel.lines)
  axis.set_ylim(0, max(1.02, 1.05 * highest))
  axis.grid(alpha=0.3)
  axis.spines[['top', 'right']].set_visible(False)
