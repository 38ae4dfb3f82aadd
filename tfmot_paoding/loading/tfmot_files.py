"""Files of models that TFMOT has wrapped to quantize or to cluster them.

Units leave before either. Where the caller has opened TFMOT's scope, they load,
and what prunes says so.
"""

from __future__ import annotations

from typing import Any

from tfmot_paoding.compat import keras
from tfmot_paoding.loading.errors import ModelFileError
from tfmot_paoding.loading.safety import named_objects

_QUANTIZED = (
  'holds a model for quantization-aware training',
  'Load the model that quantize_model was given, prune it, and quantize what '
  'comes out',
  'tfmot.quantization.keras.quantize_scope()',
)
_CLUSTERED = (
  'holds a model that is wrapped for clustering',
  'Save what strip_clustering makes of it, and load that',
  'tfmot.clustering.keras.cluster_scope()',
)
_WRAPPERS = {
  'ClusterWeights': _CLUSTERED,
  'QuantizeAnnotate': _QUANTIZED,
  'QuantizeLayer': _QUANTIZED,
  'QuantizeWrapper': _QUANTIZED,
  'QuantizeWrapperV2': _QUANTIZED,
}


def refuse_wrapped(config: Any, path: str) -> None:
  """Raises if a model's description names TFMOT's wrappers of this kind.

  Args:
    config: The description: dicts, lists and plain values.
    path: Where it came from, for the message.

  Raises:
    ModelFileError: it does, and their scope is not open.
  """
  for part, layer in named_objects(config):
    name = part.get('class_name')
    told = _WRAPPERS.get(name) if isinstance(name, str) else None
    if told and keras.utils.get_registered_object(name) is None:
      what, instead, scope = told
      raise ModelFileError(
        f'{path!r} {what} ({name} {layer!r}), and units leave before that. '
        f'{instead}. (In {scope} the file loads as it is.)'
      )
