"""What a report says first: whether it fits, and whether it still answers."""

from __future__ import annotations

import html
import math

from tfmot_paoding.pruning.few_answers import FEW
from tfmot_paoding.report.data import Limit, Report

# The share of the answers from which on they count as kept.
_KEPT = 0.95

# Colours that the colour-blind tell apart; the words say the same.
STYLE = """
.lead p { border-left: .5rem solid; margin: .5rem 0; padding: .4rem .8rem; }
.lead b { font-size: 1.2em; }
.good { background: #009e7322; border-color: #009e73; }
.fair { background: #e69f0022; border-color: #e69f00; }
.poor { background: #d55e0022; border-color: #d55e00; }
"""
_NAMES = {
  'flash_bytes': 'bytes of flash',
  'arena_bytes': 'bytes of tensor arena',
  'macs': 'multiply-accumulates',
  'latency_ratio': "of the original's latency",
  'npu_cycles': 'cycles of the NPU',
}


def headline(report: Report) -> str:
  """The first lines of a page, as HTML."""
  parts = [_budget(report.limits)] if report.limits else []
  parts.append(_answers(report))
  return '<div class="lead">\n' + '\n'.join(parts) + '\n</div>'


def _budget(limits: tuple[Limit, ...]) -> str:
  """Whether every limit is met, and what is taken of each."""
  met = [limit.met for limit in limits]
  if all(met):
    kind, word = 'good', 'Budget met'
  elif False in met:
    kind, word = 'poor', 'Budget not met'
  else:
    kind, word = 'fair', 'Budget not measured in full'
  said = '; '.join(_limit(limit) for limit in limits)
  return _line(kind, word, said)


def _limit(limit: Limit) -> str:
  name = _NAMES.get(limit.name, limit.name)
  if limit.taken is None:
    return f'{_number(limit.most)} {name} allowed, not measured'
  over = '' if limit.met else ': too many' if limit.most > 1 else ': too much'
  return f'{_number(limit.taken)} of {_number(limit.most)} {name}{over}'


def _answers(report: Report) -> str:
  """How much of the original's answers is left, and on whose inputs."""
  verdict = report.verdict
  if math.isnan(verdict.kept):
    kind, word = 'fair', 'Answers not compared'
  elif verdict.is_blind:
    kind, word = 'fair', 'Answers hardly compared'
  elif verdict.kept >= _KEPT:
    kind, word = 'good', 'Answers kept'
  elif verdict.kept >= FEW:
    kind, word = 'fair', 'Some answers lost'
  else:
    kind, word = 'poor', 'Few answers kept'
  said = str(verdict)
  said = said[:1].upper() + said[1:]
  one, two = report.original.accuracy, report.pruned.accuracy
  if one is not None and two is not None:
    said += f'; accuracy on labelled test data {two:.1%} in place of {one:.1%}'
  return _line(kind, word, said)


def _line(kind: str, word: str, said: str) -> str:
  return f'<p class="{kind}"><b>{word}.</b> {html.escape(said)}.</p>'


def _number(value: float) -> str:
  return (
    f'{value:,.2f}' if value < 100 and value != int(value) else f'{value:,.0f}'
  )
