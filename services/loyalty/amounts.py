"""google.type.Money on the wire, whole minor units in the database."""

from typing import Any

from google.protobuf.message import Message
from google.type import money_pb2
from sqlalchemy import Column

from services.chassis.codecs import Codec
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

    def read(row: Row, message: Message, field: str) -> None:
        getattr(message, field).CopyFrom(money_of(row[minor.name], row[currency.name]))

    return Codec((minor, currency), read, None)


def earn_rate_codec(points: Column[Any], per_minor: Column[Any], currency: Column[str]) -> Codec:
    """Keep an EarnRate as points and minor units; absent is null."""

    def read(row: Row, message: Any, field: str) -> None:
        if row[points.name] is not None:
            rate = getattr(message, field)
            rate.points = row[points.name]
            rate.per_amount.CopyFrom(money_of(row[per_minor.name], row[currency.name]))

    def write(message: Any, field: str) -> Row:
        if not message.HasField(field):
            return {points.name: None, per_minor.name: None}
        rate = getattr(message, field)
        path = f"{field}.per_amount"
        minor = minor_of(rate.per_amount, message.currency_code, path)
        return {points.name: rate.points, per_minor.name: minor}

    return Codec((points, per_minor, currency), read, write)
