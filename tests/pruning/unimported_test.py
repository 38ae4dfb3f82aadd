"""What Keras says of a wrapped file in a process without this package."""

from __future__ import annotations

import subprocess
import sys

import tfmot_paoding as paoding
from tests import testing
from tfmot_paoding.compat import strip_pruning

_FORMS = ('model.keras', 'model.h5', 'saved_model')
_LOADING = """
import sys
import tensorflow_model_optimization as tfmot
from tf_keras.models import load_model
folder, *names = sys.argv[1:]

def stripped(name):
  model = load_model(f'{folder}/{name}', compile=False)
  kept = tfmot.sparsity.keras.strip_pruning(model).layers
  print(name, [type(layer).__name__ for layer in kept])

assert not any(name.startswith('tfmot_paoding') for name in sys.modules)
for name in names:
  try:
    stripped(name)
  except (TypeError, ValueError) as error:
    print(name, str(error).replace(chr(10), ' '))
small = load_model(folder + '/small.keras', compile=False)
print('small', small.count_params())
import tfmot_paoding
for name in names:
  stripped(name)
"""


def test_keras_names_the_wrapper_and_the_documentation_says_what_to_do(
  tmp_path,
):
  wrapped = paoding.prune_low_saliency(
    testing.mlp(), paoding.ProgressiveSparsity(0.5, 0.5), 'saliency'
  )
  paoding.run_schedule(wrapped, verbose=0)
  for name in _FORMS:
    wrapped.save(tmp_path / name)
  small = paoding.compact(strip_pruning(wrapped))
  small.save(tmp_path / 'small.keras')
  done = subprocess.run(
    [sys.executable, '-c', _LOADING, tmp_path, *_FORMS],
    capture_output=True,
    text=True,
    check=True,
  )
  said = [line.partition(' ') for line in done.stdout.splitlines()]
  before = {name: text for name, _, text in said[:3]}
  assert 'instance of class Layer' in before['model.keras']
  assert 'Unknown layer' in before['model.h5']
  for text in before.values():  # of the SavedModel, nothing was stripped
    assert 'PruneLowSaliency' in text
  # What the documentation says to do: files of plain Keras need nothing, ...
  assert said[3][2] == str(small.count_params())
  # ... others that the package is imported.
  assert [text for _, _, text in said[4:]] == [
    "['Dense', 'Dense', 'Dense']"
  ] * 3
  documented = paoding.prune_scope.__doc__
  for text in (
    'Unknown layer',
    'instance of class Layer',
    'nothing can strip',
    'Import tfmot_paoding',
    'plain Keras',
  ):
    assert text in documented
