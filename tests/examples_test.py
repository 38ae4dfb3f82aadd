"""The example binaries, run as a user runs them."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tests.processes import warm_code, warm_script
from tfmot_paoding import robustness
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import run_tflite

_ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(script: str, *flags: str) -> subprocess.CompletedProcess:
  """Runs an example in a process of its own: one of each kind of them."""
  return subprocess.run(
    [sys.executable, str(_ROOT / 'examples' / script), *flags],
    capture_output=True,
    text=True,
    check=False,
    env={
      **os.environ,
      'PYTHONPATH': os.environ.get('WITHOUT', '') + str(_ROOT),
      'TF_CPP_MIN_LOG_LEVEL': '3',
    },
  )


def rerun(script: str, *flags: str) -> subprocess.CompletedProcess:
  """Runs an example like one that another test starts as a user does."""
  return warm_script(str(_ROOT / 'examples' / script), *flags)


@pytest.fixture(scope='module')
def model_path(tmp_path_factory) -> str:
  """A small untrained network in a file."""
  keras.utils.set_random_seed(0)
  model = keras.Sequential(
    [
      keras.layers.Dense(16, activation='relu', input_shape=(6,)),
      keras.layers.Dense(8, activation='relu'),
      keras.layers.Dense(3),
    ]
  )
  path = str(tmp_path_factory.mktemp('model') / 'in.h5')
  model.save(path)
  return path


def test_quickstart_prints_every_method_and_writes_the_best(tmp_path):
  output = tmp_path / 'digits.tflite'
  done = run('quickstart.py', '--epochs=3', f'--output={output}')
  assert done.returncode == 0, done.stderr
  assert 'warning' not in done.stderr.lower()  # the table says it
  assert 'I0000' not in done.stderr
  rows = {
    line.split()[0]: line.split()
    for line in done.stdout.splitlines()
    if len(line.split()) == 7
  }
  assert {'original', 'impact', 'l1', 'saliency', 'stochastic'} <= set(rows)
  for method in ('impact', 'l1', 'saliency', 'stochastic'):
    assert int(rows[method][2]) * 2 == int(rows['original'][2])
    assert int(rows[method][4]) < int(rows['original'][4])
    assert 0 < float(rows[method][5]) <= 1  # of the original's answers
  best = max(
    float(row[1])
    for name, row in rows.items()
    if name not in ('original', 'method')
  )
  (answers,) = run_tflite(
    output.read_bytes(),
    {_input_name(output): np.zeros((1, 64), np.float32)},
    outputs=[_output_name(output)],
  )
  assert answers.shape == (1, 10)
  assert f'{best:.3f}' in done.stdout


def test_prune_model_writes_a_smaller_file(tmp_path, model_path):
  output = tmp_path / 'out.tflite'
  done = rerun(
    'prune_model.py',
    f'--model={model_path}',
    f'--output={output}',
    '--sparsity=0.5',
    '--method=stochastic',
    '--input_range=-1,1',
  )
  assert done.returncode == 0, done.stderr
  assert '24 -> 12' in done.stdout
  before, after = _numbers(done.stdout, 'tflite bytes:')
  assert after == output.stat().st_size < before


def test_fit_budget_writes_what_fits(tmp_path, model_path):
  output = tmp_path / 'out.tflite'
  done = rerun(
    'fit_budget.py',
    f'--model={model_path}',
    f'--output={output}',
    '--method=saliency',
    '--quantization=none',
    '--macs=150',
  )
  assert done.returncode == 0, done.stderr
  assert paoding.profile_tflite(output.read_bytes(), micro=False).macs <= 150


def _numbers(text: str, label: str) -> tuple[int, int]:
  line = next(x for x in text.splitlines() if x.startswith(label))
  before, after = line.removeprefix(label).split('->')
  return int(before), int(after)


def _signature(path) -> dict:
  interpreter = tf.lite.Interpreter(model_content=path.read_bytes())
  return interpreter.get_signature_list()['serving_default']


def _input_name(path) -> str:
  return _signature(path)['inputs'][0]


def _output_name(path) -> str:
  return _signature(path)['outputs'][0]


@pytest.fixture
def comparison(tmp_path, model_path) -> list[str]:
  """Flags for a comparison on random samples."""
  rng = np.random.default_rng(0)
  path = tmp_path / 'data.npz'
  np.savez(
    path,
    x_test=rng.integers(0, 256, (40, 2, 3)).astype(np.uint8),
    y_test=rng.integers(0, 3, 40),
  )
  return [
    f'--models={model_path}',
    f'--data={path}',
    f'--output={tmp_path / "rows.json"}',
    '--sparsities=0.5',
    '--seeds=2',
    '--attacked=8',
  ]


def test_compare_methods_measures_and_goes_on(tmp_path, comparison):
  done = rerun('figures/compare_methods.py', *comparison, '--methods=l1')
  assert done.returncode == 0, done.stderr
  rows = json.loads((tmp_path / 'rows.json').read_text())
  assert [row['method'] for row in rows] == ['original', 'l1']
  assert rows[1]['removed'] == 0.5
  assert set(rows[1]['fgsm']) == {'0.01', '0.05'}
  assert rows[1]['sizes'][1] < rows[1]['sizes'][0]
  rows[1]['accuracy'] = 2.0  # to know it again
  (tmp_path / 'rows.json').write_text(json.dumps(rows))
  done = rerun(
    'figures/compare_methods.py', *comparison, '--methods=l1,stochastic'
  )
  assert done.returncode == 0, done.stderr
  again = json.loads((tmp_path / 'rows.json').read_text())
  assert again[:2] == rows
  assert again[2]['method'] == 'stochastic'
  assert '| in | l1 | 2.000 |' in done.stdout  # the summary


def test_a_missing_peer_is_named_with_its_installation(comparison):
  if importlib.util.find_spec('paoding') is not None:
    pytest.skip('paoding-dl is installed here')
  done = rerun(
    'figures/compare_methods.py', *comparison, '--peer', '--methods=l1'
  )
  assert done.returncode != 0
  assert 'paoding-dl cannot be imported' in done.stderr
  assert 'examples/figures/paoding_peer.py' in done.stderr


def test_benchmark_speed_prints_a_row_a_method():
  done = rerun(
    'figures/benchmark_speed.py',
    '--widths=16',
    '--methods=l1,impact',
    '--repeats=1',
  )
  assert done.returncode == 0, done.stderr
  rows = [x.split('|') for x in done.stdout.splitlines() if '| 16 |' in x]
  assert [row[2].strip() for row in rows] == ['l1', 'impact']
  assert all(float(row[3]) > 0 for row in rows)


def test_sweep_layers_tells_bytes_operators_and_refusals(tmp_path):
  pytest.importorskip('tflite_micro')
  flags = [f'--output={tmp_path / "layers.json"}', '--only=GRU']
  done = rerun('figures/sweep_layers.py', *flags)
  assert done.returncode == 0, done.stderr
  (line,) = [x for x in done.stdout.splitlines() if x.startswith('| GRU')]
  _, _, size, kinds, none, why, _ = (cell.strip() for cell in line.split('|'))
  assert int(size) > 1000
  assert 'WHILE' in kinds
  assert none == 'none'
  assert why.startswith('not converted: TFLite has no integers for loops')
  # What is done stays.
  again = rerun('figures/sweep_layers.py', *flags)
  assert again.stdout.splitlines()[-1] == line


def test_time_phases_tells_shares_of_the_whole(model_path):
  done = rerun('figures/time_phases.py', f'--network={model_path},0,1')
  before, today = columns(done)
  assert (before['form'], today['form']) == ('before', 'today')
  for row in (before, today):
    shares = [int(x[:-1]) for x in row.values() if x.endswith('%')]
    assert 95 <= sum(shares) <= 105
  ratio = float(today['CPU seconds']) / float(before['CPU seconds'])
  assert float(today['ratio']) == pytest.approx(ratio, abs=0.03)
  assert int(before['simulation'][:-1]) > 0
  assert int(today['distillation'][:-1]) > 0


@pytest.fixture(scope='module')
def network_path(tmp_path_factory) -> tuple[str, str]:
  """A small convolutional network and test data for it, in files."""
  keras.utils.set_random_seed(0)
  model = keras.Sequential(
    [
      keras.layers.Conv2D(8, 3, activation='relu', input_shape=(6, 6, 1)),
      keras.layers.BatchNormalization(),
      keras.layers.GlobalAveragePooling2D(),
      keras.layers.Dense(6, activation='relu'),
      keras.layers.Dense(3),
    ]
  )
  folder = tmp_path_factory.mktemp('network')
  model.save(folder / 'net.keras')
  rng = np.random.default_rng(0)
  np.savez(
    folder / 'data.npz',
    x_test=rng.integers(0, 256, (20, 6, 6, 1)).astype(np.uint8),
    y_test=rng.integers(0, 3, 20),
  )
  return str(folder / 'net.keras'), str(folder / 'data.npz')


@pytest.fixture
def peer_python(tmp_path) -> str:
  """Another environment's Python, whose peer refuses or does nothing."""
  program = tmp_path / 'peer.py'
  program.write_text(
    'import shutil, sys\n'
    'flags = dict(x.lstrip("-").split("=") for x in sys.argv[2:])\n'
    'assert sys.argv[1].endswith("mct_peer.py")\n'
    'if "images" not in flags: sys.exit("no statistics")\n'
    'shutil.copy(flags["model"], flags["output"])\n'
  )
  path = tmp_path / 'python'
  path.write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
  path.chmod(0o755)
  return str(path)


