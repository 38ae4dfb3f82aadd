"""The guide runs from its first cell to its last, and says what it stores."""

from __future__ import annotations

import re

import pytest

from tests.processes import ROOT

nbformat = pytest.importorskip('nbformat', reason='nbformat is not installed')
nbclient = pytest.importorskip('nbclient', reason='nbclient is not installed')
pytest.importorskip('ipykernel', reason='ipykernel is not installed')

_GUIDE = ROOT / 'examples' / 'guide.ipynb'
_SECONDS = 300  # a cell, on a machine that is busy


def printed(notebook) -> str:
  """All that its cells print.

  Raises:
    AssertionError: a cell has another kind of output, such as an error.
  """
  found = []
  for cell in notebook.cells:
    for output in cell.get('outputs', ()):
      assert output['output_type'] == 'stream', output
      assert output['name'] == 'stdout', output['text']
      found.append(output['text'])
  return ''.join(found)


@pytest.fixture(scope='module')
def stored():
  """The notebook as it stands."""
  return nbformat.read(_GUIDE, as_version=4)


def test_it_runs(stored, tmp_path, monkeypatch):
  pytest.importorskip('sklearn', reason='scikit-learn is not installed')
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  monkeypatch.setenv('TF_CPP_MIN_LOG_LEVEL', '2')
  notebook = nbformat.from_dict(stored)
  client = nbclient.NotebookClient(
    notebook,
    timeout=_SECONDS,
    kernel_name='python3',
    resources={'metadata': {'path': str(tmp_path)}},
  )
  client.execute()
  said = printed(notebook)
  assert '[32, 16, 10]' in said
  assert '[0.25, 0.5] [24, 48] of 96' in said
  assert '6570 -> 2778' in said
  accuracies = [float(x) for x in re.findall(r'accuracy (0\.\d+)', said)]
  assert len(accuracies) == 4
  assert min(accuracies) > 0.9
  assert (tmp_path / 'digits.tflite').stat().st_size <= 8000


def test_what_is_stored_is_what_cells_print(stored):
  nbformat.validate(stored)
  assert len(re.findall(r'accuracy (0\.\d+)', printed(stored))) == 4
  for cell in stored.cells:
    assert (
      cell['cell_type'] == 'markdown'
      or cell['outputs']
      or not re.search(r'\bprint\(', cell['source'])
    )
