"""A picture of samples: what a network was shown in place of data."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from tfmot_paoding import extras
from tfmot_paoding.files import write_file

Array = np.ndarray


def draw_sheet(
  samples: Array, path: str | None = None, columns: int = 8, most: int = 64
) -> bytes:
  """Draws samples beside one another, images as images and others as curves.

  Args:
    samples: Those of one input of a model, shape (samples, ...), such as
      `draw_samples` or `recall_inputs` gives. Of the shape (samples, height,
      width) or with 1 or 3 channels they are images; of other ranks curves
      over the first axis, one a channel, at most eight.
    path: Where to write the picture, a PNG; None: nowhere.
    columns: How many stand in a row.
    most: How many are drawn at most.

  Returns:
    The PNG.

  Raises:
    ImportError: matplotlib is missing; the extra to install is named.
    ValueError: there is no sample.
  """
  samples = np.asarray(samples)
  if samples.ndim < 2 or not len(samples):
    raise ValueError(
      'A sheet takes the samples of one input, shape (samples, ...), but got '
      f'the shape {samples.shape}.'
    )
  figure = _figure(samples[:most], columns)
  stream = io.BytesIO()
  figure.savefig(stream, format='png', dpi=100)
  data = stream.getvalue()
  if path is not None:
    write_file(path, data)
  return data


def _figure(samples: Array, columns: int) -> Any:
  extras.MATPLOTLIB.require('A sheet of samples')
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  rows = math.ceil(len(samples) / columns)
  figure = Figure(figsize=(1.2 * columns, 1.2 * rows), layout='constrained')
  FigureCanvasAgg(figure)
  low, high = float(samples.min()), float(samples.max())
  for k, x in enumerate(samples):
    axes = figure.add_subplot(rows, columns, k + 1)
    axes.set_axis_off()
    _draw(axes, np.asarray(x, np.float64), low, max(high, low + 1e-9))
  return figure


def _draw(axes: Any, x: Array, low: float, high: float) -> None:
  """One sample; all share one scale, or they could not be compared."""
  if x.ndim == 3 and x.shape[-1] in (1, 3):
    image = (x - low) / (high - low)
    axes.imshow(
      image[..., 0] if x.shape[-1] == 1 else image, 'gray', vmin=0, vmax=1
    )
  elif x.ndim == 2 and min(x.shape) > 8:
    axes.imshow(x, 'gray', vmin=low, vmax=high)
  else:
    curves = x.reshape(len(x), -1)[:, :8]
    axes.plot(curves, linewidth=0.8)
    axes.set_ylim(low, high)
