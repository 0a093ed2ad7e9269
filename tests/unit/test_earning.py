"""How many points an order earns."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.loyalty.rules.earning import EarnRate, points_earned

rates = st.builds(EarnRate, points=st.integers(1, 1_000_000), per_minor=st.integers(1, 10**16))
totals = st.integers(0, 500 * 10**16)


@pytest.mark.parametrize(
    ("total_minor", "rate", "points"),
    [
        pytest.param(9_999, EarnRate(points=1, per_minor=1_000), 9, id="the rest earns nothing"),
        pytest.param(999, EarnRate(points=1, per_minor=1_000), 0, id="too little for one point"),
        pytest.param(1_500, EarnRate(points=10, per_minor=1_000), 15, id="part of the money"),
        pytest.param(0, EarnRate(points=1, per_minor=1), 0, id="nothing bought"),
        pytest.param(3, EarnRate(points=1_000_000, per_minor=1), 3_000_000, id="many points"),
    ],
)
def test_an_order_earns_whole_points_by_its_total(
    total_minor: int, rate: EarnRate, points: int
) -> None:
    assert points_earned(total_minor, rate) == points


@given(totals)
def test_without_a_rate_an_order_earns_nothing(total_minor: int) -> None:
    assert points_earned(total_minor, None) == 0


@given(totals, rates)
def test_the_points_are_the_most_that_the_money_pays_for(total_minor: int, rate: EarnRate) -> None:
    money_per_point = Fraction(rate.per_minor, rate.points)
    points = points_earned(total_minor, rate)
    assert points * money_per_point <= total_minor < (points + 1) * money_per_point


@given(totals, totals, rates)
def test_two_orders_never_earn_more_than_one_of_both(
    first_minor: int, second_minor: int, rate: EarnRate
) -> None:
    apart = points_earned(first_minor, rate) + points_earned(second_minor, rate)
    together = points_earned(first_minor + second_minor, rate)
    assert together - 1 <= apart <= together


@pytest.mark.parametrize(("points", "per_minor"), [(0, 100), (-1, 100), (1, 0), (1, -100)])
def test_a_rate_with_a_part_of_zero_or_less_is_refused(points: int, per_minor: int) -> None:
    with pytest.raises(ValueError, match="no part of zero or less"):
        EarnRate(points, per_minor)


@pytest.mark.parametrize("rate", [None, EarnRate(points=1, per_minor=100)])
def test_a_total_below_zero_is_refused(rate: EarnRate | None) -> None:
    with pytest.raises(ValueError, match="never below zero"):
        points_earned(-1, rate)
