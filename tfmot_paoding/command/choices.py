"""What flags let one choose from, and are where nobody does.

Names of a registry and defaults that cannot be asked before the flags are read:
they load TensorFlow. A test holds these to them.
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
