"""When a lesson is over, and which weights are kept."""

from __future__ import annotations

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.training.watch import Watch, is_over, looks


@pytest.mark.parametrize(
  ('distances', 'over'),
  [
    ([1.0], False),
    ([1.0, 1e-7], True),  # alike
    ([1.0, 0.5, float('nan')], True),
    ([1.0, float('inf'), 2.0], False),
    ([1.0, 1.1, 1.2], False),  # two rises
    ([1.0, 1.1, 1.2, 1.3], True),
    ([1.0, 0.1, 0.2, 1.3, 1.4], True),
    ([1.0, 1.1, 1.3, 1.2], False),
    # Nearer than it was: the end of a lesson is where most is gained.
    ([1.0, 0.1, 0.2, 0.3, 0.4, 0.5], False),
    ([1.0, 0.5, 0.5, 0.5, 0.5, 0.5], False),
  ],
)
def test_when_it_is_over(distances, over):
  assert is_over(distances) is over


def test_looks_are_even_and_few():
  assert looks(1200) == list(range(100, 1200, 100))
  assert looks(100) == [25, 50, 75]
  assert looks(50) == [25]
  assert looks(49) == looks(1) == []


@pytest.mark.parametrize(
  ('distances', 'kept'),
  [
    ([4.0, 1.0, 2.0], 2),  # the last, since it came nearer
    ([4.0, 1.0, 5.0], 1),  # else the best on the way
    ([4.0, 1.0, float('nan')], 1),
    ([4.0, 6.0, 5.0], 0),
    ([4.0, float('nan'), 4.0], 0),
    ([float('nan'), 4.0, 5.0], 1),
    ([float('nan'), float('nan'), float('inf')], 0),
  ],
)
def test_which_weights_are_kept(distances, kept):
  model, left = testing.mlp((2, 3, 1)), iter(distances)

  def become(number):
    model.set_weights([np.full_like(w, number) for w in model.get_weights()])

  become(0)
  watch = Watch(model, lambda: next(left))
  become(1)
  watch.look()
  become(2)
  watch.settle()
  assert all((w == kept).all() for w in model.get_weights())


def test_the_first_look_is_before_any_lesson():
  assert Watch(testing.mlp((2, 3, 1)), lambda: 3.0).distances == [3.0]
