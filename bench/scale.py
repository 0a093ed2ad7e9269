"""`make bench-scale`: whether calls take longer in a large business than in a small one.

Both lie on one PostgreSQL, filled by `bench.filling`; each call is measured on them in turn. It
asks for as many names of either, spread over all, and has asked for each before it is measured.
"""

import argparse
import itertools
import os
import platform
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from bench.filling import Filled, fill
from bench.load import Answers
from bench.wire import Caller, Target
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite
from vafa.contacts.v1 import contacts_pb2
from vafa.loyalty.v1 import ledger_pb2

SMALL = 10_000
LARGE = 1_000_000
ENTRIES_PER_CONTACT = 5
SERVICES = ("contacts", "loyalty")
IN_FLIGHT = 8
PAIRS = 5
SECONDS = 2.0
# How many names are asked for.
NAMES = 1_000
PERCENT = 95
PAGE_SIZE = 50
WANTED = 1.5
# As on a server that has the large one to itself; nothing else of its settings matters to reads.
SHARED_BUFFERS = "4GB"
SETTINGS = (f"shared_buffers={SHARED_BUFFERS}", "max_wal_size=8GB", "wal_level=minimal")
SENDERS = ("max_wal_senders=0",)


@dataclass(frozen=True)
class Call:
    """A call that is measured: the messages that it is made with are made from what is there."""

    label: str
    service: str
    path: str
    messages: Callable[[Filled], Iterator[Message]]


@dataclass(frozen=True)
class Business:
    """A suite that runs over filled databases."""

    suite: RunningSuite
    filled: Filled


def _get_contact(filled: Filled) -> Iterator[Message]:
    for name in _scattered(filled.contacts):
        yield contacts_pb2.GetContactRequest(name=name)


def _get_balance(filled: Filled) -> Iterator[Message]:
    for member in _scattered(filled.members):
        yield ledger_pb2.GetBalanceRequest(name=f"{member}/balance")


def _award_points(filled: Filled) -> Iterator[Message]:
    for member in _scattered(filled.members):
        yield ledger_pb2.AwardPointsRequest(
            member=member, points=3, reason="visit", request_id=str(uuid.uuid4())
        )


