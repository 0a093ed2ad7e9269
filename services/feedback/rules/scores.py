"""What the responses to a survey come to, with the interval that covers the score of all whom
it could have asked with a confidence of 95 %.

Scores come as counts: how many responses gave each score, and never as 0 of them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

from services.feedback.rules.student import t_quantile

Counts = Mapping[int, int]
UPPER_TAIL = 0.975
Z = NormalDist().inv_cdf(UPPER_TAIL)
PROMOTERS_FROM = 9
DETRACTORS_TO = 6
SATISFIED_FROM = 4
EASIEST, HARDEST = 7, 1
# Of the three, half are passive; see net_promoter_score.
ADDED_RESPONSES = 3
ADDED_PROMOTERS = ADDED_DETRACTORS = ADDED_RESPONSES / 4


@dataclass(frozen=True)
class Scale:
    """The scores that may be given, whole numbers from the lowest to the highest."""

    lowest: int
    highest: int


@dataclass(frozen=True)
class Estimate:
    """A score and the bounds of its interval, all in the unit of the measure. There are no
    bounds where one response cannot tell how much responses differ.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Measure:
    """How a kind of survey is measured, for at least one response. With fewer than the minimum
    an interval may cover less than 93 % or more than 97 % of the time.
    """

    scale: Scale
    estimate: Callable[[Counts], Estimate]
    minimum_responses_count: int


def net_promoter_score(counts: Counts) -> Estimate:
    """Return the per cent of promoters less that of detractors, from -100 to 100.

    The interval is the adjusted Wald AW(3, T): three responses are added, one and a half of
    them passive. B. Rocks, Interval Estimation for the Net Promoter Score, The American
    Statistician 70 (4), 2016, 365-372. With a single response it may miss the score itself.
    """
    n = sum(counts.values())
    promoters = sum(count for score, count in counts.items() if score >= PROMOTERS_FROM)
    detractors = sum(count for score, count in counts.items() if score <= DETRACTORS_TO)
    size = n + ADDED_RESPONSES
    for_us = (promoters + ADDED_PROMOTERS) / size
    against = (detractors + ADDED_DETRACTORS) / size
    middle = for_us - against
    margin = Z * math.sqrt((for_us + against - middle**2) / size)
    low, high = _within(-100, 100 * (middle - margin), 100 * (middle + margin))
    return Estimate(100 * (promoters - detractors) / n, low, high)


def customer_satisfaction(counts: Counts) -> Estimate:
    """Return the per cent of scores that are 4 or 5, from 0 to 100.

    The interval is Wilson's score interval. E. B. Wilson, Probable Inference, the Law of
    Succession, and Statistical Inference, Journal of the American Statistical Association 22
    (158), 1927, 209-212.
    """
    n = sum(counts.values())
    satisfied = sum(count for score, count in counts.items() if score >= SATISFIED_FROM)
    middle = satisfied + Z**2 / 2
    margin = Z * math.sqrt(satisfied * (n - satisfied) / n + Z**2 / 4)
    size = n + Z**2
    low, high = _within(0, 100 * (middle - margin) / size, 100 * (middle + margin) / size)
    return Estimate(100 * satisfied / n, low, high)


def customer_effort(counts: Counts) -> Estimate:
    """Return the mean of the scores, mapped from 1 to 7 onto 0 to 100.

    The interval is that of Student's t. Student, The Probable Error of a Mean, Biometrika 6
    (1), 1908, 1-25.
    """
    n, mean = sum(counts.values()), mean_score(counts)
    unit = 100 / (EASIEST - HARDEST)
    value = unit * (mean - HARDEST)
    if n == 1:
        return Estimate(value, None, None)
    squares = sum(count * (score - mean) ** 2 for score, count in counts.items())
    margin = unit * t_quantile(UPPER_TAIL, n - 1) * math.sqrt(squares / (n - 1) / n)
    low, high = _within(0, value - margin, value + margin)
    return Estimate(value, low, high)


def mean_score(counts: Counts) -> float:
    """Return the mean on the scale of the scores, for at least one response."""
    return sum(score * count for score, count in counts.items()) / sum(counts.values())


def _within(least: float, low: float, high: float) -> tuple[float, float]:
    """Leave out of an interval what no score can be: the true one is not there."""
    return max(least, low), min(100.0, high)


# The minima are simulated: see docs/adr/0007-scores-carry-their-uncertainty.md.
NPS = Measure(Scale(0, 10), net_promoter_score, minimum_responses_count=100)
CSAT = Measure(Scale(1, 5), customer_satisfaction, minimum_responses_count=100)
CES = Measure(Scale(HARDEST, EASIEST), customer_effort, minimum_responses_count=100)
