"""Whole workflows in TFMOT's world: files, precision, replicas, QAT."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfmot_paoding as paoding
from tests import testing
from tests.processes import warm_code
from tfmot_paoding.compat import keras, strip_pruning
from tfmot_paoding.pruning.driver import Driver

_sparsity = tfmot.sparsity.keras
_layers = keras.layers
X = testing.samples((5,), 64).astype(np.float32)
_FILES = ['model.h5', 'model.keras', 'saved_model']


def model():
  """A network with every kind of masked weight."""
  return testing.with_batch_norm()


def wrap(made, method='stochastic'):
  return paoding.prune_low_saliency(
    made, paoding.ProgressiveSparsity(0.5, 0.1), method, (-1.0, 1.0), seed=2
  )


def finish(wrapped):
  """Runs the schedule on, strips by TFMOT's own call, compacts."""
  paoding.run_schedule(wrapped, verbose=0)
  stripped = _sparsity.strip_pruning(wrapped)
  for layer in stripped.layers:
    assert not isinstance(layer, paoding.PruneLowSaliency)
  return paoding.compact(stripped)


def assert_same_weights(one, two):
  for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def run_script(script: str, *arguments: str) -> str:
  """Runs Python code in a process of its own; its output."""
  done = warm_code(script, *arguments)
  assert done.returncode == 0, done.stderr
  return done.stdout


class TestSavingAndLoading:
  @pytest.mark.parametrize(('file', 'steps'), testing.paired(_FILES, [2, 0]))
  def test_wrapped_models_load_without_scope_and_go_on(
    self, tmp_path, file, steps
  ):
    wrapped = wrap(model())
    driver = Driver(wrapped)
    for step in range(steps):
      driver.step(step)
    wrapped.save(tmp_path / file)
    loaded = keras.models.load_model(tmp_path / file)
    np.testing.assert_allclose(loaded(X), wrapped(X), rtol=1e-6)
    found = [type(layer) for layer in loaded.layers]
    assert found == [type(layer) for layer in wrapped.layers]
    assert_same_weights(finish(loaded), finish(wrapped))

  @pytest.mark.parametrize('file', _FILES)
  def test_masks_hold_in_fit_after_loading(self, tmp_path, file):
    wrapped = wrap(model())
    paoding.run_schedule(wrapped, verbose=0)
    wrapped.save(tmp_path / file)
    loaded = keras.models.load_model(tmp_path / file)
    loaded.compile('adam', 'mse')
    loaded.fit(X, X[:, :3], verbose=0, callbacks=[paoding.UpdatePruningStep()])
    small = paoding.compact(loaded)
    assert small.get_layer('hidden_0').units == 4
    np.testing.assert_allclose(small(X), loaded(X), rtol=1e-4, atol=1e-5)

  def test_in_a_fresh_process(self, tmp_path):
    wrapped = wrap(model())
    Driver(wrapped).step(0)
    for file in _FILES:
      wrapped.save(tmp_path / file)
    run_script(
      """
      import sys
      import tfmot_paoding as paoding
      import tensorflow_model_optimization as tfmot
      from tfmot_paoding.compat import keras
      for path in sys.argv[1:]:
        wrapped = keras.models.load_model(path)
        paoding.run_schedule(wrapped, verbose=0)
        stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
        paoding.compact(stripped).save_weights(path + '_small.h5')
      """,
      *(str(tmp_path / file) for file in _FILES),
    )
    small = finish(wrapped)
    again = keras.models.clone_model(small)
    for file in _FILES:
      again.load_weights(tmp_path / f'{file}_small.h5')
      assert_same_weights(again, small)

  def test_compact_models_save_as_plain_keras(self, tmp_path):
    small = finish(wrap(model()))
    for file in _FILES:
      small.save(tmp_path / file)
      loaded = keras.models.load_model(tmp_path / file)
      np.testing.assert_allclose(loaded(X), small(X), rtol=1e-6)


def test_a_clone_takes_masks_with_its_weights():
  wrapped = wrap(model())
  Driver(wrapped).step(0)
  clone = keras.models.clone_model(wrapped)
  clone.set_weights(wrapped.get_weights())
  assert_same_weights(finish(clone), finish(wrapped))


def test_the_same_seed_gives_the_same_model_in_another_process(tmp_path):
  path = str(tmp_path / 'model.h5')
  made = testing.mlp((5, 24, 16, 3))
  made.save(path)
  script = """
    import sys
    import tfmot_paoding as paoding
    from tfmot_paoding.compat import keras
    model = keras.models.load_model(sys.argv[1])
    small = paoding.prune(model, .5, 'stochastic', seed=11, verbose=0)
    small.save_weights(sys.argv[2])
  """
  run_script(script, path, str(tmp_path / 'small.h5'))
  small = paoding.prune(made, 0.5, method='stochastic', seed=11, verbose=0)
  again = keras.models.clone_model(small)
  again.load_weights(tmp_path / 'small.h5')
  assert_same_weights(again, small)


def nested():
  inner = keras.Sequential(
    [keras.Input((6,)), _layers.Dense(8, 'relu', name='deep')], name='inner'
  )
  a, b = keras.Input((5,), name='a'), keras.Input((5,), name='b')
  x = _layers.Dense(6, 'relu', name='left')(a)
  y = _layers.Dense(4, 'tanh', name='right')(b)
  one = _layers.Dense(2, name='one')(inner(x))
  two = _layers.Dense(3, name='two')(y)
  return testing.fill(keras.Model([a, b], [one, two]))


