"""Removes dead units physically: the same outputs from smaller layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfmot_paoding import compat
from tfmot_paoding.bounds.whole_range import propagate_constants
from tfmot_paoding.compaction.left_whole import warn_if_whole
from tfmot_paoding.compaction.rescaling import Told, rescaled
from tfmot_paoding.compaction.standing import standings, warn_if_short
from tfmot_paoding.compat import keras
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.layers import handler_of
from tfmot_paoding.layers.base import VIEWS, Path
from tfmot_paoding.network.cloning import (
  clone_with,
  fresh_layer,
  leaf_paths,
  set_weights,
)
from tfmot_paoding.network.graph import (
  Call,
  Graph,
  Node,
  layers_of,
  read_params,
  unwrapped,
)
from tfmot_paoding.network.groups import Grouping, Member
from tfmot_paoding.network.network import Network
from tfmot_paoding.ops import (
  Params,
  Product,
  Shape,
  WeightAxes,
  WeightRef,
  core,
)

Array = np.ndarray


def compact(model: keras.Model) -> keras.Model:
  """Removes the units that make no difference to the outputs.

  A unit goes if no consumer has a weight for it, or if it is constant because
  all its incoming weights are zero; the constant then moves into the
  consumers' biases. One that others are measured with, by a root mean square
  or a length, goes only if it is zero there. At least one unit of each layer
  stays.

  Args:
    model: A stripped model; also one that was saved, loaded or fine-tuned
      since, or a wrapped one, whose masks are applied. It is not changed.

  Returns:
    A model of the same structure and layer names, not compiled, whose outputs
    agree up to the rounding of sums.

  Raises:
    TypeError: `model` is not a tf_keras model.
    ValueError: it is subclassed or unbuilt, holds NaN or infinite weights, or
      wrappers that a SavedModel was loaded without.

  Warns where there was nothing to remove, or less than the schedule asks for,
  and says what to do.
  """
  network = Network.of(as_tf_keras(model))
  model = network.model
  small, removed = without_dead_units(network)
  warn_if_whole(model, removed)
  warn_if_short(model.name, standings(model))
  return small


def dead_units(model: keras.Model) -> int:
  """How many units `compact` would remove from a tf_keras model.

  Where a layer leaves a choice of what its units are, by the best one.
  """
  network = Network.of(model)
  others = [Network.of(network.model, v) for v in _other_views(network.graph)]
  return max(
    _count_dead(_fold_dead_units(one, _masked_params(one.graph)))
    for one in (network, *others)
  )


def _count_dead(kept: list[Array]) -> int:
  return sum(int((~units).sum()) for units in kept)


def without_dead_units(network: Network) -> tuple[keras.Model, int]:
  """The smaller model, and how many units it is smaller by.

  Where a layer leaves a choice of what its units are, all leave that can: one
  after the other.

  Args:
    network: What `compact` takes.
  """
  params = _masked_params(network.graph)
  kept = _fold_dead_units(network, params)
  small, removed = _without(network, params, kept), _count_dead(kept)
  for view in _other_views(network.graph):
    other = Network.of(small, view)
    params = other.params()
    kept = _fold_dead_units(other, params)
    if _count_dead(kept):
      removed += _count_dead(kept)
      small = _without(other, params, kept)
  return small, removed


def _other_views(graph: Graph) -> list[str]:
  """What the units of some layer might be, and are not."""
  return [view for view in VIEWS if {*graph.views.values()} - {view}]


def _without(
  network: Network, params: dict[WeightRef, Array], kept: list[Array]
) -> keras.Model:
  """The smaller model.

  Args:
    network: The network.
    params: Its weights, nothing left to fold.
    kept: Which units of each group stay.
  """
  graph = network.graph
  keep = _kept_entries(network.groups, kept)
  shapes = [_shape_after(entries) for entries in keep]
  changed, told = rescaled(
    graph, params, lambda value: _kept_along(keep[value], -1)
  )
  params |= changed

  def make_layer(layer: Any, path: Path) -> Any:
    layer = unwrapped(layer)
    if path not in graph.layer_outputs:
      return fresh_layer(layer)  # it leads to no output
    return _resized(graph, layer, path, shapes, told.get(path, Told()))

  def input_shapes(path: Path) -> list[Shape] | None:
    if path not in graph.layer_inputs:  # the whole, or inside what stays whole
      return None
    sources = graph.layer_inputs[path]
    if all(shapes[v] == graph.shapes[v] for v in sources):
      return None
    return [shapes[v] for v in sources]

  small = clone_with(
    _recalled(network.model, graph, keep), make_layer, input_shapes
  )
  _fill(graph, small, params, keep)
  return small


def _masked_params(graph: Graph) -> dict[WeightRef, Array]:
  """The weights with the masks of any pruning wrappers applied."""
  params = read_params(graph)
  for path, wrapper in graph.wrappers.items():
    names = {id(graph.weight(ref)): ref for ref in params if ref.layer == path}
    for weight, mask, _ in wrapper.pruning_vars:
      ref = names.get(id(weight))
      if ref is not None:
        params[ref] = params[ref] * keras.backend.get_value(mask)
  return params


def _fold_dead_units(
  network: Network, params: dict[WeightRef, Array]
) -> list[Array]:
  """Which units of each group stay; folds constants into `params`."""
  graph, grouping = network.graph, network.groups
  kept, start = [], 0
  constants = propagate_constants(graph, params)
  by_themselves = _needed_by_themselves(graph, grouping, constants)
  for group in grouping.groups:
    used = np.zeros(group.size, bool)
    needed = np.array(by_themselves[start:][: group.size])
    start += group.size
    for member in group.consumers:
      rows = member.rows
      weighted = np.any(member.node.op.matrix(params) != 0, axis=1)
      used |= weighted[rows].any(1)
      fixed = _fixed_rows(member, constants)
      needed |= (weighted & np.isnan(fixed))[rows].any(1)
    if not needed.any():
      # One unit must stay: a constant one if any is used, else the first.
      needed[np.argmax(used)] = True
    changed = [
      _fold(
        member.node.op,
        member.rows[~needed].ravel(),
        _fixed_rows(member, constants),
        params,
      )
      for member in group.consumers
    ]
    if any(changed):
      constants = propagate_constants(graph, params)
      by_themselves = _needed_by_themselves(graph, grouping, constants)
    kept.append(needed)
  return kept


def _needed_by_themselves(
  graph: Graph, grouping: Grouping, constants: list[Array | None]
) -> Array:
  """The units that matter by themselves, whoever reads them, (all units,)."""
  needed = np.zeros(sum(group.size for group in grouping.groups) + 1, bool)
  for node in graph.nodes:
    seen = [_constant(graph, constants, value) for value in node.inputs]
    for value, flags in zip(node.inputs, node.op.needs(seen), strict=True):
      if flags is not None:
        units = grouping.units[value]
        if flags.ndim == 1:
          needed[core(units)[..., flags]] = True
        else:
          needed[units[np.broadcast_to(flags, units.shape)]] = True
  return needed[:-1]  # the last stands for no unit


def _constant(graph: Graph, constants: list[Array | None], value: int) -> Array:
  """A value's constants; NaN where anything may vary."""
  found = constants[value]
  if found is not None:
    return found
  # Behind an operation that is not known.
  shape = graph.shapes[value]
  return np.full((1,) * len(shape[:-1]) + shape[-1:], np.nan)


