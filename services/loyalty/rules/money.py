"""Amounts of money as whole numbers of minor units: cents, fils, yen."""

from typing import Final

import iso4217

MAX_UNITS: Final = 1_000_000_000_000

_NANOS_PER_UNIT: Final = 1_000_000_000
_MINOR_DIGITS: Final = {
    currency.code: currency.exponent
    for currency in iso4217.Currency
    if currency.exponent is not None  # gold, test codes and the like count no money
}


class UnknownCurrency(ValueError):
    """The code is not one of a currency of ISO 4217 that is in use and has minor units."""

    def __init__(self, currency_code: str) -> None:
        super().__init__(f"{currency_code!r} is not the code of a currency in use")
        self.currency_code = currency_code


class AmountInvalid(ValueError):
    """The parts make no amount that is accepted; `problem` says why, in words for the caller."""

    def __init__(self, units: int, nanos: int, currency_code: str, problem: str) -> None:
        super().__init__(problem)
        self.units = units
        self.nanos = nanos
        self.currency_code = currency_code
        self.problem = problem


def minor_digits(currency_code: str) -> int:
    """Return how many decimals ISO 4217 gives the currency, 0 to 4.

    Raises UnknownCurrency for a code that is withdrawn, unknown, not in capitals, or of
    something without minor units, such as gold.
    """
    try:
        return _MINOR_DIGITS[currency_code]
    except KeyError:
        raise UnknownCurrency(currency_code) from None


def to_minor(units: int, nanos: int, currency_code: str) -> int:
    """Return the amount of a google.type.Money in minor units, from 0 to MAX_UNITS units.

    Raises UnknownCurrency, and AmountInvalid for an amount that is negative, is above
    MAX_UNITS units, has more decimals than the currency, or whose nanos are not within one
    unit or of another sign than the units.
    """
    nanos_per_minor: int = 10 ** (9 - minor_digits(currency_code))
    if not -_NANOS_PER_UNIT < nanos < _NANOS_PER_UNIT:
        problem = "nanos must lie from -999999999 to 999999999"
    elif units * nanos < 0:
        problem = "units and nanos must be of one sign"
    elif units < 0 or nanos < 0:
        problem = "must not be negative"
    elif (units, nanos) > (MAX_UNITS, 0):
        problem = f"must not be above {MAX_UNITS} units"
    elif nanos % nanos_per_minor:
        problem = f"must have no more decimals than {currency_code}, {minor_digits(currency_code)}"
    else:
        return (units * _NANOS_PER_UNIT + nanos) // nanos_per_minor
    raise AmountInvalid(units, nanos, currency_code, problem)


def from_minor(minor: int, currency_code: str) -> tuple[int, int]:
    """Return the units and nanos of a google.type.Money for any number of minor units.

    Sums may be above what to_minor accepts, and differences below zero; units and nanos then
    are both zero or less. Raises UnknownCurrency.
    """
    digits = minor_digits(currency_code)
    units, fraction = divmod(abs(minor), 10**digits)
    nanos = fraction * 10 ** (9 - digits)
    return (-units, -nanos) if minor < 0 else (units, nanos)
