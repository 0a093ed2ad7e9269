"""How often the interval of a score holds the score of the population that was asked."""

import math
import random
from bisect import bisect
from collections.abc import Mapping
from functools import cache
from itertools import accumulate

from services.feedback.rules.scores import CES, CSAT, NPS, Measure

SEED = 20_160_101
# Bounds are sums of floating point numbers.
ROUNDING = 1e-9
MEASURES: Mapping[str, Measure] = {"NPS": NPS, "CSAT": CSAT, "CES": CES}
# Plausible populations: how many of them would give each score.
POPULATIONS: Mapping[str, Mapping[str, Mapping[int, int]]] = {
    "NPS": {
        "typical": {0: 3, 3: 5, 6: 7, 7: 15, 8: 20, 9: 22, 10: 28},
        "loved": {5: 3, 6: 2, 7: 4, 8: 6, 9: 20, 10: 65},
        "disliked": {0: 30, 2: 20, 5: 15, 7: 15, 8: 10, 9: 6, 10: 4},
        "divided": {0: 30, 3: 15, 7: 5, 8: 5, 10: 45},
        "lukewarm": {6: 5, 7: 45, 8: 40, 9: 10},
    },
    "CSAT": {
        "typical": {1: 5, 2: 5, 3: 12, 4: 38, 5: 40},
        "delighted": {1: 1, 3: 4, 4: 20, 5: 75},
        "content": {1: 3, 2: 3, 3: 4, 4: 50, 5: 40},
        "displeased": {1: 30, 2: 25, 3: 15, 4: 20, 5: 10},
        "divided": {1: 45, 3: 5, 5: 50},
    },
    "CES": {
        "typical": {1: 2, 2: 3, 3: 5, 4: 10, 5: 20, 6: 30, 7: 30},
        "easy": {1: 1, 2: 1, 3: 2, 4: 3, 5: 7, 6: 16, 7: 70},
        "hard": {1: 25, 2: 22, 3: 18, 4: 14, 5: 10, 6: 7, 7: 4},
        "divided": {1: 30, 2: 10, 3: 5, 4: 5, 5: 5, 6: 10, 7: 35},
        "even": dict.fromkeys(range(1, 8), 1),
    },
}


def coverage(kind: str, population: str, responses_count: int, draws: int) -> float:
    """Return in what share of so many surveys of a population the interval holds the truth.

    The same for the same arguments.
    """
    measure, everyone = MEASURES[kind], POPULATIONS[kind][population]
    truth = measure.estimate(everyone).value
    source = random.Random(SEED)  # noqa: S311
    held = 0
    for _ in range(draws):
        estimate = measure.estimate(sample(source, everyone, responses_count))
        assert estimate.low is not None
        assert estimate.high is not None
        held += estimate.low - ROUNDING <= truth <= estimate.high + ROUNDING
    return held / draws


def sample(source: random.Random, everyone: Mapping[int, int], size: int) -> dict[int, int]:
    """Return how many of a random sample, drawn with replacement, give each score."""
    counts: dict[int, int] = {}
    undrawn, others = size, sum(everyone.values())
    for score, present in everyone.items():
        weights = _cumulative_binomial(undrawn, present / others)
        count = bisect(weights, source.random() * weights[-1])
        if count:
            counts[score] = count
        undrawn, others = undrawn - count, others - present
    return counts


@cache
def _cumulative_binomial(trials: int, probability: float) -> list[float]:
    """Return with what probability at most 0, 1, … trials succeed."""
    if probability == 1:
        return [0.0] * trials + [1.0]
    successes, failures = math.log(probability), math.log1p(-probability)
    factorials = _log_factorials(trials)
    return list(
        accumulate(
            math.exp(
                factorials[trials]
                - factorials[k]
                - factorials[trials - k]
                + k * successes
                + (trials - k) * failures
            )
            for k in range(trials + 1)
        )
    )


@cache
def _log_factorials(largest: int) -> list[float]:
    return list(accumulate(map(math.log, range(1, largest + 1)), initial=0.0))
