"""Reports: what they say is what is measured, in a page of its own."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import os

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.report import page as report_page

RANGE = (-1.0, 1.0)


@pytest.fixture(scope='module')
def pair():
  model = testing.mlp((6, 16, 12, 3), 'relu')
  small = paoding.prune(model, 0.5, 'saliency', RANGE, verbose=0)
  files = tuple(
    paoding.convert_to_tflite(m, 'int8', RANGE) for m in (model, small)
  )
  return model, small, files


@pytest.fixture(scope='module')
def test_data(pair):
  x = testing.samples((6,), 60).astype(np.float32)
  return x, pair[0].predict(x, verbose=0).argmax(1)


@pytest.fixture(scope='module')
def report(pair, test_data):
  model, small, files = pair
  samples = paoding.inputs.draw_samples(model, RANGE, 100)
  curve = [
    paoding.report.curve_point(model, m, data, sparsity, samples, test_data)
    for m, data, sparsity in ((model, files[0], 0.0), (small, files[1], 0.5))
  ]
  return paoding.report.make_report(
    model, small, files, RANGE, test_data, micro=False, curve=curve
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
      data, {one.input_names[0]: test_data[0]}, one.output_names
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
  assert found['layers'][0] == {'name': 'hidden_0', 'before': 16, 'after': 8}


def test_names_are_escaped(pair, tmp_path):
  model, small, files = pair
  report = paoding.report.make_report(
    model, small, files, RANGE, micro=False, title='<script>alert(1)</script>'
  )
  page, _ = paoding.report.write_report(report, str(tmp_path / 'x.html'))
  with open(page, encoding='utf-8') as file:
    assert '<script' not in file.read()


def test_what_is_not_known_is_null_and_no_nan(tmp_path):
  """An autoencoder: no classes; a Lambda layer: no bounds."""
  inputs = keras.Input((6,))
  x = keras.layers.Dense(8, activation='relu')(inputs)
  x = keras.layers.Dense(5, activation='relu')(x)
  x = keras.layers.Lambda(lambda t: t * t)(x)
  model = testing.fill(keras.Model(inputs, keras.layers.Dense(6)(x)))
  small = paoding.prune(model, 0.25, 'l1', verbose=0)
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
  import builtins

  kept = builtins.__import__

  def refuse(name, *args, **kwargs):
    if name.split('.')[0] == 'matplotlib':
      raise ImportError(name)
    return kept(name, *args, **kwargs)

  monkeypatch.setattr(builtins, '__import__', refuse)
  with pytest.raises(ImportError, match=r'tfmot_paoding\[report\]'):
    report_page.report_page(report)
  without = dataclasses.replace(report, curve=())
  assert 'Trade-off' not in report_page.report_page(without)
