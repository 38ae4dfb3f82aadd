"""Arithmetic on arrays: intervals, activations, tangents, least squares."""
