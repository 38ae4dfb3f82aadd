"""Dead units leave a model, and its layers become smaller."""
