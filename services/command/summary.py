"""The figures of a programme in one line."""

from decimal import Decimal

import iso4217
from google.type import money_pb2
from rich.console import Console

from vafa.loyalty.v1 import programs_pb2


def money_text(money: money_pb2.Money) -> str:
    """Return an amount with the decimals of its currency, such as `1,234.50 USD`."""
    amount = Decimal(money.units) + Decimal(money.nanos).scaleb(-9)
    digits = iso4217.Currency(money.currency_code).exponent or 0
    return f"{amount:,.{digits}f} {money.currency_code}"


def print_summary(console: Console, summary: programs_pb2.ProgramSummary) -> None:
    """Print customers, orders, revenue, repeat customers and points issued, on one line."""
    customers, repeat = summary.customers_count, summary.repeat_customers_count
    share = Decimal(100 * repeat) / max(customers, 1)
    parts = (
        f"{customers:,} customers",
        f"{summary.orders_count:,} orders",
        money_text(summary.revenue),
        f"{repeat:,} repeat customers ({share:.2f} %)",
        f"{summary.points_issued:,} points",
    )
    console.print(" · ".join(parts), markup=False, highlight=False, soft_wrap=True)
