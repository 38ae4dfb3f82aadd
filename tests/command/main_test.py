"""The command: what it prints and writes, and how it fails."""

from __future__ import annotations

import json
import os
import pathlib
import re
import sys

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.command import budget
from tfmot_paoding.command.main import run
from tfmot_paoding.compat import keras
from tfmot_paoding.files import write_file
from tfmot_paoding.pruning import Fitted
from tfmot_paoding.report import count_macs
from tfmot_paoding.tflite.flatbuffer import TFLiteFile


@pytest.fixture(scope='module')
def model_path(tmp_path_factory) -> str:
  """A small untrained network in a file."""
  path = str(tmp_path_factory.mktemp('model') / 'in.h5')
  testing.mlp((6, 16, 8, 3)).save(path)
  return path


@pytest.fixture(scope='module')
def conv_path(tmp_path_factory) -> str:
  """A small convolutional network in a file."""
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
  path = tmp_path_factory.mktemp('network') / 'net.keras'
  model.save(path)
  return str(path)


@pytest.fixture
def bare(monkeypatch) -> None:
  """No tflite-micro."""
  monkeypatch.setitem(sys.modules, 'tflite_micro', None)


def arrow(text: str, label: str) -> tuple[int, int]:
  """The two numbers of a line `label 1 -> 2`."""
  before, after = re.search(rf'{label}:? +(\d+) -> (\d+)', text).groups()
  return int(before), int(after)


def share(text: str) -> float:
  """The share of answers that are the original's."""
  (found,) = re.findall(r'same answers as the original on ([\d.]+)%', text)
  return float(found) / 100


