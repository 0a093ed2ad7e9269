"""Ids and resource names."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.identifiers import Pattern, id_of, new_uid, uid_of

NESTED = Pattern("contacts/{contact}/interactions/{interaction}")


@given(st.uuids())
def test_an_id_stands_for_its_uid(uid: uuid.UUID) -> None:
    assert uid_of(id_of(uid)) == uid


@given(st.uuids(), st.uuids())
def test_ids_sort_as_their_uids_do(one: uuid.UUID, other: uuid.UUID) -> None:
    assert (id_of(one) < id_of(other)) == (one < other)


@given(st.uuids())
def test_an_id_is_fit_for_a_resource_name(uid: uuid.UUID) -> None:
    assert re.fullmatch("[0-9a-v]{26}", id_of(uid))


def test_later_uids_are_greater_and_none_comes_twice() -> None:
    uids = [new_uid() for _ in range(1000)]
    assert uids == sorted(set(uids))
    assert {uid.version for uid in uids} == {7}


@pytest.mark.parametrize("text", ["w" * 26, "", "0", "06h04cq021qgh36rat10ab5ev48"])
def test_what_is_no_id_has_no_uid(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        uid_of(text)


@given(st.lists(st.from_regex("[a-z0-9-]{1,63}", fullmatch=True), min_size=2, max_size=2))
def test_the_ids_in_a_name_are_those_it_was_made_of(ids: list[str]) -> None:
    assert NESTED.parse(NESTED.format(ids)) == tuple(ids)


def test_the_variables_of_a_pattern_are_in_the_order_of_the_name() -> None:
    assert NESTED.variables == ("contact", "interaction")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "contacts/a",
        "contacts/a/interactions/",
        "contacts//interactions/b",
        "contacts/a/interactions/b/",
        "/contacts/a/interactions/b",
        "contacts/a/b/interactions/c",
        "members/a/interactions/b",
    ],
)
def test_a_name_of_another_form_has_no_ids(name: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        NESTED.parse(name)