def _fixed_rows(member: Member, constants: list[Array | None]) -> Array:
  """The constant that each of a consumer's rows sees, NaN if it cannot go.

  A constant can go if it is the same at all positions and in all calls, and
  zero or met by a bias that can take it in.
  """
  fixed = None
  for call in member.calls:
    seen = constants[call.inputs[0]]
    if seen is None:
      return np.asarray(np.nan)
    rows = call.op.foldable_rows(seen)
    if fixed is not None:
      # One bias serves all calls.
      rows = np.where(rows == fixed, rows, np.nan)
    fixed = rows
  has_bias = member.node.op.bias is not None
  return fixed if has_bias else np.where(fixed == 0, fixed, np.nan)


def _fold(
  op: Product, rows: Array, fixed: Array, params: dict[WeightRef, Array]
) -> bool:
  """Moves what constant rows contribute into the bias, and zeroes them.

  Returns:
    Whether any weight changed.
  """
  old = op.matrix(params)
  if not old[rows].any():
    return False
  matrix = np.array(old)
  known = np.nan_to_num(np.broadcast_to(fixed, len(matrix))[rows])
  if known.any():
    params[op.bias] = op.shifted(params[op.bias], known @ matrix[rows])
  matrix[rows] = 0.0
  params[op.kernel] = op.kernel_of(matrix, params[op.kernel])
  return True


