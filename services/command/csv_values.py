"""The values of a CSV file: times, amounts and quantities, as people write them."""

import re
from datetime import MAXYEAR, UTC, datetime
from decimal import Decimal
from typing import Final

MAX_AMOUNT: Final = 1_000_000_000_000
MAX_QUANTITY: Final = 1_000_000
# A date of the Jalali calendar is in the form of ISO 8601 too, and would be 600 years ago.
FIRST_YEAR: Final = 1900
# Money counts billionths.
MAX_DECIMALS: Final = 9

# Persian and Arabic digits, their decimal separator, and their thousands separator.
_PLAIN: Final = str.maketrans("۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩٫", "01234567890123456789.", "٬")
_AMOUNT: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_WHOLE: Final = re.compile(r"[+-]?\d+", re.ASCII)


def parse_time(text: str) -> datetime:
    """Return an ISO 8601 date at 00:00 UTC, or an ISO 8601 date-time, UTC if it has no zone.

    Digits may be Persian or Arabic. ValueError for anything else and for years before 1900.
    """
    try:
        time = datetime.fromisoformat(text.translate(_PLAIN))
    except ValueError:
        raise ValueError(f"{text!r} is not an ISO 8601 date") from None
    if not FIRST_YEAR <= time.year < MAXYEAR:
        raise ValueError(f"{text!r} is not a Gregorian date from the year {FIRST_YEAR} on")
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def parse_amount(text: str) -> Decimal:
    """Return an amount of money as it is written, from 0 to 1,000,000,000,000.

    Digits may be Persian or Arabic. ValueError for anything else, such as a comma.
    """
    plain = text.translate(_PLAIN)
    if not _AMOUNT.fullmatch(plain):
        raise ValueError(f"{text!r} is not an amount")
    amount = Decimal(plain)
    if amount < 0:
        raise ValueError(f"{text!r} is negative")
    if amount > MAX_AMOUNT:
        raise ValueError(f"{text!r} is above {MAX_AMOUNT:,}")
    if len(plain.partition(".")[2].rstrip("0")) > MAX_DECIMALS:
        raise ValueError(f"{text!r} has more than {MAX_DECIMALS} decimals")
    return amount


def parse_quantity(text: str) -> int:
    """Return a whole number from 1 to 1,000,000; ValueError for anything else.

    Digits may be Persian or Arabic.
    """
    plain = text.translate(_PLAIN)
    if not _WHOLE.fullmatch(plain):
        raise ValueError(f"{text!r} is not a whole number")
    quantity = Decimal(plain)
    if not 1 <= quantity <= MAX_QUANTITY:
        raise ValueError(f"{text!r} is not from 1 to {MAX_QUANTITY:,}")
    return int(quantity)
