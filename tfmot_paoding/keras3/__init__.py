"""Keras 3 models as tf_keras models, and the way back."""
