"""google.type.Money on the wire, whole minor units in the database."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.type import money_pb2
from sqlalchemy import Column

from services.chassis.codecs import Codec, Write
from services.chassis.rows import Row
from services.loyalty import errors
from services.loyalty.rules import money


def minor_of(amount: money_pb2.Money, currency_code: str, field: str) -> int:
    """Return an amount in minor units; raises CurrencyMismatch, AmountInvalid for the field."""
    if amount.currency_code != currency_code:
        raise errors.CurrencyMismatch(field, currency_code, amount.currency_code)
    try:
        return money.to_minor(amount.units, amount.nanos, currency_code)
    except money.AmountInvalid as error:
        raise errors.AmountInvalid(field, error.problem) from None


def money_of(minor: int, currency_code: str) -> money_pb2.Money:
    """Return minor units as Money."""
    units, nanos = money.from_minor(minor, currency_code)
    return money_pb2.Money(currency_code=currency_code, units=units, nanos=nanos)


def amount_codec(minor: Column[int], currency: Column[str]) -> Codec:
    """Give an amount that the service sets, out of its minor units and its currency."""

    def read(row: Row) -> money_pb2.Money:
        return money_of(row[minor.name], row[currency.name])

    return Codec((minor, currency), lambda _field: read, None)


def earn_rate_codec(points: Column[Any], per_minor: Column[Any], currency: Column[str]) -> Codec:
    """Keep an EarnRate as points and minor units; absent is null."""

    def read(row: Row) -> dict[str, Any] | None:
        if row[points.name] is None:
            return None
        amount = money_of(row[per_minor.name], row[currency.name])
        return {"points": row[points.name], "per_amount": amount}

    def writer(field: FieldDescriptor) -> Write:
        def write(message: Any, row: dict[str, Any]) -> None:
            row[points.name] = row[per_minor.name] = None
            if message.HasField(field.name):
                rate, path = getattr(message, field.name), f"{field.name}.per_amount"
                row[points.name] = rate.points
                row[per_minor.name] = minor_of(rate.per_amount, message.currency_code, path)

        return write

    return Codec((points, per_minor, currency), lambda _field: read, writer)