class TestPrune:
  def test_it_writes_a_smaller_file_and_says_whose_answers(
    self, tmp_path, model_path, capsys
  ):
    output, kept = tmp_path / 'out.tflite', tmp_path / 'small.keras'
    code = run(
      [
        'prune',
        f'--model={model_path}',
        f'--output={output}',
        f'--save={kept}',
        '--method=stochastic',
        '--input_range=-1,1',
      ]
    )
    assert code == 0
    said = capsys.readouterr().out
    assert arrow(said, 'units') == (24, 12)
    before, after = arrow(said, 'tflite bytes')
    assert after == output.stat().st_size < before
    assert 0 <= share(said) <= 1
    assert "drawn from the prior 'smooth', without data" in said
    small = paoding.load_model(str(kept))
    assert [layer.units for layer in small.layers] == [8, 4, 3]

  def test_a_model_that_tflite_cannot_say_is_saved_alone(
    self, tmp_path, capsys
  ):
    x = inputs = keras.Input((1,), dtype='int64')
    x = keras.layers.Hashing(7, output_mode='one_hot')(x)
    x = keras.layers.Dense(8, activation='relu')(x)
    model = testing.fill(keras.Model(inputs, keras.layers.Dense(3)(x)))
    path, kept = tmp_path / 'in.keras', tmp_path / 'small.keras'
    model.save(path)
    flags = [f'--model={path}', '--method=l1', '--input_range=0,99']
    assert run(['prune', *flags, f'--save={kept}']) == 0
    said = capsys.readouterr().out
    assert arrow(said, 'units') == (8, 4)
    assert 0 <= share(said) <= 1
    assert 'tflite bytes' not in said
    assert paoding.load_model(str(kept)).layers[-2].units == 4
    assert sorted(x.name for x in tmp_path.iterdir()) == [path.name, kept.name]

  @pytest.mark.parametrize(
    ('flag', 'message'),
    [
      ('--dry_run=false', '--output must be given, or --save'),
      ('--c_array=net', '--c_array is of the .tflite'),
      ('--report=page', '--report is of the .tflite'),
      ('--quantization=int8', '--quantization is of the .tflite'),
    ],
  )
  def test_what_needs_a_tflite_says_so(
    self, tmp_path, model_path, capsys, flag, message
  ):
    saved = [] if 'dry' in flag else [f'--save={tmp_path / "small.h5"}']
    with pytest.raises(SystemExit):
      run(['prune', f'--model={model_path}', flag, *saved])
    assert message in capsys.readouterr().err

  def test_several_inputs_have_ranges_of_their_own(self, tmp_path, capsys):
    a, b = (keras.Input((3,), name=name) for name in ('image', 'age'))
    x = keras.layers.Concatenate()([a, b])
    x = keras.layers.Dense(6, 'relu')(x)
    model = keras.Model([a, b], keras.layers.Dense(2)(x))
    model.save(tmp_path / 'in.h5')
    given = ['prune', f'--model={tmp_path}/in.h5', f'--output={tmp_path}/out']
    given += ['--method=l1', '--input_range=image=0,255,age=-1,99']
    assert run(given) == 0
    said = capsys.readouterr().out
    assert "input 'image': 0 to 255" in said
    assert "input 'age': -1 to 99" in said

  def test_all_that_it_can_write(self, tmp_path, conv_path, capsys):
    pytest.importorskip('tflite_micro', reason='tflite-micro is not installed')
    x = np.random.default_rng(0).uniform(size=(20, 6, 6, 1)).astype(np.float32)
    np.savez(tmp_path / 'test.npz', x=x, y=np.arange(20) % 3)
    code = run(
      [
        'prune',
        f'--model={conv_path}',
        f'--output={tmp_path / "out.tflite"}',
        f'--save={tmp_path / "small.h5"}',
        '--quantization=int8',
        '--method=saliency',
        '--step_sparsity=0.25',
        f'--c_array={tmp_path / "net"}',
        f'--report={tmp_path / "report"}',
        f'--test_data={tmp_path / "test.npz"}',
        f'--calibration_data={tmp_path / "test.npz"}',
        '--curve=0.25',
      ]
    )
    said = capsys.readouterr()
    assert code == 0, said.err
    assert {path.name for path in tmp_path.iterdir()} == {
      'test.npz',
      'out.tflite',
      'small.h5',
      'net.cc',
      'net.h',
      'report.html',
      'report.json',
    }
    assert f'of 20 inputs of {tmp_path / "test.npz"}' in said.out
    report = json.loads((tmp_path / 'report.json').read_text())
    size = (tmp_path / 'out.tflite').stat().st_size
    assert report['pruned']['profile']['bytes'] == size
    assert [point['sparsity'] for point in report['curve']] == [0.0, 0.25]
    assert report['pruned']['accuracy'] is not None
    assert report['verdict']['agreement'] == share(said.out)
    assert f'a TensorFlow Lite model of {size} bytes'.lower() in (
      (tmp_path / 'net.h').read_text().lower()
    )

  def test_source_is_of_what_tflite_micro_has(self, tmp_path, capsys):
    pytest.importorskip('tflite_micro', reason='tflite-micro is not installed')
    testing.mlp((4, 8, 3), 'gelu').save(tmp_path / 'in.h5')
    given = [f'--model={tmp_path}/in.h5', '--method=l1']
    for number, flags in enumerate(([], [f'--c_array={tmp_path}/net'])):
      output = tmp_path / f'{number}.tflite'
      assert run(['prune', *given, f'--output={output}', *flags]) == 0
      operators = TFLiteFile(output.read_bytes()).operator_counts
      assert ('GELU' in operators) == (not flags), capsys.readouterr().err

  def test_units_of_all_layers(self, tmp_path, conv_path, capsys):
    output = tmp_path / 'out.tflite'
    flags = ['--method=impact', '--scope=global', '--floor=0.25']
    given = [f'--model={conv_path}', f'--output={output}', *flags]
    assert run(['prune', *given]) == 0
    assert arrow(capsys.readouterr().out, 'units') == (14, 7)
    assert output.stat().st_size > 0

  def test_channels_of_attention(self, tmp_path, conv_path, capsys):
    x = inputs = keras.Input((5, 4))
    x = keras.layers.MultiHeadAttention(2, 6, name='unit')(x, x)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x))
    path, output = str(tmp_path / 'in.h5'), f'--output={tmp_path / "out"}'
    keras.Model(inputs, x).save(path)
    given = ['--attention=channels', '--dry_run', output]
    assert run(['prune', f'--model={path}', *given]) == 0
    assert 'group: unit: 6 -> 3 units' in capsys.readouterr().out
    assert run(['prune', f'--model={conv_path}', *given]) != 0
    assert 'no MultiHeadAttention' in capsys.readouterr().err

  def test_sizes_that_a_model_leaves_open(self, tmp_path, capsys):
    layers = keras.layers
    model = keras.Sequential(
      [
        keras.Input((None, None, 1)),
        layers.Conv2D(8, 5, activation='relu'),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
      ]
    )
    path = str(tmp_path / 'open.h5')
    model.save(path)
    given = [f'--model={path}', f'--output={tmp_path}/x', '--method=impact']
    assert run(['prune', *given]) == 0
    said = capsys.readouterr().out
    assert arrow(said, 'units') == (8, 4)
    assert 'depends on sizes that are open' in said
    assert 'not compared' in said
    assert run(['prune', *given, '--input_shape=8,8,1']) == 0
    assert 0 <= share(capsys.readouterr().out) <= 1
    assert run(['prune', *given, '--min_agreement=.5']) == 1
    assert '--input_shape' in capsys.readouterr().err

  def test_too_few_answers_are_a_failure(self, tmp_path, capsys):
    path, output = str(tmp_path / 'wide.h5'), tmp_path / 'out.tflite'
    testing.mlp((6, 16, 16, 8), seed=1).save(path)
    given = [f'--model={path}', f'--output={output}', '--method=l1']
    with pytest.warns(UserWarning, match='few answers'):
      code = run(['prune', *given, '--sparsity=0.8', '--min_agreement=0.99'])
    assert code == 1
    said = capsys.readouterr().err
    assert 'less than --min_agreement=0.99. Nothing was written.' in said
    for remedy in ('--sparsity=0.8', '--method=reconstruction', '--data'):
      assert remedy in said
    assert not output.exists()
    assert run(['prune', *given, '--sparsity=0', '--min_agreement=1']) == 0

  def test_outputs_that_are_numbers_may_be_asked_for_too(
    self, tmp_path, capsys
  ):
    path, output = str(tmp_path / 'numbers.h5'), tmp_path / 'out.tflite'
    testing.mlp((6, 16, 1)).save(path)
    given = [f'--model={path}', f'--output={output}', '--min_agreement=0.999']
    assert run(['prune', *given, '--method=l1', '--sparsity=.75']) == 1
    assert "of its outputs' variance" in capsys.readouterr().err

  def test_a_bound_is_printed_where_it_says_something(
    self, tmp_path, capsys, monkeypatch
  ):
    model = testing.mlp((6, 16, 8, 3))
    weights = model.get_weights()
    weights[0][:, 1], weights[1][1] = weights[0][:, 0], weights[1][0]
    model.set_weights(weights)  # a twin, which goes without a trace
    path = str(tmp_path / 'twins.h5')
    model.save(path)
    given = [f'--model={path}', f'--output={tmp_path}/x', '--method=saliency']
    assert run(['prune', *given, '--sparsity=0.0625']) == 0
    assert 'no output moves by more than' in capsys.readouterr().out
    assert run(['prune', *given, '--sparsity=0.75']) == 0
    said = capsys.readouterr().out
    assert 'no output moves' not in said

  def test_functions_of_somebodys_own_are_opened(self, tmp_path, capsys):
    inputs = keras.Input((6,))
    x = keras.layers.Dense(16, 'relu', name='hidden')(inputs)
    x = keras.layers.Lambda(lambda t: t * 2.0)(x)
    path = str(tmp_path / 'in.keras')
    keras.Model(inputs, keras.layers.Dense(3, name='out')(x)).save(path)
    given = [f'--model={path}', f'--output={tmp_path}/x', '--input_range=0,1']
    assert run(['prune', *given, '--method=l1', '--allow_code']) == 0
    said = capsys.readouterr().out
    assert arrow(said, 'units') == (16, 8)
    assert 'left alone: hidden' not in said