def test_compare_mct_is_at_equal_parameters(network_path, peer_python):
  model, data = network_path
  done = rerun(
    'figures/compare_mct.py',
    f'--python={peer_python}',
    f'--network={model},{data},.003921568,0,0,1',
    '--sources=noise,own',
    '--kept=.6',
  )
  original, noise, own, plain, taught = columns(done)
  assert noise['parameters'] == original['parameters']
  assert noise['accuracy'] == original['accuracy']
  assert own['accuracy'] == 'refused'
  assert 'no statistics' in done.stderr
  assert plain['parameters'] == taught['parameters']
  assert 0.3 < int(plain['parameters']) / int(original['parameters']) <= 0.6


def test_compare_networks_prints_both_tables_and_draws(network_path, tmp_path):
  pytest.importorskip('matplotlib')
  model, data = network_path
  picture = tmp_path / 'accuracy.png'
  done = run(
    'figures/compare_networks.py',
    f'--network={model},{data},0.00392,0,0,1',
    '--methods=l1,saliency/global/macs',
    '--sparsities=0.5',
    f'--plot={picture}',
    '--plotted=l1,saliency/global/macs,impact',
  )
  assert done.returncode == 0, done.stderr
  assert picture.read_bytes()[1:4] == b'PNG'
  lines = done.stdout.splitlines()
  (row,) = [line for line in lines if line.startswith('| net') and 'l1' in line]
  cells = [cell.strip() for cell in row.strip('| ').split('|')]
  assert all(0 <= float(cells[k]) <= 1 for k in (1, 3))
  sizes = [line for line in lines if '| local |' in line]
  before, after = [int(line.split('|')[4]) for line in sizes]
  assert after < before


