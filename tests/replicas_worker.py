"""Does work over samples with a strategy's scope open, and without.

Arguments: 'mirrored' or 'workers'. Fails where the two differ.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile

import numpy as np
import tensorflow as tf

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding import replicas
from tfmot_paoding.compat import keras
from tfmot_paoding.methods.consumer_fits import FitSettings, Fitting
from tfmot_paoding.network.network import Network

BOX = {'input_range': (-1.0, 1.0), 'verbose': 0}
LESSON = paoding.training.DistillSettings(steps=12, batch_size=33, samples=150)


def rows(model, count):
  return testing.draw(model.input_shape[1:], count).astype(np.float32)


def recalled(model):
  settings = paoding.inputs.RecallSettings(
    steps=15, batch_size=65, variation=0.1
  )
  return [
    paoding.recall_inputs(model, 65, (-1.0, 1.0), verbose=0, settings=settings)
  ]


def class_impressions(model):
  settings = paoding.inputs.RecallSettings(steps=15, anchor=1.0)
  return [
    paoding.recall_inputs(model, 7, (-1.0, 1.0), verbose=0, settings=settings)
  ]


def fitted(model):
  small = paoding.prune(
    model, 0.5, data=rows(model, 101), distillation=False, **BOX
  )
  return small.get_weights()


def answered(model):
  """Values and statistics of samples, among them steps that are hidden."""
  x = np.random.default_rng(0).integers(0, 9, (41, 6)).astype(np.float32)
  x[20:, 2:] = 0
  network = Network.of(model)
  fitting = Fitting(network, network.params(), [x], FitSettings())
  halved = {ref: value / 2 for ref, value in network.params().items()}
  members = network.groups.groups[0].consumers
  return [
    *fitting.values(network.params(), members).values(),
    *fitting.refreshed(network.graph, halved).values(),
    np.array(fitting.change(halved)),
  ]


def distilled(model, count=101):
  data = rows(model, count)
  small = paoding.prune(model, 0.5, method='l1', data=data, **BOX)
  settings = paoding.training.DistillSettings(steps=12, batch_size=33)
  return paoding.training.distill(
    model, small, data=data, settings=settings, **BOX
  ).get_weights()


def distilled_with_hints(model):
  data = rows(model, 101)
  small = paoding.prune(model, 0.5, method='l1', data=data, **BOX)
  settings = paoding.training.DistillSettings(
    steps=12, batch_size=33, hints=3.0
  )
  return paoding.training.distill(
    model, small, data=data, settings=settings, **BOX
  ).get_weights()


def distilled_on_one_row(model):
  return distilled(model, 2)


def pruned(model):
  """The model itself: the last of them lives on, outside of the scope."""
  return paoding.prune(model, 0.5, prior='smooth', distillation=LESSON, **BOX)


def masked():
  return testing.fill(
    keras.Sequential(
      [
        keras.Input((6,)),
        keras.layers.Embedding(9, 4, mask_zero=True),
        keras.layers.Dense(8),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(3),
      ]
    )
  )


CASES = {
  'mirrored': [
    (testing.with_batch_norm, recalled),
    (testing.mlp, class_impressions),
    (testing.conv_net, fitted),
    (masked, answered),
    (testing.with_batch_norm, distilled_with_hints),
    (testing.mlp, distilled_on_one_row),
    (testing.with_batch_norm, pruned),
  ],
  'workers': [
    (testing.with_batch_norm, recalled),
    (masked, answered),
    (testing.mlp, pruned),
  ],
}


def compare(strategy, make, work, seen):
  """Fails where a scope makes another result, or nobody has shared.

  Returns:
    What came of the work with the scope open.
  """
  made = work(make())
  assert not seen, 'replicas without a scope'
  with strategy.scope():
    found = work(make())
  alone, shared = map(arrays, (made, found))
  assert len(alone) == len(shared)
  for one, other in zip(alone, shared, strict=True):
    np.testing.assert_allclose(one, other, atol=1e-4, err_msg=work.__name__)
  here = len(strategy.extended.worker_devices)
  assert len(seen) == here, f'{work.__name__}: {seen} of {here} replicas'
  seen.clear()
  return found


def arrays(made):
  return made.get_weights() if isinstance(made, keras.Model) else made


def check_life_after(strategy, small):
  """What was pruned in a scope serves and is saved outside of it."""
  x = rows(small, 10)
  wanted = small.predict(x, verbose=0)
  with tempfile.TemporaryDirectory() as folder:
    for name in ('model.keras', 'model.h5'):
      path = str(pathlib.Path(folder, name))
      small.save(path)
      loaded = keras.models.load_model(path)
      np.testing.assert_allclose(loaded(x), wanted, atol=1e-5)
  again = paoding.prune(small, 0.25, method='l1', **BOX)
  assert again.count_params() < small.count_params()
  with strategy.scope():
    small.compile('adam', 'mse')
  small.fit(x, wanted, verbose=0)


def main(kind: str) -> None:
  """Does it all."""
  if kind == 'mirrored':
    (cpu,) = tf.config.list_physical_devices('CPU')
    tf.config.set_logical_device_configuration(
      cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
  else:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
  seen, part_of = set(), replicas.Part.of.__func__

  def noted(cls, count, replica, size):
    seen.update([replica] if count else [])
    return part_of(cls, count, replica, size)

  replicas.Part.of = classmethod(noted)
  for make, work in CASES[kind]:
    found = compare(strategy, make, work, seen)
  if kind == 'mirrored':
    check_life_after(strategy, found)
    seen.clear()
    compare_one(seen)


def compare_one(seen):
  """A strategy of one device, which shares with nobody."""
  with tf.distribute.MirroredStrategy(['CPU:0']).scope():
    found = distilled(testing.mlp())
  assert not seen
  for one, other in zip(distilled(testing.mlp()), found, strict=True):
    np.testing.assert_array_equal(one, other)


if __name__ == '__main__':
  main(*sys.argv[1:])