def _kept_entries(grouping: Grouping, kept: list[Array]) -> list[Array]:
  """For each value, which of its entries stay."""
  flags = np.concatenate([*kept, [True]])  # unit -1, the last, always stays
  return [
    np.broadcast_to(flags[core(units)], units.shape) for units in grouping.units
  ]


def _kept_along(entries: Array, axis: int) -> Array:
  """Which positions of one axis stay, shape (positions,)."""
  axis %= entries.ndim
  others = tuple(a for a in range(entries.ndim) if a != axis)
  kept = core(entries).any(axis=others)
  return np.broadcast_to(kept, entries.shape[axis])


def _shape_after(entries: Array) -> Shape:
  """The shape that is left of a value."""
  return tuple(
    int(_kept_along(entries, axis).sum()) for axis in range(entries.ndim)
  )


def _recalled(
  model: keras.Model, graph: Graph, keep: list[Array]
) -> keras.Model:
  """The model, or a clone whose calls are told of the sizes that are left."""
  changes = {
    path: found
    for path, layer in graph.layers.items()
    if path in graph.layer_outputs
    and (found := _call_changes(graph, layer, path, keep))
  }
  if not changes:
    return model
  draft = clone_with(model, lambda layer, _: fresh_layer(unwrapped(layer)))
  layers = layers_of(draft)
  for path, found in changes.items():
    (call,) = layers[path].inbound_nodes
    compat.set_arguments(call, found)
  return draft


def _call_changes(
  graph: Graph, layer: Any, path: Path, keep: list[Array]
) -> dict[str, Any]:
  """What the one call of a layer must be told, if its tensors shrink."""
  sources, targets = graph.layer_inputs[path], graph.layer_outputs[path]
  handler = handler_of(layer)
  if not handler.reads_calls or all(
    keep[value].all() for value in (*sources, *targets)
  ):
    return {}
  entries = keep[sources[0]]
  kept = [_kept_along(entries, axis) for axis in range(entries.ndim)]
  return handler.resize_call(
    layer, layer.inbound_nodes[0], kept, _shape_after(keep[targets[0]])
  )


def _resized(
  graph: Graph,
  layer: Any,
  path: Path,
  shapes: list[Shape],
  told: Told,
) -> Any:
  """The layer made anew for its new input and output shapes."""
  if isinstance(layer, keras.layers.Lambda):  # opaque, so of the same shapes
    return fresh_layer(layer)
  config = _unbuilt(layer.get_config())
  sources, targets = graph.layer_inputs[path], graph.layer_outputs[path]
  if any(shapes[v] != graph.shapes[v] for v in sources):
    config.pop('batch_input_shape', None)
  # A shared layer loses the same units in all its calls.
  call = _first_call(graph, path)
  if call.inside:
    if any(shapes[v] != graph.shapes[v] for v in call.names.values()):
      widths = {name: shapes[v][-1] for name, v in call.names.items()}
      config = handler_of(layer).resize_inside(layer, config, widths)
  elif len(targets) == 1 and shapes[targets[0]] != graph.shapes[targets[0]]:
    config = handler_of(layer).resize(layer, config, shapes[targets[0]])
  return _made(layer, *told.make(layer, config))