class TestBudget:
  def test_a_model_that_meets_it_stays_whole(
    self, tmp_path, model_path, capsys
  ):
    given = [f'--model={model_path}', f'--output={tmp_path}/out.tflite']
    given += ['--method=l1', '--macs=100000', f'--report={tmp_path}/page']
    assert run(['budget', *given, '--quantization=none']) == 0
    told = capsys.readouterr()
    assert 'nothing was removed: the model meets the budget' in told.out
    assert 'nothing was removed from it' not in told.err

  @pytest.mark.parametrize('name', ['prune', 'budget'])
  def test_a_dry_run_prints_the_plan_and_writes_nothing(
    self, name, tmp_path, conv_path, capsys, monkeypatch
  ):
    monkeypatch.chdir(tmp_path)
    limit = ['--macs=1000'] if name == 'budget' else []
    given = [f'--model={conv_path}', '--dry_run', '--input_range=0,1', *limit]
    assert run([name, *given]) == 0
    said = capsys.readouterr().out
    assert 'group: ' in said
    assert 'left alone: ' in said
    assert not list(tmp_path.iterdir())

  def test_widths_in_multiples(self, tmp_path, model_path, capsys):
    given = [f'--model={model_path}', '--input_range=-1,1', '--sparsity=.4']
    given += ['--multiple_of=4', '--method=l1']
    assert run(['prune', *given, '--dry_run', '--output=x']) == 0
    assert '16 -> 12 units' in capsys.readouterr().out
    assert run(['prune', *given, f'--output={tmp_path / "x"}']) == 0
    assert arrow(capsys.readouterr().out, 'units') == (24, 16)

  def test_it_is_met(self, tmp_path, model_path, capsys):
    limit = count_macs(paoding.load_model(model_path)) // 2
    output = tmp_path / 'out.tflite'
    given = [
      f'--model={model_path}',
      f'--output={output}',
      '--method=impact',
      '--quantization=none',
      f'--macs={limit}',
      f'--report={tmp_path / "page"}',
    ]
    assert run(['budget', *given]) == 0
    said = capsys.readouterr().out
    told = json.loads((tmp_path / 'page.json').read_text())['verdict']
    # One figure, of the same inputs, in both.
    assert f'on {told["agreement"]:.1%}' in said
    assert told['inputs'] in said
    found = paoding.profile_tflite(output.read_bytes(), micro=False)
    assert 0 < found.macs <= limit
    assert 'the cut is spread over layers by' in said
    page = (tmp_path / 'page.html').read_text()
    assert f'Budget met.</b> {found.macs} of {limit} multiply' in page

  @pytest.mark.parametrize(
    ('limits', 'message'),
    [
      (['--flash_bytes=100'], 'cannot be met'),
      (['--flash_bytes=0'], 'must be positive'),
      ([], 'needs a limit'),
      (['--macs=1000', '--calibration_data=nowhere.npz'], 'nowhere.npz'),
    ],
  )
  def test_it_says_what_is_wrong(
    self, limits, message, tmp_path, conv_path, capsys
  ):
    output = tmp_path / 'out.tflite'
    given = [f'--model={conv_path}', f'--output={output}', '--method=l1']
    assert run(['budget', *given, '--quantization=none', *limits]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

  @pytest.mark.parametrize('flag', ['--c_array=net', '--arena_bytes=2000'])
  def test_a_missing_extra(self, flag, tmp_path, bare, conv_path, capsys):
    output = tmp_path / 'out.tflite'
    given = [f'--model={conv_path}', f'--output={output}', '--macs=2000']
    assert run(['budget', *given, flag]) == 1
    assert 'tfmot_paoding[micro]' in capsys.readouterr().err
    assert not output.exists()

  def test_a_report_leaves_out_what_cannot_be_measured(
    self, tmp_path, bare, model_path, capsys
  ):
    given = [
      f'--model={model_path}',
      f'--output={tmp_path}/out.tflite',
      f'--report={tmp_path}/report',
      '--method=l1',
      '--quantization=none',
      '--macs=150',
    ]
    assert run(['budget', *given]) == 0
    assert 'the report leaves out the arena' in capsys.readouterr().out
    found = json.loads((tmp_path / 'report.json').read_text())
    assert found['pruned']['profile']['arena_bytes'] is None

  def test_layers_become_thinner_where_that_is_better(
    self, tmp_path, model_path, capsys, monkeypatch
  ):
    asked = []

    def quickly(model, budget, *, low_rank, **settings):
      """Without a search and a lesson."""
      asked.append(low_rank)
      ranks = {'hidden_1': 2}
      small = paoding.factorize(model, ranks=ranks, distillation=False)
      data = paoding.convert_to_tflite(small)
      profile = paoding.profile_tflite(data, micro=False)
      verdict = paoding.report.judge(
        model, small, [np.zeros((4, 6), np.float32)]
      )
      return Fitted(small, data, profile, {}, 'low_rank', verdict, ranks)

    monkeypatch.setattr(budget, 'prune_to_budget', quickly)
    output, page = tmp_path / 'out.tflite', tmp_path / 'page'
    given = [f'--model={model_path}', '--quantization=none', '--macs=9999']
    given += [f'--output={output}', f'--report={page}', '--low_rank']
    assert run(['budget', *given]) == 0
    said = capsys.readouterr().out
    assert asked == [True]
    assert 'low rank: hidden_1: 2\n' in said
    found = json.loads((tmp_path / 'page.json').read_text())
    assert [layer['ranks'] for layer in found['layers']] == [[], [2], []]


class TestFactorize:
  def test_it_writes_a_thinner_file_and_says_whose_answers(
    self, tmp_path, model_path, capsys
  ):
    output, kept = tmp_path / 'out.tflite', tmp_path / 'small.keras'
    given = [f'--model={model_path}', f'--output={output}', f'--save={kept}']
    given += ['--input_range=-1,1', '--ranks=hidden_1=2, hidden_0=:3']
    assert run(['factorize', *given, f'--report={tmp_path / "page"}']) == 0
    said = capsys.readouterr().out
    assert 'low rank: hidden_0: 3\n' in said
    assert 'low rank: hidden_1: 2\n' in said
    before, after = arrow(said, 'parameters')
    assert after < before
    assert 0 <= share(said) <= 1
    small = paoding.load_model(str(kept))
    assert small.get_layer('hidden_1_low_rank').units == 2
    assert small.count_params() == after
    found = json.loads((tmp_path / 'page.json').read_text())
    assert [layer['ranks'] for layer in found['layers']] == [[3], [2], []]

  def test_the_keras_model_alone(self, tmp_path, model_path, capsys):
    kept = tmp_path / 'thin.keras'
    flags = [f'--model={model_path}', '--sparsity=0.3', '--input_range=-1,1']
    assert run(['factorize', *flags, f'--save={kept}']) == 0
    assert 'low rank: ' in capsys.readouterr().out
    assert [x.name for x in tmp_path.iterdir()] == [kept.name]

  def test_a_dry_run_lists_ranks_and_writes_nothing(
    self, tmp_path, conv_path, capsys, monkeypatch
  ):
    monkeypatch.chdir(tmp_path)
    assert run(['factorize', f'--model={conv_path}', '--dry_run']) == 0
    said = capsys.readouterr().out
    assert re.search(r'low rank: dense\w*: at most 3\n', said)
    assert 'ask for it' in said
    assert not list(tmp_path.iterdir())

  @pytest.mark.parametrize(
    ('flag', 'message'),
    [
      ('--ranks=nothing=3', 'none of that name'),
      ('--ranks=hidden_0=3:3', 'ranks of at most'),
      ('--sparsity=0.95', 'save at most'),
    ],
  )
  def test_it_says_what_is_wrong(
    self, flag, message, tmp_path, model_path, capsys
  ):
    given = [f'--model={model_path}', f'--output={tmp_path / "x.tflite"}']
    assert run(['factorize', *given, flag]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


class TestReport:
  def test_it_measures_what_prune_saved(self, tmp_path, model_path, capsys):
    model = paoding.load_model(model_path)
    paoding.prune(model, 0.5, method='impact').save(tmp_path / 'small.keras')
    given = [f'--model={model_path}', f'--pruned={tmp_path / "small.keras"}']
    assert run(['report', *given, f'--output={tmp_path}/page']) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / 'page.json').read_text())
    assert found['verdict']['agreement'] == pytest.approx(share(said), abs=1e-3)
    assert [layer['after'] for layer in found['layers']] == [8, 4, 3]
    code = run(
      ['report', *given, f'--output={tmp_path}/no', '--min_agreement=1']
    )
    assert code == 1
    assert not (tmp_path / 'no.html').exists()

  def test_models_that_do_not_fit(
    self, tmp_path, model_path, conv_path, capsys
  ):
    given = [f'--model={model_path}', f'--pruned={conv_path}']
    assert run(['report', *given, f'--output={tmp_path}/page']) == 1
    assert 'what pruning made of it' in capsys.readouterr().err
    testing.mlp((6, 3)).save(tmp_path / 'other.h5')
    given = [f'--model={model_path}', f'--pruned={tmp_path / "other.h5"}']
    assert run(['report', *given, f'--output={tmp_path}/page']) == 1
    assert 'what pruning made of it' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['other.h5']


