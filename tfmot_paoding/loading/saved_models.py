"""What a SavedModel says of itself, and what its graph may hold."""

from __future__ import annotations

import json

from tensorflow.core.protobuf import saved_model_pb2

from tfmot_paoding import compat
from tfmot_paoding.loading.inspection import reading
from tfmot_paoding.loading.safety import check_config

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


def read_saved_model(path: str, metadata: str) -> dict:
  """The description of the model in a SavedModel.

  Raises:
    ValueError: there is none, so that only the graph could make its layers.
  """
  nodes = compat.SavedMetadata()
  with reading(path, 'SavedModel'):
    with open(metadata, 'rb') as file:
      nodes.ParseFromString(file.read())
    found = {
      node.node_path: json.loads(node.metadata)
      for node in reversed(nodes.nodes)
      if node.identifier in _SAVED_LAYERS
    }
    root = found['root']
    parts = [
      {key: part[key] for key in ('class_name', 'config') if key in part}
      for part in found.values()
    ]
  for part in parts:
    check_config(part, path)
  if not isinstance(root.get('config'), dict) or 'class_name' not in root:
    raise ValueError(
      f'The SavedModel {path!r} has no description of its model, which is '
      'subclassed or has layers without one. Only its traced functions could '
      'be loaded, that is, code. Express the model with the functional API '
      'and save it as .keras; or, if you trust whoever made it, pass '
      'allow_code=True.'
    )
  return {'class_name': root['class_name'], 'config': root['config']}


def check_graph(path: str, graph: str) -> None:
  """Raises if a SavedModel does more than compute."""
  saved = saved_model_pb2.SavedModel()
  with reading(path, 'SavedModel'), open(graph, 'rb') as file:
    saved.ParseFromString(file.read())
  for part in saved.meta_graphs:
    for node in part.object_graph_def.nodes:
      if node.WhichOneof('kind') == 'resource':
        raise ValueError(
          f'{path!r} holds a resource (a table, say) with code of its own to '
          'set it up. Loading it would run that. If you trust whoever made '
          'it, pass allow_code=True.'
        )
    library = part.graph_def.library.function
    for nodes in (part.graph_def.node, *(f.node_def for f in library)):
      for node in nodes:
        if node.op in _CODE_OPS:
          raise ValueError(
            f'{path!r} holds the operation {node.op!r} ({node.name!r}), which '
            'runs Python or reaches for files. If you trust whoever made it, '
            'pass allow_code=True.'
          )
