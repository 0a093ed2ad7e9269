"""Answers of writes, stored under the ids of their requests."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, select, update

from services.chassis import errors
from services.chassis.call import Call
from services.chassis.rows import among, insert_new_rows
from services.chassis.writes import RunAgain

Key = tuple[str, str, str]
KEY_COLUMNS = ("principal", "method", "request_id")


def key_of(call: Call) -> Key:
    """Return under what the answer of a call stands."""
    return call.principal.subject, call.method.path, call.request_id


def claim(connection: Connection, table: Table, call: Call, now: datetime) -> bytes | None:
    """Claim the call's request_id, or return the answer that stands under it.

    A twin on another connection waits here until the first has committed. Raises
    RequestIdReused.
    """
    row = _row(call, now)
    if insert_new_rows(connection, table, [row], _key_columns(table)):
        return None
    stored = stored_answers(connection, table, [call]).get(key_of(call))
    if stored is None:
        # Pruned in between.
        raise RunAgain
    return answer_for(call, stored)


def store_claimed(connection: Connection, table: Table, call: Call, response: bytes) -> None:
    """Store the answer under the claimed request_id."""
    connection.execute(
        update(table)
        .where(
            table.c.principal == call.principal.subject,
            table.c.method == call.method.path,
            table.c.request_id == call.request_id,
        )
        .values(response=response)
    )


def stored_answers(connection: Connection, table: Table, calls: Sequence[Call]) -> dict[Key, Any]:
    """Return what stands under the request ids of these calls: rows of the hash of the request
    and the response.
    """
    columns = _key_columns(table)
    query = select(*columns, table.c.request_hash, table.c.response).where(
        among(connection, columns, [key_of(call) for call in calls])
    )
    return {(row[0], row[1], row[2]): row for row in connection.execute(query)}


def answer_for(call: Call, stored: Any) -> bytes:
    """Return the stored answer; raises RequestIdReused if it is that of another request."""
    if stored.request_hash != call.request_hash:
        raise errors.RequestIdReused(
            "the request_id was used for another request",
            violations=[("request_id", "stands for another request of this method")],
            request_id=call.request_id,
        )
    return bytes(stored.response)


def store_answers(
    connection: Connection, table: Table, answers: Sequence[tuple[Call, bytes]], now: datetime
) -> None:
    """Store the answers of calls whose request ids nobody has claimed.

    Raises RunAgain if somebody has meanwhile.
    """
    rows = [_row(call, now) | {"response": response} for call, response in answers]
    if len(insert_new_rows(connection, table, rows, _key_columns(table))) < len(rows):
        raise RunAgain


def _row(call: Call, now: datetime) -> dict[str, Any]:
    key = dict(zip(KEY_COLUMNS, key_of(call), strict=True))
    return key | {"request_hash": call.request_hash, "create_time": now}


def _key_columns(table: Table) -> list[Any]:
    return [table.c[name] for name in KEY_COLUMNS]
