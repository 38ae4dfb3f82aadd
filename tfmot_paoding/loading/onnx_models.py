"""Networks read from ONNX files, as Keras models (extra `verify`).

What verification benchmarks are made of: products with constant matrices,
convolutions, sums, ReLU and the like, and moves between shapes. An operation
that is none of these is refused by its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfmot_paoding import extras
from tfmot_paoding.compat import keras
from tfmot_paoding.loading.errors import ModelFileError, reading

Array = np.ndarray
_layers = keras.layers


def read_onnx(path: str) -> keras.Model:
  """Reads an ONNX model of one input and one output as a Keras model.

  The input keeps its layout, without the batch axis: channels first where ONNX
  has them there. Gemm, MatMul, Conv, Add, Sub, Mul and Div (of constants; Add
  and Sub of two values too), Relu, LeakyRelu, Sigmoid, Tanh, Softmax,
  BatchNormalization, Flatten, Reshape, Transpose, Identity and Dropout are
  read.

  Args:
    path: The file.

  Returns:
    A model that gives the same outputs, in float32.

  Raises:
    ImportError: onnx is missing; the extra to install is named.
    OSError: the file cannot be read.
    ModelFileError: it is no such model; what is not read is named.
  """
  extras.ONNX.require()
  import onnx

  with open(path, 'rb'), reading(path, 'ONNX model'):
    graph = onnx.load(path, load_external_data=False).graph
    for one in graph.initializer:
      if one.data_location == onnx.TensorProto.EXTERNAL:
        raise ModelFileError(
          f'{path!r}: the weight {one.name!r} lies in another file; one file '
          'with all weights is read.'
        )
    constants = {
      one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer
    }
    nodes = [_node(onnx, node) for node in graph.node]
  given = [one for one in graph.input if one.name not in constants]
  if len(given) != 1 or len(graph.output) != 1:
    raise ModelFileError(
      f'{path!r} has {len(given)} inputs and {len(graph.output)} outputs; one '
      'of each is read.'
    )
  try:
    return _built(given[0], graph.output[0].name, constants, nodes)
  except ModelFileError as error:
    raise ModelFileError(f'{path!r}: {error}') from None


@dataclasses.dataclass(frozen=True)
class _Node:
  """A node: its operation, its name, what it reads and makes, its settings."""

  kind: str
  name: str
  inputs: tuple[str, ...]
  output: str
  settings: dict[str, Any]

  def refused(self, why: str) -> ModelFileError:
    return ModelFileError(f'{self.kind} {self.name!r} is not read here: {why}.')


def _node(onnx: Any, node: Any) -> _Node:
  settings = {}
  for one in node.attribute:
    value = onnx.helper.get_attribute_value(one)
    if isinstance(value, onnx.TensorProto):
      value = onnx.numpy_helper.to_array(value)
    settings[one.name] = value.decode() if isinstance(value, bytes) else value
  name = node.name or node.output[0]
  return _Node(node.op_type, name, tuple(node.input), node.output[0], settings)


@dataclasses.dataclass(frozen=True)
class _Value:
  """A Keras tensor in ONNX's order of axes, or of its axes moved.

  Attributes:
    tensor: The tensor.
    last: Whether channels, which ONNX has behind the batch, are moved last.
  """

  tensor: Any
  last: bool = False

  @property
  def shape(self) -> tuple[int, ...]:
    """In ONNX's order, without the batch axis."""
    shape = tuple(self.tensor.shape[1:])
    return (shape[-1], *shape[:-1]) if self.last else shape

  def as_onnx(self) -> Any:
    """In ONNX's order."""
    if not self.last:
      return self.tensor
    rank = len(self.shape)
    return _layers.Permute((rank, *range(1, rank)))(self.tensor)

  def channels_last(self) -> Any:
    """With channels last."""
    if self.last:
      return self.tensor
    rank = len(self.shape)
    return _layers.Permute((*range(2, rank + 1), 1))(self.tensor)


def _built(
  given: Any, output: str, constants: dict[str, Array], nodes: Sequence[_Node]
) -> keras.Model:
  shape = _input_shape(given)
  inputs = keras.Input(shape, name='input')
  values: dict[str, _Value | Array] = {**constants, given.name: _Value(inputs)}
  for node in nodes:
    if node.kind == 'Constant':
      if 'value' not in node.settings:
        raise node.refused('a constant other than a tensor')
      values[node.output] = node.settings['value']
      continue
    rule = _RULES.get(node.kind)
    if rule is None:
      raise node.refused(f'these are: {", ".join(sorted(_RULES))}')
    values[node.output] = rule(node, [values.get(k) for k in node.inputs])
  found = values.get(output)
  if not isinstance(found, _Value):
    raise ModelFileError(f'no operation makes the output {output!r}')
  return keras.Model(inputs, found.as_onnx())


