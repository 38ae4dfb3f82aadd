"""Installs tfmot_paoding; see README.md."""

import pathlib
import re

import setuptools

_HERE = pathlib.Path(__file__).parent
_VERSION = re.search(
  r"__version__ = '([^']+)'",
  (_HERE / 'tfmot_paoding' / 'version.py').read_text(encoding='utf-8'),
).group(1)

setuptools.setup(
  name='tfmot_paoding',
  version=_VERSION,
  description='Data-free structured pruning for TensorFlow Model Optimization',
  long_description=(_HERE / 'README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.10,<3.14',
  packages=setuptools.find_packages(
    include=['tfmot_paoding', 'tfmot_paoding.*']
  ),
  package_data={'tfmot_paoding': ['py.typed']},
  entry_points={
    'console_scripts': ['tfmot-paoding = tfmot_paoding.command.main:main']
  },
  install_requires=[
    'tensorflow>=2.16',
    'tf_keras>=2.16',
    'tensorflow-model-optimization>=0.8.0',
    'numpy>=1.26',
    'absl-py>=1.2',
  ],
  extras_require={
    'attacks': [
      'adversarial-robustness-toolbox>=1.17',
      'foolbox>=3.3.3',
      'multiprocess>=0.70',
    ],
    'examples': ['matplotlib>=3.7', 'scikit-learn>=1.3'],
    'micro': ['ai-edge-litert>=1.2', 'tflite-micro>=0.dev20240101'],
    'npu': ['ethos-u-vela>=5.0'],
    'photos': ['scikit-image>=0.22', 'scikit-learn>=1.3'],
    'quantize': ['ai-edge-quantizer>=0.10'],
    'report': ['matplotlib>=3.7'],
    'test': [
      'adversarial-robustness-toolbox>=1.17',
      'ai-edge-litert>=1.2',
      'ai-edge-quantizer>=0.10',
      'build>=1.0',
      'ethos-u-vela>=5.0',
      'foolbox>=3.3.3',
      'hypothesis>=6.90',
      'ipykernel>=6.20',
      "maraboupy>=2.0; python_version < '3.12'",
      'matplotlib>=3.7',
      'multiprocess>=0.70',
      'nbclient>=0.8',
      'nbformat>=5.7',
      'onnx>=1.16',
      'onnxruntime>=1.16',
      'pytest>=8',
      'pytest-xdist>=3.5',
      'ruff>=0.9,<0.18',
      'scikit-image>=0.22',
      'scikit-learn>=1.3',
      'scipy>=1.9',
      'setuptools>=68',
      'tensorboard>=2.16',
      'tf2onnx>=1.17',
      'tflite-micro>=0.dev20240101',
      'wheel>=0.41',
    ],
    'verify': [
      "maraboupy>=2.0; python_version < '3.12'",
      'onnx>=1.16',
      'tf2onnx>=1.17',
    ],
  },
  classifiers=[
    'Programming Language :: Python :: 3',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
  ],
)
