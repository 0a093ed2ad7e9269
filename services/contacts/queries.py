"""The hand-written SQL of the contacts service."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, intersect, select

from services.chassis.engines import planned_anew
from services.chassis.reading import read_rows
from services.chassis.rows import Row
from services.contacts.rules.names import prefix_end
from services.contacts.schema import (
    contact_emails,
    contact_external_ids,
    contact_name_parts,
    contact_phones,
    contacts,
)

Lookup = Callable[[Connection], list[Row]]

# How many contacts may share a key before the rest is not counted.
COUNTED = 100


def find_by_email(connection: Connection, address_key: str) -> list[Row]:
    """Return the live contacts that have the e-mail address, at most 100."""
    return _find(connection, contact_emails.c.contact_id, contact_emails.c.address_key, address_key)


def find_by_phone(connection: Connection, number: str) -> list[Row]:
    """Return the live contacts that have the phone number, at most 100."""
    return _find(connection, contact_phones.c.contact_id, contact_phones.c.number, number)


def _find(
    connection: Connection, owner: ColumnElement[Any], key: ColumnElement[Any], value: str
) -> list[Row]:
    query = (
        select(contacts)
        .join(owner.table, owner == contacts.c.contact_id)
        .where(key == value, contacts.c.delete_time.is_(None))
        .order_by(contacts.c.create_time, contacts.c.contact_id)
        .limit(COUNTED)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def find_by_external_ids(
    connection: Connection, external_ids: Sequence[tuple[str, str]], *, lock: bool = False
) -> dict[tuple[str, str], Row]:
    """Return the contacts, live or deleted, by those of the external ids that they have.

    Locks them, if asked, in the order of their ids, as every transaction here does; an id that
    a contact lost before it was locked is not found.
    """
    key = (contact_external_ids.c.system, contact_external_ids.c.value)
    owners = read_rows(connection, key, external_ids)
    owner_of = {(row["system"], row["value"]): row["contact_id"] for row in owners}
    ids = [(contact_id,) for contact_id in set(owner_of.values())]
    found = read_rows(connection, [contacts.c.contact_id], ids, lock=lock) if ids else []
    rows = {row["contact_id"]: row for row in found}
    return {
        (system, value): rows[owner]
        for (system, value), owner in owner_of.items()
        if {"system": system, "value": value} in rows[owner]["external_ids"]
    }


def find_live_by_external_id(connection: Connection, external_id: tuple[str, str]) -> list[Row]:
    """Return the live contact that has the external id, if there is one."""
    found = find_by_external_ids(connection, [external_id]).values()
    return [row for row in found if row["delete_time"] is None]


def select_by_name(words: Sequence[str]) -> Select[Any]:
    """Return the select of contacts in whose names every word occurs."""
    part = contact_name_parts.c.part
    found = [
        select(contact_name_parts.c.contact_id).where(part >= word, part < prefix_end(word))
        for word in words
    ]
    # Together before any contact is read: each word alone may be in the names of very many.
    ids = found[0] if len(found) == 1 else intersect(*found)
    return planned_anew(select(contacts).where(contacts.c.contact_id.in_(ids)))
