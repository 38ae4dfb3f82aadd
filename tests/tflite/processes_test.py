"""Scripts that end badly end alone, and say how."""

from __future__ import annotations

import os
import pathlib
import signal
import threading
import time

import numpy as np
import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import keras
from tfmot_paoding.tflite import integers, litert
from tfmot_paoding.tflite import processes as lib


@pytest.fixture
def script(tmp_path):
  def write(text):
    path = tmp_path / 'script.py'
    path.write_text(text)
    return str(path)

  return write


def test_a_signal_has_its_name(script):
  path = script('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)')
  with pytest.raises(lib.EndedError, match='ended with SIGSEGV'):
    lib.checked_script(path, [])


def test_an_error_is_what_was_said_and_no_traceback(script):
  path = script('import sys\nraise ValueError(sys.argv[1] + "\\nand more")')
  with pytest.raises(RuntimeError, match='^one thing\nand more$'):
    lib.checked_script(path, ['one thing'])


def test_a_scripts_folder_hides_no_module(script, tmp_path):
  (tmp_path / 'profile.py').write_text('raise ValueError')
  lib.checked_script(script('import profile; profile.run'), [])


def test_what_interrupts_the_wait_ends_the_script(script, tmp_path):
  said = tmp_path / 'pid'
  path = script(
    'import os, sys, time, pathlib\n'
    'pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\n'
    'time.sleep(60)'
  )

  def interrupt():
    while not (said.exists() and said.read_text()):
      time.sleep(0.02)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
      lib.checked_script(path, [str(said)])
  finally:
    signal.signal(signal.SIGINT, before)
  # Nobody has waited for it yet: for a moment it may still be there.
  state = pathlib.Path('/proc', said.read_text(), 'stat')
  until = time.monotonic() + 10
  while state.exists() and state.read_text().split()[2] not in 'ZX':
    assert time.monotonic() < until
    time.sleep(0.05)


def test_what_ends_the_quantizer_does_not_end_python(monkeypatch):
  """Ranges that overflow, where nobody looks at them before."""
  huge = keras.initializers.Constant(50.0)
  x = inputs = keras.Input((4,))
  x = keras.layers.Dense(3, 'exponential', kernel_initializer=huge)(x)
  model = keras.Model(inputs, keras.layers.Dense(2)(x))
  converter = 'tfmot_paoding.tflite.converter.check_ranges'
  monkeypatch.setattr(converter, lambda _: None)
  with pytest.raises(ValueError, match=r'ended with SIG\w+\), as it does on'):
    paoding.convert_to_tflite(model, 'int8', input_range=(-1.0, 1.0))


def test_the_worker_takes_the_same_ranges_as_tensorflow():
  from tensorflow.lite.python.optimize import calibrator

  a, b = keras.Input((3,), name='zz'), keras.Input((4,), name='aa')
  x = keras.layers.Dense(9, 'relu')(keras.layers.Concatenate()([a, b]))
  model = testing.fill(keras.Model([a, b], keras.layers.Dense(2)(x)))
  plain = paoding.convert_to_tflite(model)
  drawn = {
    name: testing.draw((size,), 20).astype(np.float32)
    for name, size in (('zz', 3), ('aa', 4))
  }
  theirs = calibrator.Calibrator(calibrator.add_intermediate_tensors(plain))
  want = theirs.calibrate(
    lambda: (
      {name: x[k : k + 1] for name, x in drawn.items()} for k in range(20)
    )
  )
  assert integers.ranged_file(plain, drawn) == want


@pytest.mark.parametrize('quantization', ['int8', None])
def test_a_breakdown_speaks_of_integers_only_where_there_are(
  monkeypatch, quantization
):
  data = paoding.convert_to_tflite(testing.mlp((16, 40, 4)), quantization)

  def ended(*_):
    raise lib.EndedError('SIGABRT')

  monkeypatch.setattr(litert, 'checked_script', ended)
  with pytest.raises(ValueError, match='SIGABRT') as caught:
    litert.run_apart(data, {}, outputs=[])
  assert ('integers' in str(caught.value)) == (quantization == 'int8')


def test_workers_import_nothing_of_the_package():
  folder = os.path.dirname(lib.__file__)
  names = [name for name in os.listdir(folder) if name.endswith('_worker.py')]
  assert len(names) >= 6
  for name in names:
    text = pathlib.Path(folder, name).read_text(encoding='utf-8')
    assert 'tfmot_paoding' not in text
