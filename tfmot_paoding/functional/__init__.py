"""Models that people subclass, as functional ones of the same answers."""
