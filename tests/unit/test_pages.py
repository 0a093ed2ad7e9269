"""Pages of a list: every row once and in order, by tokens that fit one list only."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, insert
from sqlalchemy.pool import StaticPool

from services.chassis import errors
from services.chassis.pages import Cursor, PageQuery, page
from services.contacts.resources import CONTACT, INTERACTION
from services.contacts.schema import metadata

KEY = bytes(range(32))
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = ("create_time", "update_time")
FIELDS = ("display_name", *TIMES)

# Few values, so that many rows tie and only the key tells them apart.
CONTACTS = st.lists(
    st.fixed_dictionaries(
        {
            "display_name": st.sampled_from(["", "a", "B", "é", "ی"]),
            "create_time": st.integers(0, 2),
            "update_time": st.integers(0, 2),
        }
    ),
    max_size=25,
)
ORDERS = st.lists(
    st.tuples(st.sampled_from(FIELDS), st.booleans()),
    min_size=1,
    max_size=3,
    unique_by=lambda part: part[0],
)


def a_row(contact_id: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a contact, its times given in microseconds after the epoch."""
    row = CONTACT.to_row(CONTACT.message()) | {"uid": contact_id, "version": 1}
    row |= {"contact_id": contact_id, "delete_time": None, "create_time": 0, "update_time": 0}
    row |= values
    for name in TIMES:
        row[name] = EPOCH + timedelta(microseconds=row[name])
    return row


