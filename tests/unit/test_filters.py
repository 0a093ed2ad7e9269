"""The filter language: what it says, what it refuses, and that its two back ends agree."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import date_pb2
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    create_engine,
    insert,
    select,
    text,
)

from services.chassis.filter_memory import matches
from services.chassis.filter_sql import Related, Scalar, to_sql
from services.chassis.filters import (
    And,
    Comparison,
    Expression,
    FieldType,
    FilterField,
    FilterSyntaxError,
    Not,
    Or,
    Presence,
    parse,
)
from services.chassis.rows import Text, UtcTime
from vafa.contacts.v1 import contacts_pb2

STAGES = {
    name.removeprefix("LIFECYCLE_STAGE_"): number
    for name, number in contacts_pb2.Contact.LifecycleStage.items()
} | dict(contacts_pb2.Contact.LifecycleStage.items())


def address_form(address: str) -> str:
    if "#" in address:
        raise ValueError("An address has no #.")
    return address.casefold()


FIELDS = {
    field.path: field
    for field in (
        FilterField("display_name", FieldType.TEXT),
        FilterField("lifecycle_stage", FieldType.ENUM, values=STAGES),
        FilterField("create_time", FieldType.TIME),
        FilterField("delete_time", FieldType.TIME),
        FilterField("birth_date.year", FieldType.INTEGER),
        FilterField("labels.*", FieldType.TEXT),
        FilterField("emails.address", FieldType.TEXT, normalise=address_form),
        FilterField("show_deleted", FieldType.BOOLEAN),
        FilterField("page_size", FieldType.INTEGER),
    )
}
NAME, STAGE, CREATED, LABELS, EMAILS = (
    FIELDS[path]
    for path in (
        "display_name",
        "lifecycle_stage",
        "create_time",
        "labels.*",
        "emails.address",
    )
)

metadata = MetaData()
contacts = Table(
    "contacts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("lifecycle_stage", Integer, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("delete_time", UtcTime, nullable=True),
    Column("birth_year", Integer, nullable=True),
    Index("ix_contacts_display_name", "display_name"),
)
labels = Table(
    "labels",
    metadata,
    Column("contact_id", ForeignKey(contacts.c.id), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
emails = Table(
    "emails",
    metadata,
    Column("contact_id", ForeignKey(contacts.c.id), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("address", Text, nullable=False),
)
requests = Table(
    "requests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("show_deleted", Boolean, nullable=False),
    Column("page_size", Integer, nullable=False),
)
BINDINGS: dict[str, Scalar | Related] = {
    "display_name": Scalar(contacts.c.display_name),
    "lifecycle_stage": Scalar(contacts.c.lifecycle_stage),
    "create_time": Scalar(contacts.c.create_time),
    "delete_time": Scalar(contacts.c.delete_time),
    "birth_date.year": Scalar(contacts.c.birth_year),
    "labels.*": Related(labels.c.contact_id == contacts.c.id, labels.c.value, labels.c.key),
    "emails.address": Related(emails.c.contact_id == contacts.c.id, emails.c.address),
    "show_deleted": Scalar(requests.c.show_deleted),
    "page_size": Scalar(requests.c.page_size),
}
ENGINE = create_engine("sqlite://")


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with ENGINE.connect() as opened:
        metadata.create_all(opened)
        yield opened
    ENGINE.dispose()


def read(filter_text: str) -> Expression:
    expression = parse(filter_text, FIELDS)
    assert expression is not None
    return expression


def refusal(filter_text: str) -> tuple[int, str]:
    with pytest.raises(FilterSyntaxError) as caught:
        parse(filter_text, FIELDS)
    return caught.value.position, caught.value.problem


def equals(field: FilterField, value: Any, key: str | None = None) -> Comparison:
    return Comparison(field, key, "=", value)


@pytest.mark.parametrize("blank", ["", " ", "\t\n \u2003"])
def test_a_blank_filter_asks_for_nothing(blank: str) -> None:
    assert parse(blank, FIELDS) is None


def test_or_binds_more_tightly_than_and() -> None:
    a, b, c, d = (equals(NAME, letter) for letter in "abcd")
    text_ = "display_name=a AND display_name=b OR display_name=c AND display_name=d"
    assert read(text_) == And((a, Or((b, c)), d))


def test_terms_side_by_side_are_joined_by_and() -> None:
    a, b, c = (equals(NAME, letter) for letter in "abc")
    assert read("display_name=a display_name = b\nAND display_name=c") == And((a, b, c))


def test_parentheses_group() -> None:
    a, b, c = (equals(NAME, letter) for letter in "abc")
    grouped = read("(display_name=a AND (display_name=b)) OR display_name=c")
    assert grouped == Or((And((a, b)), c))


@pytest.mark.parametrize("sign", ["NOT ", "-"])
def test_not_and_minus_negate_one_term(sign: str) -> None:
    a, b = (equals(NAME, letter) for letter in "ab")
    assert read(f"{sign}display_name=a display_name=b") == And((Not(a), b))
    assert read(f"{sign}(display_name=a OR display_name=b)") == Not(Or((a, b)))


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "="])
def test_each_operator_of_order_is_kept(operator: str) -> None:
    assert read(f"page_size{operator}-7") == Comparison(FIELDS["page_size"], None, operator, -7)


def test_unequal_is_the_negation_of_equal_and_a_colon_is_equal() -> None:
    assert read("display_name != a") == Not(equals(NAME, "a"))
    assert read('display_name:"a"') == equals(NAME, "a")


def test_a_star_after_a_colon_asks_for_presence() -> None:
    assert read("display_name:*") == Presence(NAME, None)
    assert read("labels.city:*") == Presence(LABELS, "city")
    assert read("labels:city") == Presence(LABELS, "city")
    assert read("labels:*") == Presence(LABELS, None)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("labels.city", "city"),
        ("labels.a.b-c_1", "a.b-c_1"),
        ('labels."two words"', "two words"),
        (r"labels.'it\'s \"(1)\"'", 'it\'s "(1)"'),
        ("labels.شهر", "شهر"),
    ],
)
def test_a_key_of_a_map_follows_the_dot(name: str, key: str) -> None:
    assert read(f"{name} = x") == equals(LABELS, "x", key)


@pytest.mark.parametrize(
    ("literal", "value", "prefix"),
    [
        ("fa-IR", "fa-IR", False),
        ("contacts/06f3kz", "contacts/06f3kz", False),
        ('"two words"', "two words", False),
        ("'say \"AND\"'", 'say "AND"', False),
        (r'"\" \\ \' \*"', "\" \\ ' *", False),
        ('""', "", False),
        ("42", "42", False),
        ("Shi*", "Shi", True),
        ('"Shi raz*"', "Shi raz", True),
        (r"5\**", "5*", True),
        (r'"5\\*"', "5\\", True),
    ],
)
def test_text_may_be_bare_quoted_or_a_prefix(literal: str, value: str, prefix: bool) -> None:
    assert read(f"display_name = {literal}") == Comparison(NAME, None, "=", value, prefix)


@pytest.mark.parametrize(
    "literal",
    [
        "2026-08-01T10:00:00.25Z",
        '"2026-08-01T13:30:00.250000+03:30"',
        "2026-08-01t04:00:00.250-06:00",
        "2026-08-01t10:00:00.25z",
    ],
)
def test_a_time_is_an_instant_in_utc(literal: str) -> None:
    moment = datetime(2026, 8, 1, 10, 0, 0, 250_000, tzinfo=UTC)
    expression = read(f"create_time >= {literal}")
    assert expression == Comparison(CREATED, None, ">=", moment)
    assert isinstance(expression, Comparison)
    assert isinstance(expression.value, datetime)
    assert expression.value.tzinfo is UTC


@pytest.mark.parametrize("name", ["CUSTOMER", '"CUSTOMER"', "LIFECYCLE_STAGE_CUSTOMER"])
def test_a_value_of_an_enum_goes_by_its_short_or_full_name(name: str) -> None:
    assert read(f"lifecycle_stage = {name}") == equals(
        STAGE, contacts_pb2.Contact.LIFECYCLE_STAGE_CUSTOMER
    )


def test_text_is_brought_to_its_stored_form() -> None:
    assert read("emails.address = Ada@Example.org") == equals(EMAILS, "ada@example.org")
    assert read("emails.address = ADA*") == Comparison(EMAILS, None, "=", "ada", prefix=True)


@pytest.mark.parametrize(
    ("filter_text", "position", "problem"),
    [
        ("Shiraz", 0, "Shiraz stands alone: write field, operator and value."),
        ("page_size = 1 42", 14, "42 stands alone"),
        ('page_size = 1 "x"', 14, '"x" does not follow a field'),
        ("colour = red", 0, "There is no field colour to filter by."),
        ("page_size = 1 " + "x" * 99 + " = 1", 14, "There is no field " + "x" * 39 + "…"),
        ("emails = x", 0, "There is no field emails"),
        ("labels. = x", 0, "There is no field labels."),
        ("labels = x", 7, "labels holds keys"),
        ("labels:ci*", 9, "A key is written in full"),
        ("labels.ci* = x", 9, "A key is written in full"),
        ("display_name = ", 15, "The filter ends too early."),
        ("page_size = 1 AND", 17, "The filter ends too early."),
        ("(page_size = 1", 14, "The filter ends too early."),
        ("page_size = 1)", 13, ") cannot stand here."),
        ("()", 1, ") cannot stand here."),
        ("page_size == 1", 11, "= cannot stand here."),
        ("NOT NOT page_size = 1", 4, "NOT stands alone"),
        ('display_name = "Shi', 15, "This quotation is not closed."),
        (r"display_name = 'Shi\'", 15, "This quotation is not closed."),
        ("display_name = AND", 15, "AND is an operator"),
        ("display_name = a*b", 16, "A * stands only at the end"),
        ('display_name = "*a*"', 16, "A * stands only at the end"),
        ("display_name = *", 15, "Nothing precedes the *"),
        (r'display_name = "a\n"', 17, "After a \\ stands one of"),
        ("display_name < Shi*", 13, "A text that ends in * is compared with = or !=."),
        ("emails.address = a#b", 17, "An address has no #."),
        ("lifecycle_stage > LEAD", 16, "lifecycle_stage has no order"),
        ("show_deleted < true", 13, "show_deleted has no order"),
        ("lifecycle_stage = customer", 18, "lifecycle_stage is compared with UNSPECIFIED, LEAD"),
        ("lifecycle_stage = CUSTOMER*", 18, "lifecycle_stage is compared with"),
        ("show_deleted = yes", 15, "show_deleted is compared with true or false."),
        ('show_deleted = "true"', 15, "show_deleted is compared with true or false."),
        ("page_size = 1.5", 12, "page_size is compared with a whole number"),
        ('page_size = "1"', 12, "page_size is compared with a whole number"),
        ("page_size = 1*", 12, "page_size is compared with a whole number"),
        ("page_size = ۵", 12, "page_size is compared with a whole number"),
        ("page_size = 9223372036854775808", 12, "page_size is compared with a whole number"),
        ("page_size = -9223372036854775809", 12, "page_size is compared with a whole number"),
        ("page_size = " + "9" * 9999, 12, "page_size is compared with a whole number"),
        ("create_time < 2026-08-01", 14, "create_time is compared with a time of RFC 3339"),
        ("create_time < 2026-08-01T10:00:00", 14, "create_time is compared with"),
        ("create_time < 2026-02-30T10:00:00Z", 14, "create_time is compared with"),
        ("create_time < 2026-08-01T24:00:00Z", 14, "create_time is compared with"),
        ("create_time < 2026-08-01T10:00:00.1234567Z", 14, "create_time is compared with"),
        ("create_time < 0001-01-01T00:00:00+01:00", 14, "create_time is compared with"),
        ("display_name = a\0b", 16, "No text holds this character."),
        ("display_name = \ud800", 15, "No text holds this character."),
    ],
)
def test_what_is_not_of_the_language_is_refused_where_it_stands(
    filter_text: str, position: int, problem: str
) -> None:
    found_position, found_problem = refusal(filter_text)
    assert (found_position, found_problem[: len(problem)]) == (position, problem)


def test_both_ends_of_the_64_bits_are_numbers() -> None:
    assert read("page_size = 9223372036854775807") == equals(FIELDS["page_size"], 2**63 - 1)
    assert read("page_size = -9223372036854775808") == equals(FIELDS["page_size"], -(2**63))


def test_nesting_deeper_than_32_is_refused_and_32_is_read() -> None:
    assert read("(" * 32 + "page_size=1" + ")" * 32) == equals(FIELDS["page_size"], 1)
    assert refusal("(" * 33 + "page_size=1" + ")" * 33) == (32, "More than 32 nested parentheses.")
    assert refusal("(" * 1_000_000) == (32, "More than 32 nested parentheses.")
    assert refusal("NOT (" * 1_000_000) == (164, "More than 32 nested parentheses.")


def test_parentheses_inside_quotation_marks_do_not_nest() -> None:
    assert read(f"display_name = '{'(' * 99}'") == equals(NAME, "(" * 99)


def test_more_than_100_comparisons_are_refused_and_100_are_read() -> None:
    assert read(" ".join(["page_size=1"] * 100)) == And((equals(FIELDS["page_size"], 1),) * 100)
    assert refusal("page_size=1 " * 101) == (1200, "More than 100 comparisons.")
    assert refusal("page_size=1 OR " * 1_000_000) == (1500, "More than 100 comparisons.")


def chain(level: str, levels: int) -> str:
    """Return a filter of that many levels, each inside the braces of the one above it."""
    nested = "display_name=a"
    for _ in range(levels):
        nested = level.replace("{}", nested)
    return nested


def comb(levels: int) -> str:
    """Return a filter that has, at each level, two branches of the same depth."""
    if levels == 0:
        return "display_name=a"
    return f"-({chain('display_name=b OR -({})', levels - 1)}) OR -({comb(levels - 1)})"


def tree(levels: int) -> str:
    return f"-({tree(levels - 1)}) OR -({tree(levels - 1)})" if levels else "labels.a:*"


@pytest.mark.parametrize(
    "deep",
    [
        chain("lifecycle_stage=LEAD AND labels.a:* OR NOT ({})", 32),
        chain("NOT ({}) OR labels.a:* AND lifecycle_stage=LEAD", 32),
        chain("labels.a:* OR -({}) OR display_name!=b", 32),
        comb(13),
        tree(6),
    ],
)
def test_filters_as_deep_as_the_limits_allow_are_answered(
    connection: Connection, deep: str
) -> None:
    assert_agreement(connection, read(deep), [contacts_pb2.Contact(display_name="a"), ada()])


WORDS = (
    *FIELDS,
    *("labels.city", "labels:", 'labels."', "AND", "OR", "NOT", "-", "(", ")", "=", "!=", "<="),
    *(":", "*", '"', "'", "\\", "a", "Shi*", "LEAD", "true", "-42", "2026-08-01T10:00:00Z", "{}"),
)
fuzz = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join),
    st.lists(st.sampled_from(WORDS), max_size=40).map("".join),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(
        lambda words: " ".join(words) * 999
    ),
)


@given(fuzz)
@settings(max_examples=400, deadline=None)
@example("labels.{}<*")
@example("labels.{0}:a*b")
@example("'" + "\\'" * 99_999)
@example("x" * 999_999)
@example("-" * 999_999)
def test_whatever_is_written_is_read_or_refused_with_its_position(filter_text: str) -> None:
    try:
        parse(filter_text, FIELDS)
    except FilterSyntaxError as error:
        assert 0 <= error.position <= len(filter_text)  # noqa: PT017
        assert error.problem.endswith(".")  # noqa: PT017


# The back ends.


def deletion(message: contacts_pb2.Contact) -> datetime | None:
    return message.delete_time.ToDatetime(tzinfo=UTC) if message.HasField("delete_time") else None


def assert_agreement(
    connection: Connection, expression: Expression, messages: Sequence[contacts_pb2.Contact]
) -> None:
    """Check that SQL says of each stored contact, as true or false, what memory says of it."""
    with connection.begin_nested() as savepoint:
        for number, message in enumerate(messages):
            connection.execute(
                insert(contacts).values(
                    id=number,
                    display_name=message.display_name,
                    lifecycle_stage=message.lifecycle_stage,
                    create_time=message.create_time.ToDatetime(tzinfo=UTC),
                    delete_time=deletion(message),
                    birth_year=message.birth_date.year if message.HasField("birth_date") else None,
                )
            )
            for key, value in message.labels.items():
                connection.execute(insert(labels).values(contact_id=number, key=key, value=value))
            for ordinal, email in enumerate(message.emails):
                address = address_form(email.address)
                connection.execute(
                    insert(emails).values(contact_id=number, ordinal=ordinal, address=address)
                )
        held = select(to_sql(expression, BINDINGS)).select_from(contacts).order_by(contacts.c.id)
        in_sql = connection.scalars(held).all()
        savepoint.rollback()
    assert in_sql == [matches(expression, message) for message in messages]


# Few letters, so that comparisons often hold; the edges of UTF-8 and of UTF-16.
texts = st.text(st.sampled_from("aAbé\ud7ff\ue000\uffff\U00010000\U0010ffff *\\\"'%_"), max_size=3)
keys = st.sampled_from(["city", "a.b", "two words"])
moments = st.integers(-2, 2).map(
    lambda step: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=step)
)
stages = st.sampled_from(sorted(STAGES))
years = st.sampled_from([-(2**63), 0, 1, 1999, 2000, 2**31, 2**63 - 1])
signs = st.sampled_from(["=", "!=", ":", "<", "<=", ">", ">="])
plain_signs = st.sampled_from(["=", "!=", ":"])


def quoted(value: str) -> str:
    for special in "\\\"'*":
        value = value.replace(special, "\\" + special)
    return f'"{value}"'


def comparisons() -> st.SearchStrategy[str]:
    text_names = st.one_of(
        st.sampled_from(["display_name", "emails.address"]),
        keys.map(lambda key: f'labels."{key}"'),
    )
    all_names = text_names | st.sampled_from(
        ["lifecycle_stage", "create_time", "delete_time", "birth_date.year", "labels"]
    )
    return st.one_of(
        st.builds("{} {} {}".format, text_names, signs, texts.map(quoted)),
        st.builds(
            '{} {} {}*"'.format,
            text_names,
            plain_signs,
            texts.filter(bool).map(quoted).map(lambda q: q[:-1]),
        ),
        st.builds("lifecycle_stage {} {}".format, plain_signs, stages),
        st.builds(
            "{} {} {}".format,
            st.sampled_from(["create_time", "delete_time"]),
            signs,
            moments.map(datetime.isoformat),
        ),
        st.builds("birth_date.year {} {}".format, signs, years),
        st.builds("{}:*".format, all_names),
        keys.map(lambda key: f'labels:"{key}"'),
    )


filters = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map("NOT ({})".format),
        st.lists(inner.map("({})".format), min_size=2, max_size=3).map(" AND ".join),
        st.lists(inner.map("-({})".format), min_size=2, max_size=3).map(" OR ".join),
        st.lists(inner.map("({})".format), min_size=2, max_size=3).map(" ".join),
    ),
    max_leaves=12,
)


def timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


messages = st.builds(
    contacts_pb2.Contact,
    display_name=texts,
    lifecycle_stage=st.sampled_from(sorted(STAGES.values())),
    create_time=moments.map(timestamp),
    delete_time=st.none() | moments.map(timestamp),
    birth_date=st.none()
    | st.sampled_from([0, 1, 1999, 2000]).map(lambda year: date_pb2.Date(year=year)),
    labels=st.dictionaries(keys, texts, max_size=3),
    emails=st.lists(
        texts.map(lambda address: contacts_pb2.EmailAddress(address=address)), max_size=3
    ),
)


@given(filters, st.lists(messages, min_size=1, max_size=4))
@settings(max_examples=400, deadline=None)
def test_sql_and_memory_agree(
    connection: Connection, filter_text: str, stored: list[contacts_pb2.Contact]
) -> None:
    assert_agreement(connection, read(filter_text), stored)


def ada() -> contacts_pb2.Contact:
    return contacts_pb2.Contact(
        display_name="Ada",
        lifecycle_stage=contacts_pb2.Contact.LIFECYCLE_STAGE_CUSTOMER,
        create_time=timestamp(datetime(2026, 1, 1, tzinfo=UTC)),
        labels={"city": "Shiraz", "note": ""},
        emails=[
            contacts_pb2.EmailAddress(address="Ada@Example.org"),
            contacts_pb2.EmailAddress(address="ada@work.example"),
        ],
    )


@pytest.mark.parametrize(
    ("filter_text", "holds"),
    [
        ("display_name = Ada", True),
        ("display_name = ada", False),
        ("display_name = A*", True),
        ("display_name > Z", False),
        ("lifecycle_stage != LEAD", True),
        ("emails.address = ADA@WORK.EXAMPLE", True),
        ("emails.address != ada@work.example", False),
        ("emails.address != eve@example.org", True),
        ("emails.address = eve* OR emails.address = ada@ex*", True),
        ("labels.city = Shiraz", True),
        ("labels.city != Tabriz", True),
        ("labels.street != x", True),
        ("labels.street = ''", False),
        ("labels.note = ''", True),
        ("labels:note", True),
        ("labels.street:*", False),
        ("labels:*", True),
        ("create_time < 2026-01-01T03:30:00.000001+03:30", True),
        ("create_time < 2026-01-01T00:00:00Z", False),
        ("delete_time < 9999-12-31T23:59:59Z", False),
        ("NOT delete_time < 9999-12-31T23:59:59Z", True),
        ("delete_time != 2026-01-01T00:00:00Z", True),
        ("delete_time:*", False),
        ("create_time:*", True),
        ("birth_date.year <= 2000", False),
        ("-birth_date.year:*", True),
    ],
)
def test_a_comparison_holds_if_any_value_satisfies_it(
    connection: Connection, filter_text: str, holds: bool
) -> None:
    assert matches(read(filter_text), ada()) is holds
    assert_agreement(connection, read(filter_text), [ada()])


@pytest.mark.parametrize(
    ("filter_text", "found"),
    [
        ("show_deleted = true", [1]),
        ("show_deleted != true", [2]),
        ("show_deleted:false", [2]),
        ("show_deleted:*", [1]),
        ("page_size > 1000", []),
        ("page_size < 9223372036854775807", [1, 2]),
        ("page_size:*", [2]),
    ],
)
def test_booleans_and_numbers_are_told_from_zero(
    connection: Connection, filter_text: str, found: list[int]
) -> None:
    stored: list[Message] = [
        contacts_pb2.ListContactsRequest(show_deleted=True),
        contacts_pb2.ListContactsRequest(page_size=1000),
    ]
    condition = to_sql(read(filter_text), BINDINGS)
    with connection.begin_nested() as savepoint:
        connection.execute(insert(requests).values(id=1, show_deleted=True, page_size=0))
        connection.execute(insert(requests).values(id=2, show_deleted=False, page_size=1000))
        in_sql = connection.scalars(select(requests.c.id).where(condition)).all()
        savepoint.rollback()
    in_memory = [
        number for number, each in enumerate(stored, 1) if matches(read(filter_text), each)
    ]
    assert (in_sql, in_memory) == (found, found)


def test_a_related_table_may_stand_in_the_query_around_the_filter(connection: Connection) -> None:
    condition = to_sql(read("labels.city = Shiraz"), BINDINGS)
    with connection.begin_nested() as savepoint:
        connection.execute(
            insert(contacts).values(
                id=1,
                display_name="",
                lifecycle_stage=1,
                create_time=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )
        for key, value in ada().labels.items():
            connection.execute(insert(labels).values(contact_id=1, key=key, value=value))
        joined = select(labels.c.key).join(contacts).where(condition).order_by(labels.c.key)
        found = connection.scalars(joined).all()
        savepoint.rollback()
    assert found == ["city", "note"]


def test_a_prefix_is_found_by_an_index(connection: Connection) -> None:
    statement = select(contacts.c.id).where(to_sql(read("display_name = Shi*"), BINDINGS))
    compiled = statement.compile(connection, compile_kwargs={"literal_binds": True})
    (plan,) = connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}"))
    assert "ix_contacts_display_name (display_name>? AND display_name<?)" in plan.detail


def test_a_number_wider_than_its_column_is_compared_as_a_wide_one() -> None:
    condition = to_sql(read("page_size < 9223372036854775807"), BINDINGS)
    dialect = create_engine("postgresql+psycopg://").dialect
    assert "< %(param_1)s::BIGINT" in str(condition.compile(dialect=dialect))


def test_a_map_bound_without_its_keys_is_a_defect() -> None:
    expression = read("labels.city = Shiraz")
    with pytest.raises(TypeError, match=r"labels\.\* is bound without its keys"):
        to_sql(
            expression, {"labels.*": Related(labels.c.contact_id == contacts.c.id, labels.c.value)}
        )
    with pytest.raises(TypeError, match=r"labels\.\* is bound to one column"):
        to_sql(expression, {"labels.*": Scalar(labels.c.value)})
