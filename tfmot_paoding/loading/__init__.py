"""Loads model files of either Keras generation without running code from them.

A model file may come from a stranger. Its description is read and checked
before anything in it is built: only classes that Keras, TFMOT or this package
bring along, or that the caller has registered, may be named in it. No module
that it names is imported. Of a SavedModel the description and the weights are
taken; its graph, which may hold anything, is not loaded.
"""

from tfmot_paoding.loading.rebuilding import load_model
from tfmot_paoding.loading.safety import check_config

__all__ = ['check_config', 'load_model']
