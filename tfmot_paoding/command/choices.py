"""What flags let one choose from.

The names of the package's registries, which cannot be asked before the flags
are read: they load TensorFlow. A test holds these lists to them.
"""

METHODS = (
  'folding',
  'impact',
  'l1',
  'lbyl',
  'neuron_merging',
  'reconstruction',
  'saliency',
  'stability',
  'stochastic',
)
QUANTIZATIONS = ('none', 'dynamic', 'float16', 'int8', 'int16x8')