def test_compare_networks_trains_one_of_the_same_widths(network_path, tmp_path):
  model, data = network_path
  with np.load(data) as file:
    test = dict(file)
  whole = str(tmp_path / 'whole.npz')
  np.savez(whole, **test, x_train=test['x_test'], y_train=test['y_test'])
  call = ('figures/compare_networks.py', '--methods=scratch', '--epochs=2')
  rows = tmp_path / 'rows.json'
  done = rerun(
    *call,
    f'--network={model},{whole},0.00392,0,0,1',
    '--sparsities=0.5',
    f'--output={rows}',
  )
  assert done.returncode == 0, done.stderr
  original, scratch = json.loads(rows.read_text())
  assert scratch['method'] == 'scratch'
  assert scratch['parameters'] < original['parameters']
  assert 0 <= scratch['score'] <= 1
  done = rerun(*call, f'--network={model},{data},0.00392,0,0,1')
  assert done.returncode != 0
  assert 'hold no x_train and y_train' in done.stderr


def test_compare_spreads_goes_on_and_compares_at_equal_size(
  network_path, tmp_path
):
  model, data = network_path
  given = f'--network={model},{data},0.00392,0,0,1'
  flags = (given, '--plain', f'--output={tmp_path / "rows.json"}')
  rerun('figures/compare_spreads.py', *flags, '--sparsities=0.5')
  done = rerun('figures/compare_spreads.py', *flags, '--sparsities=0.5,0.25')
  first, second = columns(done)
  assert (first['units removed'], second['units removed']) == ('50%', '25%')
  for row in (first, second):
    assert row['distilled'] == 'no'
    uniform, spread = row['parameters, uniform'], row['parameters, global']
    assert int(uniform) >= int(spread)
  rows = json.loads((tmp_path / 'rows.json').read_text())
  assert [row['sparsity'] for row in rows] == [0.5, 0.25]


