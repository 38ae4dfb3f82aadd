"""What verifiers say of a sample."""

from __future__ import annotations

import dataclasses

import numpy as np

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Answer:
  """What is known of one sample's ball.

  Attributes:
    verdict: 'robust', proved; 'broken', with an example; 'unknown' where time
      or another limit ran out, or the solver gave up.
    example: The adversarial example, of the sample's shape; None if there is
      none. It is checked on the network itself.
    seconds: What it took.
    subdomains: How many subdomains branch and bound worked on: the ball once
      for each other class, and two for each split; 0 where an attack was
      enough. None of a solver that does not tell, as is all below.
    unstable: How many neurons the ball's bounds leave open, before any split
      (and comparisons of maxima, of max pooling unless bounds of whole windows
      were enough; of a clipped activation each kink by itself); None where an
      attack was enough.
    low: A lower bound of the label's least lead over another class that is
      proved; work ends as soon as it is positive.
    high: The least lead that the network was seen to have.
  """

  verdict: str
  example: Array | None
  seconds: float
  subdomains: int | None = None
  unstable: int | None = None
  low: float | None = None
  high: float | None = None

  @property
  def gap(self) -> float | None:
    """high - low: how far what is proved is from what was seen."""
    if self.low is None or self.high is None:
      return None
    return self.high - self.low
