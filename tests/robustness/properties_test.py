"""ONNX and VNN-LIB: the same function, and read by another program."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests import testing
from tests.testing import conv_net, draw
from tfmot_paoding import robustness

RANGE = (-1.0, 1.0)

# Marabou's own readers; they must not share a process with this TensorFlow.
_SOLVE = """
import sys
from maraboupy import MarabouCore, MarabouNetworkONNX
network = MarabouNetworkONNX.MarabouNetworkONNX(sys.argv[1])
options = MarabouCore.Options()
options._verbosity = 0
print(network.solve(
  propertyFilename=sys.argv[2], verbose=False, options=options)[0])
"""


@pytest.mark.parametrize('final', ['softmax', 'conv'])
def test_onnx_gives_the_scores(final, tmp_path):
  pytest.importorskip('tf2onnx')
  runtime = pytest.importorskip('onnxruntime')
  model = conv_net() if final == 'conv' else testing.mlp(activation='softmax')
  path = str(tmp_path / 'model.onnx')
  robustness.export_onnx(model, path)
  session = runtime.InferenceSession(path)
  (name,) = [one.name for one in session.get_inputs()]
  scores = robustness.scores_model(model)
  for x in draw(model.input_shape[1:], 5):
    x = x[None].astype(np.float32)
    (found,) = session.run(None, {name: x})
    np.testing.assert_allclose(found, scores(x).numpy(), atol=1e-5)


def test_a_property_says_what_it_should(tmp_path):
  pytest.importorskip('tf2onnx')
  model = testing.mlp((5, 8, 3))
  x = draw((5,), 2)
  paths = robustness.export_properties(
    model, x, [2, 0], 0.1, str(tmp_path), RANGE, seconds=7
  )
  text = (tmp_path / 'property_0.vnnlib').read_text()
  assert paths == [str(tmp_path / f'property_{k}.vnnlib') for k in range(2)]
  lows = [float(v) for v in re.findall(r'\(>= X_\d+ ([^\s)]+)\)', text)]
  highs = [float(v) for v in re.findall(r'\(<= X_\d+ ([^\s)]+)\)', text)]
  np.testing.assert_array_equal(lows, np.maximum(x[0] - 0.1, -1))
  np.testing.assert_array_equal(highs, np.minimum(x[0] + 0.1, 1))
  assert '(and (>= Y_0 Y_2))' in text
  assert '(and (>= Y_1 Y_2))' in text
  assert text.count('(and') == 2
  assert text.count('(') == text.count(')')
  lines = (tmp_path / 'instances.csv').read_text().split()
  assert lines == [
    'model.onnx,property_0.vnnlib,7',
    'model.onnx,property_1.vnnlib,7',
  ]


@pytest.mark.parametrize(('label', 'sign'), [(0, '>='), (1, '<=')])
def test_one_score_for_two_classes(label, sign, tmp_path):
  pytest.importorskip('tf2onnx')
  model = testing.mlp((5, 8, 1), activation='sigmoid')
  robustness.export_properties(
    model, draw((5,), 1), [label], 0.1, str(tmp_path), RANGE
  )
  text = (tmp_path / 'property_0.vnnlib').read_text()
  assert f'(assert ({sign} Y_0 0.0))' in text


@pytest.mark.skipif(
  importlib.util.find_spec('maraboupy') is None,
  reason='needs maraboupy, which has wheels for Python up to 3.11',
)
def test_another_program_reads_them_and_agrees(tmp_path):
  pytest.importorskip('tf2onnx')
  model = testing.mlp((5, 12, 12, 3), seed=3)
  x = draw((5,), 4)
  y = model(x.astype(np.float32)).numpy().argmax(-1)
  paths = robustness.export_properties(model, x, y, 0.3, str(tmp_path), RANGE)
  ours = robustness.verify(model, x, y, 0.3, RANGE)
  for path, answer in zip(paths, ours, strict=True):
    done = subprocess.run(
      [sys.executable, '-c', _SOLVE, str(tmp_path / 'model.onnx'), path],
      capture_output=True,
      text=True,
      check=True,
    )
    said = done.stdout.split()[-1]
    assert (said, answer.verdict) in (('unsat', 'robust'), ('sat', 'broken'))


def test_nothing_is_left_behind_by_bad_input(tmp_path):
  model = testing.mlp((5, 8, 3))
  with pytest.raises(ValueError, match='Labels'):
    robustness.export_properties(
      model, draw((5,), 1), [9], 0.1, str(tmp_path), RANGE
    )
  assert os.listdir(tmp_path) == []


def test_a_missing_converter_names_its_extra(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'tf2onnx', None)
  with pytest.raises(ImportError, match=r'tfmot_paoding\[verify\]'):
    robustness.export_onnx(testing.mlp((5, 8, 3)), str(tmp_path / 'm.onnx'))
