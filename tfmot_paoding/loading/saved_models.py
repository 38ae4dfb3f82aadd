"""What a SavedModel says of itself, and what its graph may hold."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2, saved_object_graph_pb2

from tfmot_paoding import compat
from tfmot_paoding.loading.errors import ModelFileError, reading
from tfmot_paoding.loading.inspection import losses_in

# What tf_keras calls layers and models in a SavedModel.
_SAVED_LAYERS = frozenset(
  {
    '_tf_keras_input_layer',
    '_tf_keras_layer',
    '_tf_keras_model',
    '_tf_keras_network',
    '_tf_keras_rnn_layer',
    '_tf_keras_sequential',
  }
)
# Operations of a graph that run Python or reach for files.
_CODE_OPS = frozenset(
  {
    'EagerPyFunc',
    'MatchingFiles',
    'PyFunc',
    'PyFuncStateless',
    'ReadFile',
    'WriteFile',
  }
)
_METADATA = 'keras_metadata.pb'  # since TensorFlow 2.5
_GRAPH = 'saved_model.pb'
_NO_MODEL = (
  'Expected a SavedModel that model.save of tf_keras has written (with '
  'save_format="tf"); of an exported inference graph only traced functions are '
  'left, which cannot be taken apart again, so save the model as .keras.'
)


def variables_prefix(path: str) -> str:
  """Where the weights of a SavedModel are, as checkpoints are named."""
  return os.path.join(path, 'variables', 'variables')


def read_saved_model(path: str) -> tuple[dict[str, dict], Any, Any]:
  """The descriptions in a SavedModel, its graph and its losses.

  TensorFlow 2.5 and later write the descriptions to a file of their own; older
  ones are in the graph's file.

  Returns:
    What each layer and model says of itself, by where it is: the first, 'root',
    is the model itself. The parsed graph. And what the model was trained by, as
    Keras writes it; None if nothing is said.

  Raises:
    ModelFileError: the folder holds no Keras model, or is damaged.
  """
  graph = os.path.join(path, _GRAPH)
  if not os.path.isfile(graph):
    raise ModelFileError(
      f'The folder {path!r} holds no Keras model. {_NO_MODEL}'
    )
  saved = saved_model_pb2.SavedModel()
  with reading(path, 'SavedModel'), open(graph, 'rb') as file:
    saved.ParseFromString(file.read())
  metadata = os.path.join(path, _METADATA)
  with reading(path, 'SavedModel'):
    if os.path.isfile(metadata):
      texts = _separate_metadata(metadata)
    else:
      texts = _metadata_in_graph(saved.meta_graphs[0].object_graph_def)
    whole = {where: json.loads(text) for where, text in texts if text}
    parts = {
      where: {key: part[key] for key in ('class_name', 'config') if key in part}
      for where, part in whole.items()
    }
  if 'root' not in parts:
    raise ModelFileError(
      f'The SavedModel {path!r} holds no Keras model. {_NO_MODEL}'
    )
  losses = losses_in(whole['root'].get('training_config'))
  return {'root': parts.pop('root'), **parts}, saved, losses


def check_description(root: dict, path: str) -> None:
  """Raises if a model has none, so that only its graph could be run.

  Args:
    root: What the SavedModel says of the model itself.
    path: Where it came from, for the message.
  """
  if not isinstance(root.get('config'), dict) or 'class_name' not in root:
    raise ModelFileError(
      f'The SavedModel {path!r} has no description of its model, which is '
      'subclassed or has layers without one. Only its traced functions could '
      'be loaded, that is, code. Express the model with the functional API '
      'and save it as .keras; or, if you trust whoever made it, pass '
      'allow_code=True.'
    )


def stored_numbers(path: str) -> int:
  """How many numbers the weights of a SavedModel come to at most."""
  files = glob.glob(glob.escape(variables_prefix(path)) + '.data-*')
  for file in files:
    if not os.path.isfile(file):
      raise ModelFileError(f'{path!r} is damaged: {file!r} is no plain file.')
  return sum(os.path.getsize(file) for file in files)  # of a byte each


def _separate_metadata(path: str) -> Iterator[tuple[str, str]]:
  nodes = compat.SavedMetadata()
  with open(path, 'rb') as file:
    nodes.ParseFromString(file.read())
  for node in reversed(nodes.nodes):
    if node.identifier in _SAVED_LAYERS:
      yield node.node_path, node.metadata


def _metadata_in_graph(
  graph: saved_object_graph_pb2.SavedObjectGraph,
) -> Iterator[tuple[str, str]]:
  """As TensorFlow 2.0 to 2.4 keep it: with each object."""
  where, waiting = {0: 'root'}, [0]
  while waiting:
    index = waiting.pop()
    node = graph.nodes[index]
    if node.WhichOneof('kind') == 'user_object':
      kept = node.user_object
      if kept.identifier in _SAVED_LAYERS:
        yield where[index], kept.metadata
    for child in node.children:
      if child.node_id not in where:
        where[child.node_id] = f'{where[index]}.{child.local_name}'
        waiting.append(child.node_id)


def check_graph(saved: Any, path: str) -> None:
  """Raises if a SavedModel does more than compute."""
  for part in saved.meta_graphs:
    for node in part.object_graph_def.nodes:
      if node.WhichOneof('kind') == 'resource':
        raise ModelFileError(
          f'{path!r} holds a resource (a table, say) with code of its own to '
          'set it up. Loading it would run that. If you trust whoever made '
          'it, pass allow_code=True.'
        )
    library = part.graph_def.library.function
    for nodes in (part.graph_def.node, *(f.node_def for f in library)):
      for node in nodes:
        if node.op in _CODE_OPS:
          raise ModelFileError(
            f'{path!r} holds the operation {node.op!r} ({node.name!r}), which '
            'runs Python or reaches for files. If you trust whoever made it, '
            'pass allow_code=True.'
          )
