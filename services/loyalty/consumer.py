"""What loyalty does with the events of the contacts service."""

import functools
from collections.abc import Sequence

from services.chassis.database import Database
from services.chassis.transaction import Transaction
from services.loyalty.enrolment import confirm
from vafa.aio import Suite
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2

PAGE = 1000


def contact_created(transaction: Transaction, events: Sequence[events_pb2.Event]) -> None:
    """Activate the memberships of contacts that had bought before they were known."""
    confirm(transaction, [event.subject for event in events])


HANDLERS = {"contact.created": contact_created}


async def rebuild(suite: Suite, database: Database) -> None:
    """Confirm every contact there is, deleted ones too, from the list of contacts."""
    request = contacts_pb2.ListContactsRequest(page_size=PAGE, show_deleted=True)
    while True:
        page = await suite.contacts.ListContacts(request)
        names = [contact.name for contact in page.contacts]
        if names:
            await database.bulk(functools.partial(confirm, contacts=names))
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