def test_compare_verdicts_says_what_real_inputs_say(network_path, tmp_path):
  model, data = network_path
  flags = (
    f'--network={model},{data},0.00392,0,0,1',
    f'--output={tmp_path / "rows.json"}',
    '--sparsities=0.5',
  )
  (row,) = columns(rerun('figures/compare_verdicts.py', *flags))
  assert 'without data' in row['on']
  for name in ('kept', 'verdict', 'learned on'):
    assert 0 <= float(row[name]) <= 1
  (known,) = json.loads((tmp_path / 'rows.json').read_text())
  assert f'{known["verdict"]:.3f}' == row['verdict']


def test_compare_regressors_says_what_a_lesson_does(tmp_path):
  pytest.importorskip('sklearn')
  flags = (
    '--cases=diabetes',
    '--sparsities=0.5',
    f'--output={tmp_path / "rows.json"}',
  )
  (row,) = columns(rerun('figures/compare_regressors.py', *flags))
  assert row['default'] in (row['undistilled'], row['distilled'])
  known = json.loads((tmp_path / 'rows.json').read_text())
  assert len(known) == 3
  assert all(one['same'] <= 1 for one in known)
  done = rerun('figures/compare_regressors.py', '--cases=weather')
  assert done.returncode == 1
  assert 'diabetes' in done.stderr


def test_compare_stairs_ends_at_multiples(network_path, tmp_path):
  pytest.importorskip('ethosu', reason='Vela is not installed')
  _, data = network_path
  model = keras.Sequential(
    [
      keras.layers.Conv2D(24, 3, activation='relu', input_shape=(6, 6, 1)),
      keras.layers.Conv2D(32, 3, activation='relu'),
      keras.layers.Flatten(),
      keras.layers.Dense(3),
    ]
  )
  model.save(tmp_path / 'wide.keras')
  flags = (
    f'--network={tmp_path / "wide.keras"},{data},0.00392,0,0,1',
    '--inputs=64',
    '--sparsities=0.4',
    f'--output={tmp_path / "rows.json"}',
  )
  original, any_width, multiples = columns(
    rerun('figures/compare_stairs.py', *flags)
  )
  assert original['form'] == 'original'
  assert int(any_width['cycles']) < int(original['cycles'])
  assert int(multiples['cycles']) <= 1.01 * int(any_width['cycles'])
  whole = original['widths'].split()
  for width, before in zip(multiples['widths'].split(), whole, strict=True):
    assert int(width) % 8 == 0 or width == before


def test_compare_devices_shows_every_target(network_path, tmp_path):
  pytest.importorskip('ethosu', reason='Vela is not installed')
  pytest.importorskip('tflite_micro', reason='tflite-micro is not installed')
  pytest.importorskip('matplotlib')
  model, data = network_path
  picture = tmp_path / 'devices.png'
  done = rerun(
    'figures/compare_devices.py',
    f'--network={model},{data},0.00392,0,0,1',
    '--method=l1',
    '--sparsities=0.5',
    '--share=1',
    '--npu=ethos-u55-128',
    '--seconds=0.05',
    f'--plot={picture}',
  )
  original, half, *_ = columns(done)
  assert int(half['cycles']) > 0
  assert original['on the CPU'] == '0%'
  assert picture.read_bytes()[1:4] == b'PNG'


def test_compare_files_goes_on_and_compares_with_eight_bits(
  network_path, tmp_path
):
  pytest.importorskip('tflite_micro')
  pytest.importorskip('ai_edge_quantizer')
  model, data = network_path
  done = rerun(
    'figures/compare_files.py',
    f'--network={model},{data},0.00392,0,0,1',
    f'--output={tmp_path / "rows.json"}',
  )
  rows = {row['form']: row for row in columns(done)}
  assert {'none', 'int8', 'int4', 'int8, real data'} <= set(rows)
  assert rows['int8']['of int8'] == '100%'
  assert rows['int8, real data']['of real data'] == '1.0'
  assert int(rows['int8']['arena']) > 0
  assert rows['int4']['arena'] == 'no'
  assert all(0 <= float(row['score']) <= 1 for row in rows.values())


