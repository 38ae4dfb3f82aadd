"""Layers as chains of thinner ones: low rank, where it costs answers least.

A Dense layer becomes two, a convolution up to three: a 1 x 1 one in front, the
window on fewer channels, and a 1 x 1 one behind. Which matrices stand in them
follows from what the layer reads and from how the outputs move with what it
makes, at once and without training.
"""
