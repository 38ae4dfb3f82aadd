"""Randomised smoothing: what holds of a classifier's majority under noise.

Cohen, Rosenfeld and Kolter 2019, arXiv 1902.02918: if the class c of the
network under Gaussian noise has a probability of at least p > 1/2, the smoothed
classifier answers c within an L2 ball of radius sigma Phi^-1(p).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_paoding.arguments import check_whole, is_number
from tfmot_paoding.bounds.balls import as_inputs
from tfmot_paoding.compat import keras
from tfmot_paoding.keras3.model import as_tf_keras
from tfmot_paoding.progress import progress_bar
from tfmot_paoding.robustness.scores import scores_of

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Smoothed:
  """What the smoothed classifier answers, (batch,) each.

  Attributes:
    answers: Its classes; -1 where it abstains.
    radii: The L2 radius within which each answer holds, in units of the
      inputs; 0 where it abstains.
    failure: The probability, for each sample apart, that its answer or radius
      is wrong: the draw of the noise.
  """

  answers: Array
  radii: Array
  failure: float

  def certified(self, y: Array, radius: float) -> Array:
    """Which samples are certified right within an L2 radius, (batch,)."""
    return (self.answers == np.ravel(y)) & (self.radii >= radius)


def smoothed(
  model: keras.Model,
  x: Any,
  sigma: float,
  *,
  guesses: int = 100,
  draws: int = 1000,
  failure: float = 0.001,
  seed: int = 0,
  batch_size: int = 1024,
  verbose: int | str = 0,
) -> Smoothed:
  """Certifies the majority answer under Gaussian noise.

  Args:
    model: A classifier with one input and one output; best trained with
      `training.Smoothing` of the same sigma.
    x: Samples, (batch, *input shape).
    sigma: The noise's standard deviation, in units of the inputs.
    guesses: Draws that choose the class.
    draws: Draws that certify it; the largest radius is sigma
      Phi^-1(failure^(1 / draws)).
    failure: The accepted probability of a wrong certificate, a sample.
    seed: Of the noise.
    batch_size: Noisy inputs run at once.
    verbose: 'auto' shows a progress bar on a terminal and in a notebook, 1
      anywhere, 0 nowhere.

  Returns:
    Answers and radii.

  Raises:
    TypeError: `model` is no tf_keras model.
    ValueError: it is no such classifier, or a setting is out of range.
  """
  model = as_tf_keras(model)
  scores = scores_of(model)
  (x,) = as_inputs(x, [scores.only_input])
  if not (is_number(sigma) and np.isfinite(sigma) and sigma > 0):
    raise ValueError(f'`sigma` must be positive, but got {sigma!r}.')
  if not (is_number(failure) and 0 < failure < 1):
    raise ValueError(f'`failure` must lie in (0, 1), but got {failure!r}.')
  for name, value in (
    ('guesses', guesses),
    ('draws', draws),
    ('batch_size', batch_size),
  ):
    check_whole(name, value, 1)
  rng = np.random.default_rng(seed)
  answers, radii = np.full(len(x), -1), np.zeros(len(x))
  bar = progress_bar(len(x), verbose, 'sample')
  run = _Votes(model, scores.is_binary, scores.classes, sigma, rng, batch_size)
  for k, sample in enumerate(x):
    guess = int(run(sample, guesses).argmax())
    p = lower_bound(int(run(sample, draws)[guess]), draws, failure)
    if p > 0.5:
      answers[k], radii[k] = guess, sigma * float(tf.math.ndtri(p))
    bar.update(k + 1)
  return Smoothed(answers, radii, failure)


class _Votes:
  """Counts of answers under noise."""

  def __init__(self, model, is_binary, classes, sigma, rng, batch_size):
    self._model = model
    self._is_binary = is_binary
    self._classes = classes
    self._sigma = sigma
    self._rng = rng
    self._batch_size = batch_size

  def __call__(self, sample: Array, count: int) -> Array:
    """How often each class is answered, (classes,)."""
    votes = np.zeros(self._classes, np.int64)
    for start in range(0, count, self._batch_size):
      size = min(self._batch_size, count - start)
      noise = self._sigma * self._rng.standard_normal((size, *sample.shape))
      found = self._model((sample + noise).astype(np.float32), training=False)
      found = np.asarray(found, np.float32)
      answers = found[:, 0] > 0.5 if self._is_binary else found.argmax(-1)
      votes += np.bincount(answers.astype(int), minlength=self._classes)
    return votes


def lower_bound(successes: int, draws: int, failure: float) -> float:
  """Clopper and Pearson's one-sided lower bound of a probability.

  The p at which so many successes or more have a probability of `failure`.

  Args:
    successes: Successes.
    draws: Out of so many.
    failure: The probability that the bound is above the truth.
  """
  if successes == 0:
    return 0.0
  low, high = 0.0, 1.0
  a = tf.constant(float(successes), tf.float64)
  b = tf.constant(float(draws - successes + 1), tf.float64)
  for _ in range(60):
    middle = 0.5 * (low + high)
    tail = float(tf.math.betainc(a, b, tf.constant(middle, tf.float64)))
    low, high = (middle, high) if tail < failure else (low, middle)
  return low
