"""Scores and their intervals: by hand, by property, and by simulation."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.feedback.rules.scores import CES, CSAT, NPS, Measure, mean_score
from services.feedback.rules.student import MANY_DEGREES, t_probability, t_quantile
from tests.harness.coverage import MEASURES, POPULATIONS, ROUNDING, coverage

DRAWS = 5_000
SIZES = {100, 200, 400, 1000}
LARGEST_COUNT = 10**7
Counts = dict[int, int]
LEAST = {NPS: -100.0, CSAT: 0.0, CES: 0.0}
every_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)


def some_counts(measure: Measure) -> st.SearchStrategy[Counts]:
    """Return counts of at least one response."""
    score = st.integers(measure.scale.lowest, measure.scale.highest)
    return st.dictionaries(score, st.integers(1, LARGEST_COUNT), min_size=1)


def bounds(measure: Measure, counts: Mapping[int, int]) -> tuple[float, float]:
    """Return the interval, which is there."""
    estimate = measure.estimate(counts)
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


# By hand


def test_a_net_promoter_score_of_ten_responses() -> None:
    # With three more: 6.75 - 1.75 of 13, of a variance of (8.5 / 13 - (5 / 13)²) / 13.
    counts = {10: 4, 9: 2, 8: 2, 7: 1, 6: 1}
    assert NPS.estimate(counts).value == 50
    assert bounds(NPS, counts) == pytest.approx((-0.203293, 77.126370), abs=1e-6)


@pytest.mark.parametrize(
    ("satisfied", "responses_count", "low", "high"),
    [(81, 263, 25.53, 36.62), (15, 148, 6.24, 16.05), (0, 20, 0, 16.11), (1, 29, 0.61, 17.18)],
)
def test_satisfaction_has_the_intervals_that_newcombe_printed(
    satisfied: int, responses_count: int, low: float, high: float
) -> None:
    # R. G. Newcombe, Statistics in Medicine 17, 1998, 857-872, table I, method 3.
    counts = {score: n for score, n in ((5, satisfied), (3, responses_count - satisfied)) if n}
    assert CSAT.estimate(counts).value == pytest.approx(100 * satisfied / responses_count)
    assert bounds(CSAT, counts) == pytest.approx((low, high), abs=0.005)


def test_an_effort_score_of_ten_responses() -> None:
    # A mean of 6 and a variance of 6 / 9; t is 2.262157 for nine degrees of freedom.
    counts = {5: 3, 6: 4, 7: 3}
    assert CES.estimate(counts).value == pytest.approx(500 / 6)
    assert bounds(CES, counts) == pytest.approx((73.598559, 93.068108), abs=1e-6)


@pytest.mark.parametrize(
    ("measure", "counts", "value"),
    [
        (NPS, {9: 1}, 100),
        (NPS, {8: 1}, 0),
        (NPS, {7: 1}, 0),
        (NPS, {6: 1}, -100),
        (CSAT, {4: 1}, 100),
        (CSAT, {3: 1}, 0),
        (CES, {1: 1}, 0),
        (CES, {4: 1}, 50),
        (CES, {7: 1}, 100),
    ],
)
def test_where_the_scales_are_cut(measure: Measure, counts: Counts, value: float) -> None:
    assert measure.estimate(counts).value == value


def test_one_response_does_not_tell_how_much_efforts_differ() -> None:
    assert (CES.estimate({5: 1}).low, CES.estimate({5: 1}).high) == (None, None)
    assert bounds(CES, {4: 1, 6: 1}) == (0, 100)


def test_the_mean_stays_on_the_scale_of_the_scores() -> None:
    assert mean_score({9: 1, 10: 3}) == 9.75


# By property


@every_measure
@given(st.data())
def test_bounds_never_leave_the_scale_and_hold_the_score(
    measure: Measure, data: st.DataObject
) -> None:
    counts = data.draw(some_counts(measure))
    estimate = measure.estimate(counts)
    assert LEAST[measure] <= estimate.value <= 100
    if sum(counts.values()) > 1:
        low, high = bounds(measure, counts)
        assert LEAST[measure] <= low <= estimate.value + ROUNDING
        assert estimate.value - ROUNDING <= high <= 100


@every_measure
@given(st.data())
def test_a_better_answer_never_lowers_a_score(measure: Measure, data: st.DataObject) -> None:
    counts = data.draw(some_counts(measure))
    worse = data.draw(st.sampled_from(sorted(counts)))
    better = data.draw(st.integers(worse, measure.scale.highest))
    after = dict(counts)
    after[worse] -= 1
    after[better] = after.get(better, 0) + 1
    after = {score: count for score, count in after.items() if count}
    assert measure.estimate(after).value >= measure.estimate(counts).value - ROUNDING
    if measure is CSAT:
        for then, before in zip(bounds(CSAT, after), bounds(CSAT, counts), strict=True):
            assert then >= before - ROUNDING


@every_measure
@given(st.data())
def test_more_of_the_same_answers_narrow_the_interval(
    measure: Measure, data: st.DataObject
) -> None:
    counts = data.draw(some_counts(measure).filter(lambda few: sum(few.values()) > 1))
    few, many = bounds(measure, counts), bounds(measure, {s: 4 * n for s, n in counts.items()})
    assert many[1] - many[0] <= few[1] - few[0] + ROUNDING


@pytest.mark.parametrize(
    ("measure", "mirrored"),
    [
        (NPS, {10: 0, 8: 8, 0: 10}),
        (CSAT, {5: 1, 1: 5}),
        (CES, {score: 8 - score for score in range(1, 8)}),
    ],
    ids=MEASURES,
)
@given(st.data())
def test_opposite_answers_have_the_opposite_interval(
    measure: Measure, mirrored: Counts, data: st.DataObject
) -> None:
    count = st.integers(1, LARGEST_COUNT)
    some = st.dictionaries(st.sampled_from(sorted(mirrored)), count, min_size=2)
    counts = data.draw(some)
    low, high = bounds(measure, {mirrored[score]: n for score, n in counts.items()})
    around = LEAST[measure] + 100
    opposite = (around - high, around - low)
    assert bounds(measure, counts) == pytest.approx(opposite, abs=ROUNDING)


# Student's t


@pytest.mark.parametrize(
    ("probability", "degrees", "quantile"),
    [
        (0.975, 1, 12.706205),
        (0.975, 2, 4.302653),
        (0.975, 5, 2.570582),
        (0.975, 10, 2.228139),
        (0.975, 30, 2.042272),
        (0.975, 60, 2.000298),
        (0.975, 120, 1.979930),
        (0.975, 1000, 1.962339),
        (0.95, 10, 1.812461),
        (0.995, 10, 3.169273),
        (0.995, 120, 2.617421),
    ],
)
def test_quantiles_of_student_are_those_of_the_tables(
    probability: float, degrees: int, quantile: float
) -> None:
    assert t_quantile(probability, degrees) == pytest.approx(quantile, abs=1e-6)


@given(st.floats(0.5, 0.999), st.integers(1, 5 * MANY_DEGREES))
def test_a_quantile_has_its_probability(probability: float, degrees: int) -> None:
    quantile = t_quantile(probability, degrees)
    assert t_probability(quantile, degrees) == pytest.approx(probability, abs=1e-9)


# By simulation


@pytest.mark.parametrize(
    ("kind", "population"), [(kind, name) for kind in MEASURES for name in POPULATIONS[kind]]
)
def test_the_interval_covers_as_it_says(kind: str, population: str) -> None:
    minimum = MEASURES[kind].minimum_responses_count
    covered = {n: coverage(kind, population, n, DRAWS) for n in sorted({minimum, *SIZES})}
    wrong = {n: share for n, share in covered.items() if not 0.93 <= share <= 0.97}
    assert not wrong, covered


@pytest.mark.parametrize(
    ("kind", "population", "responses_count"),
    [("NPS", "lukewarm", 35), ("CSAT", "delighted", 70), ("CES", "easy", 50)],
)
def test_below_its_minimum_it_need_not(kind: str, population: str, responses_count: int) -> None:
    assert responses_count < MEASURES[kind].minimum_responses_count
    assert not 0.93 <= coverage(kind, population, responses_count, DRAWS) <= 0.97
