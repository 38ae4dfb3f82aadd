"""The picture of samples is one, and shows what it was given."""

from __future__ import annotations

import io
import pathlib

import numpy as np
import pytest

from tfmot_paoding.inputs.sheet import draw_sheet

matplotlib = pytest.importorskip('matplotlib')


def pixels(data):
  return matplotlib.image.imread(io.BytesIO(data))[..., :3]


@pytest.mark.parametrize('shape', [(8, 8, 3), (9, 9), (8, 8, 1), (40, 2), (5,)])
def test_a_png_of_the_samples(shape, tmp_path):
  x = np.random.default_rng(0).uniform(size=(10, *shape))
  path = str(tmp_path / 'sheet.png')
  data = draw_sheet(x, path, columns=5)
  assert pathlib.Path(path).read_bytes() == data
  assert pixels(data).shape[:2] == (240, 600)
  step = np.arange(10).reshape(-1, *[1] * len(shape))
  other = draw_sheet(np.zeros_like(x) + step)
  assert other != data


def test_all_share_one_scale():
  x = np.zeros((2, 6, 6, 1))
  x[0] = 1.0
  image = pixels(draw_sheet(x, columns=2))
  left, right = image[60, 60], image[60, 180]
  assert left.mean() > 0.9
  assert right.mean() < 0.1


def test_nothing_to_draw_is_an_error():
  with pytest.raises(ValueError, match='samples of one input'):
    draw_sheet(np.zeros((0, 3)))
