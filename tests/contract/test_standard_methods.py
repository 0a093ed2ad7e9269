"""Every resource keeps the promises of the standard methods alike, on both databases."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

import vafa
from services.chassis.filters import FieldType
from services.chassis.pages import DEFAULT_ORDER
from services.chassis.policy import Method
from tests.contract.resources import (
    EXAMPLES,
    EXERCISES,
    METHODS,
    Answer,
    Exercise,
    Wire,
    World,
    a_contact,
    events_of_change,
    new_tag,
    process_of,
    refused,
    with_methods,
)
from tests.harness.suite import RunningSuite
from vafa.contacts.v1 import contacts_pb2
from vafa.gateway.v1 import access_pb2
from vafa.loyalty.v1 import ledger_pb2

BEHAVIOR = field_behavior_pb2.FieldBehavior
WRITES = [path for path in EXAMPLES if METHODS[path].writes and METHODS[path].has_request_id]
UPDATED = with_methods("Update")
DELETED = with_methods("Delete", "Undelete")
LISTED = with_methods("List")
ROWS = 5


def of(verb: str, *verbs: str) -> pytest.MarkDecorator:
    """Run the test for every resource with these methods."""
    return pytest.mark.parametrize("resource", with_methods(verb, *verbs))


@pytest.fixture
def exercise(resource: str) -> Exercise:
    """The exercise of the resource."""
    return EXERCISES[resource]


@pytest.fixture
def wire(suite: RunningSuite) -> Iterator[Wire]:
    """The suite by its bytes."""
    with Wire(suite) as connected:
        yield connected


def new_id() -> str:
    return str(uuid.uuid4())


def fields_with(exercise: Exercise, behavior: str) -> list[FieldDescriptor]:
    """Return the fields of the resource that have a behaviour."""
    number = BEHAVIOR.Value(behavior)
    return [
        field
        for field in exercise.resource.message.DESCRIPTOR.fields
        if number in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    ]


def own(exercise: Exercise, message: Any) -> Any:
    """Return the part of a resource that callers set."""
    return exercise.resource.own_copy(message)


def fill(message: Any, field: FieldDescriptor) -> None:
    """Give a field a value that the service would not."""
    if field.is_repeated:
        getattr(message, field.name).add()
    elif field.message_type is not None:
        nested = getattr(message, field.name)
        fill(nested, nested.DESCRIPTOR.fields[0])
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        setattr(message, field.name, "mine")
    else:
        setattr(message, field.name, 1)


def missing_name(exercise: Exercise, name: str) -> str:
    """Return a name that nobody has, beside one that is there."""
    return f"{name.rpartition('/')[0]}/{new_tag()}"


def test_every_rpc_has_an_example() -> None:
    # Nothing is parked in a suite where all is well, so nothing can be redriven.
    assert METHODS.keys() - EXAMPLES.keys() == {"/vafa.events.v1.EventService/RedriveEvents"}


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_rpc_answers_its_example(client: vafa.Suite, wire: Wire, path: str) -> None:
    method = METHODS[path]
    answer = wire.call(process_of(path), path, EXAMPLES[path](World(client)).SerializeToString())
    assert method.response_class.FromString(answer.raw).IsInitialized()
    if not method.descriptor.server_streaming:
        assert uuid.UUID(str(answer.trailers["request-id"]))


# Get and Create


@of("Get")
def test_a_resource_is_got_as_it_was_answered(client: vafa.Suite, exercise: Exercise) -> None:
    made = exercise.make(client)
    assert exercise.call(client, "Get", name=made.name) == made


@of("Get")
def test_what_the_caller_gave_is_kept(client: vafa.Suite, exercise: Exercise) -> None:
    tag = new_tag()
    made = exercise.make(client, tag=tag)
    assert exercise.sample is not None
    assert own(exercise, made) == exercise.sample(tag)


@of("Get")
def test_a_resource_that_is_not_there_is_not_found(client: vafa.Suite, exercise: Exercise) -> None:
    name = missing_name(exercise, exercise.make(client).name)
    with refused(vafa.NotFound, "RESOURCE_NOT_FOUND") as refusal:
        exercise.call(client, "Get", name=name)
    assert refusal.metadata == {"resource": name}


@pytest.mark.parametrize(
    "resource", [name for name in with_methods("Create") if EXERCISES[name].parent]
)
def test_a_resource_below_a_parent_that_is_not_there_is_not_found(
    client: vafa.Suite, exercise: Exercise
) -> None:
    parent = missing_name(exercise, exercise.new_parent(client))
    with refused(vafa.NotFound, "RESOURCE_NOT_FOUND") as refusal:
        exercise.make(client, parent)
    assert refusal.metadata == {"resource": parent}
    with refused(vafa.NotFound, "RESOURCE_NOT_FOUND"):
        exercise.list_all(client, parent=parent)


# The id of a member is that of the contact.
@pytest.mark.parametrize("resource", [name for name in with_methods("Create") if name != "member"])
def test_a_resource_has_the_id_that_the_caller_chose(
    client: vafa.Suite, exercise: Exercise
) -> None:
    assert exercise.sample is not None
    parent, tag = exercise.new_parent(client), new_tag()
    fields = {exercise.resource.singular: exercise.sample(tag), "parent": parent}
    id_field = {f"{exercise.resource.singular}_id": f"my-{tag}"}
    made = exercise.call(client, "Create", **fields, **id_field)
    assert made.name.endswith(f"/my-{tag}")
    fields[exercise.resource.singular] = exercise.sample(new_tag())
    with refused(vafa.AlreadyExists, "RESOURCE_ALREADY_EXISTS") as refusal:
        exercise.call(client, "Create", **fields, **id_field)
    assert refusal.metadata == {"resource": made.name}
    assert exercise.call(client, "Get", name=made.name) == made


def test_a_contact_is_enrolled_once_in_a_programme(client: vafa.Suite) -> None:
    exercise = EXERCISES["member"]
    parent, tag = exercise.new_parent(client), new_tag()
    made = exercise.make(client, parent, tag)
    with refused(vafa.AlreadyExists, "RESOURCE_ALREADY_EXISTS") as refusal:
        exercise.make(client, parent, tag)
    assert refusal.metadata == {"resource": made.name}


@pytest.mark.parametrize("resource", [name for name in EXERCISES if name != "member"])
def test_ids_that_nobody_chose_are_26_characters_that_sort_by_time(
    client: vafa.Suite, exercise: Exercise
) -> None:
    parent, tag = exercise.new_parent(client), new_tag()
    names = [exercise.make(client, parent, tag, n).name for n in range(ROWS)]
    ids = [name.rpartition("/")[2] for name in names]
    assert ids == sorted(set(ids))
    assert {len(id_) for id_ in ids} == {26}


@of("Create")
def test_what_the_service_sets_is_passed_over_at_creation(
    client: vafa.Suite, exercise: Exercise
) -> None:
    assert exercise.sample is not None
    parent, given = exercise.new_parent(client), exercise.sample(new_tag())
    plain = own(exercise, given)
    given.name = "mine"
    for field in fields_with(exercise, "OUTPUT_ONLY"):
        fill(given, field)
    made = exercise.call(client, "Create", parent=parent, **{exercise.resource.singular: given})
    assert own(exercise, made) == plain
    for field in (*fields_with(exercise, "OUTPUT_ONLY"), *fields_with(exercise, "IDENTIFIER")):
        mine, theirs = getattr(given, field.name), getattr(made, field.name)
        # The state of a member who is new happens to be the first there is.
        assert theirs != mine or field.name == "state", field.name


# Idempotency


def as_repeated(method: Method, raw: bytes) -> bytes:
    """Return the bytes of a first answer as a repeat gets them: without what is told once."""
    answer: Any = method.response_class.FromString(raw)
    if isinstance(answer, access_pb2.CreateApiKeyResponse):
        assert answer.secret
        assert not answer.secret_withheld
        answer.secret, answer.secret_withheld = "", True
        return answer.SerializeToString(deterministic=True)
    return raw


@pytest.mark.parametrize("path", WRITES)
def test_a_repeat_gets_the_first_answer_and_has_no_further_effect(
    client: vafa.Suite, wire: Wire, path: str
) -> None:
    process, request = process_of(path), EXAMPLES[path](World(client))
    request.request_id = new_id()  # type: ignore[attr-defined]
    answers: list[Answer] = []

    def write_twice() -> None:
        raw = request.SerializeToString()
        answers.extend(wire.call(process, path, raw) for _ in range(2))

    events = events_of_change(client, process, write_twice)
    first, second = answers
    assert as_repeated(METHODS[path], first.raw) == second.raw
    assert "idempotency-replayed" not in first.trailers
    assert second.trailers["idempotency-replayed"] == "true"
    mine = [event for event in events if event.request_id == request.request_id]  # type: ignore[attr-defined]
    told = [(event.type, event.subject) for event in mine]
    expected = {"BatchUpsertContacts": 2, "BatchAwardPoints": 2, "VerifyLedger": 0}
    # An order enrols its contact and awards points too.
    expected |= {"RecordOrder": 3, "BatchRecordOrders": 3}
    assert len(told) == expected.get(METHODS[path].name, 1), told


@pytest.mark.parametrize("path", WRITES)
def test_a_request_id_stands_for_one_payload(client: vafa.Suite, wire: Wire, path: str) -> None:
    request_id = new_id()
    for attempt in range(2):
        request = EXAMPLES[path](World(client))
        request.request_id = request_id  # type: ignore[attr-defined]
        raw = request.SerializeToString()
        if attempt == 0:
            wire.call(process_of(path), path, raw)
            continue
        with refused(vafa.InvalidArgument, "REQUEST_ID_REUSED") as refusal:
            wire.call(process_of(path), path, raw)
        assert refusal.metadata == {"request_id": request_id}
        assert refusal.fields == ["request_id"]


def test_two_principals_may_use_one_request_id(suite: RunningSuite) -> None:
    exercise, tag, request_id = EXERCISES["program"], new_tag(), new_id()
    names = set()
    for subject in ("one", "other"):
        with suite.client(subject=subject) as client:
            program = exercise.sample(tag) if exercise.sample else None
            made = exercise.call(client, "Create", program=program, request_id=request_id)
            names.add(made.name)
    assert len(names) == 2


def test_a_refusal_is_not_stored(client: vafa.Suite) -> None:
    member = EXERCISES["member"].make(client).name
    spend = ledger_pb2.SpendPointsRequest(
        member=member, points=7, reason="tea", request_id=new_id()
    )
    with refused(vafa.FailedPrecondition, "INSUFFICIENT_POINTS"):
        client.ledger.SpendPoints(spend)
    award = ledger_pb2.AwardPointsRequest(member=member, points=9, reason="gift")
    client.ledger.AwardPoints(award)
    assert client.ledger.SpendPoints(spend).points_balance == 2


# Update


def change_of(exercise: Exercise) -> tuple[str, Any]:
    """Return the name of a field and a value for it that is new."""
    if exercise.resource.singular == "member":
        return "labels", {"tag": new_tag()}
    return "display_name", f"changed {new_tag()}"


@of("Update")
def test_an_update_changes_what_its_mask_names_and_nothing_else(
    client: vafa.Suite, exercise: Exercise
) -> None:
    made = exercise.make(client)
    field, value = change_of(exercise)
    given = exercise.resource.message(name=made.name, **{field: value})
    others = [name for name in exercise.resource.settable if name != field]
    assert others
    updated = exercise.call(
        client,
        "Update",
        update_mask=FieldMask(paths=[field]),
        **{exercise.resource.singular: given},
    )
    assert getattr(updated, field) == value
    assert updated.etag != made.etag
    assert updated.update_time.ToNanoseconds() > made.update_time.ToNanoseconds()
    for name in (*others, "name", "uid", "create_time"):
        assert getattr(updated, name) == getattr(made, name), name
    assert exercise.call(client, "Get", name=made.name) == updated


@of("Update")
def test_an_update_without_a_mask_changes_the_fields_that_are_given(
    client: vafa.Suite, exercise: Exercise
) -> None:
    made = exercise.make(client)
    field, value = change_of(exercise)
    given = exercise.resource.message(name=made.name, **{field: value})
    updated = exercise.call(client, "Update", **{exercise.resource.singular: given})
    expected = own(exercise, made)
    expected.ClearField(field)
    expected.MergeFrom(own(exercise, given))
    assert own(exercise, updated) == expected


@of("Update")
def test_an_update_of_all_fields_clears_those_that_are_not_given(
    client: vafa.Suite, exercise: Exercise
) -> None:
    made = exercise.make(client)
    kept = {"REQUIRED", "IMMUTABLE"}
    stay = {field.name for behavior in kept for field in fields_with(exercise, behavior)}
    given = own(exercise, made)
    given.name = made.name
    for name in set(exercise.resource.settable) - stay:
        given.ClearField(name)
    updated = exercise.call(
        client,
        "Update",
        update_mask=FieldMask(paths=["*"]),
        **{exercise.resource.singular: given},
    )
    # The one field with a default that is not its zero value.
    if exercise.resource.singular == "contact":
        given.lifecycle_stage = contacts_pb2.Contact.LIFECYCLE_STAGE_LEAD
    given.ClearField("name")
    assert own(exercise, updated) == given


@of("Update")
def test_an_update_of_a_field_that_callers_do_not_set_is_refused(
    client: vafa.Suite, exercise: Exercise
) -> None:
    made = exercise.make(client)
    fixed = [field.name for field in fields_with(exercise, "OUTPUT_ONLY")]
    for path in ("colour", "labels.tag", "name", "etag", "", "*.labels", *fixed):
        with refused(vafa.InvalidArgument, "UPDATE_MASK_INVALID") as refusal:
            exercise.call(
                client,
                "Update",
                update_mask=FieldMask(paths=["labels", path]),
                **{exercise.resource.singular: made},
            )
        assert refusal.fields == ["update_mask"]
    assert exercise.call(client, "Get", name=made.name) == made


@of("Update")
def test_an_immutable_field_does_not_change(client: vafa.Suite, exercise: Exercise) -> None:
    made = exercise.make(client)
    other: dict[str, Any] = {"kind": contacts_pb2.Contact.KIND_COMPANY}
    other |= {"currency_code": "EUR", "contact": "contacts/somebody-else"}
    for name in sorted(exercise.resource.immutable):
        for paths in ([name], ["*"], []):
            given = type(made).FromString(made.SerializeToString())
            setattr(given, name, other[name])
            with refused(vafa.InvalidArgument, "FIELD_IMMUTABLE") as refusal:
                exercise.call(
                    client,
                    "Update",
                    update_mask=FieldMask(paths=paths),
                    **{exercise.resource.singular: given},
                )
            assert refusal.fields == [f"{exercise.resource.singular}.{name}"]
    assert exercise.call(client, "Get", name=made.name) == made


@of("Update")
def test_an_update_that_names_no_resource_of_its_kind_is_refused(
    client: vafa.Suite, exercise: Exercise
) -> None:
    singular = exercise.resource.singular
    made = exercise.make(client)
    for name in ("", "-", f"{made.name}/more", f"{made.name}\n", made.name.upper()):
        given = exercise.resource.message(name=name, labels={"a": "b"})
        with refused(vafa.InvalidArgument, "INVALID_FIELD") as refusal:
            exercise.call(client, "Update", **{singular: given})
        assert refusal.fields == [singular]


@of("Update")
def test_an_update_mask_has_a_bound(client: vafa.Suite, exercise: Exercise) -> None:
    made = exercise.make(client)
    fields = {exercise.resource.singular: made}
    most = FieldMask(paths=["labels"] * 100)
    assert exercise.call(client, "Update", update_mask=most, **fields) == made
    for paths in (["labels"] * 101, ["l" * 101]):
        with refused(vafa.InvalidArgument, "INVALID_FIELD") as refusal:
            exercise.call(client, "Update", update_mask=FieldMask(paths=paths), **fields)
        assert refusal.fields == ["update_mask"]


@of("Update")
def test_a_required_field_is_not_cleared(client: vafa.Suite, exercise: Exercise) -> None:
    made = exercise.make(client)
    required = [field.name for field in fields_with(exercise, "REQUIRED")]
    changeable = [name for name in required if name not in exercise.resource.immutable]
    for name in changeable:
        given = exercise.resource.message(name=made.name)
        with refused(vafa.InvalidArgument, "INVALID_FIELD") as refusal:
            exercise.call(
                client,
                "Update",
                update_mask=FieldMask(paths=[name]),
                **{exercise.resource.singular: given},
            )
        assert refusal.fields == [f"{exercise.resource.singular}.{name}"]
    assert exercise.call(client, "Get", name=made.name) == made


@of("Update")
def test_an_update_with_an_etag_that_is_not_the_present_one_is_refused(
    client: vafa.Suite, exercise: Exercise
) -> None:
    made = exercise.make(client)
    field, value = change_of(exercise)
    given = exercise.resource.message(name=made.name, etag=made.etag, **{field: value})
    updated = exercise.call(client, "Update", **{exercise.resource.singular: given})
    with refused(vafa.Aborted, "ETAG_MISMATCH") as refusal:
        exercise.call(client, "Update", **{exercise.resource.singular: given})
    assert refusal.metadata == {"resource": made.name}
    assert exercise.call(client, "Get", name=made.name) == updated


@of("Update")
def test_an_update_to_what_is_there_already_writes_nothing(
    client: vafa.Suite, exercise: Exercise
) -> None:
    made = exercise.make(client)
    answers = []

    def update() -> None:
        for paths in (["*"], [], list(exercise.resource.settable)):
            mask = FieldMask(paths=paths)
            given = {exercise.resource.singular: made}
            answers.append(exercise.call(client, "Update", update_mask=mask, **given))

    events = events_of_change(client, exercise.process, update)
    assert answers == [made] * 3
    assert [event for event in events if event.subject == made.name] == []


@of("Update")
def test_an_update_of_a_resource_that_is_not_there_is_not_found(
    client: vafa.Suite, exercise: Exercise
) -> None:
    made = exercise.make(client)
    name = missing_name(exercise, made.name)
    given = {exercise.resource.singular: exercise.resource.message(name=name, labels={"a": ""})}
    with refused(vafa.NotFound, "RESOURCE_NOT_FOUND") as refusal:
        exercise.call(client, "Update", **given)
    assert refusal.metadata == {"resource": name}


# Delete and Undelete


@of("Delete", "Undelete")
def test_a_deleted_resource_is_not_found_until_it_is_undeleted(
    client: vafa.Suite, exercise: Exercise
) -> None:
    tag = new_tag()
    made = exercise.make(client, tag=tag)
    deleted = exercise.call(client, "Delete", name=made.name)
    assert deleted.HasField("delete_time")
    assert deleted.etag != made.etag
    calls: list[Callable[[], object]] = [
        lambda: exercise.call(client, "Get", name=made.name),
        lambda: exercise.call(client, "Delete", name=made.name),
        lambda: exercise.call(client, "Update", **{exercise.resource.singular: made}),
        lambda: exercise.call(client, "BatchGet", names=[made.name]),
    ]
    for call in calls:
        with refused(vafa.NotFound, "RESOURCE_NOT_FOUND") as refusal:
            call()
        assert refusal.metadata == {"resource": made.name}
    scope = exercise.scope(tag)
    assert exercise.list_all(client, filter=scope) == []
    assert exercise.list_all(client, filter=scope, show_deleted=True) == [deleted]
    undeleted = exercise.call(client, "Undelete", name=made.name)
    assert own(exercise, undeleted) == own(exercise, made)
    assert not undeleted.HasField("delete_time")
    assert exercise.call(client, "Get", name=made.name) == undeleted
    assert exercise.list_all(client, filter=scope) == [undeleted]


@of("Delete", "Undelete")
def test_only_a_deleted_resource_is_undeleted(client: vafa.Suite, exercise: Exercise) -> None:
    made = exercise.make(client)
    with refused(vafa.FailedPrecondition, "RESOURCE_NOT_DELETED") as refusal:
        exercise.call(client, "Undelete", name=made.name)
    assert refusal.metadata == {"resource": made.name}
    name = missing_name(exercise, made.name)
    with refused(vafa.NotFound, "RESOURCE_NOT_FOUND"):
        exercise.call(client, "Undelete", name=name)


@of("Delete", "Undelete")
def test_delete_and_undelete_look_at_the_etag(client: vafa.Suite, exercise: Exercise) -> None:
    made = exercise.make(client)
    with refused(vafa.Aborted, "ETAG_MISMATCH"):
        exercise.call(client, "Delete", name=made.name, etag='"7"')
    deleted = exercise.call(client, "Delete", name=made.name, etag=made.etag)
    with refused(vafa.Aborted, "ETAG_MISMATCH"):
        exercise.call(client, "Undelete", name=made.name, etag=made.etag)
    exercise.call(client, "Undelete", name=made.name, etag=deleted.etag)


# Batches


@of("BatchGet")
def test_a_batch_is_got_in_its_order_or_not_at_all(client: vafa.Suite, exercise: Exercise) -> None:
    tag = new_tag()
    made = [exercise.make(client, tag=tag, n=n) for n in range(3)]
    wanted = [made[2], made[0], made[1], made[2]]
    got = exercise.call(client, "BatchGet", names=[message.name for message in wanted])
    assert list(getattr(got, exercise.resource.plural)) == wanted
    missing = missing_name(exercise, made[0].name)
    with refused(vafa.NotFound, "RESOURCE_NOT_FOUND") as refusal:
        exercise.call(client, "BatchGet", names=[made[0].name, missing])
    assert refusal.metadata == {"resource": missing}


def creations(tag: str, count: int) -> list[contacts_pb2.CreateContactRequest]:
    """Return requests for contacts, each with an id."""
    return [
        contacts_pb2.CreateContactRequest(contact=a_contact(tag, n), contact_id=f"{tag}-{n}")
        for n in range(count)
    ]


def test_a_batch_is_created_in_its_order(client: vafa.Suite) -> None:
    tag = new_tag()
    batch = contacts_pb2.BatchCreateContactsRequest(requests=creations(tag, 3))
    made = list(client.contacts.BatchCreateContacts(batch).contacts)
    assert [contact.name for contact in made] == [f"contacts/{tag}-{n}" for n in range(3)]
    for contact in made:
        assert client.contacts.GetContact(contacts_pb2.GetContactRequest(name=contact.name)) == (
            contact
        )


def _spoil_phone(requests: Sequence[contacts_pb2.CreateContactRequest]) -> None:
    requests[2].contact.phones[0].number = "not a number"


def _spoil_name(requests: Sequence[contacts_pb2.CreateContactRequest]) -> None:
    requests[2].contact.display_name = ""


def _repeat_external_id(requests: Sequence[contacts_pb2.CreateContactRequest]) -> None:
    requests[2].contact.external_ids[0].CopyFrom(requests[0].contact.external_ids[0])


def _inner_request_id(requests: Sequence[contacts_pb2.CreateContactRequest]) -> None:
    requests[2].request_id = new_id()


def _repeat_id(requests: Sequence[contacts_pb2.CreateContactRequest]) -> None:
    requests[2].contact_id = requests[0].contact_id


@pytest.mark.parametrize(
    ("spoil", "kind", "reason", "fields"),
    [
        (
            _spoil_phone,
            vafa.InvalidArgument,
            "PHONE_INVALID",
            ["requests[2].contact.phones[0].number"],
        ),
        (_spoil_name, vafa.InvalidArgument, "INVALID_FIELD", ["requests[2].contact.display_name"]),
        (
            _repeat_external_id,
            vafa.AlreadyExists,
            "EXTERNAL_ID_TAKEN",
            ["requests[2].contact.external_ids"],
        ),
        (_inner_request_id, vafa.InvalidArgument, "INVALID_FIELD", ["requests[2].request_id"]),
        (_repeat_id, vafa.AlreadyExists, "RESOURCE_ALREADY_EXISTS", []),
    ],
)
def test_a_batch_with_one_that_is_refused_creates_none(
    client: vafa.Suite,
    spoil: Callable[[Any], None],
    kind: type[vafa.VafaError],
    reason: str,
    fields: list[str],
) -> None:
    tag = new_tag()
    batch = contacts_pb2.BatchCreateContactsRequest(requests=creations(tag, 3))
    spoil(batch.requests)
    with refused(kind, reason) as refusal:
        client.contacts.BatchCreateContacts(batch)
    assert refusal.fields == fields
    assert EXERCISES["contact"].list_all(client, filter=f'labels.tag = "{tag}"') == []


# List


@of("List")
def test_the_size_of_a_page_has_a_default_and_a_limit(
    client: vafa.Suite, exercise: Exercise
) -> None:
    parent, tag = exercise.new_parent(client), new_tag()
    made = [exercise.make(client, parent, tag, n) for n in range(3)]
    scope = {"parent": parent, "filter": exercise.scope(tag)}
    for size, expected in ((0, 3), (1, 1), (2, 2), (3, 3), (2**31 - 1, 3)):
        answer = exercise.call(client, "List", page_size=size, **scope)
        assert list(getattr(answer, exercise.resource.plural)) == made[:expected]
        assert bool(answer.next_page_token) == (expected < 3)
    with refused(vafa.InvalidArgument, "INVALID_FIELD") as refusal:
        exercise.call(client, "List", page_size=-1, **scope)
    assert refusal.fields == ["page_size"]


def test_a_page_holds_fifty_by_default_and_a_thousand_at_most(client: vafa.Suite) -> None:
    member = EXERCISES["ledger_transaction"].new_parent(client)
    award = ledger_pb2.AwardPointsRequest(member=member, points=1, reason="gift")
    program = member.partition("/members/")[0]
    for count in (1000, 1):
        batch = ledger_pb2.BatchAwardPointsRequest(parent=program, requests=[award] * count)
        client.ledger.BatchAwardPoints(batch)
    for size, expected in ((0, 50), (999, 999), (1001, 1000), (2**31 - 1, 1000)):
        answer = EXERCISES["ledger_transaction"].call(client, "List", parent=member, page_size=size)
        assert len(answer.ledger_transactions) == expected
        assert answer.next_page_token


def orders_of(resource: str) -> list[str]:
    """Return every order that the resource declares: rising, falling, and mixed."""
    names = list(EXERCISES[resource].resource.orders)
    single = [f"{name}{way}" for name in names for way in ("", " asc", " desc")]
    pairs = [(a, b) for a in names for b in names if a != b]
    return [
        "",
        *single,
        *(f"{a}, {b} desc" for a, b in pairs),
        *(f"{a} desc,{b}" for a, b in pairs),
    ]


def place_of(message: Any, field: str) -> Any:
    """Return a field in a form that has an order."""
    value = getattr(message, field)
    return value.ToNanoseconds() if isinstance(value, Timestamp) else value


def in_order(messages: Sequence[Any], order: str, default: str) -> list[Any]:
    """Return the messages in an order, those that are equal in the order of their names."""
    parts = [part.split() for part in (order or default).split(",")]
    falls = parts[-1][1:] == ["desc"]
    found = sorted(messages, key=lambda message: str(message.name), reverse=falls)
    for field, *way in reversed(parts):
        found.sort(key=lambda message: place_of(message, field), reverse=way == ["desc"])
    return found


@pytest.mark.parametrize("resource", LISTED)
def test_walking_the_pages_gives_each_row_once_and_in_order_whatever_is_inserted(
    client: vafa.Suite, exercise: Exercise, resource: str
) -> None:
    parent, tag = exercise.new_parent(client), new_tag()
    before = [exercise.make(client, parent, tag, n) for n in range(ROWS)]
    inserted = ROWS
    for order in orders_of(resource):
        seen: list[Any] = []
        token, inserts_left = "", 2
        while token or not seen:
            answer = exercise.call(
                client,
                "List",
                parent=parent,
                filter=exercise.scope(tag),
                order_by=order,
                page_size=2,
                page_token=token,
            )
            seen += getattr(answer, exercise.resource.plural)
            token = answer.next_page_token
            if inserts_left:
                exercise.make(client, parent, tag, inserted)
                inserted, inserts_left = inserted + 1, inserts_left - 1
        names = [message.name for message in seen]
        assert len(names) == len(set(names)), order
        assert {message.name for message in before} <= set(names), order
        assert seen == in_order(seen, order, DEFAULT_ORDER), order


@of("List")
def test_a_page_token_stands_for_one_list(client: vafa.Suite, exercise: Exercise) -> None:
    parent, tag = exercise.new_parent(client), new_tag()
    for n in range(2):
        exercise.make(client, parent, tag, n)
    scope = {"parent": parent, "filter": exercise.scope(tag), "page_size": 1}
    token = exercise.call(client, "List", **scope).next_page_token
    middle = len(token) // 2
    tampered = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    wrong: list[dict[str, Any]] = [
        {"page_token": tampered},
        {"page_token": token[:-4]},
        {"page_token": "x"},
        {"page_token": "é"},
        {"page_token": token, "filter": 'create_time > "2020-01-01T00:00:00Z"'},
        {"page_token": token, "order_by": "create_time desc"},
    ]
    if parent:
        other = exercise.new_parent(client)
        wrong.append({"page_token": token, "parent": other})
    if "show_deleted" in exercise.request("List").DESCRIPTOR.fields_by_name:
        wrong.append({"page_token": token, "show_deleted": True})
    for change in wrong:
        with refused(vafa.InvalidArgument, "PAGE_TOKEN_INVALID") as refusal:
            exercise.call(client, "List", **{**scope, **change})
        assert refusal.fields == ["page_token"]


def test_a_page_token_stands_for_one_method(client: vafa.Suite) -> None:
    tag = new_tag()
    member = EXERCISES["lot"].new_parent(client)
    for n in range(2):
        EXERCISES["lot"].make(client, member, tag, n)
        EXERCISES["contact"].make(client, tag=tag, n=n)
    token = EXERCISES["lot"].call(client, "List", parent=member, page_size=1).next_page_token
    with refused(vafa.InvalidArgument, "PAGE_TOKEN_INVALID"):
        EXERCISES["ledger_transaction"].call(client, "List", parent=member, page_token=token)
    search = contacts_pb2.SearchContactsRequest(query=f"given {tag}", page_size=1)
    token = client.contacts.SearchContacts(search).next_page_token
    assert token
    with refused(vafa.InvalidArgument, "PAGE_TOKEN_INVALID"):
        EXERCISES["contact"].call(client, "List", page_token=token)


@of("List")
def test_an_order_that_is_not_declared_is_refused(client: vafa.Suite, exercise: Exercise) -> None:
    parent = exercise.new_parent(client)
    for order in ("colour", "uid", "create_time up", "create_time, create_time desc", ",", "*"):
        with refused(vafa.InvalidArgument, "ORDER_BY_INVALID") as refusal:
            exercise.call(client, "List", parent=parent, order_by=order)
        assert refusal.fields == ["order_by"]


@of("List")
def test_a_filter_that_cannot_be_read_is_refused(client: vafa.Suite, exercise: Exercise) -> None:
    parent = exercise.new_parent(client)
    for text in ("colour = 1", "create_time", "(", "create_time = yesterday", 'uid = "x"', "AND"):
        with refused(vafa.InvalidArgument, "FILTER_INVALID") as refusal:
            exercise.call(client, "List", parent=parent, filter=text)
        assert refusal.fields == ["filter"]


def value_at(message: Any, path: str) -> Any:
    """Return the value at a path, of the first where there are several."""
    for part in path.split("."):
        if message is not None and not isinstance(message, Message):
            message = message[0]
        message = getattr(message, part)
    return message


def hit_and_miss(exercise: Exercise, message: Any, path: str) -> tuple[str, str]:
    """Return a comparison that holds for the message, and one that does not."""
    if path == "labels.*":
        return f'labels.n = "{message.labels["n"]}"', 'labels.n = "none"'
    field, value = exercise.resource.filter_fields[path], value_at(message, path)
    match field.type:
        case FieldType.TEXT | FieldType.NAME:
            other = exercise.misses.get(path, f"{value}x")
            return f'{path} = "{value}"', f'{path} = "{other}"'
        case FieldType.INTEGER:
            return f"{path} = {value}", f"{path} = {value + 1}"
        case FieldType.ENUM:
            names = {number: name for name, number in field.values.items()}
            others = [name for number, name in names.items() if number not in (0, value)]
            return f"{path} = {names[value]}", f"{path} = {others[0]}"
        case _:
            moment = value.ToDatetime().isoformat(timespec="microseconds")
            later = (value.ToDatetime() + timedelta(microseconds=1)).isoformat(
                timespec="microseconds"
            )
            return f'{path} = "{moment}Z"', f'{path} = "{later}Z"'


@pytest.mark.parametrize(
    ("resource", "path"),
    [(name, path) for name in LISTED for path in EXERCISES[name].resource.filter_fields],
)
def test_a_filter_finds_what_it_holds_for_and_nothing_else(
    client: vafa.Suite, exercise: Exercise, path: str
) -> None:
    parent, tag = exercise.new_parent(client), new_tag()
    made = exercise.make(client, parent, tag)
    scope = exercise.scope(tag)
    for comparison, expected in zip(hit_and_miss(exercise, made, path), ([made], []), strict=True):
        for wanted, text in (
            (expected, comparison),
            ([made][len(expected) :], f"NOT {comparison}"),
        ):
            found = exercise.list_all(client, parent=parent, filter=f"{scope} {text}")
            assert found == wanted, text


# Events


def private_texts(message: Any) -> list[str]:
    """Return the texts of a message that are personal data."""
    texts: list[str] = []
    for field, value in message.ListFields():
        items = value if field.is_repeated else [value]
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        for item in items:
            if isinstance(item, Message):
                texts += private_texts(item)
            elif isinstance(item, str) and field.GetOptions().debug_redact:
                texts.append(item)
    return texts


def require_one_event(
    events: Sequence[Any], subject: str, happened: str, version: int, paths: Sequence[str]
) -> Any:
    """Return the only event of the subject, which says this and no more."""
    mine = [event for event in events if event.subject == subject]
    [event] = mine
    assert event.type == happened
    assert event.subject_version == version
    assert sorted(event.changed_paths) == sorted(paths)
    return event


@of("Create")
def test_a_creation_is_told_once(client: vafa.Suite, exercise: Exercise) -> None:
    parent, request_id, made = exercise.new_parent(client), new_id(), []
    assert exercise.sample is not None
    given = exercise.sample(new_tag())

    def create() -> None:
        fields = {exercise.resource.singular: given, "request_id": request_id}
        made.append(exercise.call(client, "Create", parent=parent, **fields))

    events = events_of_change(client, exercise.process, create)
    kind = exercise.resource.singular
    version = 1 if exercise.resource.versioned else 0
    event = require_one_event(events, made[0].name, f"{kind}.created", version, [])
    assert event.request_id == request_id
    assert event.create_time == made[0].create_time
    for text in private_texts(given):
        assert text.encode() not in event.SerializeToString()


@of("Update")
def test_a_change_is_told_once_with_the_paths_that_changed(
    client: vafa.Suite, exercise: Exercise
) -> None:
    made, request_id = exercise.make(client), new_id()
    field, value = change_of(exercise)
    given = own(exercise, made)
    given.name = made.name
    given.ClearField(field)
    given.MergeFrom(exercise.resource.message(**{field: value}))
    fields = {exercise.resource.singular: given, "request_id": request_id}
    events = events_of_change(
        client, exercise.process, lambda: exercise.call(client, "Update", **fields)
    )
    kind = exercise.resource.singular
    event = require_one_event(events, made.name, f"{kind}.updated", 2, [field])
    assert event.request_id == request_id
    for text in private_texts(given):
        assert text.encode() not in event.SerializeToString()


@of("Delete", "Undelete")
def test_deletion_and_its_undoing_are_told_once_each(
    client: vafa.Suite, exercise: Exercise
) -> None:
    made = exercise.make(client)
    kind = exercise.resource.singular
    for version, verb in ((2, "Delete"), (3, "Undelete")):
        events = events_of_change(
            client, exercise.process, partial(exercise.call, client, verb, name=made.name)
        )
        require_one_event(events, made.name, f"{kind}.{verb.lower()}d", version, [])
