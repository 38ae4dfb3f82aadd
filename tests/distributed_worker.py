"""Fine-tunes a wrapped model in one process of a cluster, or on replicas.

Arguments: 'mirrored' or 'workers', 'natural' or 'verifiable', and a folder that
the masks and weights of every replica are written to.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import tensorflow as tf

import tfmot_paoding as paoding
from tfmot_paoding import compat, training
from tfmot_paoding.compat import keras

STEPS = 12


def data(rng_seed=0):
  """Three classes in four dimensions."""
  rng = np.random.default_rng(rng_seed)
  x = rng.uniform(0, 1, (STEPS * 16, 4)).astype(np.float32)
  return x, (3 * x[:, 0]).astype(np.int64).clip(0, 2)


def model():
  """A small network, the same in every process."""
  keras.utils.set_random_seed(1)
  return keras.Sequential(
    [
      keras.Input((4,)),
      keras.layers.Dense(12, 'relu'),
      keras.layers.Dense(8, 'relu'),
      keras.layers.Dense(3),
    ]
  )


def main(kind: str, objective: str, folder: str) -> None:
  """Trains and writes what each replica holds."""
  if kind == 'mirrored':
    (cpu,) = tf.config.list_physical_devices('CPU')
    tf.config.set_logical_device_configuration(
      cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
    index = 0
  else:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    index = strategy.cluster_resolver.task_id
  chosen = {
    'natural': training.Natural(),
    'verifiable': training.Verifiable(training.Ramp(0.0, 0.02, 0, STEPS)),
  }[objective]
  with strategy.scope():
    wrapped = paoding.prune_low_saliency(
      model(), paoding.ProgressiveSparsity(0.5, 0.25), 'impact'
    )
    trainee = training.robust_model(wrapped, chosen)
    trainee.compile(
      'adam', keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
  x, y = data()
  dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16).repeat()
  options = tf.data.Options()
  options.experimental_distribute.auto_shard_policy = (
    tf.data.experimental.AutoShardPolicy.DATA
  )
  trainee.fit(
    dataset.with_options(options),
    epochs=1,
    steps_per_epoch=STEPS,
    verbose=0,
    callbacks=[paoding.UpdatePruningStep()],
  )
  found = {}
  for k, layer in enumerate(compat.collect_prunable_layers(wrapped)):
    weight, mask, _ = layer.pruning_vars[0]
    for name, variable in (('weight', weight), ('mask', mask)):
      for replica, value in enumerate(_values(strategy, variable)):
        found[f'{name}_{k}_{replica}'] = value
  np.savez(os.path.join(folder, f'{index}.npz'), **found)


def _values(strategy, variable):
  return [v.numpy() for v in strategy.experimental_local_results(variable)]


if __name__ == '__main__':
  main(*sys.argv[1:])
