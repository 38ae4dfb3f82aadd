"""`tfmot-paoding verify`: what it prints, and what its exit codes mean."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests import testing
from tfmot_paoding import robustness
from tfmot_paoding.command import choices, verify
from tfmot_paoding.command.main import run
from tfmot_paoding.robustness import verification

EPSILON = 0.02


@pytest.fixture(scope='module')
def network():
  """A small untrained classifier."""
  return testing.mlp((6, 16, 8, 3))


@pytest.fixture(scope='module')
def samples(network):
  """Samples, and the classes that the network gives them."""
  x = testing.draw((6,), 8)
  return x, network(x.astype(np.float32)).numpy().argmax(-1)


@pytest.fixture(scope='module')
def folder(tmp_path_factory, network, samples):
  """The network, and files of samples: all proved, and some broken."""
  path = tmp_path_factory.mktemp('verify')
  network.save(path / 'in.h5')
  x, y = samples
  verdicts = [
    answer.verdict
    for answer in robustness.verify(network, x, y, EPSILON, (-1.0, 1.0))
  ]
  sure = np.array(verdicts) == 'robust'
  assert sure.sum() > 2
  np.savez(path / 'robust.npz', x=x[sure], y=y[sure])
  np.savez(
    path / 'wrong.npz', x=x[sure], y=[(y[sure][0] + 1) % 3, *y[sure][1:]]
  )
  return path


@pytest.fixture
def given(folder):
  """The flags of balls."""
  return [
    'verify',
    f'--model={folder}/in.h5',
    f'--epsilon={EPSILON}',
    '--input_range=-1,1',
  ]


def test_all_robust_is_0(given, folder, capsys):
  assert run([*given, f'--test_data={folder}/robust.npz']) == 0
  said = capsys.readouterr().out.splitlines()
  assert said[1].startswith('sample 0 (class ')
  assert 'robust, ' in said[1]
  count = len(np.load(folder / 'robust.npz')['x'])
  assert said[-1] == f'{count} robust, 0 broken, 0 unknown of {count}'


def test_one_broken_is_3_and_its_example_is_written(
  given, folder, tmp_path, capsys, network
):
  output = tmp_path / 'answers.npz'
  code = run(
    [
      *given,
      f'--test_data={folder}/wrong.npz',
      '--samples=2',
      f'--output={output}',
    ]
  )
  assert code == verify.BROKEN == 3
  assert capsys.readouterr().out.endswith(
    '1 robust, 1 broken, 0 unknown of 2\n'
  )
  found, asked = np.load(output), np.load(folder / 'wrong.npz')
  assert found['verdict'].tolist() == ['broken', 'robust']
  example = found['example'][0]
  assert np.abs(example - asked['x'][0]).max() <= EPSILON + 1e-6
  assert network(example[None]).numpy().argmax() != asked['y'][0]
  assert np.isnan(found['example'][1]).all()
  assert found['low'][1] > 0


def test_one_left_open_is_4(given, folder, monkeypatch, capsys):
  def give_up(model, x, y, *args, **kwargs):
    known = {'seconds': 1.0, 'subdomains': 9, 'low': -1.0, 'high': 0.5}
    return [robustness.Answer('unknown', None, **known) for _ in y]

  monkeypatch.setattr(verify, 'verify', give_up)
  code = run([*given, f'--test_data={folder}/robust.npz'])
  assert code == verify.UNKNOWN == 4
  assert 'least lead is from -1 to 0.5' in capsys.readouterr().out


def test_properties_of_a_network_and_of_its_onnx(
  folder, tmp_path, network, capsys
):
  pytest.importorskip('onnx')
  asked = np.load(folder / 'wrong.npz')
  paths = robustness.export_properties(
    network, asked['x'][:2], asked['y'][:2], EPSILON, str(tmp_path), (-1, 1)
  )
  said = []
  for model in (folder / 'in.h5', tmp_path / 'model.onnx'):
    code = run(['verify', f'--model={model}', f'--property={",".join(paths)}'])
    assert code == verify.BROKEN
    said.append(capsys.readouterr().out.splitlines())
    assert said[-1][0].startswith(f'{paths[0]}: broken')
    assert said[-1][1].startswith(f'{paths[1]}: robust')
    assert said[-1][2] == '1 robust, 1 broken, 0 unknown of 2'


def test_scores_in_front_of_softmax(folder, tmp_path, samples, capsys):
  pytest.importorskip('tf2onnx')
  x, _ = samples
  model = testing.mlp((6, 8, 3), activation='softmax')
  model.save(tmp_path / 'soft.h5')
  y = model(x[:1].astype(np.float32)).numpy().argmax(-1)
  (path,) = robustness.export_properties(
    model, x[:1], y, 0.0, str(tmp_path), (-1, 1)
  )
  given = ['verify', f'--property={path}']
  assert run([*given, f'--model={tmp_path}/soft.h5', '--scores']) == 0
  assert run([*given, f'--model={folder}/in.h5', '--scores']) == 1
  assert 'Leave out --scores' in capsys.readouterr().err


class TestBadInput:
  @pytest.mark.parametrize(
    ('flags', 'message'),
    [
      (['--epsilon=.1'], '--test_data'),
      (['--test_data=x.npz'], '--epsilon'),
      (['--test_data=x.npz', '--epsilon=-1'], 'at least 0'),
      (['--test_data=x.npz', '--epsilon=.1', '--property=p'], 'either'),
      (['--property=p', '--method=marabou'], '--method is of --test_data'),
      (['--property=p', '--samples=3'], '--samples is of --test_data'),
      (['--property=p', '--input_range=0,1'], '--input_range is of'),
      (['--test_data=x.npz', '--epsilon=.1', '--scores'], '--scores is of'),
      (['--property=p', '--seconds=0'], 'positive'),
      (['--property=p', '--output=answers.csv'], '.npz'),
      (
        ['--property=p', '--model=a.onnx', '--allow_code'],
        '--allow_code is of',
      ),
    ],
  )
  def test_flags(self, flags, message, capsys):
    with pytest.raises(SystemExit) as stop:
      run(['verify', '--model=in.h5', *flags])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err

  def test_a_missing_extra_is_named_before_anything_is_read(
    self, monkeypatch, capsys
  ):
    given = ['verify', '--test_data=nowhere.npz', '--epsilon=.1']
    monkeypatch.setitem(sys.modules, 'onnx', None)
    assert run([*given, '--model=nowhere.onnx']) == 1
    assert 'tfmot_paoding[verify]' in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'maraboupy', None)
    assert run([*given, '--model=nowhere.h5', '--method=marabou']) == 1
    assert 'tfmot_paoding[verify]' in capsys.readouterr().err

  def test_files(self, given, folder, capsys):
    np.savez(folder / 'narrow.npz', x=np.zeros((4, 5)), y=np.zeros(4))
    assert run([*given, f'--test_data={folder}/narrow.npz']) == 1
    assert '--test_data must hold' in capsys.readouterr().err
    (folder / 'p.vnnlib').write_text('(assert (>= X_0 (sin 1)))')
    model = f'--model={folder}/in.h5'
    assert run(['verify', model, f'--property={folder}/p.vnnlib']) == 1
    assert 'p.vnnlib' in capsys.readouterr().err
    data = f'{folder}/robust.npz'
    code = run([*given, f'--test_data={data}', f'--output={data}'])
    assert code == 1
    assert 'is what --test_data reads' in capsys.readouterr().err


def test_methods_are_those_of_the_package():
  assert choices.VERIFIERS == verification.METHODS
