"""Learns scores on two logical devices and on one; fails where they differ."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tests import testing
from tfmot_paoding import training
from tfmot_paoding.compat import UpdatePruningStep, keras

STEPS = 8


def train(objective):
  def fit(model):
    trainee = training.robust_model(
      model,
      objective,
      (0.0, 1.0),
      stability=training.StabilityRegularizer(0.05, 0.1),
    )
    # Plain descent, whose steps are as long as the gradients.
    trainee.compile(
      keras.optimizers.SGD(0.1, momentum=0.9),
      keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (STEPS * 16, 5)).astype(np.float32)
    y = (3 * x[:, 0]).astype(np.int64).clip(0, 2)
    trainee.fit(
      tf.data.Dataset.from_tensor_slices((x, y)).batch(16),
      verbose=0,
      callbacks=[UpdatePruningStep()],
    )
    if hasattr(model, 'learner'):
      found.extend(x.numpy() for x in model.learner.scores)
    else:
      found.extend(model.get_weights())

  found = []
  return fit, found


def weights(fit):
  training.learned_masks(training.with_fixed_masks(testing.mlp()), fit, 0.5)


def units(fit):
  training.learned_scores(testing.mlp(), fit, 0.5, ramp_steps=STEPS // 2)


def whole(fit):
  fit(testing.mlp())


def main() -> None:
  """Does it all."""
  (cpu,) = tf.config.list_physical_devices('CPU')
  tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
  )
  strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
  natural = training.Natural()
  verifiable = training.Verifiable(training.Ramp(0.0, 0.05, 0, STEPS), 0.5)
  for work, objective in (
    (whole, verifiable),
    (weights, natural),
    (units, verifiable),
  ):
    fit, alone = train(objective)
    work(fit)
    fit, shared = train(objective)
    with strategy.scope():
      work(fit)
    for one, other in zip(alone, shared, strict=True):
      np.testing.assert_allclose(one, other, atol=1e-4, err_msg=work.__name__)


if __name__ == '__main__':
  main()
