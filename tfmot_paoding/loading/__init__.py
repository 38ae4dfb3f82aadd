"""Loads model files of either Keras generation without running code from them.

A model file may come from a stranger. Its description is read and checked
before anything in it is built: only classes that Keras, TFMOT or this package
bring along, or that the caller has registered, may be named in it. No module
that it names is imported. Of a SavedModel the description and the weights are
taken; its graph, which may hold anything, is not loaded.

`load_model` takes .h5, .keras and SavedModel, and refuses pickled functions,
TensorFlow functions that do more than compute, weights that lie in other files
and files that unpack to far more than they hold, unless `allow_code=True`.

```python
import tfmot_paoding as paoding

model.save('in.keras')
loaded = paoding.load_model('in.keras')
```

Of Lambda layers you say what they compute:
`load_model(path, functions={'lambda_1': lambda x: x / 127.5})`.

`read_onnx` reads the networks that verification benchmarks are made of, and
what `robustness.export_onnx` writes: `pip install 'tfmot_paoding[verify]'`.
"""

from tfmot_paoding.loading.errors import ModelFileError
from tfmot_paoding.loading.onnx_models import read_onnx
from tfmot_paoding.loading.rebuilding import load_model
from tfmot_paoding.loading.safety import check_config

__all__ = ['ModelFileError', 'check_config', 'load_model', 'read_onnx']
