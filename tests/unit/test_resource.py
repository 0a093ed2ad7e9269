"""Declared resources: what a declaration must say, and that a message survives its table."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    create_engine,
    insert,
    select,
)
from sqlalchemy.pool import StaticPool

from services.chassis import codecs, errors
from services.chassis.codecs import Codec
from services.chassis.filter_sql import Scalar
from services.chassis.finding import Filterable
from services.chassis.resource import Resource, etag_of
from services.chassis.rows import Text, UtcTime
from services.contacts.resources import CONTACT, INTERACTION
from services.loyalty.amounts import money_of
from services.loyalty.resources import LEDGER_TRANSACTION, LOT, MEMBER, ORDER, PROGRAM
from vafa.loyalty.v1 import ledger_pb2, members_pb2, programs_pb2

Strategy: TypeAlias = st.SearchStrategy[Any]
RESOURCES = [CONTACT, INTERACTION, PROGRAM, MEMBER, ORDER, LOT, LEDGER_TRANSACTION]

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.datetimes(timezones=st.just(UTC))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def timestamp(time: datetime) -> Timestamp:
    """Return a time as the wire carries it."""
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def whole(day: date) -> Date:
    """Return a date as the wire carries it."""
    return Date(year=day.year, month=day.month, day=day.day)


def values() -> Strategy:
    """Return values of a Struct, nested a little."""
    plain = st.one_of(
        st.builds(Value, null_value=st.just(0)),
        st.builds(Value, bool_value=st.booleans()),
        st.builds(Value, number_value=NUMBERS),
        st.builds(Value, string_value=TEXT),
    )

    def nested(inner: Strategy) -> Strategy:
        return st.one_of(
            st.builds(Value, struct_value=structs(inner)),
            st.builds(
                Value,
                list_value=st.builds(ListValue, values=st.lists(inner, max_size=3)),
            ),
        )

    return st.recursive(plain, nested, max_leaves=6)


def structs(inner: Strategy) -> Strategy:
    """Return Structs of such values."""
    return st.builds(Struct, fields=st.dictionaries(TEXT, inner, max_size=3))


def programs() -> Strategy:
    """Return programmes whose earn rate is an amount of their currency, as the check demands."""

    def a_program(program: programs_pb2.Program, rate: tuple[int, int] | None) -> Message:
        program.ClearField("earn_rate")
        program.currency_code = "USD"
        if rate is not None:
            program.earn_rate.points = rate[0]
            program.earn_rate.per_amount.CopyFrom(money_of(rate[1], "USD"))
        return program

    rates = st.none() | st.tuples(st.integers(0, 10**9), st.integers(1, 10**14))
    return st.builds(a_program, messages(programs_pb2.Program.DESCRIPTOR), rates)


KNOWN: Mapping[str, Callable[[], Strategy]] = {
    "google.protobuf.Timestamp": lambda: st.builds(timestamp, TIMES),
    "google.protobuf.Struct": lambda: structs(values()),
    "google.type.Date": lambda: st.builds(whole, st.dates()),
}
SCALARS: Mapping[int, Strategy] = {
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_INT32: INT32,
    FieldDescriptor.TYPE_INT64: INT64,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
}


def one_of_field(field: FieldDescriptor) -> Strategy:
    """Return what one value of a field may be."""
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.message_type is not None:
        return messages(field.message_type)
    return SCALARS[field.type]


def messages(descriptor: Descriptor, always: Collection[str] = ()) -> Strategy:
    """Return random messages of a type: any fields, present or not but for some, of any content."""
    if descriptor.full_name in KNOWN:
        return KNOWN[descriptor.full_name]()
    parts: dict[str, Strategy] = {}
    for field in descriptor.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            parts[field.name] = st.dictionaries(one_of_field(key), one_of_field(value), max_size=3)
        elif field.is_repeated:
            parts[field.name] = st.lists(one_of_field(field), max_size=3)
        else:
            parts[field.name] = one_of_field(field)
    message_class = GetMessageClass(descriptor)
    present = {name: parts.pop(name) for name in always}
    return st.fixed_dictionaries(present, optional=parts).map(lambda given: message_class(**given))


def content(column: Column[Any]) -> Strategy:
    """Return what the service may set a column to."""
    kinds: Mapping[type, Strategy] = {
        UtcTime: TIMES,
        BigInteger: st.integers(0, 2**53),
        Integer: st.integers(0, 3),
        LargeBinary: st.binary(max_size=8),
    }
    # An amount is told in a currency that there is.
    text = st.just("USD") if column.name == "currency_code" else TEXT
    present = kinds.get(type(column.type), text)
    return st.none() | present if column.nullable else present


def set_by_service(resource: Resource[Any]) -> Strategy:
    """Return the columns of a row that no caller sets."""
    given = {column for name in resource.settable for column in resource.codecs[name].columns}
    own = [column for column in resource.table.c if column not in given]
    return st.fixed_dictionaries({column.name: content(column) for column in own})


@pytest.fixture(scope="module", params=RESOURCES, ids=lambda resource: resource.type_name)
def resource(request: pytest.FixtureRequest) -> Resource[Any]:
    """Each declared resource."""
    found: Resource[Any] = request.param
    return found


@contextmanager
def database(table: Table) -> Iterator[Connection]:
    """Open a database with the table and the ones it refers to."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            table.metadata.create_all(connection)
            connection.commit()
            yield connection
    finally:
        engine.dispose()


