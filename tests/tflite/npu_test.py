"""What files cost on an NPU, and what it does not take."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import extras
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import npu as lib

_layers = keras.layers


@pytest.fixture
def bare(monkeypatch) -> None:
  """No Vela."""
  monkeypatch.setitem(sys.modules, 'ethosu', None)


def network(width, last=None):
  """A convolution of some width over 16 channels, and what reads it."""
  inputs = keras.Input((12, 12, 16))
  x = _layers.Conv2D(width, 3, activation='relu', name='conv')(inputs)
  x = _layers.Conv2D(16, 1, activation='relu', name='reader')(x)
  x = _layers.Flatten()(x) if last is None else last(x)
  return testing.fill(keras.Model(inputs, _layers.Dense(4)(x)))


def converted(model, quantization='int8'):
  return paoding.convert_to_tflite(
    model,
    quantization,
    input_range=(-1.0, 1.0),
    representative_data=testing.samples((12, 12, 16), 20).astype(np.float32)
    if quantization == 'int8'
    else None,
  )


def profile(data, npu='ethos-u55-128'):
  return paoding.profile_tflite(data, micro=False, latency=False, npu=npu).npu


@pytest.mark.skipif(not extras.NPU.is_installed, reason='Vela is not installed')
class TestWithVela:
  def test_cycles_go_in_stairs(self):
    """Widths of one stair cost nearly alike; the next one, clearly less."""
    found = {
      width: profile(converted(network(width))) for width in (24, 22, 16)
    }
    assert found[22].cycles > 0.97 * found[24].cycles
    assert found[16].cycles < 0.9 * found[24].cycles
    one = found[24]
    assert one.npu == 'ethos-u55-128'
    assert one.sram_bytes > 12 * 12 * 16
    assert one.flash_bytes > 0
    assert one.operators >= 3
    assert not one.on_cpu
    assert one.cpu_share == 0
    assert one.seconds > 0
    assert 'Ethos_U55' in one.system

  def test_a_larger_one_is_faster(self):
    data = converted(network(24))
    assert profile(data, 'ethos-u85-256').cycles < profile(data).cycles

  def test_operators_that_fall_back_are_named_with_the_reason(self):
    model = network(16, lambda x: _layers.ELU()(_layers.Flatten()(x)))
    found = profile(converted(model))
    assert found.on_cpu['ELU'] == 1
    assert 'unsupported' in found.reasons['ELU']
    assert 0 < found.cpu_share < 1
    assert found.cpu_share == sum(found.on_cpu.values()) / found.operators
    with pytest.warns(UserWarning, match=r'fall back from .* ELU \(Operation'):
      paoding.prune_to_budget(
        model,
        paoding.Budget(npu_cycles=10**6, npu='ethos-u55-128'),
        method='l1',
        input_range=(-1.0, 1.0),
        verbose=0,
      )

  @pytest.mark.parametrize('quantization', [None, 'dynamic', 'float16'])
  def test_real_numbers_run_nowhere(self, quantization):
    data = converted(network(8), quantization)
    with pytest.raises(paoding.tflite.NpuError, match="quantization='int8'"):
      profile(data)

  def test_a_compiler_that_breaks_down_is_named(self, monkeypatch):
    def broken(*_):
      return subprocess.CompletedProcess([], -signal.SIGFPE, 'noise', '')

    data = converted(network(8))
    monkeypatch.setattr(lib, 'run_script', broken)
    with pytest.raises(paoding.tflite.NpuError, match='SIGFPE. Files of .int8'):
      profile(data)

  @pytest.mark.usefixtures('roughly')
  def test_a_budget_of_cycles(self):
    model = network(48)
    before = profile(converted(model)).cycles
    limit = int(0.7 * before)
    found = paoding.prune_to_budget(
      model,
      paoding.Budget(npu_cycles=limit, npu='ethos-u55-128'),
      method='l1',
      input_range=(-1.0, 1.0),
      verbose=0,
    )
    assert found.profile.npu.cycles <= limit
    assert found.profile.npu.npu == 'ethos-u55-128'
    conv, reader = (
      found.model.get_layer(n).filters for n in ('conv', 'reader')
    )
    assert conv % 8 == reader % 8 == 0
    with pytest.raises(paoding.pruning.BudgetError, match='npu_cycles of 1 '):
      paoding.prune_to_budget(
        model,
        paoding.Budget(npu_cycles=1, npu='ethos-u55-128'),
        method='l1',
        input_range=(-1.0, 1.0),
        verbose=0,
      )

  def test_the_report_shows_them(self, tmp_path):
    model = network(24)
    small = paoding.prune(
      model, 0.5, method='l1', input_range=(-1.0, 1.0), verbose=0
    )
    report = paoding.report.make_report(
      model,
      small,
      (converted(model), converted(small)),
      input_range=(-1.0, 1.0),
      micro=False,
      npu='ethos-u55-128',
      limits={'npu_cycles': 1},
    )
    page, _ = paoding.report.write_report(report, str(tmp_path / 'r'))
    text = pathlib.Path(page).read_text(encoding='utf-8')
    assert '<td>ethos-u55-128 (' in text
    assert 'cycles of the NPU: too' in text
    assert report.pruned.profile.npu.cycles < report.original.profile.npu.cycles


@pytest.mark.parametrize('npu', ['ethos-u55', 'ethos-n78', 128])
def test_others_are_refused_with_a_list(npu):
  with pytest.raises(ValueError, match="'ethos-u55-32', .*'ethos-u85-2048'"):
    paoding.profile_tflite(b'', npu=npu)
  with pytest.raises(ValueError, match="'ethos-u55-32', .*'ethos-u85-2048'"):
    paoding.Budget(npu_cycles=9, npu=npu)


def test_budgets_that_make_no_sense():
  with pytest.raises(ValueError, match='`npu` must be one of'):
    paoding.Budget(npu_cycles=9)
  with pytest.raises(ValueError, match='integers throughout'):
    paoding.Budget(npu_cycles=9, npu='ethos-u55-128', quantization='dynamic')
  with pytest.raises(ValueError, match="'int8' or 'int16x8', but got 'int4x8'"):
    paoding.Budget(npu_cycles=9, npu='ethos-u55-128', quantization='int4x8')


def test_a_missing_extra_is_named_before_any_work(bare, monkeypatch):
  def never(*_, **__):
    raise AssertionError('work was done')

  monkeypatch.setattr('tfmot_paoding.pruning.to_budget.wrap', never)
  with pytest.raises(ImportError, match=r'tfmot_paoding\[npu\]'):
    paoding.prune_to_budget(
      testing.mlp(), paoding.Budget(flash_bytes=9, npu='ethos-u55-128')
    )
  with pytest.raises(ImportError, match=r'tfmot_paoding\[npu\]'):
    paoding.profile_tflite(b'', npu='ethos-u55-128')


def test_widths_end_where_the_npu_works():
  on_npu = paoding.Budget(flash_bytes=9, npu='ethos-u85-256')
  assert on_npu.settled_multiple(None) == 'ethos-u85-256'
  assert on_npu.settled_multiple('auto') == 'ethos-u85-256'
  assert on_npu.settled_multiple(1) is None
  assert on_npu.settled_multiple(4) == 4
