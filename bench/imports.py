"""An import of contacts, and COPY of the same rows into the same tables with their indexes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from sqlalchemy import Table

from bench import requests
from bench.runs import Run, measured
from bench.sites import Site
from bench.wire import Caller, Target
from services.contacts.schema import (
    contact_emails,
    contact_external_ids,
    contact_labels,
    contact_name_parts,
    contact_phones,
    contacts,
)
from tests.harness.postgres import Postgres

PATH = "/vafa.contacts.v1.ContactService/BatchUpsertContacts"
# As `vafa load` sends them.
BATCH, IN_FLIGHT = 500, 4
CONTACTS = 10_000
TABLES = (
    *(contacts, contact_labels, contact_emails, contact_phones),
    *(contact_external_ids, contact_name_parts),
)


@dataclass(frozen=True)
class Copied:
    """Contacts a second by COPY: all that belongs to each, and the row of each alone."""

    whole_per_second: float
    rows_per_second: float


def import_contacts(site: Site, system: str) -> Run:
    """Import contacts that nobody knows, from another system."""
    address, token = site.suite.addresses["contacts"], site.suite.token()
    caller = Caller([Target(address, PATH, token)])
    # Encoded before the time begins.
    batches = list(requests.import_contacts(system, CONTACTS, BATCH))
    run = measured(site, ("contacts",), BATCH, lambda: caller.all_of(iter(batches), IN_FLIGHT))
    caller.close()
    return run


def copy_contacts(postgres: Postgres, database: str, system: str) -> Copied:
    """Copy the contacts that were imported from a system, twice, under ids of their own."""
    with psycopg.connect(postgres.conninfo(database), autocommit=True) as connection:
        return Copied(
            whole_per_second=CONTACTS / _copied(connection, TABLES, system, "1"),
            rows_per_second=CONTACTS / _copied(connection, (contacts,), system, "2"),
        )


Connection = psycopg.Connection[tuple[object, ...]]


def _copied(connection: Connection, tables: Sequence[Table], system: str, mark: str) -> float:
    """Copy the rows with a mark in their ids, in one transaction; return the seconds it took."""
    contents = [_rows(connection, table, system, mark) for table in tables]
    began = time.perf_counter()
    with connection.transaction(), connection.cursor() as cursor:
        for table, rows in zip(tables, contents, strict=True):
            with cursor.copy(
                sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table.name))
            ) as to:
                to.write(rows)
    return time.perf_counter() - began


def _rows(connection: Connection, table: Table, system: str, mark: str) -> bytes:
    """Return the rows as COPY takes them."""
    marked = {"contact_id": "overlay(contact_id placing {} from 1)", "system": "system || {}"}
    columns = [
        sql.SQL(marked.get(column.name, column.name)).format(sql.Literal(mark))
        for column in table.columns
    ]
    imported = sql.SQL("SELECT contact_id FROM contact_external_ids WHERE system = {}")
    rows = sql.SQL("COPY (SELECT {} FROM {} WHERE contact_id IN ({})) TO STDOUT").format(
        sql.SQL(", ").join(columns),
        sql.Identifier(table.name),
        imported.format(sql.Literal(system)),
    )
    with connection.cursor() as cursor, cursor.copy(rows) as out:
        return b"".join(bytes(part) for part in out)
