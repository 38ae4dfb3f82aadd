"""How alike two models of any kind answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.network import agreement
from tfmot_paoding.network.agreement import Verdict

Array = np.ndarray


def judge(original: Any, other: Any, samples: Sequence[Array]) -> Verdict:
  """Runs two models on the same inputs.

  Args:
    original: The model to be like, of any kind that `prune` takes.
    other: A model with the same inputs and outputs, of any such kind.
    samples: One array an input of the model, with a batch axis.

  Raises:
    TypeError: one is no Keras model.
    ValueError: the inputs or outputs of the two differ.
  """
  return agreement.judge(as_tf_keras(original), as_tf_keras(other), samples)
