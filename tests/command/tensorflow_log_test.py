"""What TensorFlow's log says of nothing wrong is hidden; the rest is not."""

from __future__ import annotations

import sys

import pytest

from tests.processes import python
from tfmot_paoding.command import starting, tensorflow_log
from tfmot_paoding.command.tensorflow_log import NOISE

REPORT = ('--pruned=b', '--output=c')

LINES = [
  'WARNING: All log messages before absl::InitializeLog() is called are '
  'written to STDERR',
  'I0000 00:00:1795654448.506954   28115 port.cc:153] oneDNN is on',
  'W0000 00:00:1795654448.506954   28115 gpu_device.cc:2344] no GPU',
  'E0000 00:00:1795654493.95   29989 cuda_platform.cc:52] failed call',
  'INFO: Created TensorFlow Lite XNNPACK delegate for CPU.',
  'fully_quantize: 0, inference_type: 6, input_inference_type: INT8',
]
SHOWN = [
  'E0000 00:00:1795654493.95   29989 executor.cc:5] out of memory',
  'F0000 00:00:1795654493.95   29989 cpu.cc:5] needs AVX',
  'error: There is no model file.',
  'warning: INFO: is no log line here',
  'Traceback (most recent call last):',
]


@pytest.mark.parametrize('line', LINES)
def test_noise(line):
  assert NOISE.match(line)


@pytest.mark.parametrize('line', SHOWN)
def test_what_must_be_read(line):
  assert not NOISE.match(line)


# The module by its path: the package would load TensorFlow.
HIDE = f"""
import os, runpy, subprocess, sys
runpy.run_path({tensorflow_log.__file__!r})['hide']()
"""


def test_lines_of_this_process_and_of_others():
  script = f"""{HIDE}
for line in {[*LINES, *SHOWN]!r}:
  os.write(2, line.encode() + b'\\n')
other = 'import os; os.write(2, b"I0000 00:00:1 x\\\\nE0000 00:00:1 y\\\\n")'
subprocess.run([sys.executable, '-c', other])
sys.stderr.write('the end, without a new line')
"""
  done = python('-c', script)
  assert done.returncode == 0, done.stderr
  assert done.stderr.splitlines() == [
    *SHOWN,
    'E0000 00:00:1 y',
    'the end, without a new line',
  ]


def test_what_ends_the_process_is_shown():
  lines = [
    "os.write(2, b'F0000 00:00:1 1 cpu.cc:5] needs AVX\\n')",
    'os.abort()',
  ]
  done = python('-c', '\n'.join([HIDE, *lines]))
  assert done.returncode < 0
  assert 'needs AVX' in done.stderr


@pytest.mark.parametrize(('level', 'shown'), [('0', True), ('2', False)])
def test_a_level_of_the_users_is_kept(level, shown):
  line = "os.write(2, b'I0000 00:00:1 1 cpu.cc:5] all is well\\n')"
  done = python('-c', f'{HIDE}\n{line}', TF_CPP_MIN_LOG_LEVEL=level)
  assert ('all is well' in done.stderr) == shown


@pytest.mark.parametrize(
  ('name', 'quiet', 'calls'),
  [
    ('train.py', '', 0),
    ('train.py', '0', 0),
    ('train.py', '1', 1),
    ('tfmot-paoding', '', 1),
  ],
)
def test_a_library_hides_nothing_unless_asked(monkeypatch, name, quiet, calls):
  seen = []
  monkeypatch.setattr(tensorflow_log, 'hide', lambda: seen.append(1))
  monkeypatch.setattr(sys, 'argv', [name, 'report', '--model=a', *REPORT])
  monkeypatch.setenv(starting.QUIET, quiet)
  starting.start()
  assert len(seen) == calls