def test_a_message_comes_back_from_its_table_as_it_was(resource: Resource[Any]) -> None:
    # Times that the check puts in where a caller gives none.
    always = [
        name
        for name in resource.settable
        if any(
            isinstance(c.type, UtcTime) and not c.nullable for c in resource.codecs[name].columns
        )
    ]
    given_messages = messages(resource.message.DESCRIPTOR, always)
    if resource is PROGRAM:
        given_messages = programs()

    @settings(max_examples=40, deadline=None)
    @given(given_messages, set_by_service(resource))
    def comes_back(message: Any, own: dict[str, Any]) -> None:
        row = own | resource.to_row(message)
        connection.execute(insert(resource.table), [row])
        found = connection.execute(select(resource.table)).mappings().one()
        connection.rollback()
        back = resource.to_message(found)
        assert resource.own_copy(back) == resource.own_copy(message)
        assert back.name == resource.name_of(row)
        assert back.uid == row["uid"]
        # What callers do not set is told as it stands in the row.
        for name, codec in resource.codecs.items():
            if codec.writer is not None:
                told: dict[str, Any] = {}
                codec.writer(back.DESCRIPTOR.fields_by_name[name])(back, told)
                assert told == {column: row[column] for column in told}

    with database(resource.table) as connection:
        comes_back()


def test_a_resource_has_the_names_of_its_pattern(resource: Resource[Any]) -> None:
    ids = [f"id-{n}" for n in range(len(resource.keys))]
    row = dict(zip(resource.keys, ids, strict=True))
    assert resource.key_of(resource.name_of(row)) == row
    with pytest.raises(errors.ResourceNotFound):
        resource.key_of("somethings/else")


def test_only_what_callers_set_is_taken_from_them() -> None:
    asked = members_pb2.Member(
        name="programs/p/members/m", uid="u", etag="e", points_balance=10**6, contact="contacts/a"
    )
    assert MEMBER.own_copy(asked) == members_pb2.Member(contact="contacts/a")


def test_etags_tell_versions_apart() -> None:
    assert len({etag_of({"version": version}) for version in range(100)}) == 100


lots = Table(
    "lots",
    MetaData(),
    *(Column(name, Text, primary_key=True) for name in LOT.keys),
    Column("uid", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("points_issued", BigInteger, nullable=False),
    Column("note", Text, nullable=True),
)
WHOLE: Mapping[str, Codec] = {
    "points_issued": codecs.plain(lots.c.points_issued),
    "points_remaining": codecs.plain(lots.c.points_issued),
    "ledger_transaction": codecs.plain(lots.c.note),
}


def declare(columns: Mapping[str, Codec], **rest: Any) -> Resource[ledger_pb2.Lot]:
    """Declare lots in the table above."""
    return Resource(message=ledger_pb2.Lot, table=lots, columns=columns, **rest)


def test_a_whole_declaration_is_accepted() -> None:
    assert declare(WHOLE).settable == ()


@pytest.mark.parametrize("left_out", WHOLE)
def test_a_field_without_a_column_stops_the_service_from_starting(left_out: str) -> None:
    columns = {name: codec for name, codec in WHOLE.items() if name != left_out}
    with pytest.raises(TypeError, match=rf"Lot: unmapped \['{left_out}'\], unknown \[\]"):
        declare(columns)


def test_a_column_for_no_field_stops_the_service_from_starting() -> None:
    with pytest.raises(TypeError, match=r"Lot: unmapped \[\], unknown \['points'\]"):
        declare({**WHOLE, "points": codecs.plain(lots.c.points_issued)})


def test_an_order_by_a_column_that_may_be_null_stops_the_service_from_starting() -> None:
    with pytest.raises(TypeError, match=r"cannot order by nullable \['note'\]"):
        declare(WHOLE, orders=("create_time", "note"))


def test_an_order_by_no_column_stops_the_service_from_starting() -> None:
    with pytest.raises(KeyError, match="points"):
        declare(WHOLE, orders=("points",))


def test_a_filter_by_no_field_stops_the_service_from_starting() -> None:
    with pytest.raises(KeyError, match="points"):
        declare(WHOLE, filters={"points": Filterable(Scalar(lots.c.points_issued))})
