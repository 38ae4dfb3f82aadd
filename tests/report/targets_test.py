"""A report on several targets at once: a table, and a picture."""

import sys

import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.report import page, targets
from tfmot_paoding.report.data import CurvePoint
from tfmot_paoding.tflite.npu import profile_npu

RANGE = (-1.0, 1.0)
NAMES = ('ethos-u55-128', 'ethos-u85-256')


def point(sparsity, accuracy=None, **kwargs):
  return CurvePoint(
    sparsity, int(1000 * (1 - sparsity)), 500, 0.9, accuracy, **kwargs
  )


CURVE = [
  point(0.0, npu_cycles={'a': 100, 'b': 50}, milliseconds=2.0),
  point(0.5, npu_cycles={'a': 60, 'b': 60}, milliseconds=1.0),
]


def test_costs_are_those_that_were_measured():
  assert targets.curve_costs(CURVE) == {
    'bytes': [1000, 500],
    'MACs': [500, 500],
    'milliseconds': [2.0, 1.0],
    'cycles of a': [100, 60],
    'cycles of b': [50, 60],
  }


def test_a_picture_has_a_line_for_each_and_says_whose_answers():
  pytest.importorskip('matplotlib')
  drawn = targets.targets_drawing(CURVE)
  for name in ('bytes', 'milliseconds', 'cycles of a', "original's answers"):
    assert name in drawn  # as a comment beside the glyphs
  assert 'arena' not in drawn
  labelled = [point(0.0, 0.8), point(0.5, 0.7)]
  assert '<!-- accuracy -->' in targets.targets_drawing(labelled)


def test_points_that_lack_a_cost_are_left_out():
  pytest.importorskip('matplotlib')
  curve = [*CURVE, point(0.7)]
  assert targets.curve_costs(curve)['cycles of b'] == [50, 60, None]
  assert 'cycles of b' in targets.targets_drawing(curve)


@pytest.fixture(scope='module')
def measured():
  pytest.importorskip('ethosu', reason='Vela is not installed')
  model = testing.mlp((8, 32, 24, 4), 'relu')
  small = paoding.prune(
    model, 0.5, method='saliency', input_range=RANGE, verbose=0
  )
  files = tuple(
    paoding.convert_to_tflite(m, 'int8', input_range=RANGE)
    for m in (model, small)
  )
  samples = paoding.inputs.draw_samples(model, RANGE, 50)
  curve = [
    paoding.report.curve_point(
      model, m, data, sparsity=sparsity, data=samples, npu=NAMES, latency=True
    )
    for m, data, sparsity in ((model, files[0], 0.0), (small, files[1], 0.5))
  ]
  report = paoding.report.make_report(
    model,
    small,
    files,
    input_range=RANGE,
    data=samples,
    micro=False,
    curve=curve,
    npu=[*NAMES, NAMES[0]],
  )
  return report, files


def test_every_npu_is_measured_once(measured):
  report, files = measured
  for part, data in zip((report.original, report.pruned), files, strict=True):
    assert [found.npu for found in part.npus] == list(NAMES)
    assert part.profile.npu == part.npus[0]
    assert part.npus[1] == profile_npu(data, NAMES[1])
  for place in report.curve:
    assert set(place.npu_cycles) == set(NAMES)
    assert place.milliseconds > 0


def test_the_page_has_a_row_for_each_target(measured):
  report, _ = measured
  rows = targets.target_rows(report)
  assert ['any', 'bytes of flash'] in [row[:2] for row in rows]
  for one, two in zip(report.original.npus, report.pruned.npus, strict=True):
    (row,) = [row for row in rows if two.npu in row[0] and row[1] == 'cycles']
    assert row[2:] == [
      f'{one.cycles:,}',
      f'{two.cycles:,}',
      f'{two.cycles / one.cycles:.2f}',
    ]
  text = page.report_page(report)
  assert 'On each target' in text
  assert f'cycles of {NAMES[1]}' in text


def test_unknown_ones_are_named_before_any_work():
  model = testing.mlp()
  with pytest.raises(ValueError, match="one of 'ethos-u55-32'.*got 'u55'"):
    paoding.report.make_report(
      model, model, (b'', b''), npu=['ethos-u55-128', 'u55']
    )


def test_without_vela_it_says_which_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'ethosu', None)
  with pytest.raises(ImportError, match=r'tfmot_paoding\[npu\]'):
    paoding.report.curve_point(
      testing.mlp(), testing.mlp(), b'', sparsity=0.5, data=[], npu=NAMES
    )
