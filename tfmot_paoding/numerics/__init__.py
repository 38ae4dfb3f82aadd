"""Arithmetic on arrays: intervals, activations and their tangents."""
