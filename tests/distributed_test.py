"""Fine-tuning on replicas and on worker processes: masks are identical."""

from __future__ import annotations

import json
import pathlib
import socket

import numpy as np
import pytest

from tests.processes import Warm

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_WORKER = str(_ROOT / 'tests' / 'distributed_worker.py')


def start(arguments, script=_WORKER, **more):
  return Warm(str(script), *arguments, CUDA_VISIBLE_DEVICES='-1', **more)


def finish(process):
  done = process.wait(280)
  assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def finish_all(processes):
  """Waits for processes that wait for one another, and leaves none behind."""
  processes = list(processes)
  try:
    for process in processes:
      finish(process)
  finally:
    for process in processes:
      process.kill()


def cluster(count):
  """TF_CONFIG of each of so many workers."""
  ports = []
  for _ in range(count):
    with socket.socket() as free:
      free.bind(('localhost', 0))
      ports.append(free.getsockname()[1])
  workers = {'worker': [f'localhost:{port}' for port in ports]}
  return [
    json.dumps({'cluster': workers, 'task': {'type': 'worker', 'index': k}})
    for k in range(count)
  ]


def replicas(folder):
  """What every replica of every process holds, by name without its number."""
  found = {}
  for path in sorted(folder.glob('*.npz')):
    with np.load(path) as file:
      for name, value in file.items():
        found.setdefault(name.rsplit('_', 1)[0], []).append(value)
  return found


def check(folder, count):
  found = replicas(folder)
  masks = {name: values for name, values in found.items() if 'mask' in name}
  assert len(masks) == 3
  for name, values in found.items():
    assert len(values) == count
    for value in values[1:]:
      np.testing.assert_array_equal(value, values[0], err_msg=name)
  gone = [1 - values[0].any(0).mean() for values in list(masks.values())[:2]]
  assert gone == [0.5, 0.5]
  for name, values in masks.items():
    weight = found[name.replace('mask', 'weight')][0]
    assert not weight[values[0] == 0].any()


@pytest.mark.parametrize('objective', ['natural', 'verifiable'])
def test_mirrored_on_two_devices(objective, tmp_path):
  finish(start(['mirrored', objective, str(tmp_path)]))
  check(tmp_path, 2)


def test_two_workers(tmp_path):
  finish_all(
    start(['workers', 'verifiable', str(tmp_path)], TF_CONFIG=config)
    for config in cluster(2)
  )
  check(tmp_path, 2)