@contextmanager
def database(rows: list[dict[str, Any]]) -> Iterator[Connection]:
    """Open a database with these contacts."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            metadata.create_all(connection)
            if rows:
                connection.execute(insert(CONTACT.table), rows)
            yield connection
    finally:
        engine.dispose()


def named(count: int, **values: Any) -> list[dict[str, Any]]:
    """Return rows of contacts whose ids rise."""
    return [a_row(f"c{n:04}", {"display_name": f"n{n:04}", **values}) for n in range(count)]


def ids_of(
    connection: Connection, *, page_size: int, order_by: str = "", filter: str = ""
) -> list[str]:
    """Return the ids of all pages, one after another."""
    ids: list[str] = []
    token = ""
    while True:
        query = PageQuery(order_by=order_by, filter=filter, page_size=page_size, page_token=token)
        found = page(connection, CONTACT, query, KEY)
        assert len(found.rows) <= page_size
        ids += [row["contact_id"] for row in found.rows]
        token = found.next_page_token
        if not token:
            return ids


@settings(max_examples=60, deadline=None)
@given(CONTACTS, ORDERS, st.integers(1, 7))
def test_pages_have_every_row_once_in_any_order_with_any_size(
    contacts: list[dict[str, Any]], order: list[tuple[str, bool]], page_size: int
) -> None:
    rows = [a_row(f"c{n:02}", values) for n, values in enumerate(contacts)]
    # The key goes the way of the last field.
    expected = sorted(rows, key=lambda row: row["contact_id"], reverse=order[-1][1])
    for field, falls in reversed(order):
        expected.sort(key=lambda row, field=field: row[field], reverse=falls)  # type: ignore[misc]
    order_by = ", ".join(field + (" desc" if falls else "") for field, falls in order)
    with database(rows) as connection:
        found = ids_of(connection, page_size=page_size, order_by=order_by)
    assert found == [row["contact_id"] for row in expected]


def test_what_comes_and_goes_in_front_of_the_cursor_moves_nothing() -> None:
    rows = named(6)
    with database(rows[1:]) as connection:
        first = page(connection, CONTACT, PageQuery(page_size=2), KEY)
        gone = CONTACT.table.delete().where(CONTACT.table.c.contact_id == "c0002")
        connection.execute(gone)
        connection.execute(insert(CONTACT.table), [rows[0]])
        query = PageQuery(page_size=10, page_token=first.next_page_token)
        rest = page(connection, CONTACT, query, KEY)
    assert [row["contact_id"] for row in rest.rows] == ["c0003", "c0004", "c0005"]


def test_a_filter_holds_on_every_page() -> None:
    rows = [*named(10, owner="a"), a_row("d", {"owner": "b"})]
    with database(rows) as connection:
        assert ids_of(connection, page_size=3, filter='owner = "b"') == ["d"]
        assert len(ids_of(connection, page_size=3, filter='owner = "a"')) == 10


def test_the_last_page_has_no_token_even_if_it_is_full() -> None:
    with database(named(4)) as connection:
        assert page(connection, CONTACT, PageQuery(page_size=4), KEY).next_page_token == ""
        assert page(connection, CONTACT, PageQuery(page_size=3), KEY).next_page_token


@pytest.mark.parametrize(("asked", "given_size"), [(0, 50), (1, 1), (1000, 1000), (5000, 1000)])
def test_a_page_has_the_size_asked_for_within_bounds(asked: int, given_size: int) -> None:
    with database(named(1001)) as connection:
        assert len(page(connection, CONTACT, PageQuery(page_size=asked), KEY).rows) == given_size


def test_deleted_rows_are_shown_only_if_asked_for() -> None:
    rows = [*named(2), a_row("d", {"delete_time": EPOCH})]
    with database(rows) as connection:
        for shown, count in ((False, 2), (True, 3)):
            found = page(connection, CONTACT, PageQuery(show_deleted=shown), KEY)
            assert len(found.rows) == count


@pytest.mark.parametrize(
    "order_by",
    ["owner", "emails", "display_name up", "display_name desc desc", ",", "display_name,", "a b",
     "display_name, display_name desc", "DISPLAY_NAME", "display_name DESC"],
)  # fmt: skip
def test_an_order_that_cannot_be_read_is_refused(order_by: str) -> None:
    with database([]) as connection, pytest.raises(errors.OrderByInvalid) as refused:
        page(connection, CONTACT, PageQuery(order_by=order_by), KEY)
    assert [field for field, _ in refused.value.violations] == ["order_by"]


def test_spaces_and_asc_make_no_difference_to_an_order() -> None:
    with database(named(3)) as connection:
        one = ids_of(connection, page_size=2, order_by=" display_name  asc ,create_time desc")
        assert one == ["c0000", "c0001", "c0002"]


LIST = PageQuery(filter='owner = ""', order_by="display_name", page_size=1)
OTHER_LISTS = {
    "another filter": PageQuery(filter='owner = "" ', order_by="display_name"),
    "no filter": PageQuery(order_by="display_name"),
    "another order": PageQuery(filter='owner = ""', order_by="display_name desc"),
    "deleted ones too": PageQuery(filter='owner = ""', order_by="display_name", show_deleted=True),
    "another scope": PageQuery(filter='owner = ""', order_by="display_name", scope=("x",)),
}


@pytest.mark.parametrize("case", OTHER_LISTS)
def test_a_token_does_not_fit_a_list_with(case: str) -> None:
    with database(named(3)) as connection:
        token = page(connection, CONTACT, LIST, KEY).next_page_token
        other = PageQuery(**(vars(OTHER_LISTS[case]) | {"page_token": token}))
        with pytest.raises(errors.PageTokenInvalid):
            page(connection, CONTACT, other, KEY)


def test_a_token_fits_its_list_with_another_size() -> None:
    with database(named(3)) as connection:
        token = page(connection, CONTACT, LIST, KEY).next_page_token
        again = PageQuery(**(vars(LIST) | {"page_token": token, "page_size": 10}))
        rows = page(connection, CONTACT, again, KEY).rows
    assert [row["contact_id"] for row in rows] == ["c0001", "c0002"]


def test_a_token_does_not_fit_the_children_of_another_parent() -> None:
    mine = PageQuery(parent=("a",))
    token = Cursor(KEY, (INTERACTION.type_name, "a", "", "", "False")).write(["x"])
    other = PageQuery(parent=("b",), page_token=token)
    with database([]) as connection:
        assert page(connection, INTERACTION, mine, KEY).rows == []
        with pytest.raises(errors.PageTokenInvalid):
            page(connection, INTERACTION, other, KEY)


def test_a_token_does_not_fit_another_database() -> None:
    with database(named(3)) as connection:
        token = page(connection, CONTACT, PageQuery(page_size=1), KEY).next_page_token
        query = PageQuery(page_token=token)
        with pytest.raises(errors.PageTokenInvalid):
            page(connection, CONTACT, query, bytes(32))


@pytest.mark.parametrize("values", [[], ["x"], ["x", 1, "y"], ["x", 1], ["x", "y"]])
def test_a_token_of_another_shape_is_refused(values: list[object]) -> None:
    """Such as one that another release has given for the same list."""
    cursor = Cursor(KEY, ("Contact",))
    with pytest.raises(errors.PageTokenInvalid):
        cursor.read(cursor.write(values), [str, datetime])


def test_no_byte_of_a_token_can_be_changed() -> None:
    with database(named(3)) as connection:
        token = page(connection, CONTACT, PageQuery(page_size=1), KEY).next_page_token
        packed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        for n in range(len(packed)):
            changed = packed[:n] + bytes([packed[n] ^ 1]) + packed[n + 1 :]
            query = PageQuery(page_token=base64.urlsafe_b64encode(changed).decode().rstrip("="))
            with pytest.raises(errors.PageTokenInvalid):
                page(connection, CONTACT, query, KEY)


@pytest.mark.parametrize("token", ["x", "%%%%", "AAAA", "é", "A" * 100, "\n"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with database([]) as connection, pytest.raises(errors.PageTokenInvalid) as refused:
        page(connection, CONTACT, PageQuery(page_token=token), KEY)
    assert [field for field, _ in refused.value.violations] == ["page_token"]


def test_a_token_tells_nothing_of_the_key() -> None:
    token = Cursor(KEY, ("Contact",)).write(["x"])
    assert KEY not in base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