def _input_shape(given: Any) -> tuple[int, ...]:
  """The input's shape without the batch axis."""
  kind = given.type.tensor_type
  sizes = [one.dim_value for one in kind.shape.dim]
  if kind.elem_type != 1:
    raise ModelFileError(f'the input {given.name!r} is not of float32')
  if len(sizes) < 2 or sizes[0] not in (0, 1) or not all(sizes[1:]):
    shown = [one.dim_value or one.dim_param or '?' for one in kind.shape.dim]
    raise ModelFileError(
      f'the input {given.name!r} has the shape {shown}; a batch axis of size 1 '
      'or open, and fixed sizes behind it, are read'
    )
  return tuple(sizes[1:])


def _value(node: _Node, x: Any, place: int = 0) -> _Value:
  if not isinstance(x, _Value):
    raise node.refused(f'input {place} is a constant, or missing')
  return x


def _constant(node: _Node, x: Any, place: int) -> Array:
  if not isinstance(x, np.ndarray):
    raise node.refused(f'input {place} is no constant')
  return x.astype(np.float32)


def _gemm(node: _Node, x: Sequence[Any]) -> _Value:
  """alpha x B + beta C."""
  if node.settings.get('transA', 0):
    raise node.refused('transA')
  kernel = _constant(node, x[1], 1)
  kernel = kernel.T if node.settings.get('transB', 0) else kernel
  bias = np.zeros(kernel.shape[1], np.float32)
  if len(x) > 2 and node.inputs[2]:
    bias = np.broadcast_to(np.ravel(_constant(node, x[2], 2)), bias.shape)
  alpha, beta = (node.settings.get(name, 1.0) for name in ('alpha', 'beta'))
  return _dense(node, x[0], alpha * kernel, beta * bias)


def _matmul(node: _Node, x: Sequence[Any]) -> _Value:
  """x B."""
  kernel = _constant(node, x[1], 1)
  if kernel.ndim != 2:
    raise node.refused(f'a matrix of shape {kernel.shape}')
  return _dense(node, x[0], kernel, None)


def _dense(node: _Node, x: Any, kernel: Array, bias: Array | None) -> _Value:
  x = _value(node, x).as_onnx()
  if x.shape[-1] != len(kernel):
    raise node.refused(f'{x.shape[-1]} columns by {len(kernel)} rows')
  layer = _layers.Dense(kernel.shape[1], use_bias=bias is not None)
  found = layer(x)
  layer.set_weights([kernel] if bias is None else [kernel, bias])
  return _Value(found)


def _conv(node: _Node, x: Sequence[Any]) -> _Value:
  """Convolutions of images, from channels first."""
  kernel = _constant(node, x[1], 1)
  if kernel.ndim != 4:
    raise node.refused(f'a kernel of shape {kernel.shape}; of images alone')
  get = node.settings.get
  tensor = _value(node, x[0]).channels_last()
  padding = 'valid'
  if get('auto_pad', 'NOTSET') == 'SAME_UPPER':
    padding = 'same'
  elif get('auto_pad', 'NOTSET') not in ('NOTSET', 'VALID'):
    raise node.refused(f'auto_pad {get("auto_pad")}')
  pads = get('pads', [0, 0, 0, 0])
  if any(pads):
    top, left, bottom, right = pads
    tensor = _layers.ZeroPadding2D(((top, bottom), (left, right)))(tensor)
  strides, dilations = get('strides', [1, 1]), get('dilations', [1, 1])
  if len({*strides}) > 1 and max(dilations) > 1:
    raise node.refused('uneven strides with dilations')
  has_bias = len(x) > 2 and bool(node.inputs[2])
  layer = _layers.Conv2D(
    len(kernel),
    kernel.shape[2:],
    tuple(strides),
    padding,
    dilation_rate=tuple(dilations),
    groups=get('group', 1),
    use_bias=has_bias,
  )
  found = layer(tensor)
  weights = [kernel.transpose(2, 3, 1, 0)]
  if has_bias:
    weights.append(_constant(node, x[2], 2))
  layer.set_weights(weights)
  return _Value(found, last=True)