def test_compare_ranks_goes_on_and_keeps_as_many_parameters(
  network_path, tmp_path
):
  model, data = network_path
  flags = (
    f'--network={model},{data},0.00392,0,0,1',
    '--kept=0.6',
    '--flash=1.3',
    f'--output={tmp_path / "rows.json"}',
  )
  done = rerun('figures/compare_ranks.py', *flags)
  original, *others, units, thin = columns(done)
  assert [units['form'], thin['form']] == ['budget', 'budget, ranks too']
  for row in (units, thin):
    assert int(row['int8 bytes']) <= 1.3 * int(original['int8 bytes'])
    assert 0 <= float(row['distilled']) <= 1
  assert [row['form'] for row in others] == ['units', 'ranks', 'both']
  for row in others:
    share = int(row['parameters']) / int(original['parameters'])
    assert 0.4 <= share <= 0.6
    assert 0 <= float(row['as fitted']) <= 1
  again = rerun('figures/compare_ranks.py', *flags)
  assert columns(again) == [original, *others, units, thin]


def test_judge_candidates_says_what_each_judge_loses(network_path, tmp_path):
  model, data = network_path
  done = rerun(
    'figures/judge_candidates.py',
    f'--network={model},{data},0.00392,0,0,1',
    '--sparsities=0.5',
    '--priors=recalled,varied',
    '--judges=smooth,varied,blobs',
    f'--output={tmp_path / "rows.json"}',
  )
  rows = columns(done)
  asked = dict.fromkeys(row['asked'] for row in rows)
  assert list(asked) == ['how', 'on what']
  assert all(0 <= float(row['lost']) <= float(row['at most']) for row in rows)
  assert {row['inputs'] for row in rows} == {
    'the same',
    'another',
    'smooth',
    'varied',
    'blobs',
    'all',
  }
  assert rows[-1]['judged by'] == 'the network'
  assert len(json.loads((tmp_path / 'rows.json').read_text())) == 6


def test_fuzz_models_reports_what_it_found():
  done = rerun('figures/fuzz_models.py', '--count=2', '--first_seed=5')
  assert done.returncode == 0, done.stderr
  assert 'bounded, near samples too: 2' in done.stdout


def test_prune_applications_prints_a_row():
  done = rerun(
    'figures/prune_applications.py', '--models=MobileNet,Nonsense', '--side=32'
  )
  assert done.returncode == 0, done.stderr
  good, bad = done.stdout.splitlines()[-2:]
  cells = [cell.strip() for cell in good.strip('| ').split('|')]
  assert cells[0] == 'MobileNet'
  assert float(cells[3]) < 1e-4
  assert cells[5].startswith('13 → ')  # 568 at 224 pixels
  assert 'Nonsense' in bad
  assert "no attribute 'Nonsense'" in bad


def columns(done: subprocess.CompletedProcess) -> list[dict[str, str]]:
  """The rows of the Markdown table that an example printed."""
  assert done.returncode == 0, done.stderr
  lines = []
  for line in done.stdout.splitlines():
    if lines and not line:
      break  # the first table alone
    if line.startswith('|'):
      lines.append([cell.strip() for cell in line.strip('|').split('|')])
  return [dict(zip(lines[0], row, strict=True)) for row in lines[2:]]


