"""The picture of a customer in the terminal."""

from collections.abc import Iterable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.command.summary import money_text
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.feedback.v1 import responses_pb2, surveys_pb2
from vafa.gateway.v1 import customers_pb2
from vafa.loyalty.v1 import members_pb2, orders_pb2

Contact = contacts_pb2.Contact
Customer = customers_pb2.Customer
Interaction = interactions_pb2.Interaction
Member = members_pb2.Member
Survey = surveys_pb2.Survey
# What a terminal would obey; a zero-width non-joiner is none of these.
_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")


def print_customer(console: Console, customer: Customer) -> None:
    """Print the picture of a customer, and which parts of it could not be had."""
    missing = {part.part for part in customer.unavailable_parts}
    if Customer.PART_PROFILE not in missing:
        console.print(_profile(customer))
    if Customer.PART_PURCHASES not in missing:
        console.print(_purchases(customer.purchases))
    if Customer.PART_POINTS not in missing:
        console.print(_memberships(customer.memberships))
    if Customer.PART_SCORES not in missing and customer.scores.scores:
        console.print(_scores(customer.scores.scores))
    if Customer.PART_PURCHASES not in missing and customer.recent_orders:
        console.print(_orders(customer.recent_orders))
    if Customer.PART_INTERACTIONS not in missing and customer.recent_interactions:
        console.print(_interactions(customer.recent_interactions))
    for part in customer.unavailable_parts:
        name = _word(Customer.Part.Name(part.part), "PART_")
        console.print(Text(f"{name}: unavailable ({part.code})", style="yellow"))


def _profile(customer: Customer) -> Table:
    contact = customer.contact
    stage = Contact.LifecycleStage.Name(contact.lifecycle_stage)
    lines = {
        "customer": customer.name,
        "kind": _word(Contact.Kind.Name(contact.kind), "KIND_"),
        "lifecycle stage": _word(stage, "LIFECYCLE_STAGE_"),
        "acquisition source": contact.acquisition_source,
        "owner": contact.owner,
        "e-mail": ", ".join(email.address for email in contact.emails),
        "phone": ", ".join(phone.number for phone in contact.phones),
        "external ids": ", ".join(f"{one.system}:{one.value}" for one in contact.external_ids),
        "labels": ", ".join(f"{key}={contact.labels[key]}" for key in sorted(contact.labels)),
        "since": _day(contact.create_time),
    }
    table = _table(contact.display_name, show_header=False)
    for label, value in lines.items():
        if value:
            _add(table, label, value)
    return table


def _purchases(purchases: orders_pb2.PurchaseSummary) -> Table:
    table = _table("Purchases", show_header=False)
    _add(table, "orders", f"{purchases.orders_count:,}")
    _add(table, "total", ", ".join(money_text(total) for total in purchases.totals))
    if purchases.orders_count:
        _add(table, "first", _day(purchases.first_order_time))
        _add(table, "last", _day(purchases.last_order_time))
    return table


def _memberships(members: Iterable[Member]) -> Table:
    table = _table("Points", "programme", "state", right=("points",))
    for member in members:
        state = _word(Member.State.Name(member.state), "STATE_")
        _add(table, member.name.split("/")[1], state, f"{member.points_balance:,}")
    return table


def _scores(scores: Iterable[responses_pb2.KindScore]) -> Table:
    table = _table("Scores", "kind", "last given", right=("scores", "last"))
    for one in scores:
        kind = Survey.Kind.Name(one.kind).removeprefix("KIND_")
        day = _day(one.latest_answer_time)
        _add(table, kind, day, f"{one.scores_count:,}", str(one.latest_score))
    return table


def _orders(orders: Iterable[orders_pb2.Order]) -> Table:
    table = _table("Last orders", "date", "order", right=("lines", "total", "points"))
    for order in orders:
        lines, points = f"{len(order.lines):,}", f"{order.points_earned:,}"
        date, total = _day(order.order_time), money_text(order.total)
        _add(table, date, order.external_id, lines, total, points)
    return table


def _interactions(interactions: Iterable[Interaction]) -> Table:
    table = _table("Last interactions", "date", "channel", "direction", "subject")
    for one in interactions:
        channel = _word(Interaction.Channel.Name(one.channel), "CHANNEL_")
        direction = _word(Interaction.Direction.Name(one.direction), "DIRECTION_")
        _add(table, _day(one.occur_time), channel, direction, one.subject)
    return table


def _table(title: str, *columns: str, right: Iterable[str] = (), show_header: bool = True) -> Table:
    table = Table(
        title=_plain(title), title_justify="left", box=box.SIMPLE, show_header=show_header
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for column in right:
        table.add_column(column, justify="right")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(_plain(cell) for cell in cells))


def _plain(text: str) -> Text:
    """Return text that was told by others, without markup and without control characters."""
    return Text(text.translate(_CONTROLS))


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", " ")


def _day(time: Timestamp) -> str:
    return f"{time.ToDatetime():%Y-%m-%d}"
