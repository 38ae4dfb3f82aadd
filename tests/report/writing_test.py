"""Reports: what they say is what is measured, in a page of its own."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import os
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.report import page as report_page
from tfmot_paoding.report.data import Limit

RANGE = (-1.0, 1.0)


@pytest.fixture(scope='module')
def pair():
  model = testing.mlp((6, 16, 12, 3), 'relu')
  small = paoding.prune(
    model, 0.5, method='saliency', input_range=RANGE, verbose=0
  )
  files = tuple(
    paoding.convert_to_tflite(m, 'int8', input_range=RANGE)
    for m in (model, small)
  )
  return model, small, files


@pytest.fixture(scope='module')
def test_data(pair):
  x = testing.samples((6,), 60).astype(np.float32)
  return x, testing.answers(pair[0], x).argmax(1)


@pytest.fixture(scope='module')
def report(pair, test_data):
  model, small, files = pair
  samples = paoding.inputs.draw_samples(model, RANGE, 100)
  curve = [
    paoding.report.curve_point(
      model, m, data, sparsity=sparsity, data=samples, test_data=test_data
    )
    for m, data, sparsity in ((model, files[0], 0.0), (small, files[1], 0.5))
  ]
  return paoding.report.make_report(
    model,
    small,
    files,
    input_range=RANGE,
    test_data=test_data,
    micro=False,
    curve=curve,
  )


def test_it_says_what_is_measured(report, pair, test_data):
  model, small, files = pair
  assert [(w.name, w.before, w.after) for w in report.layers] == [
    ('hidden_0', 16, 8),
    ('hidden_1', 12, 6),
    ('logits', 3, 3),
  ]
  for part, one, data in (
    (report.original, model, files[0]),
    (report.pruned, small, files[1]),
  ):
    assert part.parameters == one.count_params()
    assert part.profile.bytes == len(data)
    assert part.profile.macs == paoding.report.count_macs(one)
    answers = paoding.tflite.run_tflite(
      data, {one.input_names[0]: test_data[0]}, outputs=one.output_names
    )[0]
    assert part.accuracy == np.mean(answers.argmax(1) == test_data[1])
  assert report.bound == paoding.deviation_bound(model, small, RANGE).max()
  assert report.pruned.profile.latency_ratio > 0
  assert list(report.left_alone) == ['logits']


def test_the_curve_begins_at_the_original(report):
  first, last = report.curve
  assert (first.sparsity, first.agreement) == (0.0, 1.0)
  assert first.accuracy == report.original.accuracy
  assert last.bytes < first.bytes
  assert last.accuracy == report.pruned.accuracy


class _Page(html.parser.HTMLParser):
  """Collects text, and what a page loads from elsewhere."""

  def __init__(self):
    super().__init__()
    self.text, self.open, self.loads = [], [], []

  def handle_starttag(self, tag, attrs):
    if tag not in ('meta', 'br'):
      self.open.append(tag)
    found = dict(attrs)
    self.loads += [found[k] for k in ('src', 'href') if k in found]

  def handle_startendtag(self, tag, attrs):
    pass

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


def test_the_page_needs_no_other_file(report, tmp_path):
  page, data = paoding.report.write_report(report, str(tmp_path / 'report'))
  assert sorted(os.listdir(tmp_path)) == ['report.html', 'report.json']
  parsed = _Page()
  parsed.feed(open(page, encoding='utf-8').read())  # noqa: SIM115
  assert not parsed.open
  assert all(link.startswith('#') for link in parsed.loads)
  text = ' '.join(parsed.text)
  for wanted in ('hidden_0', f'{report.pruned.profile.bytes:,}', 'Trade-off'):
    assert wanted in text
  with open(data, encoding='utf-8') as file:
    found = json.load(file)
  assert found['pruned']['profile']['bytes'] == report.pruned.profile.bytes
  assert found['layers'][0] == {
    'name': 'hidden_0',
    'before': 16,
    'after': 8,
    'ranks': [],
  }


def test_chains_of_thinner_layers_are_told_with_their_ranks(recwarn):
  model = testing.mlp((6, 16, 12, 3), 'relu')
  small = paoding.factorize(
    model, ranks={'hidden_1': 3}, input_range=RANGE, distillation=False
  )
  files = tuple(paoding.convert_to_tflite(one) for one in (model, small))
  report = paoding.report.make_report(
    model, small, files, input_range=RANGE, micro=False
  )
  assert not [w for w in recwarn if 'nothing was removed' in str(w.message)]
  assert [layer.ranks for layer in report.layers] == [(), (3,), ()]
  assert [layer.after for layer in report.layers] == [16, 12, 3]
  assert report.bound == paoding.deviation_bound(model, small, RANGE).max()
  page = report_page.report_page(report)
  assert '1 of 3 layers are chains of thinner ones' in page
  assert '<td>12</td><td>12</td><td>3</td>' in page


def test_names_are_escaped(pair, tmp_path):
  model, small, files = pair
  report = paoding.report.make_report(
    model,
    small,
    files,
    input_range=RANGE,
    micro=False,
    title='<script>alert(1)</script>',
  )
  page, _ = paoding.report.write_report(report, str(tmp_path / 'x.html'))
  with open(page, encoding='utf-8') as file:
    assert '<script' not in file.read()


def test_what_is_not_known_is_null_and_no_nan(tmp_path):
  """An autoencoder: no classes; a sine: no bounds."""
  inputs = keras.Input((6,))
  x = keras.layers.Dense(8, activation='relu')(inputs)
  x = keras.layers.Dense(5, activation='relu')(x)
  x = keras.layers.Lambda(tf.sin)(x)
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(6)(x)))
  small = paoding.prune(model, 0.25, method='l1', verbose=0)
  files = tuple(paoding.convert_to_tflite(m) for m in (model, small))
  report = paoding.report.make_report(model, small, files, micro=False)
  assert np.isnan(report.bound)
  _, data = paoding.report.write_report(report, str(tmp_path / 'x'))
  with open(data, encoding='utf-8') as file:
    text = file.read()
  assert 'NaN' not in text
  assert json.loads(text)['verdict']['agreement'] is None
  assert json.loads(text)['bound'] is None


def test_an_unwritable_folder_leaves_nothing(report, tmp_path):
  with pytest.raises(OSError, match='nowhere'):
    paoding.report.write_report(report, str(tmp_path / 'nowhere' / 'x'))
  assert not os.listdir(tmp_path)


def test_a_missing_extra_is_named(report, monkeypatch):
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  with pytest.raises(ImportError, match=r'tfmot_paoding\[report\]'):
    report_page.report_page(report)
  without = dataclasses.replace(report, curve=())
  assert 'Trade-off' not in report_page.report_page(without)


def lead(text: str) -> str:
  """What a page says before its first table."""
  return text[: text.index('<table')]


def test_the_page_leads_with_the_budget_and_the_answers(report):
  limits = (Limit('flash_bytes', 4096, 2500), Limit('macs', 900, 800))
  met = dataclasses.replace(report, limits=limits)
  text = lead(report_page.report_page(met))
  assert '<p class="good"><b>Budget met.</b> 2,500 of 4,096 bytes of' in text
  over = (*limits, Limit('arena_bytes', 1000, 1200))
  missed = dataclasses.replace(report, limits=over)
  text = lead(report_page.report_page(missed))
  assert '<p class="poor"><b>Budget not met.</b>' in text
  assert '1,200 of 1,000 bytes of tensor arena: too many' in text
  unknown = dataclasses.replace(
    report, limits=(Limit('arena_bytes', 1000, None),)
  )
  assert 'not measured' in lead(report_page.report_page(unknown))
  assert 'Budget' not in lead(report_page.report_page(report))


@pytest.mark.parametrize(
  ('agreement', 'kind'), [(0.99, 'good'), (0.9, 'fair'), (0.5, 'poor')]
)
def test_answers_are_told_in_colour_and_of_whose_inputs(
  report, agreement, kind
):
  verdict = paoding.report.Verdict(0.1, agreement, inputs='7 drawn inputs')
  text = lead(
    report_page.report_page(dataclasses.replace(report, verdict=verdict))
  )
  assert f'<p class="{kind}"><b>' in text
  assert (
    f'The same answers as the original on {agreement:.1%} of 7 drawn' in text
  )
  assert f'test data {report.pruned.accuracy:.1%} in place of' in text


def test_inputs_hardly_telling_are_no_good_news(report):
  verdict = paoding.report.Verdict(0.0, 1.0, 1.0, 0.99, '7 inputs')
  text = lead(
    report_page.report_page(dataclasses.replace(report, verdict=verdict))
  )
  assert '<p class="fair">' in text
  assert 'tells little' in text


def test_it_says_whose_inputs(report, pair):
  assert 'without data' in report.verdict.inputs
  model, small, files = pair
  samples = paoding.inputs.draw_samples(model, RANGE, 20)
  given = paoding.report.make_report(
    model, small, files, input_range=RANGE, data=samples, micro=False
  )
  assert given.verdict.inputs == '20 unlabelled inputs that were passed'


def test_a_bound_wider_than_the_outputs_is_not_printed(report):
  wide = dataclasses.replace(report, bound=54321.0, output_range=7.0)
  text = report_page.report_page(wide)
  assert '5.432e+04' not in text
  assert 'wider than the range of the outputs' in text
  tight = dataclasses.replace(report, bound=0.4321, output_range=7.0)
  assert '<td>0.4321</td>' in report_page.report_page(tight)


def test_limits_are_those_of_a_budget(report, pair):
  model, small, files = pair
  budget = paoding.Budget(flash_bytes=10, macs=10**6)
  x = paoding.inputs.draw_samples(model, RANGE, 20)
  found = paoding.report.make_report(
    model,
    small,
    files,
    input_range=RANGE,
    data=np.clip(x, *RANGE),
    micro=False,
    limits=budget.limits,
  )
  assert [(x.name, x.taken, x.met) for x in found.limits] == [
    ('flash_bytes', len(files[1]), False),
    ('macs', found.pruned.profile.macs, True),
  ]
  outputs = model(np.clip(x[0], *RANGE)).numpy()
  assert found.output_range == pytest.approx(np.ptp(outputs, 0).max(), rel=1e-5)
  with pytest.raises(ValueError, match='flash_bytes'):
    paoding.report.make_report(
      model, small, files, input_range=RANGE, micro=False, limits={'flash': 10}
    )


def test_accuracy_of_one_sigmoid_is_of_its_two_classes():
  model = testing.mlp((5, 8, 1), activation='sigmoid')
  x = testing.samples((5,), 32).astype(np.float32)
  y = (model(x).numpy() > 0.5).astype(int)
  assert 0 < y.mean() < 1
  data = paoding.convert_to_tflite(model)
  samples = [x[:8]]
  for labels, wanted in ((y, 1.0), (1 - y, 0.0)):
    point = paoding.report.curve_point(
      model, model, data, sparsity=0.0, data=samples, test_data=(x, labels)
    )
    assert point.accuracy == wanted


def with_a_lambda() -> keras.Model:
  inputs = keras.Input((6,))
  x = keras.layers.Dense(8, activation='relu')(inputs)
  x = keras.layers.Lambda(lambda t: tf.abs(t) * 2.0)(x)
  return keras.Model(inputs, keras.layers.Dense(3)(x))


def subclassed() -> keras.Model:
  class Subclassed(keras.Model):
    def __init__(self):
      super().__init__()
      self.hidden = keras.layers.Dense(8, 'relu')
      self.out = keras.layers.Dense(3)

    def call(self, x):
      return self.out(self.hidden(x))

  model = Subclassed()
  model(np.zeros((1, 6), np.float32))
  return model


def of_keras3() -> Any:
  import keras as keras3

  return keras3.Sequential(
    [
      keras3.Input((6,)),
      keras3.layers.Dense(8, activation='relu'),
      keras3.layers.Dense(3),
    ]
  )


@pytest.mark.parametrize('make', [with_a_lambda, subclassed, of_keras3])
def test_an_original_of_any_kind_that_prune_takes(make):
  model = make()
  small = paoding.prune(model, 0.5, method='l1', input_range=RANGE, verbose=0)
  files = tuple(map(paoding.convert_to_tflite, (model, small)))
  report = paoding.report.make_report(
    model, small, files, input_range=RANGE, micro=False
  )
  assert [(w.before, w.after) for w in report.layers] == [(8, 4), (3, 3)]
  samples = [testing.samples((6,), 8).astype(np.float32)]
  point = paoding.report.curve_point(
    model, small, files[1], sparsity=0.5, data=samples
  )
  assert point.bytes == len(files[1])
  alike = paoding.report.judge(model, model, samples)
  assert alike.distance < 1e-9