def _scattered(names: list[str]) -> Iterator[str]:
    """Return some of the names for ever, in an order that no cache follows."""
    some = names[:: max(1, len(names) // NAMES)][:NAMES]
    for n in itertools.count():
        yield some[n * 7919 % len(some)]


def _listing(order_by: str, *filters: str) -> Callable[[Filled], Iterator[Message]]:
    return lambda _: _lists(itertools.cycle(filters), order_by)


def _lists(filters: Iterator[str], order_by: str = "") -> Iterator[Message]:
    for text in filters:
        yield contacts_pb2.ListContactsRequest(filter=text, order_by=order_by, page_size=PAGE_SIZE)


def _by_campaign(filled: Filled) -> Iterator[Message]:
    return _lists(f'labels.campaign = "{name}"' for name in _scattered(filled.campaigns))


def _by_email(filled: Filled) -> Iterator[Message]:
    return _lists(f'emails.address = "{address}"' for address in _scattered(filled.emails))


def _of_one_month(_filled: Filled) -> Iterator[Message]:
    return _lists(_months(), "create_time desc")


def _months() -> Iterator[str]:
    for n in itertools.count():
        start = datetime.now(UTC) - timedelta(days=700 - n % 20 * 30)
        bounds = [f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (start, start + timedelta(days=30))]
        yield f'create_time >= "{bounds[0]}" AND create_time < "{bounds[1]}"'


def _list(label: str, messages: Callable[[Filled], Iterator[Message]]) -> Call:
    path = "/vafa.contacts.v1.ContactService/ListContacts"
    return Call(f"ListContacts, {label}", "contacts", path, messages)


CALLS = (
    Call("GetContact", "contacts", "/vafa.contacts.v1.ContactService/GetContact", _get_contact),
    _list("all, by name", _listing("display_name", "")),
    _list("one e-mail address", _by_email),
    _list("a label of 50", _by_campaign),
    _list("a label of 1 %", _listing("", 'labels.segment = "vip"')),
    _list("a label of 3 %, the latest first", _listing("create_time desc", 'labels.tier = "gold"')),
    _list("a label of 3 %, by name", _listing("display_name", 'labels.tier = "gold"')),
    _list(
        "a stage of 10 %, the latest first",
        _listing("create_time desc", "lifecycle_stage = ADVOCATE"),
    ),
    _list("those of one of the staff", _listing("", *(f'owner = "staff-{n}"' for n in range(20)))),
    _list("of one month, the latest first", _of_one_month),
    _list(
        "a stage and a label, changed last",
        _listing(
            "update_time desc",
            *(
                f'lifecycle_stage = CUSTOMER AND labels.city = "city-{n}" AND kind = PERSON'
                for n in range(40)
            ),
        ),
    ),
    Call("GetBalance", "loyalty", "/vafa.loyalty.v1.LedgerService/GetBalance", _get_balance),
    Call("AwardPoints", "loyalty", "/vafa.loyalty.v1.LedgerService/AwardPoints", _award_points),
)


def run(businesses: tuple[Business, Business]) -> dict[str, list[tuple[Answers, Answers]]]:
    """Measure each call on the small and on the large one in turn; a failed call ends it all."""
    measured: dict[str, list[tuple[Answers, Answers]]] = {}
    for call in CALLS:
        messages = [_encoded(call.messages(business.filled)) for business in businesses]
        for business, given in zip(businesses, messages, strict=True):
            asked = 0
            while asked < NAMES:
                asked += _measure(business, call, given, SECONDS).ended
        pairs = measured[call.label] = []
        for n in range(PAIRS):
            # Neither is always the first.
            order = (0, 1) if n % 2 == 0 else (1, 0)
            found = {i: _measure(businesses[i], call, messages[i], SECONDS) for i in order}
            pairs.append((found[0], found[1]))
    return measured


def _encoded(messages: Iterator[Message]) -> Iterator[bytes]:
    return (message.SerializeToString() for message in messages)


def _measure(business: Business, call: Call, messages: Iterator[bytes], seconds: float) -> Answers:
    address = business.suite.addresses[call.service]
    caller = Caller([Target(address, call.path, business.suite.token())])
    answers = caller.in_flight(messages, IN_FLIGHT, seconds)
    caller.close()
    if answers.failures:
        raise RuntimeError(f"{call.label}: {answers.failures}")
    return answers


def report(measured: dict[str, list[tuple[Answers, Answers]]], contacts: int) -> Table:
    """Return the table: medians, and the median and range of the ratios of the pairs."""
    entries = ENTRIES_PER_CONTACT
    table = Table(
        title=f"{SMALL:,} contacts and {SMALL * entries:,} entries, against {contacts:,} and"
        f" {contacts * entries:,}; PostgreSQL with shared_buffers={SHARED_BUFFERS}, warm;"
        f" {IN_FLIGHT} in flight, {PAIRS} pairs of {SECONDS:.0f} s"
    )
    table.add_column("call")
    for heading in ("small, p50 ms", "p95 ms", "large, p50 ms", "p95 ms"):
        table.add_column(heading, justify="right")
    table.add_column(f"p95, large ÷ small, ≤ {WANTED} wanted", justify="right")
    for label, pairs in measured.items():
        cells = [
            f"{median(one.percentile_ms(percent) for one in side):.1f}"
            for side in zip(*pairs, strict=True)
            for percent in (50, PERCENT)
        ]
        ratios = [
            large.percentile_ms(PERCENT) / small.percentile_ms(PERCENT) for small, large in pairs
        ]
        table.add_row(
            label, *cells, f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    return table


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=LARGE, help="how many the large one has")
    contacts = parser.parse_args().contacts
    console = Console(width=140)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        postgres = Postgres(fsync=True, settings=(*SETTINGS, *SENDERS))
        postgres.start()
        stack.callback(postgres.remove)
        businesses: list[Business] = []
        for label, count in (("small", SMALL), ("large", contacts)):
            urls = {service: postgres.create(f"{label}_{service}") for service in SERVICES}
            suite = RunningSuite(Path(folder) / label, urls)
            began = time.monotonic()
            filled = fill(urls, contacts=count, entries=count * ENTRIES_PER_CONTACT)
            console.print(f"{count:,} contacts filled in {time.monotonic() - began:.0f} s")
            suite.start(*SERVICES)
            stack.callback(suite.stop)
            businesses.append(Business(suite, filled))
        measured = run((businesses[0], businesses[1]))
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    console.print(f"{machine}, Python {platform.python_version()}")
    console.print(report(measured, contacts))


if __name__ == "__main__":
    main()
