"""Data sets that Keras downloads."""

from __future__ import annotations

import numpy as np

from tfmot_paoding.compat import keras

__all__ = ['downloaded_images']


def downloaded_images(name: str, flag: str = '--data') -> list[np.ndarray]:
  """Training images and labels, and test images and labels, as stored.

  Args:
    name: In `keras.datasets`: 'mnist' or 'cifar10'.
    flag: What takes a file in their place.

  Raises:
    OSError: they cannot be downloaded.
  """
  module = getattr(keras.datasets, name)
  try:
    (x, y), (x_test, y_test) = module.load_data()
  except Exception as error:
    # Keras raises no other class where there is no network.
    raise OSError(
      f'The data set {name!r} cannot be downloaded ({error}). Pass {flag} with '
      'an .npz of x_train, y_train, x_test and y_test.'
    ) from error
  return [x, y.ravel(), x_test, y_test.ravel()]
