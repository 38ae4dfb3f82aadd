"""Attention layers: a unit is a head, from its projections to the output's.

Or, if the caller chooses so, a channel of all heads at once: one of the values,
or one of the queries with the keys' that it meets.

Keras's own classes alone; what a subclass computes is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.compat import keras
from tfmot_paoding.layers import base
from tfmot_paoding.layers.inside import OUTPUT, Emit, Tensor
from tfmot_paoding.numerics.ordered_match import ordered_match
from tfmot_paoding.ops import (
  Array,
  Attend,
  KeyProjection,
  Opaque,
  Pairs,
  Permute,
  Projection,
  Shares,
  SingleAttention,
)

# What the tensor is called that all heads give, side by side: where they are
# units, and where channels are. And the queries of the latter.
_HEADS, _CHANNELS = base.VIEWS
_PAIRS = 'pairs'
# By the kernel that makes them, the axes of channels in all weights.
_KEYS = '_key_dense.kernel'
_CHANNEL_AXES = {
  '_query_dense.kernel': {
    '_query_dense.kernel': 2,
    '_query_dense.bias': 1,
    _KEYS: 2,
    '_key_dense.bias': 1,
  },
  '_value_dense.kernel': {
    '_value_dense.kernel': 2,
    '_value_dense.bias': 1,
    '_output_dense.kernel': 1,
  },
}
# The inputs, as the layer's config and its parameters call them.
_INPUTS = ('query', 'value', 'key')


@base.register_handler(keras.layers.MultiHeadAttention)
class MultiHeadAttentionHandler(base.LayerHandler):
  """Projections to heads, what each head attends to, and their sum."""

  arguments = (
    'value',
    'key',
    'attention_mask',
    'return_attention_scores',
    'use_causal_mask',
  )
  views = base.VIEWS

  def view_between(self, layer: Any, smaller: Any) -> str | None:
    """By the sizes that differ."""
    if layer._num_heads != smaller._num_heads:
      return _HEADS
    sizes = [(x._key_dim, x._value_dim) for x in (layer, smaller)]
    return None if sizes[0] == sizes[1] else _CHANNELS

  def with_all_units(
    self, view: str, before: Mapping[str, Array], after: Mapping[str, Array]
  ) -> dict[str, Array]:
    """With all channels, where heads are gone as well.

    Which are which is a guess by their sizes: whatever it is, zeros stand in
    for the others.
    """
    found = dict(after)
    if view != _HEADS:
      return found
    for first, axes in _CHANNEL_AXES.items():
      old, new = before[first], after[first]
      count, left = old.shape[2], new.shape[2]
      if left >= count:
        continue
      place = ordered_match(_unlikeness(old, new))
      for name in set(axes) & set(found):
        shape = list(found[name].shape)
        shape[axes[name]] = count
        wide = np.zeros(shape)
        at = [slice(None)] * len(shape)
        at[axes[name]] = place
        wide[tuple(at)] = found[name]
        found[name] = wide
      if _KEYS in axes:  # scores are divided by sqrt(count) then
        found[_KEYS] *= np.sqrt(count / left)
    return found

  def build(self, layer: Any, input_shape: Any) -> None:
    """Its projections, which it leaves to its first call.

    One that nothing is known of yet attends to what comes in itself.
    """
    super().build(layer, input_shape)
    if not layer._built_from_signature:
      layer._build_from_signature(input_shape, input_shape)
    shapes = {name: getattr(layer, f'_{name}_shape') for name in _INPUTS}
    heads = [layer._num_heads, layer._value_dim]
    shapes['output'] = [*shapes['query'][:-1], *heads]
    with tf.name_scope(layer._name_scope()):
      for name, shape in shapes.items():
        inner = getattr(layer, f'_{name}_dense')
        if not inner.built:
          with tf.name_scope(inner._name_scope()):
            inner.build(tf.TensorShape(shape))

  def lower_into(
    self, layer: Any, emit: Emit
  ) -> Tensor | tuple[Tensor, ...] | None:
    """What the layer gives, and how much each position takes of each."""
    query, value, key = _tensors(layer, emit)
    mask = emit.argument('attention_mask')
    why = _obstacle(layer, emit, query)
    if why is not None:
      reason = f'MultiHeadAttention {layer.name!r} {why}'
      return emit(Opaque(reason), query, shape=query.shape)
    for name, tensor in zip(_INPUTS, (query, value, key), strict=True):
      emit.note(name, tensor)
    by_pairs = emit.view == _CHANNELS
    made = [
      emit(_to_heads(emit, name), tensor, name=_PAIRS if named else None)
      for name, tensor, named in (
        ('query', query, by_pairs),
        ('key', key, False),
        ('value', value, False),
      )
    ]
    made += [] if mask is None else [mask]
    if by_pairs:
      kernel = emit.weight('_key_dense.kernel')
      made += [emit(Pairs(kernel, blocks=layer._num_heads), made[0]), key]
    settings = {
      'by_pairs': by_pairs,
      'size': layer._key_dim,
      'scale': layer._key_dim**-0.5,
      'causal': bool(emit.argument('use_causal_mask')),
      'robust': bool(layer._softmax_robust_masking),
    }
    name = _CHANNELS if by_pairs else _HEADS
    attended = emit(Attend(**settings), *made, name=name)
    given = emit(_from_heads(emit), attended)
    if not emit.argument('return_attention_scores'):
      return given
    shares = emit(Shares(**settings), *made)
    last = len(shares.shape) - 1
    shape = (shares.shape[-1], *shares.shape[:-1])
    return given, emit(Permute((last, *range(last)), shape), shares)

  def resize_inside(
    self, layer: Any, config: dict[str, Any], widths: Mapping[str, int]
  ) -> dict[str, Any]:
    """Fewer heads, and inputs and outputs of fewer channels.

    Of one head, fewer channels of its values; or of all, and of queries and
    keys.
    """
    width = widths.get(OUTPUT, widths.get(f'{OUTPUT}_0'))
    if _CHANNELS in widths:
      config['value_dim'] = widths[_CHANNELS] // layer._num_heads
      config['key_dim'] = widths[_PAIRS] // layer._num_heads
    elif layer._num_heads == 1:
      config['value_dim'] = widths[_HEADS]
    else:
      config['num_heads'] = widths[_HEADS] // layer._value_dim
    if config['output_shape'] is not None or width != widths['query']:
      config['output_shape'] = (width,)
    for name in _INPUTS:
      shape = tf.TensorShape(config[f'{name}_shape'])
      config[f'{name}_shape'] = [*shape.as_list()[:-1], widths[name]]
    return config


@base.register_handler(keras.layers.Attention, keras.layers.AdditiveAttention)
class SingleAttentionHandler(base.LayerHandler):
  """One head, without projections."""

  arguments = ('return_attention_scores', 'use_causal_mask')

  def lower_into(
    self, layer: Any, emit: Emit
  ) -> Tensor | tuple[Tensor, ...] | None:
    """The means of the values."""
    query, value, *key = emit.inputs
    why = None
    if emit.argument('return_attention_scores'):
      why = 'gives its shares as well (return_attention_scores)'
    elif {len(tensor.shape) for tensor in emit.inputs} != {2}:
      why = 'attends along several axes'
    if why is not None:
      reason = f'{type(layer).__name__} {layer.name!r} {why}'
      return emit(Opaque(reason), query, shape=query.shape)
    causal = bool(layer.causal or emit.argument('use_causal_mask'))
    op = SingleAttention(query.shape[-1], 1.0, causal, **_scores(layer, emit))
    return emit(op, query, *(key or [value]), value)


def _scores(layer: Any, emit: Emit) -> dict[str, Any]:
  """How a layer of one head comes to its scores."""
  scale = emit.weight('scale')
  if isinstance(layer, keras.layers.AdditiveAttention):
    return {'outside': scale, 'by_channel': True, 'additive': True}
  outside = emit.weight('concat_score_weight')
  additive = layer.score_mode == 'concat'
  return {'inside': scale, 'outside': outside, 'additive': additive}


def _unlikeness(old: Array, new: Array) -> Array:
  """How unlike channels are, by their sizes in the heads that are most alike.

  Args:
    old: A kernel (inputs, heads, channels).
    new: The same with fewer of each.

  Returns:
    Of shape (new channels, old channels).
  """
  sizes, others = (np.linalg.norm(kernel, axis=0) for kernel in (new, old))
  gap = sizes[:, None, :, None] - others[None, :, None]
  return np.square(gap).min(1).sum(0)


def _tensors(layer: Any, emit: Emit) -> tuple[Tensor, Tensor, Tensor]:
  """Queries, values and keys; of a layer without a call as it was built."""
  query, value, key = emit.inputs[0], *map(emit.argument, _INPUTS[1:])
  if value is None:
    value, key = (
      emit.stand_in(size or 1 for size in getattr(layer, f'_{name}_shape')[1:])
      for name in _INPUTS[1:]
    )
  return query, value, key or value


def _to_heads(emit: Emit, name: str) -> Projection:
  """One of three products to heads; of a single one, channels are units."""
  kernel, bias = (
    emit.weight(f'_{name}_dense.{part}') for part in ('kernel', 'bias')
  )
  _, heads, channels = emit.size(kernel)
  if emit.view == _CHANNELS:
    kind = KeyProjection if name == 'key' else Projection
    return kind(kernel, bias, made_axis=1, made_tiles=heads)
  if heads == 1:
    return Projection(kernel, bias, made_axis=1)
  return Projection(kernel, bias, made=channels)


def _from_heads(emit: Emit) -> Projection:
  """The product of what all heads give."""
  kernel, bias = (
    emit.weight(f'_output_dense.{part}') for part in ('kernel', 'bias')
  )
  heads, channels, _ = emit.size(kernel)
  if heads == 1 or emit.view == _CHANNELS:
    return Projection(kernel, bias, row_axes=2, read_axis=1, read_tiles=heads)
  return Projection(kernel, bias, row_axes=2, read=channels)


def _obstacle(layer: Any, emit: Emit, query: Tensor) -> str | None:
  """Why a layer is left alone, or None."""
  rank = len(query.shape)
  if tuple(layer._attention_axes or ()) != tuple(range(1, rank)):
    return 'attends along some of several axes (attention_axes)'
  if len(layer._output_dense.kernel.shape) > 3:
    return 'gives several axes of channels (output_shape)'
  masks = ('attention_mask', 'use_causal_mask')
  if rank > 2 and any(emit.argument(name) for name in masks):
    return 'is given a mask of several axes of positions'
  return None
