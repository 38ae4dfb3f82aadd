"""Progress bars go to people alone, and end their lines."""

from __future__ import annotations

import contextlib
import io

import pytest

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.progress import finish, progress_bar


class Terminal(io.StringIO):
  """What is printed, as on a terminal."""

  def isatty(self) -> bool:
    return True


def shown(where: io.StringIO, verbose: int | str) -> str:
  with contextlib.redirect_stdout(where):
    bar = progress_bar(2, verbose, 'step')
    bar.add(1)
    bar.add(1)
  return where.getvalue()


@pytest.mark.parametrize('verbose', ['auto', 1])
def test_a_terminal_gets_a_bar_and_a_new_line(verbose):
  text = shown(Terminal(), verbose)
  assert '2/2' in text
  assert text.endswith('\n')


def test_a_file_gets_none_unless_it_is_asked_for():
  assert shown(io.StringIO(), 'auto') == ''
  assert '2/2' in shown(io.StringIO(), 1)
  assert shown(Terminal(), 0) == ''


def test_a_process_without_output_gets_none():
  with contextlib.redirect_stdout(None):
    progress_bar(1, 'auto', 'step').add(1)


@pytest.mark.parametrize('verbose', [2, 'always', None])
def test_anything_else_is_refused(verbose):
  with pytest.raises(ValueError, match="'auto'"):
    progress_bar(2, verbose, 'step')


def test_a_bar_of_an_unknown_count_ends_its_line():
  where = Terminal()
  with contextlib.redirect_stdout(where):
    bar = progress_bar(None, 1, 'file')
    finish(bar, 0)
    assert where.getvalue() == ''
    bar.add(1)
    finish(bar, 1)
  assert where.getvalue().endswith('\n')


def test_nothing_is_printed_where_nobody_looks(capsys):
  model = testing.mlp()
  paoding.prune(model, 0.5, method='saliency')
  paoding.prune_to_budget(
    model, paoding.Budget(flash_bytes=3000), method='saliency'
  )
  paoding.run_schedule(paoding.prune_low_saliency(model, method='l1'))
  assert capsys.readouterr().out == ''


def test_the_search_for_a_budget_ends_its_line():
  where = Terminal()
  budget = paoding.Budget(macs=100, quantization=None)
  with contextlib.redirect_stdout(where):
    paoding.prune_to_budget(
      testing.mlp(), budget, method='l1', step_sparsity=0.5
    )
  (search,) = [
    line for line in where.getvalue().split('\n') if 'limits' in line
  ]
  assert '/Unknown' in search
  assert 'step' not in search
