"""Mirror images of samples: as likely as these, and drawn in no time.

Leaves, strokes and noise have no up and no left. A network does, and answers
their images as it answers others, so that it has more to choose from.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from tfmot_paoding.ops import Shape

Array = np.ndarray


def mirror_axes(shape: Shape, about: Sequence[Array]) -> list[int]:
  """The axes of positions along which images of samples are samples.

  Args:
    shape: Of a sample, without the batch axis, channels last.
    about: What differs between positions, such as the ends of a range; each
      broadcasts to `shape`.

  Returns:
    Axes of a sample, those of length 1 left out.
  """
  wholes = [np.broadcast_to(x, shape) for x in about]
  return [
    axis
    for axis, size in enumerate(shape[:-1])
    if size > 1 and all(np.array_equal(x, np.flip(x, axis)) for x in wholes)
  ]


def drawn_for(count: int, axes: Sequence[int], most: int) -> int:
  """How many samples make so many with their images.

  Args:
    count: How many there shall be in all.
    axes: Of `mirror_axes`.
    most: How many images of a sample there shall be at most, itself included.
  """
  return -(-count // min(2 ** len(axes), most))


def with_images(x: Array, axes: Sequence[int], count: int) -> Array:
  """Samples and their images, those of one sample side by side.

  Args:
    x: Samples, the first axis that of the batch.
    axes: Of one sample, from `mirror_axes`.
    count: How many to give, of which each sample has as many as another, or
      one more.

  Returns:
    Shape (count, *x.shape[1:]).
  """
  share = -(-count // len(x))
  images = list(itertools.islice(_images(x, axes), share))
  found = np.stack(images, 1).reshape(-1, *x.shape[1:])
  return found[:count]


def _images(x: Array, axes: Sequence[int]) -> Iterator[Array]:
  """All of them, the samples first."""
  for turn in range(2 ** len(axes)):
    turned = [axis + 1 for k, axis in enumerate(axes) if turn >> k & 1]
    yield np.flip(x, turned)
