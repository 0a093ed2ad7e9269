"""Amounts of money: parts of google.type.Money to minor units and back."""

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.loyalty.rules.money import (
    MAX_UNITS,
    AmountInvalid,
    UnknownCurrency,
    from_minor,
    minor_digits,
    to_minor,
)

DECIMALS = {"JPY": 0, "IRR": 2, "USD": 2, "EUR": 2, "KWD": 3, "CLF": 4}
currency_codes = st.sampled_from(sorted(DECIMALS))


def decimal_of(units: int, nanos: int) -> Decimal:
    return Decimal(units) + Decimal(nanos).scaleb(-9)


@pytest.mark.parametrize(("currency_code", "digits"), DECIMALS.items())
def test_a_currency_has_the_decimals_of_iso_4217(currency_code: str, digits: int) -> None:
    assert minor_digits(currency_code) == digits


@pytest.mark.parametrize(
    "currency_code",
    [
        pytest.param("XAU", id="gold"),
        pytest.param("XTS", id="the code for tests"),
        pytest.param("XXX", id="the code for no currency"),
        pytest.param("BGN", id="withdrawn"),
        pytest.param("QQQ", id="never given"),
        pytest.param("usd", id="not in capitals"),
        pytest.param("", id="empty"),
    ],
)
def test_what_is_no_currency_in_use_is_unknown(currency_code: str) -> None:
    with pytest.raises(UnknownCurrency) as refusal:
        minor_digits(currency_code)
    assert refusal.value.currency_code == currency_code
    with pytest.raises(UnknownCurrency):
        to_minor(1, 0, currency_code)
    with pytest.raises(UnknownCurrency):
        from_minor(1, currency_code)


@pytest.mark.parametrize(
    ("units", "nanos", "currency_code", "minor"),
    [
        (12, 340_000_000, "USD", 1234),
        (0, 10_000_000, "USD", 1),
        (250_000, 0, "IRR", 25_000_000),
        (980, 0, "JPY", 980),
        (1, 5_000_000, "KWD", 1005),
        (0, 100_000, "CLF", 1),
        (0, 0, "USD", 0),
        (MAX_UNITS, 0, "CLF", 10**16),
    ],
)
def test_an_amount_becomes_its_minor_units(
    units: int, nanos: int, currency_code: str, minor: int
) -> None:
    assert to_minor(units, nanos, currency_code) == minor


@pytest.mark.parametrize(
    ("units", "nanos", "currency_code", "problem"),
    [
        (0, 1_000_000, "USD", "must have no more decimals than USD, 2"),
        (1, 500_000_000, "JPY", "must have no more decimals than JPY, 0"),
        (0, 100_000, "KWD", "must have no more decimals than KWD, 3"),
        (0, 1, "CLF", "must have no more decimals than CLF, 4"),
        (-1, 0, "USD", "must not be negative"),
        (0, -10_000_000, "USD", "must not be negative"),
        (-1, -10_000_000, "USD", "must not be negative"),
        (0, 1_000_000_000, "USD", "nanos must lie from -999999999 to 999999999"),
        (0, -1_000_000_000, "USD", "nanos must lie from -999999999 to 999999999"),
        (1, -10_000_000, "USD", "units and nanos must be of one sign"),
        (-1, 10_000_000, "USD", "units and nanos must be of one sign"),
        (MAX_UNITS, 10_000_000, "USD", "must not be above 1000000000000 units"),
        (MAX_UNITS + 1, 0, "JPY", "must not be above 1000000000000 units"),
    ],
)
def test_an_amount_that_is_not_one_is_refused_with_its_problem(
    units: int, nanos: int, currency_code: str, problem: str
) -> None:
    with pytest.raises(AmountInvalid, match=f"^{re.escape(problem)}$") as refusal:
        to_minor(units, nanos, currency_code)
    assert refusal.value.problem == problem
    assert (refusal.value.units, refusal.value.nanos) == (units, nanos)
    assert refusal.value.currency_code == currency_code


@given(st.data(), currency_codes)
def test_minor_units_survive_the_way_there_and_back(
    data: st.DataObject, currency_code: str
) -> None:
    minor = data.draw(st.integers(0, MAX_UNITS * 10 ** DECIMALS[currency_code]))
    units, nanos = from_minor(minor, currency_code)
    assert to_minor(units, nanos, currency_code) == minor


@given(st.integers(), currency_codes)
def test_any_minor_units_become_the_same_amount_in_valid_parts(
    minor: int, currency_code: str
) -> None:
    units, nanos = from_minor(minor, currency_code)
    assert decimal_of(units, nanos) == Decimal(minor).scaleb(-DECIMALS[currency_code])
    assert abs(nanos) < 1_000_000_000
    assert units * nanos >= 0


any_nanos = st.one_of(
    st.integers(-1_100_000_000, 1_100_000_000),
    st.integers(-11_000, 11_000).map(lambda n: n * 100_000),
    st.integers(-110, 110).map(lambda n: n * 10_000_000),
)


@given(
    st.one_of(
        st.integers(-2, 2), st.integers(MAX_UNITS - 1, MAX_UNITS + 1), st.integers(0, MAX_UNITS)
    ),
    any_nanos,
    currency_codes,
)
def test_parts_are_accepted_exactly_if_they_make_an_amount_of_the_currency(
    units: int, nanos: int, currency_code: str
) -> None:
    amount = decimal_of(units, nanos)
    in_minor = amount.scaleb(DECIMALS[currency_code])
    acceptable = (
        0 <= amount <= MAX_UNITS
        and in_minor == in_minor.to_integral_value()
        and 0 <= nanos <= 999_999_999
        and units >= 0
    )
    if acceptable:
        assert to_minor(units, nanos, currency_code) == in_minor
    else:
        with pytest.raises(AmountInvalid):
            to_minor(units, nanos, currency_code)
