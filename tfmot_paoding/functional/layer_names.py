"""Names of layers that TensorFlow takes, each once in a model."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Collection, Iterator
from typing import Any

import tensorflow as tf

from tfmot_paoding import callers, compat

# What TensorFlow's name scopes take.
_SAFE = re.compile(r'[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*')
# What Keras calls a function of TensorFlow's, and the number behind that.
_COUNTED = re.compile(r'(tf\..*?)(_\d+)?')


class SafeNames:
  """Names that TensorFlow takes, for names that another framework gave.

  One name is always replaced by the same one, two names by two.
  """

  def __init__(self):
    self._replaced: dict[str, str] = {}

  def safe(self, name: str) -> str:
    """The name itself if TensorFlow takes it, else one that is like it."""
    if _SAFE.fullmatch(name):
      return name
    if name not in self._replaced:
      plain = unicodedata.normalize('NFKD', name)
      plain = ''.join(c for c in plain if not unicodedata.combining(c))
      plain = re.sub(r'[^A-Za-z0-9_.-]', '_', plain)
      plain = plain if _SAFE.fullmatch(plain) else f'layer{plain}'
      self._replaced[name] = free_name(plain, self._replaced.values())
    return self._replaced[name]

  def warn(self, model: str) -> None:
    """Says which names were replaced, if any were."""
    if not self._replaced:
      return
    first = next(iter(self._replaced))
    warnings.warn(
      f'TensorFlow takes no name like {first!r} in the model {model!r}, only '
      'ASCII letters, digits and "_.-". Layers and inputs go by other names '
      f'in the tf_keras model: {self._replaced}. Refer to them by those.',
      stacklevel=callers.level(),
    )


def free_name(name: str, taken: Collection[str]) -> str:
  """The name, with a number behind it if it is taken."""
  found, number = name, 0
  while found in taken:
    number += 1
    found = f'{name}_{number}'
  return found


def name_apart(tensors: Any, given: Collection[Any] = ()) -> dict[str, str]:
  """Renames tf_keras layers that share a name on the way to some tensors.

  Args:
    tensors: Keras tensors in any structure, the outputs of a model to be.
    given: Layers whose names are to be kept if possible.

  Returns:
    The name that some had, by the name that they go by now; empty if all are
    distinct. Functions of TensorFlow's, which nobody named, do not count.
    Layers of no model yet are renamed in place.
  """
  kept = {id(layer) for layer in given}
  layers = list(_layers_to(tensors))
  taken: set[str] = set()
  renamed = {}
  for layer in sorted(layers, key=lambda layer: id(layer) not in kept):
    uncounted = _without_count(layer)
    name = free_name(uncounted, taken)
    if name != uncounted:
      renamed[name] = layer.name
    layer._name = name
    taken.add(name)
  return {
    name: old for name, old in renamed.items() if not _COUNTED.fullmatch(old)
  }


def _without_count(layer: Any) -> str:
  """A layer's name; for a function of TensorFlow's, that of the function.

  Keras counts these all over the process: a model that is traced twice would
  come to other names the second time, and not be known for the same.
  """
  counted = isinstance(layer, compat.FUNCTION_LAYERS)
  match = _COUNTED.fullmatch(layer.name) if counted else None
  return match[1] if match else layer.name


def _layers_to(tensors: Any) -> Iterator[Any]:
  """Each layer that some Keras tensors came through, inputs first."""
  seen: set[int] = set()
  found: dict[int, Any] = {}
  # A tensor's makers are visited before it: (tensor, are its makers done).
  stack = [(t, False) for t in reversed(tf.nest.flatten(tensors))]
  while stack:
    tensor, done = stack.pop()
    layer, position, _ = compat.tensor_position(tensor)
    if done:
      found.setdefault(id(layer), layer)
      continue
    node = layer._inbound_nodes[position]
    if id(node) in seen:
      continue
    seen.add(id(node))
    stack.append((tensor, True))
    stack.extend((source, False) for source in reversed(node.keras_inputs))
  yield from found.values()
