"""Prunes every network of keras.applications and checks the result.

Each network is built with random weights and random batch normalization
statistics, loses a share of all units that can go, and is compacted. Shown
are its groups, what is left alone, whether the stripped and the compact model
give the same outputs, sizes, multiply-accumulates, seconds and peak memory.

  python examples/figures/prune_applications.py --models=MobileNetV2,ResNet50
"""

from __future__ import annotations

import collections
import json
import os
import resource
import subprocess
import sys
import time

from absl import app, flags

FLAGS = flags.FLAGS

MODELS = (
  'VGG16',
  'ResNet50',
  'ResNet50V2',
  'MobileNet',
  'MobileNetV2',
  'MobileNetV3Small',
  'MobileNetV3Large',
  'EfficientNetB0',
  'EfficientNetV2B0',
  'DenseNet121',
  'InceptionV3',
  'InceptionResNetV2',
  'Xception',
  'NASNetMobile',
  'ConvNeXtTiny',
  'RegNetX002',
  'RegNetY002',
  'ResNetRS50',
)

flags.DEFINE_list('models', list(MODELS), 'Names in keras.applications.')
flags.DEFINE_string('method', 'saliency', 'The pruning method.')
flags.DEFINE_float('sparsity', 0.3, 'The fraction of units to remove.')
flags.DEFINE_float('step_sparsity', 0.3, 'The fraction removed at a step.')
flags.DEFINE_integer(
  'side', 0, "Pixels of a picture's side; 0 for what Keras takes by itself."
)
flags.DEFINE_bool('json', False, 'Print one JSON object a network.')
flags.DEFINE_bool('reasons', False, 'List the reasons for what is left alone.')
flags.DEFINE_bool('in_process', False, 'Internal: run one network right here.')


def build(name: str, **settings):
  """A network of keras.applications with random weights and statistics."""
  import numpy as np

  from tfmot_paoding.compat import keras

  keras.utils.set_random_seed(0)
  rng = np.random.default_rng(0)
  make = getattr(keras.applications, name)
  model = make(weights=None, **settings)
  if None in model.input_shape[1:]:
    model = make(weights=None, input_shape=(224, 224, 3))
  for weight in model.weights:
    shape = tuple(weight.shape)
    kind = weight.name.split('/')[-1].split(':')[0]
    if kind == 'moving_mean':
      weight.assign(rng.normal(0, 0.1, shape))
    elif kind == 'moving_variance' or kind == 'gamma':
      weight.assign(rng.uniform(0.5, 1.5, shape))
    elif kind in ('beta', 'bias'):
      weight.assign(rng.normal(0, 0.1, shape))
  return model


def measure(name: str) -> dict:
  """Prunes one network; what came of it."""
  import numpy as np

  import tfmot_paoding as paoding
  from tfmot_paoding.compat import strip_pruning

  shape = {'input_shape': (FLAGS.side, FLAGS.side, 3)} if FLAGS.side else {}
  model = build(name, **shape)
  began = time.perf_counter()
  wrapped = paoding.prune_low_saliency(
    model,
    paoding.ProgressiveSparsity(FLAGS.sparsity, FLAGS.step_sparsity),
    FLAGS.method,
  )
  history = paoding.run_schedule(wrapped, verbose=0)
  pruned = time.perf_counter() - began
  stripped = strip_pruning(wrapped)
  small = paoding.compact(stripped)
  seconds = time.perf_counter() - began
  rng = np.random.default_rng(1)
  x = rng.uniform(0, 1, (2, *model.input_shape[1:])).astype(np.float32)
  one = np.asarray(stripped(x, training=False), np.float64)
  two = np.asarray(small(x, training=False), np.float64)
  # Of what the outputs do, not of their common part.
  spread = max(np.abs(one - one.mean()).max(), 1e-30)
  return {
    'model': name,
    'units': history.units,
    'removed': history.units_removed[-1],
    'left_alone': history.left_alone,
    'difference': float(np.abs(one - two).max() / spread),
    'parameters': [model.count_params(), small.count_params()],
    'macs': [
      paoding.report.count_macs(model),
      paoding.report.count_macs(small),
    ],
    'prune_seconds': pruned,
    'seconds': seconds,
    'gib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
  }


def in_own_process(name: str) -> dict:
  """Measures in a process of its own, so that its memory is its own."""
  command = [sys.executable, os.path.abspath(__file__)]
  settings = ('method', 'sparsity', 'step_sparsity', 'side')
  command += [f'--{key}={FLAGS[key].value}' for key in settings]
  command += ['--in_process', f'--models={name}']
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    lines = done.stderr.strip().splitlines() or ['no message']
    return {'model': name, 'error': lines[-1]}
  return json.loads(done.stdout.strip().splitlines()[-1])


def row(found: dict) -> str:
  """A line of the table."""
  if 'error' in found:
    return f'| {found["model"]} | {found["error"][:120]} | | | | | | |'
  before, after = found['parameters']
  macs = [count / 1e6 for count in found['macs']]
  return (
    f'| {found["model"]} | {found["removed"]} of {found["units"]} '
    f'| {len(found["left_alone"])} | {found["difference"]:.1e} '
    f'| {before / 1e6:.2f} → {after / 1e6:.2f} '
    f'| {macs[0]:.0f} → {macs[1]:.0f} '
    f'| {found["seconds"]:.0f} | {found["gib"]:.1f} |'
  )


def main(argv: list[str]) -> None:
  """Prints the table."""
  if len(argv) > 1:
    raise app.UsageError(f'Only flags are taken, but got {argv[1:]}.')
  if FLAGS.in_process:
    print(json.dumps(measure(FLAGS.models[0])))
    return
  if not FLAGS.json:
    print(
      '| network | units removed | layers left alone | stripped - compact '
      '| million parameters | million MACs | s | GiB |\n'
      '|---|---|---|---|---|---|---|---|'
    )
  for name in FLAGS.models:
    found = in_own_process(name)
    print(json.dumps(found) if FLAGS.json else row(found), flush=True)
    if FLAGS.reasons:
      reasons = collections.Counter(found.get('left_alone', {}).values())
      for reason, count in reasons.most_common():
        print(f'  {count} x {reason}', flush=True)


if __name__ == '__main__':
  app.run(main)