def _joined(
  combine: Callable[[Any, Any], Any], layer: type | None
) -> Callable[[_Node, Sequence[Any]], _Value]:
  """A sum, product and so on, of a value and a constant or of two values."""

  def rule(node: _Node, x: Sequence[Any]) -> _Value:
    left, right = x
    if isinstance(left, _Value) and isinstance(right, _Value):
      if layer is None or left.shape != right.shape:
        raise node.refused('of these two values')
      return _Value(layer()([left.as_onnx(), right.as_onnx()]))
    if isinstance(left, _Value):
      tensor, other = left.as_onnx(), _constant(node, right, 1)
      return _Value(combine(tensor, _beside(node, tensor, other)))
    tensor = _value(node, right, 1).as_onnx()
    if node.kind == 'Div':
      raise node.refused('a constant divided by a value')
    other = _beside(node, tensor, _constant(node, left, 0))
    if node.kind == 'Sub':
      return _Value(tensor * np.float32(-1) + other)
    return _Value(combine(tensor, other))

  return rule


def _beside(node: _Node, tensor: Any, other: Array) -> Array:
  """A constant without the batch axis, that does not widen the value."""
  shape = tuple(tensor.shape[1:])
  if other.ndim == len(shape) + 1 and other.shape[0] == 1:
    other = other[0]
  if np.broadcast_shapes(shape, other.shape) != shape:
    raise node.refused(f'a constant of shape {other.shape} beside {shape}')
  return other


def _applied(
  make: Callable[[_Node], Any],
) -> Callable[[_Node, Sequence[Any]], _Value]:
  """A layer that treats each entry alike."""

  def rule(node: _Node, x: Sequence[Any]) -> _Value:
    value = _value(node, x[0])
    return _Value(make(node)(value.tensor), value.last)

  return rule


def _batch_norm(node: _Node, x: Sequence[Any]) -> _Value:
  """With the statistics that are stored."""
  value = _value(node, x[0])
  moved = len(value.shape) > 1
  layer = _layers.BatchNormalization(epsilon=node.settings.get('epsilon', 1e-5))
  found = layer(value.channels_last() if moved else value.tensor)
  layer.set_weights([_constant(node, x[k], k) for k in range(1, 5)])
  return _Value(found, moved)


def _softmax(node: _Node, x: Sequence[Any]) -> _Value:
  value = _value(node, x[0])
  if len(value.shape) != 1 or node.settings.get('axis', -1) not in (-1, 1):
    raise node.refused(f'of shape {value.shape}')
  return _Value(_layers.Softmax()(value.tensor))


def _unchanged(node: _Node, x: Sequence[Any]) -> _Value:
  return _value(node, x[0])


def _flatten(node: _Node, x: Sequence[Any]) -> _Value:
  if node.settings.get('axis', 1) != 1:
    raise node.refused(f'axis {node.settings["axis"]}')
  return _Value(_layers.Flatten()(_value(node, x[0]).as_onnx()))


def _reshape(node: _Node, x: Sequence[Any]) -> _Value:
  value = _value(node, x[0])
  if not isinstance(x[1], np.ndarray):
    raise node.refused('the shape is no constant')
  old = (1, *value.shape)
  wanted = [
    old[k] if size == 0 else int(size) for k, size in enumerate(x[1].tolist())
  ]
  total = int(np.prod(old))
  if -1 in wanted:
    rest = int(np.prod([size for size in wanted if size != -1]))
    wanted[wanted.index(-1)] = total // max(rest, 1)
  if not wanted or wanted[0] != 1 or int(np.prod(wanted)) != total:
    raise node.refused(f'{old} as {x[1].tolist()} moves the batch axis')
  return _Value(_layers.Reshape(tuple(wanted[1:]))(value.as_onnx()))


def _transpose(node: _Node, x: Sequence[Any]) -> _Value:
  value = _value(node, x[0])
  rank = len(value.shape) + 1
  order = tuple(node.settings.get('perm', range(rank)[::-1]))
  if order[0] != 0:
    raise node.refused(f'{order} moves the batch axis')
  return _Value(_layers.Permute(order[1:])(value.as_onnx()))


_RULES: dict[str, Callable[[_Node, Sequence[Any]], _Value]] = {
  'Add': _joined(lambda a, b: a + b, _layers.Add),
  'BatchNormalization': _batch_norm,
  'Conv': _conv,
  'Div': _joined(lambda a, b: a / b, None),
  'Dropout': _unchanged,
  'Flatten': _flatten,
  'Gemm': _gemm,
  'Identity': _unchanged,
  'LeakyRelu': _applied(
    lambda node: _layers.LeakyReLU(node.settings.get('alpha', 0.01))
  ),
  'MatMul': _matmul,
  'Mul': _joined(lambda a, b: a * b, None),
  'Relu': _applied(lambda node: _layers.ReLU()),
  'Reshape': _reshape,
  'Sigmoid': _applied(lambda node: _layers.Activation('sigmoid')),
  'Softmax': _softmax,
  'Sub': _joined(lambda a, b: a - b, _layers.Subtract),
  'Tanh': _applied(lambda node: _layers.Activation('tanh')),
  'Transpose': _transpose,
}