class TestRobustness:
  def test_forms_by_attack_and_certificate(self, tmp_path):
    pytest.importorskip('sklearn')
    pytest.importorskip('matplotlib')
    output, picture = tmp_path / 'rows.json', tmp_path / 'robust.png'
    flags = (
      '--methods=impact',
      '--sparsities=.25',
      '--epsilons=.01,.05',
      '--attacked=40',
      '--certified=10',
      f'--output={output}',
      f'--plot={picture}',
    )
    rows = columns(rerun('figures/evaluate_robustness.py', *flags))
    assert [(row['form'], row['epsilon']) for row in rows] == [
      ('original', '.01'),
      ('original', '.05'),
      ('impact 25%', '.01'),
      ('impact 25%', '.05'),
    ]
    for row in rows:
      clean, fgsm, pgd = (float(row[k]) for k in ('clean', 'FGSM', 'PGD'))
      assert clean >= fgsm >= pgd - 1e-9
      assert int(row['kept']) <= int(row['robust']) == round(40 * fgsm)
      assert float(row['crown']) >= float(row['crown-ibp']) >= float(row['ibp'])
    assert picture.read_bytes()[1:4] == b'PNG'
    # A second run takes the measured rows from the file.
    kept = json.loads(output.read_text())
    kept[0]['clean'] = 0.123
    output.write_text(json.dumps(kept))
    rows = columns(rerun('figures/evaluate_robustness.py', *flags))
    assert rows[0]['clean'] == '0.123'

  def test_along_the_schedule(self):
    pytest.importorskip('sklearn')
    rows = columns(
      rerun('figures/robustness_schedule.py', '--step=.25', '--agreed=10')
    )
    assert [row['removed'] for row in rows] == ['0.00', '0.25', '0.50']
    assert rows[0]['robust'] == rows[0]['kept'] == rows[0]['transferred']
    assert int(rows[2]['kept']) <= int(rows[0]['robust'])

  def test_the_papers_protocol(self, tmp_path):
    datasets = pytest.importorskip('sklearn.datasets')
    x, y = datasets.load_digits(return_X_y=True)
    x = (x * 15.9).astype(np.uint8).reshape(-1, 8, 8)
    data = tmp_path / 'digits.npz'
    np.savez(
      data, x_train=x[:1500], y_train=y[:1500], x_test=x[1500:], y_test=y[1500:]
    )
    rows = columns(
      rerun(
        'figures/paoding_tables.py',
        f'--data={data}',
        '--seeds=2',
        '--epochs=8',
        '--widths=16,16,8',
        '--methods=stochastic',
        '--activations=relu',
        '--attacked=200',
      )
    )
    ours = [row for row in rows if row['method'] == 'stochastic']
    assert len(ours) == 5
    published = {
      row['accuracy, or robust instances']: row['50%']
      for row in rows
      if row['method'] == 'published'
    }
    assert published == {
      'accuracy': '0.840',
      "paper's FGSM 0.01": '634',
      "paper's FGSM 0.05": '616',
    }
    assert float(ours[0]['0%']) > 0.5

  def test_deviation(self):
    pytest.importorskip('sklearn')
    rows = columns(
      rerun(
        'figures/certify_deviation.py',
        '--methods=saliency',
        '--sparsities=.25',
        '--epsilons=.01',
        '--samples=20',
      )
    )
    for row in rows:
      assert float(row['found']) <= float(row['joint'])
      assert float(row['joint']) <= float(row['apart']) * 1.001

  def test_verification(self, tmp_path):
    pytest.importorskip('sklearn')
    output = tmp_path / 'rows.json'
    flags = (
      '--epsilons=.02',
      '--samples=6',
      '--seconds=20',
      f'--output={output}',
    )
    proved, *found = columns(rerun('figures/verify_networks.py', *flags))
    for row in found:
      assert row['verifier'] == 'bab'
      counts = [int(row[name]) for name in ('robust', 'broken', 'unknown')]
      assert sum(counts) == 6
      assert counts[0] >= int(proved['robust'])
    # It goes on from the rows that there are, and does not believe both of two.
    kept = json.loads(output.read_text())
    assert len(kept) == 12
    sure = next(row for row in kept if row['verdict'] == 'robust')
    other = next(
      row for row in kept if row['sample'] == sure['sample'] and row is not sure
    )
    other['verdict'] = 'broken'
    output.write_text(json.dumps(kept))
    done = rerun('figures/verify_networks.py', *flags)
    assert done.returncode != 0
    assert f'sample {sure["sample"]} is proved robust' in done.stderr

  def test_instances(self, tmp_path):
    pytest.importorskip('tf2onnx')
    model = testing.mlp((5, 12, 12, 3), seed=3)
    x = testing.draw((5,), 3, seed=1)
    y = model(x.astype(np.float32)).numpy().argmax(-1)
    robustness.export_properties(
      model, x, y, 0.3, str(tmp_path), (-1, 1), seconds=20
    )
    rows = columns(
      rerun('figures/verify_networks.py', f'--instances={tmp_path}')
    )
    assert [row['property'] for row in rows] == [
      f'property_{k}.vnnlib' for k in range(3)
    ]
    assert all(row['answer'] in ('sat', 'unsat') for row in rows)
    (tmp_path / 'instances.csv').write_text('model.onnx,property_0.vnnlib\n')
    done = rerun('figures/verify_networks.py', f'--instances={tmp_path}')
    assert done.returncode == 1
    assert 'line 1' in done.stderr
    done = rerun(
      'figures/verify_networks.py', f'--instances={tmp_path}', '--seconds=3'
    )
    assert done.returncode != 0
    assert '--seconds without effect' in done.stderr + done.stdout


