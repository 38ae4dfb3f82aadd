"""What TFMOT puts around layers to quantize or to cluster them.

Units leave before that. What stands inside is no weight of its own any more,
and is left alone, with a word on what to do first.
"""

from __future__ import annotations

from typing import Any

from tfmot_paoding import compat
from tfmot_paoding.layers import base
from tfmot_paoding.ops import Op, Shape


class _Wrapped(base.LayerHandler):
  """Nothing of what is inside leaves."""

  why: str

  def lower(
    self,
    layer: Any,
    path: base.Path,
    in_shapes: list[Shape],
    out_shape: Shape,
  ) -> list[Op]:
    """Not known, and why."""
    return base.opaque(layer, self.why)


@base.register_handler(compat.QuantizeAnnotate)
class QuantizeAnnotateHandler(_Wrapped):
  """A layer that `quantize_apply` shall quantize."""

  why = (
    'is annotated for quantization: prune the model first, and annotate what '
    'comes out'
  )


@base.register_handler(compat.QuantizeLayer)
@base.register_handler(compat.QuantizeWrapper)
@base.register_handler(compat.QuantizeWrapperV2)
class QuantizeWrapperHandler(_Wrapped):
  """What `quantize_apply` makes of a layer, or puts behind an input."""

  why = (
    'is quantized already: prune the model that quantize_model was given, and '
    'quantize what comes out'
  )


@base.register_handler(compat.ClusterWeights)
class ClusterWeightsHandler(_Wrapped):
  """A layer whose weights share a few values."""

  why = 'is wrapped for clustering: call strip_clustering first'
