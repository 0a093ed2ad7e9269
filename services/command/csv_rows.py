"""The rows of a CSV file of purchases: read, checked, and put as messages of the contract."""

import csv
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, datetime
from decimal import Decimal
from typing import Final, TypeVar

from google.type import money_pb2

from vafa.contacts.v1 import contacts_pb2
from vafa.loyalty.v1 import orders_pb2

T = TypeVar("T")
Contact = contacts_pb2.Contact

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

# Whose fault a refusal is: the beginnings of paths in the messages, and the fields behind them.
_CONTACT_PATHS: Final = (
    ("contact.display_name", "name"),
    ("contact.emails", "email"),
    ("contact.phones", "phone"),
    ("contact.external_ids", "customer_id"),
    ("external_id", "customer_id"),
)
_ORDER_PATHS: Final = (
    ("external_id", "order_id"),
    ("contact", "customer_id"),
    ("order_time", "date"),
    ("lines[0].sku", "sku"),
    ("lines[0].quantity", "quantity"),
    ("lines[0].amount", "amount"),
)


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


@dataclass(slots=True)
class Customer:
    """Who bought, from the `line` on; of each thing `told`, the first value and its line."""

    customer_id: str
    line: int
    told: dict[str, tuple[str, int]] = field(default_factory=dict)

    def learn(self, purchase: Purchase) -> None:
        """Take what a row tells that no earlier one did."""
        for name, value in purchase.told.items():
            self.told.setdefault(name, (value, purchase.line))

    def blame(self, path: str, reason: str) -> BadRow:
        """Return the row that is to blame for a path of this customer's UpsertContactRequest."""
        name = _field_of(path, _CONTACT_PATHS)
        _, line = self.told.get(name, ("", self.line))
        return BadRow(line, name, reason)


def blame_purchase(purchase: Purchase, path: str, reason: str) -> BadRow:
    """Return the row of a purchase with the field behind a path of its Order."""
    return BadRow(purchase.line, _field_of(path, _ORDER_PATHS), reason)


def _field_of(path: str, fields: Sequence[tuple[str, str]]) -> str:
    return next((name for beginning, name in fields if path.startswith(beginning)), path)


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
    with _Counts() as counts:
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


class _Counts:
    """How often each key came. In a temporary file, since a long file may have many keys."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE counts (key TEXT PRIMARY KEY, n INT) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def __enter__(self) -> "_Counts":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, key: str) -> int:
        """Count the key and return how often it came until now."""
        statement = (
            "INSERT INTO counts VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n"
        )
        with closing(self._database.execute(statement, (key,))) as cursor:
            return int(cursor.fetchone()[0])


class _Wrong(ValueError):
    """A field cannot be taken as it is."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.field = name


def _row(line: int, values: Mapping[str, str], system: str, counts: _Counts) -> Purchase | BadRow:
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


def _order_id(values: Mapping[str, str], day: str, counts: _Counts) -> str:
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


def money_of(amount: Decimal, currency_code: str) -> money_pb2.Money:
    """Return an amount of at most 9 decimals as Money."""
    units = int(amount)
    nanos = int((amount - units).scaleb(MAX_DECIMALS))
    return money_pb2.Money(currency_code=currency_code, units=units, nanos=nanos)


def contact_request(customer: Customer, system: str) -> contacts_pb2.UpsertContactRequest:
    """Return what makes a customer a contact of the lifecycle stage CUSTOMER.

    A contact who is there keeps the name that it has, unless the file tells one.
    """
    told = {name: value for name, (value, _) in customer.told.items()}
    contact = Contact(
        display_name=told.get("name", f"{system} customer {customer.customer_id}"),
        lifecycle_stage=Contact.LIFECYCLE_STAGE_CUSTOMER,
        acquisition_source=system,
    )
    request = contacts_pb2.UpsertContactRequest(contact=contact)
    request.external_id.system = system
    request.external_id.value = customer.customer_id
    request.update_mask.paths.extend(["lifecycle_stage", "acquisition_source"])
    if "name" in told:
        request.update_mask.paths.append("display_name")
    if "email" in told:
        request.contact.emails.add(address=told["email"])
        request.update_mask.paths.append("emails")
    if "phone" in told:
        request.contact.phones.add(number=told["phone"])
        request.update_mask.paths.append("phones")
    return request


def order_of(purchase: Purchase, contact: str, currency_code: str) -> orders_pb2.Order:
    """Return the order that a row stands for, of one line."""
    order = orders_pb2.Order(external_id=purchase.order_id, contact=contact)
    order.order_time.FromDatetime(purchase.order_time)
    order.lines.add(
        sku=purchase.sku,
        quantity=purchase.quantity,
        amount=money_of(purchase.amount, currency_code),
    )
    return order
