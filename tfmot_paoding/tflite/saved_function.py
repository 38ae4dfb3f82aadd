"""A function as the SavedModel that TensorFlow's converter reads.

`tf.saved_model.save` also writes what Python needs to go on with a model: it
traces functions that store and restore each variable, and another around the
one that is saved, which is half of a small model's conversion. The converter
reads a graph, the values of its variables and a signature, and makes the same
file of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import (
  meta_graph_pb2,
  saved_model_pb2,
  saver_pb2,
)

SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
TAG = tf.saved_model.SERVING


def save_function(function: Any, folder: str) -> tuple[tf.Graph, list[Any]]:
  """Writes a function, the variables that it reads and its signature.

  Args:
    function: A concrete function of named tensors that gives a dict of tensors.
    folder: An empty folder; it becomes the SavedModel.

  Returns:
    The graph that was written, and the tensors in it that stand for what the
    function is given.

  Raises:
    ValueError: the function reads what is neither a variable nor a constant.
  """
  captured = _captured(function)
  variables = [x for x in captured if isinstance(x, tf.Variable)]
  given = function.inputs[: len(function.inputs) - len(captured)]
  graph = tf.Graph()
  with graph.as_default():
    inputs = {
      x.op.name: tf.compat.v1.placeholder(
        x.dtype, x.shape, f'{SIGNATURE}_{x.op.name}'
      )
      for x in given
    }
    handles = [*map(_handle, variables, _names(variables))]
    ahead = iter(handles)
    read = [
      next(ahead) if isinstance(x, tf.Variable) else tf.constant(x.numpy())
      for x in captured
    ]
    # What a ConcreteFunction calls itself by, with captures of this graph.
    outputs = function._call_flat([*inputs.values()], read)
    saver = _restoring(variables, handles) if variables else None
  if variables:
    _store(variables, os.path.join(folder, 'variables', 'variables'))
  model = saved_model_pb2.SavedModel(
    saved_model_schema_version=1,
    meta_graphs=[
      meta_graph_pb2.MetaGraphDef(
        meta_info_def={'tags': [TAG]},
        graph_def=graph.as_graph_def(),
        saver_def=saver,
        signature_def={SIGNATURE: _signature(inputs, outputs)},
      )
    ],
  )
  with open(os.path.join(folder, 'saved_model.pb'), 'wb') as file:
    file.write(model.SerializeToString())
  return graph, [*inputs.values()]


def _captured(function: Any) -> list[Any]:
  """What a function reads beside what it is given.

  Returns:
    Variables and eager tensors, in the order of the function's last inputs.

  Raises:
    ValueError: there is something else, such as a table.
  """
  known = {id(variable.handle): variable for variable in function.variables}
  found = [known.get(id(x), x) for x in function.captured_inputs]
  for x in found:
    if not isinstance(x, tf.Variable) and x.dtype in (tf.resource, tf.variant):
      raise ValueError(
        f'The function {function.name!r} reads {x}, which is neither a '
        'variable nor a constant.'
      )
  return found


def _handle(variable: tf.Variable, name: str) -> tf.Tensor:
  """A variable of the graph's own, without a value."""
  return tf.raw_ops.VarHandleOp(
    dtype=variable.dtype, shape=variable.shape, shared_name=name, name=name
  )


def _restoring(
  variables: Sequence[tf.Variable], handles: Sequence[tf.Tensor]
) -> saver_pb2.SaverDef:
  """Operations that read the variables' values, and how they are named."""
  path = tf.compat.v1.placeholder(tf.string, (), 'path')
  values = tf.raw_ops.RestoreV2(
    prefix=path,
    tensor_names=_names(variables),
    shape_and_slices=[''] * len(variables),
    dtypes=[variable.dtype for variable in variables],
  )
  assigned = [
    tf.raw_ops.AssignVariableOp(resource=handle, value=value)
    for handle, value in zip(handles, values, strict=True)
  ]
  return saver_pb2.SaverDef(
    filename_tensor_name=path.name,
    save_tensor_name=path.name,  # nothing is stored again, but it must be told
    restore_op_name=tf.group(*assigned).name,
    version=saver_pb2.SaverDef.V2,
  )


def _store(variables: Sequence[tf.Variable], path: str) -> None:
  """Writes the values that `_restoring` reads."""
  os.makedirs(os.path.dirname(path))
  tf.raw_ops.SaveV2(
    prefix=path,
    tensor_names=_names(variables),
    shape_and_slices=[''] * len(variables),
    tensors=[variable.read_value() for variable in variables],
  )


def _names(variables: Sequence[tf.Variable]) -> list[str]:
  """Their own may be alike."""
  return [f'variable_{number}' for number in range(len(variables))]


def _signature(
  inputs: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor]
) -> meta_graph_pb2.SignatureDef:
  """What a caller gives and gets, by name."""
  told = [
    {
      name: meta_graph_pb2.TensorInfo(
        name=x.name,
        dtype=x.dtype.as_datatype_enum,
        tensor_shape=x.shape.as_proto(),
      )
      for name, x in tensors.items()
    }
    for tensors in (inputs, outputs)
  ]
  return meta_graph_pb2.SignatureDef(
    inputs=told[0],
    outputs=told[1],
    method_name='tensorflow/serving/predict',
  )
