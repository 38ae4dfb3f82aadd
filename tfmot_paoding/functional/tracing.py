"""What tracing a `call` needs, in either Keras: marks, statements, reasons."""

from __future__ import annotations

import ast
import inspect
import textwrap
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from tfmot_paoding import callers

# What the code of a `call` may raise when it meets symbolic tensors.
TRACE_ERRORS = (
  ArithmeticError,
  AssertionError,
  AttributeError,
  LookupError,
  NotImplementedError,
  RuntimeError,
  TypeError,
  ValueError,
  tf.errors.OpError,
)
_ADDERS = ('add_loss', 'add_metric')
_LIBRARIES = frozenset(
  {'tf_keras', 'keras', 'tensorflow', 'tfmot_paoding', 'numpy', 'optree'}
)


def is_of_a_library(function: Any) -> bool:
  """Whether a function is Keras's, or there is none."""
  module = getattr(function, '__module__', None) or 'keras'
  return module.split('.')[0] in _LIBRARIES


class TrainingFlag(int):
  """A `training=True` that can be told from one in the user's own code."""


IN_TRAINING = TrainingFlag(1)


def without_flags(value: Any) -> Any:
  """What a call was given, with the tracer's own `training` taken out."""
  return None if isinstance(value, TrainingFlag) else value


def takes(function: Callable[..., Any], name: str) -> bool:
  """Whether a function has a parameter of that name."""
  return name in inspect.signature(function).parameters


def is_told(owner: Any, arguments: Mapping[str, Any]) -> bool:
  """Whether the tracer may say which `training` a `call` is traced with."""
  return takes(owner.call, 'training') and not isinstance(
    arguments.get('training'), bool
  )


@contextmanager
def noting_losses(owner: Any) -> Iterator[None]:
  """Warns of losses and metrics that a `call` adds, which no trace holds.

  Layers that are taken over whole keep theirs, and their regularizers.

  Args:
    owner: The model or layer whose `call` is traced.
  """
  lost: dict[str, None] = {}

  def noting(adder: str) -> Callable[..., None]:
    return lambda *args, **kwargs: lost.setdefault(adder)

  for name in _ADDERS:
    vars(owner)[name] = noting(name)  # found before the method of the class
  try:
    yield
  finally:
    for name in _ADDERS:
      del vars(owner)[name]
  if lost:
    warnings.warn(
      f'The `call` of {owner.name!r} adds to the training objective or to its '
      f'metrics ({", ".join(lost)}), which is no part of what it answers: the '
      'traced model is without that, and trains on the compiled loss alone. '
      'For it to count, add it to the model that comes out, '
      'model.add_loss(...), or put it into a layer of its own that has a '
      '`get_config`.',
      stacklevel=callers.level(),
    )


def call_with(
  owner: Any, symbols: Mapping[str, Any], told: bool, training: Any
) -> Any:
  """What a `call` makes of symbolic tensors.

  Args:
    owner: The model or layer.
    symbols: Its arguments by name.
    told: Whether it is told which `training` this is; see `is_told`.
    training: That.

  Raises:
    ValueError: it cannot be traced; names the statement.
  """
  bound = inspect.signature(owner.call).bind_partial()
  bound.arguments.update(symbols)
  if told:
    bound.arguments['training'] = training
  try:
    return owner.call(*bound.args, **bound.kwargs)
  except TRACE_ERRORS as error:
    raise cannot_be_traced(owner, error) from error


def cannot_be_traced(model: Any, error: BaseException) -> ValueError:
  """The error for a `call` that raised one when it met symbolic tensors."""
  where = _statement(error)
  return ValueError(
    f'The model {model.name!r} is subclassed, and its `call` cannot be traced '
    f'into layers{where}: {type(error).__name__}: '
    f'{_first_line(error)}. A `call` that is made of layers and TensorFlow '
    'functions alone can: move what looks into a tensor (a Python `if` or loop '
    'over its values, `.numpy()`) into a layer of its own that has a '
    '`get_config`, or express the model with the functional API, '
    'Model(inputs, outputs).'
  )


def depends_on_training(model: Any, call: Callable[..., Any]) -> ValueError:
  """The error for a `call` that is another function in training."""
  return ValueError(
    f'The model {model.name!r} is subclassed, and its `call` is another '
    f'function with training=True than without{_training_branch(call)}. Hand '
    '`training` on to layers that know it, such as Dropout and '
    'BatchNormalization, or give the two functions to two models.'
  )


def differs(model: Any) -> ValueError:
  """The error for a traced model with other answers."""
  return ValueError(
    f'The model {model.name!r} is subclassed, and what was traced from its '
    '`call` gives other answers: it depends on its inputs in a way that cannot '
    'be seen, draws numbers that do not depend on them, or remembers former '
    'calls. Move that into a layer of its own that has a `get_config`, or '
    'express the model with the functional API, Model(inputs, outputs).'
  )


def _first_line(error: BaseException) -> str:
  lines = [line for line in str(error).splitlines() if line.strip()]
  return lines[0].strip().rstrip('.') if lines else 'no message'


def _statement(error: BaseException) -> str:
  """The last line of the user's own code on the way to an error."""
  found = ''
  for frame, line in traceback.walk_tb(error.__traceback__):
    module = frame.f_globals.get('__name__', '').split('.')[0]
    if module in _LIBRARIES:
      continue
    summary = traceback.FrameSummary(
      frame.f_code.co_filename, line, frame.f_code.co_name
    )
    text = f': `{summary.line}`' if summary.line else ''
    found = f' at {summary.filename}, line {line}, in {summary.name}{text}'
  return found


def _training_branch(call: Callable[..., Any]) -> str:
  """Where a `call` branches on `training`, if its source is at hand."""
  try:
    lines, start = inspect.getsourcelines(call)
    tree = ast.parse(textwrap.dedent(''.join(lines)))
  except (OSError, TypeError, SyntaxError):
    return ''
  for node in ast.walk(tree):
    if not isinstance(node, (ast.If, ast.IfExp, ast.While)):
      continue
    names = {x.id for x in ast.walk(node.test) if isinstance(x, ast.Name)}
    if 'training' in names:
      line = start + node.lineno - 1
      text = lines[node.lineno - 1].strip()
      return f' at {inspect.getsourcefile(call)}, line {line}: `{text}`'
  return ''


@contextmanager
def undisturbed(model: Any, attributes: Collection[str]) -> Iterator[None]:
  """Leaves no trace of a tracing on a model's layers, of either Keras.

  Args:
    model: The model.
    attributes: Those of a layer that a tracing changes.
  """
  noted = [
    (layer, key, value[:] if isinstance(value, list) else value)
    for layer in model._flatten_layers()
    for key, value in vars(layer).items()
    if key in attributes
  ]
  try:
    yield
  finally:
    for layer, key, value in noted:
      now = getattr(layer, key)
      if isinstance(value, list):
        now[:] = value
      elif now != value:
        setattr(layer, key, value)
