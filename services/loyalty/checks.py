"""Programmes and orders in their normal form, or a refusal that says why not."""

from dataclasses import dataclass
from datetime import datetime

from services.chassis.given import time_or_now
from services.loyalty import errors
from services.loyalty.amounts import minor_of
from services.loyalty.rules import money
from vafa.loyalty.v1 import orders_pb2, programs_pb2

Program = programs_pb2.Program


@dataclass(frozen=True)
class Bought:
    """What an order comes to: its total in minor units, and when it was bought."""

    total_minor: int
    order_time: datetime


def check_program(_old: Program | None, new: Program, _now: datetime) -> Program:
    """Return the programme; raises CurrencyUnknown, CurrencyMismatch, AmountInvalid."""
    try:
        money.minor_digits(new.currency_code)
    except money.UnknownCurrency as error:
        violations = [("currency_code", str(error))]
        raise errors.CurrencyUnknown(str(error), violations=violations) from None
    if new.HasField("earn_rate"):
        field = "earn_rate.per_amount"
        if minor_of(new.earn_rate.per_amount, new.currency_code, field) == 0:
            raise errors.AmountInvalid(field, "must be above zero")
    return new


def check_order(order: orders_pb2.Order, currency_code: str, now: datetime) -> Bought:
    """Return what an order comes to.

    Raises CurrencyMismatch, AmountInvalid, PaymentsExceedTotal, TimeInFuture.
    """
    bought_at = time_or_now(order, "order_time", now, errors.TimeInFuture)
    total = sum(
        minor_of(line.amount, currency_code, f"lines[{n}].amount")
        for n, line in enumerate(order.lines)
    )
    if total > money.MAX_UNITS * 10 ** money.minor_digits(currency_code):
        raise errors.AmountInvalid("lines", f"together pass {money.MAX_UNITS} units")
    paid = sum(
        minor_of(payment.amount, currency_code, f"payments[{n}].amount")
        for n, payment in enumerate(order.payments)
    )
    if paid > total:
        raise errors.PaymentsExceedTotal
    return Bought(total, bought_at)
