"""`tfmot-paoding verify`: proves what a network answers, or breaks it."""

from __future__ import annotations

import collections
import io
from collections.abc import Mapping

import numpy as np
from absl import flags

from tfmot_paoding import extras
from tfmot_paoding.command.input_flags import ranges_of
from tfmot_paoding.command.model_files import (
  check_paths,
  check_test_data,
  open_model,
  read_arrays,
)
from tfmot_paoding.command.verify_flags import ONNX
from tfmot_paoding.compat import keras
from tfmot_paoding.files import write_file
from tfmot_paoding.inputs.ranges import resolve_range
from tfmot_paoding.loading import read_onnx
from tfmot_paoding.progress import progress_bar
from tfmot_paoding.robustness import (
  Answer,
  read_property,
  scores_model,
  verify,
  verify_property,
)
from tfmot_paoding.robustness.one_by_one import one_by_one
from tfmot_paoding.robustness.scores import scores_of

__all__ = ['BROKEN', 'UNKNOWN', 'run']

# Exit codes; 0 where all is proved.
BROKEN = 3
UNKNOWN = 4


def run(given: flags.FlagValues) -> int:
  """Loads, decides, tells and writes; the exit code.

  Args:
    given: The flags.

  Raises:
    ImportError: a flag needs an extra that is not installed.
    OSError: a file cannot be read or written.
    ValueError: a flag, a file or the model does not fit.
  """
  if given.model.endswith(ONNX):
    extras.ONNX.require()
  if given.method == 'marabou':
    extras.MARABOU.require()
  check_paths([given.output], given)
  model = _model(given)
  answers = (
    _properties(model, given) if given.property else _balls(model, given)
  )
  counts = collections.Counter(answer.verdict for answer in answers.values())
  print(
    ', '.join(
      f'{counts[name]} {name}' for name in ('robust', 'broken', 'unknown')
    )
    + f' of {len(answers)}'
  )
  if given.output:
    shape = model.inputs[0].shape[1:]
    write_file(given.output, _as_file(answers, tuple(shape)))
  if counts['broken']:
    return BROKEN
  return UNKNOWN if counts['unknown'] else 0


def _model(given: flags.FlagValues) -> keras.Model:
  """What --model names."""
  if given.model.endswith(ONNX):
    return read_onnx(given.model)
  return open_model(given.model, given, needs_sizes=True)


def _balls(model: keras.Model, given: flags.FlagValues) -> dict[str, Answer]:
  """Answers around --test_data, by the sample's number and class."""
  x, y = read_arrays(given.test_data, 'x', 'y')
  check_test_data(model, x, y)
  some = slice(0, given.samples)
  x, y = x[some], y.ravel()[some].astype(np.int64)
  settled = resolve_range(model, ranges_of(given.input_range), [x])
  for name, text in settled.described().items():
    print(f'range of input {name!r}: {text}')
  answers = verify(
    model, x, y, given.epsilon, settled, given.method, seconds=given.seconds
  )
  found = {}
  for k, (label, answer) in enumerate(zip(y, answers, strict=True)):
    name = f'sample {k} (class {label})'
    found[name] = answer
    print(f'{name}: {_told(answer)}')
  return found


def _properties(
  model: keras.Model, given: flags.FlagValues
) -> dict[str, Answer]:
  """Answers to each --property, by its path."""
  if given.scores:
    if scores_of(model).final is None:
      raise ValueError(
        'The model ends in no softmax or sigmoid: its outputs are the scores. '
        'Leave out --scores.'
      )
    model = scores_model(model)
  # All are read before the first is worked on.
  asked = {path: read_property(path) for path in given.property}
  paths = list(asked)

  def decide(k: int) -> Answer:
    answer = verify_property(model, asked[paths[k]], seconds=given.seconds)
    print(f'{paths[k]}: {_told(answer)}', flush=True)
    return answer

  # A line an answer is bar enough.
  bar = progress_bar(len(paths), 0, 'property')
  return dict(zip(paths, one_by_one(len(paths), decide, bar), strict=True))


def _told(answer: Answer) -> str:
  """An answer in a line."""
  text = f'{answer.verdict}, {answer.seconds:.2g} s'
  if answer.subdomains:
    text += f', {answer.subdomains} subdomains'
  if answer.verdict == 'unknown' and answer.gap is not None:
    text += f', the least lead is from {answer.low:.3g} to {answer.high:.3g}'
  return text


def _as_file(answers: Mapping[str, Answer], shape: tuple[int, ...]) -> bytes:
  """The answers as --output has them."""
  values = list(answers.values())

  def numbers(name: str, missing: float) -> np.ndarray:
    found = [getattr(answer, name) for answer in values]
    return np.array([missing if one is None else one for one in found])

  example = np.full((len(values), *shape), np.nan, np.float32)
  for row, answer in zip(example, values, strict=True):
    if answer.example is not None:
      row[...] = answer.example.reshape(shape)
  file = io.BytesIO()
  np.savez(
    file,
    name=np.array(list(answers)),
    verdict=np.array([answer.verdict for answer in values]),
    seconds=numbers('seconds', np.nan),
    subdomains=numbers('subdomains', -1),
    low=numbers('low', np.nan),
    high=numbers('high', np.nan),
    example=example,
  )
  return file.getvalue()
