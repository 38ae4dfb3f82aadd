"""How many samples a network is run on together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Array = np.ndarray

_MOST = 256
# Numbers of all inputs of a batch: the first layers of a network for large
# pictures make some eight times as many, and several of them are alive at once.
_ENTRIES = 1 << 21


def in_batches(samples: Sequence[Array]) -> Iterator[list[Array]]:
  """Samples in batches that a network has the memory for.

  Args:
    samples: One array an input, with a batch axis.

  Yields:
    One array an input, of up to 256 samples, fewer of large inputs.
  """
  entries = sum(x[:1].size for x in samples)
  size = int(np.clip(_ENTRIES // max(entries, 1), 1, _MOST))
  for start in range(0, len(samples[0]), size):
    yield [x[start : start + size] for x in samples]
