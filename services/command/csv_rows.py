"""The rows of a CSV file of purchases, read and checked."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeVar

from services.command.csv_values import parse_amount, parse_quantity, parse_time
from services.command.occurrences import Occurrences

T = TypeVar("T")

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "customer_id": ("customer_id",),
    "date": ("date",),
    "amount": ("amount", "dollar_value"),
    "quantity": ("quantity", "number_of_cds"),
    "name": ("name",),
    "email": ("email",),
    "phone": ("phone",),
    "sku": ("sku",),
    "order_id": ("order_id",),
}
"""The fields of a row, with the columns that stand for them unless the caller names another."""

REQUIRED: Final = ("customer_id", "date", "amount")
TOLD: Final = ("name", "email", "phone")
DEFAULT_SKU: Final = "item"


class CannotLoad(ValueError):
    """Nothing of the file can be loaded as it was asked for; the text says why."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is not loaded: its line in the file, the field to blame if any, and why."""

    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field + ': ' if self.field else ''}{self.reason}"


@dataclass(frozen=True, slots=True)
class Purchase:
    """A row in its parts; `told` is what it says of the customer: name, email, phone."""

    line: int
    customer_id: str
    order_id: str
    order_time: datetime
    amount: Decimal
    quantity: int
    sku: str
    told: Mapping[str, str]


def read_rows(
    lines: Iterable[str], columns: Mapping[str, str], system: str
) -> Iterator[Purchase | BadRow]:
    """Yield the rows below the header in their order, those that cannot be loaded as BadRow.

    `columns` are the columns of fields that the caller names. A row without an order id gets
    `{system}-{customer_id}-{date}-{k}`, k from 1 among that customer's rows of that day (UTC):
    rows that are alike are purchases that are alike. Raises CannotLoad for a header that
    lacks a column.
    """
    records = _records(lines)
    _, header = next(records, (1, []))
    if isinstance(header, csv.Error):
        raise CannotLoad(f"the header cannot be read: {header}")
    places = _places(header, columns)
    with Occurrences() as counts:
        for line, cells in records:
            if isinstance(cells, csv.Error):
                yield BadRow(line, "", str(cells))
            elif len(cells) != len(header):
                reason = f"has {len(cells)} columns, and the header has {len(header)}"
                yield BadRow(line, "", reason)
            else:
                values = {name: cells[place].strip() for name, place in places.items()}
                yield _row(line, values, system, counts)


def _records(lines: Iterable[str]) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Yield the records that are not blank, each with the line on which it begins."""
    reader = csv.reader(lines, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except csv.Error as error:
            yield line, error
        except StopIteration:
            return
        else:
            if cells:
                yield line, cells


def _places(header: Sequence[str], columns: Mapping[str, str]) -> dict[str, int]:
    """Return where in a record each field stands; raises CannotLoad."""
    names = [name.strip() for name in header]
    if not any(names):
        raise CannotLoad("the file is empty")
    unknown = sorted(columns.keys() - COLUMNS.keys())
    if unknown:
        raise CannotLoad(f"{unknown[0]!r} is not a field; fields are {', '.join(COLUMNS)}")
    places = {}
    for name, usual in COLUMNS.items():
        candidates = (columns[name],) if name in columns else usual
        found = [column for column in candidates if column in names]
        if len(found) > 1 or any(names.count(column) > 1 for column in found):
            raise CannotLoad(f"several columns stand for {name}: {', '.join(found)}")
        if found:
            places[name] = names.index(found[0])
        elif name in REQUIRED or name in columns:
            wanted = " or ".join(repr(column) for column in candidates)
            there = ", ".join(repr(column) for column in names)
            raise CannotLoad(f"there is no column {wanted} for {name}; there are {there}")
    return places


class _Wrong(ValueError):
    """A field cannot be taken as it is."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.field = name


def _row(
    line: int, values: Mapping[str, str], system: str, counts: Occurrences
) -> Purchase | BadRow:
    try:
        customer_id = _take(values, "customer_id", str)
        order_time = _take(values, "date", parse_time)
        # Before the other fields: the ids of further rows stay as they are when this one is
        # put right.
        order_id = _order_id(values, f"{system}-{customer_id}-{order_time:%Y-%m-%d}", counts)
        return Purchase(
            line=line,
            customer_id=customer_id,
            order_id=order_id,
            order_time=order_time,
            amount=_take(values, "amount", parse_amount),
            quantity=_take(values, "quantity", parse_quantity) if "quantity" in values else 1,
            sku=values.get("sku") or DEFAULT_SKU,
            told={name: values[name] for name in TOLD if values.get(name)},
        )
    except _Wrong as wrong:
        return BadRow(line, wrong.field, str(wrong))


def _order_id(values: Mapping[str, str], day: str, counts: Occurrences) -> str:
    if "order_id" not in values:
        return f"{day}-{counts.add(day)}"
    order_id = _take(values, "order_id", str)
    if counts.add(order_id) > 1:
        raise _Wrong("order_id", f"{order_id!r} stands in an earlier row too")
    return order_id


def _take(values: Mapping[str, str], name: str, parse: Callable[[str], T]) -> T:
    if not values[name]:
        raise _Wrong(name, "is missing")
    try:
        return parse(values[name])
    except ValueError as error:
        raise _Wrong(name, str(error)) from None
