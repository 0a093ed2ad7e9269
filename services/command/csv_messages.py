"""Purchases as messages of the contract, and who is to blame for what those are refused for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from google.type import money_pb2

from services.command.csv_rows import BadRow, Purchase
from services.command.csv_values import MAX_DECIMALS
from vafa.contacts.v1 import contacts_pb2
from vafa.loyalty.v1 import orders_pb2

Contact = contacts_pb2.Contact

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
