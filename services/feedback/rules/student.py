"""Student's t distribution: its quantiles, for whole degrees of freedom."""

import math
from statistics import NormalDist

# From here on the series is off by less than 1e-9 at a probability of 0.975.
MANY_DEGREES = 60
HALVINGS = 60


def t_quantile(probability: float, degrees: int) -> float:
    """Return the value that Student's t stays below with a probability of at least 0.5 and
    below 1. There is at least one degree of freedom.
    """
    if degrees >= MANY_DEGREES:
        return _by_series(probability, degrees)
    low, high = 0.0, 1.0
    while t_probability(high, degrees) < probability:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if t_probability(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def t_probability(value: float, degrees: int) -> float:
    """Return with what probability Student's t stays below a value that is not negative.

    M. Abramowitz and I. A. Stegun, Handbook of Mathematical Functions, 1964, 26.7.3 and 26.7.4:
    a finite sum for whole degrees of freedom.
    """
    angle = math.atan(value / math.sqrt(degrees))
    square = math.cos(angle) ** 2
    odd = degrees % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for step in range(2 + odd, degrees + 1, 2):
        total += term
        term *= square * (step - 1) / step
    within = math.sin(angle) * total
    if odd:
        within = 2 / math.pi * (angle + within)
    return 0.5 + within / 2


def _by_series(probability: float, degrees: int) -> float:
    """Return the quantile by the series of the same handbook, 26.7.5."""
    x = NormalDist().inv_cdf(probability)
    y = x * x
    terms = (
        x * (y + 1) / 4,
        x * ((5 * y + 16) * y + 3) / 96,
        x * (((3 * y + 19) * y + 17) * y - 15) / 384,
        x * ((((79 * y + 776) * y + 1482) * y - 1920) * y - 945) / 92160,
    )
    return x + sum(term / math.pow(degrees, n) for n, term in enumerate(terms, start=1))
