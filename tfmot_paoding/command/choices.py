"""What flags let one choose from.

Names that cannot be asked for where they are before the flags are read: that
loads TensorFlow. A test holds these lists to them.
"""

ATTENTION = ('heads', 'channels')

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

VERIFIERS = ('bab', 'marabou')