class TestTraining:
  FLAGS = (
    '--epochs=4',
    '--finetune_epochs=4',
    '--widths=16,16',
    '--train_samples=400',
    '--test_samples=60',
    '--compression=4',
  )

  def test_the_pipeline_and_its_checkpoints(self, tmp_path):
    pytest.importorskip('sklearn')
    flags = (
      *self.FLAGS,
      '--objective=natural,smoothing',
      f'--directory={tmp_path}',
    )
    rows = columns(rerun('figures/robust_training.py', *flags))
    forms = {(row['objective'], row['form']): row for row in rows}
    assert {form for _, form in forms} == {'dense', 'magnitude', 'impact'}
    dense = int(forms['natural', 'dense']['weights'])
    for form in ('magnitude', 'impact'):
      assert int(forms['natural', form]['weights']) < 0.45 * dense
    assert forms['smoothing', 'dense']['proved (smoothed)']
    assert not forms['natural', 'dense']['proved (smoothed)']
    assert list(tmp_path.rglob('events*'))
    # What is done is not done again; a stage that is missing is.
    folder = tmp_path / 'natural_0'
    kept = json.loads((folder / 'magnitude.json').read_text())
    kept[1]['benign'] = 0.123
    (folder / 'magnitude.json').write_text(json.dumps(kept))
    rows = columns(rerun('figures/robust_training.py', *flags))
    found = [
      row['benign']
      for row in rows
      if (row['objective'], row['form']) == ('natural', 'magnitude')
    ]
    assert found[0].startswith('0.123')

  def test_what_is_learned_and_what_is_trained_from_scratch(self, tmp_path):
    pytest.importorskip('sklearn')
    flags = (
      *self.FLAGS,
      '--epochs=1',
      '--finetune_epochs=2',
      '--objective=natural',
      '--prune=learned,learned-units,stable-units,scratch',
      '--score_epochs=1',
      '--score_ramp',
      f'--directory={tmp_path}',
    )
    rows = columns(rerun('figures/robust_training.py', *flags))
    dense, *small = [int(row['weights']) for row in rows]
    assert max(small) < 0.5 * dense
    # Units: the same widths, however they were found; a bias may be 0.
    assert max(small[1:]) - min(small[1:]) < 16
    # What was learned is not learned again.
    folder = tmp_path / 'natural_0'
    before = (folder / 'learned-units/learned/round_0.npz').read_bytes()
    (folder / 'learned-units.json').unlink()
    assert columns(rerun('figures/robust_training.py', *flags))
    found = (folder / 'learned-units/learned/round_0.npz').read_bytes()
    assert found == before

  def test_units_that_leave_while_training_are_those_of_all_layers(self):
    pytest.importorskip('sklearn')
    flags = (
      *self.FLAGS,
      '--widths=128,64',
      '--compression=10',
      '--objective=verifiable',
      '--prune=impact',
      '--scope=global',
      '--gradual',
    )
    dense, small = columns(rerun('figures/robust_training.py', *flags))
    assert int(small['weights']) < 0.1 * int(dense['weights'])

  def test_a_directory_of_other_settings_is_refused(self, tmp_path):
    (tmp_path / 'settings.json').write_text('{"data": "mnist"}')
    done = rerun(
      'figures/robust_training.py', *self.FLAGS, f'--directory={tmp_path}'
    )
    assert done.returncode
    assert 'was begun with other settings of data' in done.stderr

  @pytest.mark.parametrize(
    ('script', 'flags', 'said'),
    [
      (
        'robust_training',
        '--prune=magnitude,scratch --gradual',
        '--gradual has no effect on --prune=magnitude,scratch',
      ),
      (
        'robust_training',
        '--prune=magnitude --score_ramp',
        '--score_ramp has no effect on --prune=magnitude',
      ),
      ('robust_training', '--prune=imapct', '--prune names imapct. Known: '),
      ('robust_training', '--objective=robust', 'Known: adversarial, '),
      ('robust_training', '--network=cnn --widths=8', "--widths are an MLP's"),
      (
        'robust_training',
        '--prune=learned --score_epochs=2 --finetune_epochs=2',
        'fewer than all',
      ),
      ('certified_pruning', '--prune=impact', '--prune have no effect here'),
    ],
  )
  def test_flags_that_do_not_fit_are_refused(self, script, flags, said):
    done = rerun(f'figures/{script}.py', *flags.split())
    assert done.returncode
    assert said in done.stderr

  def test_a_killed_run_goes_on_from_its_last_epoch(self, tmp_path):
    pytest.importorskip('sklearn')
    flags = [
      *self.FLAGS[1:],
      '--epochs=24',
      '--objective=natural',
      '--prune=magnitude',
      f'--directory={tmp_path}',
    ]
    process = subprocess.Popen(
      [
        sys.executable,
        str(_ROOT / 'examples/figures/robust_training.py'),
        *flags,
      ],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      env={**os.environ, 'PYTHONPATH': str(_ROOT), 'PYTHONUNBUFFERED': '1'},
    )
    for line in process.stdout:
      if line.startswith('Epoch 12/'):
        break
    process.kill()
    process.wait()
    done = rerun('figures/robust_training.py', *flags)
    assert done.returncode == 0, done.stderr
    epochs = [x for x in done.stdout.splitlines() if x.startswith('Epoch ')]
    first = int(epochs[0].split()[1].split('/')[0])
    assert 6 < first <= 20

  def test_methods_by_certified_accuracy(self, tmp_path):
    pytest.importorskip('sklearn')
    flags = (
      *self.FLAGS[:-1],
      '--rounds=2',
      '--every=2',
      '--objective=natural',
      '--regularized=0',
      '--verified=2',
      '--test_samples=30',
      f'--directory={tmp_path}',
    )
    rows = columns(rerun('figures/certified_pruning.py', *flags))
    assert [row['form'].rsplit(' ', 1)[0] for row in rows] == [
      'dense',
      'ticket',
      'magnitude, once',
      'SNIP',
      'impact, units',
    ]
    for row in rows:
      assert (
        float(row['certified']) <= float(row['PGD']) <= float(row['benign'])
      )
      assert float(row['proved']) + float(row['open']) <= 1
    # Rows and a round that are missing are trained and measured anew, and come
    # out alike.
    (one,), (other,), (last,) = (
      tmp_path.rglob(name)
      for name in ('SNIP*.json', 'ticket*.json', 'round_2.npz')
    )
    before = json.loads(one.read_text())
    for file in (one, other, last):
      file.unlink()
    assert columns(rerun('figures/certified_pruning.py', *flags)) == rows
    assert json.loads(one.read_text()) == before
    assert other.exists()
    assert last.exists()
    assert list(tmp_path.rglob('events*'))

  @pytest.mark.parametrize(
    ('flags', 'sparsities', 'names'),
    [
      ('--rounds=2 --every=1 --rate=.002', (0.002, 0.004), '0.20% 0.40%'),
      ('--rounds=4 --every=2 --rate=.44', (0.686, 0.902), '69% 90%'),
    ],
  )
  def test_rounds_that_differ_by_little_have_names_of_their_own(
    self, flags, sparsities, names
  ):
    code = f"""
      import sys
      sys.path.insert(0, {str(_ROOT / 'examples/figures')!r})
      from absl import flags
      import certified_pruning as lib
      flags.FLAGS(sys.argv[:-1])
      print(*map(lib.percent, map(float, sys.argv[-1].split(','))))
    """
    done = warm_code(code, *flags.split(), ','.join(map(str, sparsities)))
    assert done.stdout.split('\n')[-2] == names

  def test_a_weight_is_the_same_however_it_is_written(self):
    code = f"""
      import sys
      sys.path.insert(0, {str(_ROOT / 'examples/figures')!r})
      from absl import flags
      import certified_pruning as lib
      flags.FLAGS(sys.argv)
      print(*lib.weights())
    """
    done = warm_code(code, '--regularized=0,.01,0.010,1e-2')
    assert done.stdout.split('\n')[-2] == '0 0.01 0.01 0.01'

  def test_an_attack_may_grow_while_training(self):
    pytest.importorskip('sklearn')
    flags = (
      *self.FLAGS,
      '--objective=adversarial',
      '--prune=reconstruction',
      '--gradual',
      '--learning_rate=.02',
    )
    row, small = columns(rerun('figures/robust_training.py', *flags))
    assert float(row['PGD']) > 0.3
    assert float(small['PGD'].split()[0]) > 0.3


class TestBeforeAnyWork:
  """What could only fail at the end is said at the start."""

  def test_a_second_network_that_is_missing(self, tmp_path, network_path):
    model, data = network_path
    output = tmp_path / 'rows.json'
    done = rerun(
      'figures/compare_networks.py',
      f'--network={model},{data},0.00392,0,0,1',
      f'--network=nowhere.h5,{data},1,0,0,1',
      f'--output={output}',
    )
    assert done.returncode
    assert 'nowhere.h5' in done.stderr
    assert not output.exists()
