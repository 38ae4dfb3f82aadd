"""What Keras 3 writes to .h5 files and does not read again.

There an operation goes by its class alone, and Keras looks it up among layers:
it knows no `Split`, and would take an operation `Add` for the layer. Each gets
a name of its own while the file loads. The setting 'dot' of an Attention it
takes for the function of that name, so that what is the default is left out.
And an ellipsis it reads twice, as in `x[..., 1:]`, and not what it has read, so
that the axes that it stands for are written down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tfmot_paoding.loading.known_objects import known_for_now

_PREFIX = 'keras.ops>'
_MODULES = 'keras.src.ops.'
_WHOLE = {
  'class_name': '__slice__',
  'config': {'start': None, 'stop': None, 'step': None},
}


def readable(config: Any) -> Any:
  """A description that Keras 3 reads, operations by names of their own.

  Args:
    config: The description in an .h5 file of Keras 3: dicts, lists and values.

  Returns:
    A changed copy; `config` itself where it has none of that.
  """
  known = _operations()

  def renamed(part: Any) -> Any:
    if isinstance(part, list):
      made = [renamed(value) for value in part]
      changed = any(a is not b for a, b in zip(part, made, strict=True))
      return made if changed else part
    if not isinstance(part, dict):
      return part
    made = {key: renamed(value) for key, value in part.items()}
    changed = any(made[key] is not part[key] for key in part)
    if _is_operation(part, known):
      calls = made['inbound_nodes']
      if isinstance(calls, list):
        calls = [_spelt_out(call) for call in calls]
      name = _PREFIX + part['class_name']
      return made | {'class_name': name, 'inbound_nodes': calls}
    if _is_by_default(part):
      settings = {k: v for k, v in made['config'].items() if k != 'score_mode'}
      return made | {'config': settings}
    return made if changed else part

  return renamed(config)


@contextlib.contextmanager
def operations_known() -> Iterator[None]:
  """Lets Keras 3 find operations by those names."""
  import keras as keras3

  found = {_PREFIX + name: kind for name, kind in _operations().items()}
  with known_for_now(keras3, found):
    yield


def _is_operation(part: dict, known: dict[str, type]) -> bool:
  """Whether a dict is the call of an operation and not that of a layer."""
  name, config = part.get('class_name'), part.get('config')
  return (
    'inbound_nodes' in part
    and isinstance(name, str)
    and name in known
    and isinstance(config, dict)
    and 'trainable' not in config  # which every layer says
  )


def _spelt_out(call: Any) -> Any:
  """A call without an ellipsis among what it takes of a tensor's axes."""
  match call:
    case {'args': [{'config': {'shape': [*sizes]}} as tensor, places]}:
      several = isinstance(places, list)
      listed = places if several else [places]
      at = [k for k, place in enumerate(listed) if _is_ellipsis(place)]
      if len(at) != 1:
        return call
      # None stands for a new axis.
      others = sum(place is not None for place in listed) - 1
      whole = [_WHOLE] * (len(sizes) - others)
      listed = [*listed[: at[0]], *whole, *listed[at[0] + 1 :]]
      return call | {'args': [tensor, listed]}
  return call


def _is_ellipsis(place: Any) -> bool:
  return isinstance(place, dict) and place.get('class_name') == '__ellipsis__'


def _is_by_default(part: dict) -> bool:
  """Whether a dict is an Attention that scores by products."""
  config = part.get('config')
  return (
    part.get('class_name') == 'Attention'
    and isinstance(config, dict)
    and config.get('score_mode') == 'dot'
  )


def _operations() -> dict[str, type]:
  """The classes of Keras 3's own operations, by their names."""
  import keras as keras3

  found, waiting = {}, [keras3.Operation]
  while waiting:
    kind = waiting.pop()
    waiting += kind.__subclasses__()
    if kind.__module__.startswith(_MODULES):
      found[kind.__name__] = kind
  found.pop('Operation', None)
  return found
