"""A model as a graph of operations, its groups of units, and its answers."""
