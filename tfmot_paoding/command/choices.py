"""What flags let one choose from.

The names of a registry that cannot be asked before the flags are read: it loads
TensorFlow. A test holds this list to it.
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
