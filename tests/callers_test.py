"""Warnings name the line of whoever called the package."""

from __future__ import annotations

import ast
import pathlib
import warnings

import numpy as np

import tfmot_paoding as paoding
from tests import testing

_PACKAGE = pathlib.Path(paoding.__file__).parent


def test_what_is_told_in_fit_names_the_line_that_called_fit():
  wrapped = paoding.prune_low_saliency(testing.mlp(), method='saliency')
  wrapped.compile('sgd', 'mse')
  x, y = np.ones((8, 5), np.float32), np.ones((8, 3), np.float32)
  callback = paoding.UpdatePruningStep(prior='smooth')
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    wrapped.fit(x, y, verbose=0, callbacks=[callback])
  ours = [w for w in caught if issubclass(w.category, UserWarning)]
  assert len(ours) >= 3  # of the prior, of rounding, of the end
  assert {warning.filename for warning in ours} == {__file__}


def test_nobody_counts_frames_by_hand():
  for path in _PACKAGE.rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
      if isinstance(node, ast.keyword) and node.arg == 'stacklevel':
        assert ast.unparse(node.value) == 'callers.level()', path
      if isinstance(node, ast.Call) and ast.unparse(node.func) == (
        'warnings.warn'
      ):
        given = {keyword.arg for keyword in node.keywords}
        assert 'stacklevel' in given or len(node.args) > 2, (path, node.lineno)
