"""README's Python runs as it stands, and its commands name what exists."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pytest
import tf_keras

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.layers import base
from tfmot_paoding.methods.criteria import criteria

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_TEXT = (_ROOT / 'README.md').read_text(encoding='utf-8')


@pytest.fixture
def clean():
  """Takes back what README registers."""
  handlers, classes = dict(base._HANDLERS), dict(criteria._classes)
  yield
  base._HANDLERS.clear()
  base._HANDLERS.update(handlers)
  criteria._classes.clear()
  criteria._classes.update(classes)


def test_python_blocks_run(tmp_path, monkeypatch, clean):
  monkeypatch.chdir(tmp_path)
  names = {'model': testing.mlp((5, 8, 6, 3)), 'tf_keras': tf_keras}
  blocks = re.findall(r'```python\n(.*?)```', _TEXT, re.DOTALL)
  assert len(blocks) >= 5
  for block in blocks:
    exec(compile(block, 'README.md', 'exec'), names)
  assert (tmp_path / 'small.tflite').stat().st_size == len(names['data'])
  assert str(len(names['tiny'])) in (tmp_path / 'g_model.h').read_text()
  assert names['fitted'].profile.bytes <= 40_000
  assert names['small'].layers[0].units == 4
  own = paoding.Method('weakest')
  small = paoding.prune(names['model'], 0.5, own, verbose=0)
  assert small.layers[1].units == 3
  layer = names['Projection'](6)
  made = testing.fill(
    tf_keras.Sequential(
      [
        tf_keras.Input((5,)),
        tf_keras.layers.Dense(4),
        layer,
        tf_keras.layers.Dense(2),
      ]
    )
  )
  halved = paoding.prune(made, 0.5, verbose=0)
  assert halved.layers[0].units == 2
  assert halved.layers[1].width == 3
  assert np.all(np.isfinite(halved(np.ones((1, 5), np.float32))))


def test_commands_name_files_that_exist():
  for path in re.findall(r'(?:examples|\.ci)/[\w/]+\.py', _TEXT):
    assert (_ROOT / path).is_file(), path
