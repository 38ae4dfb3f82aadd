"""Prunes a model file by Sony's Model Compression Toolkit, to compare with.

MCT 2.6 takes TensorFlow up to 2.15 and its Keras 2, which this package does not
run on: it has an environment of its own, of Python 3.10 or 3.11, and models go
to and fro as files. `compare_mct.py` runs this program there:

  python -m venv mct
  mct/bin/pip install model-compression-toolkit==2.6.1 tensorflow-cpu==2.15.1

What runs is its `keras_pruning_experimental`: label-free Hessian scores on the
images, the least sensitive channels first, until the weights fit. Without
images it makes some by its `keras_data_generation_experimental`, at its own
settings but for what an input is: values as they are, no normalization.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from absl import app, flags

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

_APPROXIMATIONS = 32  # of a score, as MCT has it where nobody says

_MODEL = flags.DEFINE_string('model', None, 'The .h5 to prune.')
_OUTPUT = flags.DEFINE_string('output', None, 'The .h5 to write.')
_IMAGES = flags.DEFINE_string(
  'images', None, 'An .npz with images as the model takes them, called x.'
)
_COUNT = flags.DEFINE_integer('count', 32, 'Images to make without --images.')
_KEPT = flags.DEFINE_float('kept', 0.5, 'The fraction of parameters to keep.')
_SIMD = flags.DEFINE_integer(
  'simd', 1, 'Channels that leave together; of its IMX500, 32.'
)


def read_model(path: str) -> Any:
  """A model of a later tf_keras, without what Keras 2.15 does not know."""
  from tensorflow import keras

  with h5py.File(path) as file:
    text = file.attrs['model_config']
  model = keras.models.model_from_config(_without(json.loads(text), 'optional'))
  model.load_weights(path)
  return model


def _without(config: Any, key: str) -> Any:
  """A configuration without one key, at any depth."""
  if isinstance(config, dict):
    return {k: _without(v, key) for k, v in config.items() if k != key}
  if isinstance(config, list):
    return [_without(part, key) for part in config]
  return config


def made_images(model: Any, count: int) -> np.ndarray:
  """Images that MCT makes from batch normalization's statistics."""
  import model_compression_toolkit as mct

  generation = mct.data_generation
  config = generation.get_keras_data_generation_config(
    data_gen_batch_size=count,
    image_normalization_type=(
      generation.ImageNormalizationType.NO_NORMALIZATION
    ),
  )
  shape = tuple(model.input_shape[1:])
  found = generation.keras_data_generation_experimental(
    model, count, shape[:2], config
  )
  return np.asarray(found).reshape(-1, *shape)


def platform(simd: int) -> Any:
  """MCT's default target, with so many channels in a group."""
  import model_compression_toolkit as mct

  target = mct.get_target_platform_capabilities()
  text = target.model_dump_json()
  return type(target).model_validate_json(
    re.sub(r'"simd_size":\d+', f'"simd_size":{simd}', text)
  )


def pruned(model: Any, images: np.ndarray) -> Any:
  """The model by MCT's pruning, so small that the weights fit."""
  import model_compression_toolkit as mct

  def representative() -> Iterator[list[np.ndarray]]:
    yield [images]

  parameters = sum(layer.count_params() for layer in model.layers)
  budget = mct.core.ResourceUtilization(
    weights_memory=4 * parameters * _KEPT.value
  )
  config = mct.pruning.PruningConfig(num_score_approximations=_APPROXIMATIONS)
  found, _ = mct.pruning.keras_pruning_experimental(
    model, budget, representative, config, platform(_SIMD.value)
  )
  return found


def main(argv: list[str]) -> None:
  """Prunes one model."""
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments: {argv[1:]}')
  model = read_model(_MODEL.value)
  if _IMAGES.value:
    with np.load(_IMAGES.value) as file:
      images = file['x']
  else:
    images = made_images(model, _COUNT.value)
  pruned(model, images).save(_OUTPUT.value)


if __name__ == '__main__':
  flags.mark_flags_as_required(['model', 'output'])
  app.run(main)