class TestBadFiles:
  @pytest.mark.parametrize(
    ('flags', 'message'),
    [
      (['--input_range=1,0'], 'low < high'),
      (['--input_range=0,nan'], 'finite'),
      (['--model=nowhere.h5'], 'nowhere.h5'),
      (['--model={broken}'], 'broken.h5'),
      (['--output=no_such_folder/out.tflite'], 'no_such_folder'),
      (['--c_array=2net'], 'C identifier'),
      (['--test_data={model}'], 'is no .npz'),
      (['--calibration_data={narrow}'], 'must have that shape'),
      (['--test_data={narrow}'], '--test_data must hold'),
      (['--test_data={empty}'], '--test_data must hold'),
      (['--test_data={many}'], 'from 0 to 2'),
      (['--data={texts}'], 'real numbers'),
      (['--save={model}'], 'is what --model reads'),
      (['--multiple_of=32'], "'hidden_0', which has 16"),
      (['--output={narrow}', '--data={narrow}'], 'is what --data reads'),
    ],
  )
  def test_one_line(self, tmp_path, model_path, capsys, flags, message):
    files = tmp_path / 'in'
    files.mkdir()
    np.savez(files / 'narrow.npz', x=np.zeros((4, 5)), y=np.zeros(4))
    np.savez(files / 'empty.npz', x=np.zeros((0, 6)), y=np.zeros(0))
    np.savez(files / 'many.npz', x=np.zeros((4, 6)), y=np.arange(4))
    np.savez(files / 'texts.npz', x=np.array(['a', 'b']))
    write_file(str(files / 'broken.h5'), b'no model')
    flags = [
      flag.format(
        model=model_path,
        broken=files / 'broken.h5',
        **{
          name: files / f'{name}.npz'
          for name in ('narrow', 'empty', 'many', 'texts')
        },
      )
      for flag in flags
    ]
    given = [f'--model={model_path}', f'--output={tmp_path}/out.tflite']
    assert run(['prune', *given, '--method=l1', *flags]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count('\n') == 1
    assert os.listdir(tmp_path) == ['in']

  def test_a_folder_in_place_of_a_file(self, tmp_path, model_path, capsys):
    given = [f'--model={model_path}', f'--output={tmp_path}']
    assert run(['prune', *given]) == 1
    assert pathlib.Path(tmp_path).name in capsys.readouterr().err
