"""Prunes a trained Keras model until it fits a device, without data.

  python examples/fit_budget.py --model=kws.h5 --input_range=-124,26 \
      --flash_bytes=32768 --arena_bytes=16384 --output=kws.tflite \
      --c_array=kws --report=kws_report

Give the limits that you have; each is measured on the converted file itself,
the arena by tflite-micro. The least pruning that meets all of them is searched
for. If there is none, it says how near it came and writes nothing.

It is the command `tfmot-paoding budget`, which is installed with the package.
"""

import sys

# The name tells the package to read the flags before it loads TensorFlow.
sys.argv[:1] = ['tfmot-paoding', 'budget']

from tfmot_paoding.command.main import main  # noqa: E402

if __name__ == '__main__':
  main()
