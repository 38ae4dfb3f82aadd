"""What a model was before its first unit went, for runs that are resumed.

Fits compare with the original, and inputs are recalled from it. Neither can be
worked out from a model that is pruned in part.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import numpy as np

from tfmot_paoding import callers
from tfmot_paoding.keras3.model import as_opened
from tfmot_paoding.network.network import Network
from tfmot_paoding.ops import Params


class Origin:
  """The original of a wrapped model, held by one of its wrappers.

  It lives as long as the wrapped model does and is not saved with it.

  Attributes:
    network: A copy of the model before pruning, or of what was left of it where
      that is not known.
    is_whole: Whether nothing of it was gone.
  """

  def __init__(self, network: Network, is_whole: bool = True):
    self.network = network
    self.is_whole = is_whole
    self._left = b''

  def note(self, params: Params) -> None:
    """Remembers the weights that a run has left."""
    self._left = _digest(params)

  def belongs_to(self, params: Params) -> bool:
    """Whether nobody has changed the weights since."""
    return self._left == _digest(params)


def find_origin(
  wrapped: Network,
  held: Origin | None,
  removed: int,
  original: Network | None,
) -> Origin:
  """The original that a run on a wrapped model goes by.

  Args:
    wrapped: The wrapped network.
    held: What an earlier run of it went by, if there was one here.
    removed: How many of its units are gone.
    original: The model before pruning, from `checked_original`, if the user has
      passed it.
  """
  params = wrapped.params()
  if original is not None:
    found = Origin(original)
  elif held is not None and held.belongs_to(params):
    return held
  else:
    if removed and held is None:
      warnings.warn(
        f'{removed} units are gone already, and what the model was before is '
        'not known here, since files of wrapped models do not hold it: fits go '
        'by the model as it is, which is another run than one that was never '
        'interrupted. Pass the model before pruning, '
        'run_schedule(wrapped, original=model).',
        stacklevel=callers.level(),
      )
    found = Origin(wrapped.plain(), is_whole=not removed)
  found.note(params)
  return found


def checked_original(original: Any, wrapped: Network) -> Network:
  """The model before pruning that the user has passed, as tf_keras.

  Raises:
    TypeError: it is no Keras model.
    ValueError: it is not what was wrapped.
  """
  original = Network.of(as_opened(original), wrapped.graph.views)
  shapes, ours = (
    {ref: value.shape for ref, value in network.params().items()}
    for network in (original, wrapped)
  )
  if shapes != ours:
    raise ValueError(
      '`original` has other layers or shapes than the wrapped model. Pass the '
      'model that was given to prune_low_saliency.'
    )
  return original


def _digest(params: Params) -> bytes:
  found = hashlib.blake2b(digest_size=16)
  for ref in sorted(params):
    found.update(np.asarray(params[ref], np.float32).tobytes())
  return found.digest()
