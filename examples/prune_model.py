"""Prunes a trained Keras model without data and exports it.

  python examples/prune_model.py --model=in.h5 --sparsity=0.5 \
      --input_range=0,1 --output=out.tflite

For a microcontroller, with the model as C++ source and a report to look at:

  python examples/prune_model.py --model=in.h5 --sparsity=0.5 \
      --input_range=0,1 --quantization=int8 --output=out.tflite \
      --c_array=model --report=report

It is the command `tfmot-paoding prune`, which is installed with the package.
"""

import sys

# The name tells the package to read the flags before it loads TensorFlow.
sys.argv[:1] = ['tfmot-paoding', 'prune']

from tfmot_paoding.command.main import main  # noqa: E402

if __name__ == '__main__':
  main()