def _unbuilt(config: Any) -> Any:
  """A config in which no layer that is held says what it was built for."""
  if isinstance(config, dict):
    return {k: _unbuilt(v) for k, v in config.items() if k != 'build_config'}
  if type(config) is list:  # not Keras's own, which track what they hold
    return [_unbuilt(value) for value in config]
  return config


def _first_call(graph: Graph, path: Path) -> Call:
  """The first call of a layer."""
  return next(call for call in graph.layer_calls if call.path == path)


def _made(layer: Any, kind: type, config: dict[str, Any]) -> Any:
  """A layer of the same class, or of another, with another config.

  Raises:
    ValueError: the class does not go by its config.
  """
  if kind is not type(layer):
    return kind.from_config(config)
  small = fresh_layer(layer, config)
  old, made = (_unbuilt(one.get_config()) for one in (layer, small))
  ignored = [
    key
    for key, value in config.items()
    if value != old.get(key) and made.get(key) == old.get(key)
  ]
  if ignored:
    raise ValueError(
      f'Layer {layer.name!r} of class {type(layer).__name__} was given '
      f'{ignored[0]}={config[ignored[0]]!r} and made it '
      f'{made[ignored[0]]!r}: its class does not go by its config, so that it '
      'cannot be made smaller. Let `__init__` take it, or leave its units '
      'alone by a pruning_policy.'
    )
  return small


def _fill(
  graph: Graph, small: keras.Model, params: Params, keep: list[Array]
) -> None:
  """Sets the small model's weights."""
  slices = {
    ref: _slice(params[ref], node.op.weights()[ref], node, keep)
    for node in graph.nodes
    for ref in node.op.own_weights
  }
  layers = layers_of(small)
  for path in leaf_paths(graph):
    layer = layers[path]
    known = {
      id(ref.of(layer)): value
      for ref, value in slices.items()
      if ref.layer == path
    }
    values = [known.get(id(variable)) for variable in layer.weights]
    if any(value is None for value in values):
      olds = graph.layers[path].get_weights()
      values = [
        old if value is None else value
        for value, old in zip(values, olds, strict=True)
      ]
    inside = known and _first_call(graph, path).inside
    _check_sizes(layer, values, 'resize_inside' if inside else 'resize')
    set_weights(layer, values)


def _check_sizes(layer: Any, values: list[Array], method: str) -> None:
  """Raises where a layer was not made as small as its weights are.

  Args:
    layer: The small model's.
    values: Its weights.
    method: Of the handler, which has told the layer's size.

  Raises:
    ValueError: it was not; its handler is named.
  """
  for variable, value in zip(layer.weights, values, strict=True):
    if tuple(variable.shape) != value.shape:
      handler = type(handler_of(layer)).__name__
      raise ValueError(
        f'The weight {variable.name!r} of layer {layer.name!r} should have '
        f'the shape {value.shape}, but the layer that the config of '
        f'{handler}.{method} builds has {tuple(variable.shape)}. Let '
        f'`{method}` set every size of the config that units leave, and give '
        'tensors of the inside their names in `lower_into`.'
      )


def _slice(
  value: Array, axes: WeightAxes, node: Node, keep: list[Array]
) -> Array:
  """What is left of a weight."""
  if axes.incoming is not None:
    kept = axes.along_incoming(_kept_along(keep[node.inputs[0]], -1))
    value = np.compress(kept, value, axis=axes.incoming)
  if axes.outgoing is not None:
    kept = axes.along_outgoing(_kept_along(keep[node.outputs[0]], -1))
    value = np.compress(kept, value, axis=axes.outgoing)
  return value