def test_nested_models_with_several_inputs_and_outputs():
  made = nested()
  wrapped = paoding.prune_low_saliency(
    made,
    paoding.ProgressiveSparsity(0.5, 0.25),
    'impact',
    {'a': (-1.0, 1.0), 'b': (0.0, 2.0)},
  )
  assert isinstance(
    wrapped.get_layer('inner').layers[0], paoding.PruneLowSaliency
  )
  history = paoding.run_schedule(wrapped, verbose=0)
  assert history.units == 6 + 8 + 4
  assert history.units_removed[-1] == 3 + 4 + 2
  stripped = _sparsity.strip_pruning(wrapped)
  small = paoding.compact(stripped)
  for want, got in zip(stripped([X, X]), small([X, X]), strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
  assert small.get_layer('inner').get_layer('deep').units == 4
  wrapped.compile('adam', 'mse')
  wrapped.fit(
    [X, X], [X[:, :2], X[:, :3]], verbose=0,
    callbacks=[paoding.UpdatePruningStep()],
  )  # fmt: skip
  assert paoding.compact(wrapped).get_layer('left').units == 3


def test_mixed_precision():
  policy = keras.mixed_precision.global_policy()
  keras.mixed_precision.set_global_policy('mixed_float16')
  try:
    wrapped = wrap(testing.mlp((5, 8, 6, 3)))
    wrapped.compile('adam', 'mse')
    callback = paoding.UpdatePruningStep()
    wrapped.fit(X, X[:, :3], batch_size=8, verbose=0, callbacks=[callback])
    small = paoding.compact(strip_pruning(wrapped))
  finally:
    keras.mixed_precision.set_global_policy(policy)
  assert callback.history.units_removed[-1] == 4 + 3
  assert [x.units for x in small.layers] == [4, 3, 3]
  assert small.layers[0].compute_dtype == 'float16'
  np.testing.assert_allclose(small(X), wrapped(X), rtol=2e-2, atol=2e-2)


def test_replicas_keep_the_same_masks():
  output = run_script(
    """
    import numpy as np
    import tensorflow as tf
    cpu = tf.config.list_physical_devices('CPU')[0]
    one = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [one, one])
    import tfmot_paoding as paoding
    from tests import testing
    from tfmot_paoding.compat import keras
    strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
      wrapped = paoding.prune_low_saliency(
        testing.mlp((5, 8, 6, 3)), paoding.ProgressiveSparsity(.5, .25, 1, 2))
      wrapped.compile('adam', 'mse')
    x = testing.samples((5,), 32).astype(np.float32)
    callback = paoding.UpdatePruningStep()
    wrapped.fit(x, x[:, :3], batch_size=8, epochs=2, verbose=0,
                callbacks=[callback])
    assert callback.history.units_removed == [3, 7], callback.history
    for layer in wrapped.layers:
      for weight, mask, _ in layer.pruning_vars:
        one, two = mask.values
        assert np.array_equal(one, two)
        for replica in weight.values:
          assert not replica.numpy()[one.numpy() == 0].any()
    small = paoding.compact(wrapped)
    assert [x.units for x in small.layers] == [4, 3, 3]
    found, wanted = small.predict(x), wrapped.predict(x)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    print('replicas agree')
    """
  )
  assert 'replicas agree' in output


@pytest.mark.parametrize('form', ['stripped', 'compact'])
def test_quantization_aware_training_follows(form):
  wrapped = wrap(testing.mlp((5, 8, 6, 3)))
  paoding.run_schedule(wrapped, verbose=0)
  stripped = _sparsity.strip_pruning(wrapped)
  start = stripped if form == 'stripped' else paoding.compact(stripped)
  quantized = tfmot.quantization.keras.quantize_model(start)
  quantized.compile('adam', 'mse')
  quantized.fit(X, X[:, :3], epochs=2, verbose=0)
  kernels = [w for w in quantized.weights if 'kernel:0' in w.name]
  alive = [int(np.any(k.numpy(), axis=0).sum()) for k in kernels]
  # Both sides of removed ReLU units are zero, so they stay dead.
  assert alive == [4, 3, 3]


@pytest.mark.shared
@pytest.mark.parametrize(
  ('name', 'least'),
  [
    # Mean of three seeds as measured, less a little; see README.
    ('mnist_mlp3_relu', 0.82),
    ('mnist_mlp5_relu', 0.84),
    ('mnist_mlp5_sigmoid', 0.938),
  ],
)
def test_accuracy_on_real_models(shared, name, least):
  made = keras.models.load_model(
    shared / 'models' / f'{name}.h5', compile=False
  )
  with np.load(shared / 'data' / 'mnist.npz') as data:
    images = data['x_test'][..., None] / np.float32(255)
    labels = data['y_test']
  scores = []
  for seed in range(3):
    small = paoding.prune(made, 0.5, method='stochastic', seed=seed, verbose=0)
    answers = testing.answers(small, images).argmax(1)
    scores.append(np.mean(answers == labels))
  assert np.mean(scores) >= least
