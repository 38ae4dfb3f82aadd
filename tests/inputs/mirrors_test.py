"""Mirror images: what is the same from both sides, once each, side by side."""

import numpy as np
import pytest

from tests import testing
from tfmot_paoding.inputs import mirrors as lib
from tfmot_paoding.inputs.leaves import LeavesPrior
from tfmot_paoding.inputs.named_priors import NAMED_PRIORS
from tfmot_paoding.inputs.source import draw_samples


def test_images_stand_side_by_side_the_sample_first():
  x = np.arange(2 * 2 * 3).reshape(2, 2, 3, 1)
  found = lib.with_images(x, [0, 1], 8)
  for k in range(2):
    np.testing.assert_array_equal(found[4 * k], x[k])
    np.testing.assert_array_equal(found[4 * k + 1], x[k, ::-1])
    np.testing.assert_array_equal(found[4 * k + 2], x[k, :, ::-1])
    np.testing.assert_array_equal(found[4 * k + 3], x[k, ::-1, ::-1])


@pytest.mark.parametrize('count', [1, 5, 7, 16])
@pytest.mark.parametrize('axes', [[], [0], [0, 1]])
@pytest.mark.parametrize('most', [1, 3, 4])
def test_as_many_as_asked_for_from_as_few_as_will_do(count, axes, most):
  few = lib.drawn_for(count, axes, most)
  x = np.random.default_rng(0).normal(size=(few, 2, 3, 1))
  found = lib.with_images(x, axes, count)
  assert found.shape == (count, 2, 3, 1)
  assert len(np.unique(found, axis=0)) == count
  assert few * min(2 ** len(axes), most) < count + min(2 ** len(axes), most)


def test_no_images_where_positions_differ():
  low, high = np.zeros((4, 5, 2)), np.ones((4, 5, 2))
  assert lib.mirror_axes((4, 5, 2), [low, high]) == [0, 1]
  high[0] = 2.0
  assert lib.mirror_axes((4, 5, 2), [low, high]) == [1]
  assert lib.mirror_axes((1, 5, 2), [low[:1]]) == [1]
  assert lib.mirror_axes((5,), [low[0, :, 0]]) == []


def test_networks_choose_among_the_images_of_what_was_drawn(monkeypatch):
  drawn, real = [], LeavesPrior.sample

  def sample(self, box, count, rng):
    drawn.append(real(self, box, count, rng))
    return drawn[-1]

  monkeypatch.setattr(LeavesPrior, 'sample', sample)
  model = testing.conv_net()
  (x,) = draw_samples(model, (0, 1), 12, prior='leaves')
  assert len(drawn) == 1
  assert len(drawn[0]) == len(x) == 12
  sides = [np.flip(drawn[0], axes) for axes in ((), 1, 2, (1, 2))]
  known = {image.tobytes() for side in sides for image in side}
  assert all(image.tobytes() in known for image in x)


def test_kinds_that_have_no_up_say_so():
  has = {name for name, prior in NAMED_PRIORS.items() if prior.mirrors}
  assert has == {*NAMED_PRIORS} - {'photos'}
