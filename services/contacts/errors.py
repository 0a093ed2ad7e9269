"""The refusals of the contacts service."""

from typing import ClassVar

import grpc
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from services.chassis.errors import Refusal, ResourceDeleted
from vafa.contacts.v1 import error_reason_pb2

INVALID = grpc.StatusCode.INVALID_ARGUMENT


class ContactsRefusal(Refusal):
    """A refusal with a reason of this service."""

    reasons: ClassVar[EnumTypeWrapper] = error_reason_pb2.ErrorReason  # type: ignore[assignment]


class ContactNotFound(ContactsRefusal):
    """No live contact has the key."""

    code, reason = grpc.StatusCode.NOT_FOUND, "CONTACT_NOT_FOUND"

    def __init__(self, key: str) -> None:
        super().__init__(f"no contact has this {key}", key=key)


class LookupAmbiguous(ContactsRefusal):
    """Several contacts share the key."""

    code, reason = grpc.StatusCode.FAILED_PRECONDITION, "LOOKUP_AMBIGUOUS"

    def __init__(self, key: str, count: int) -> None:
        super().__init__(f"{count} contacts share this {key}", key=key, count=count)


class ContactDeleted(ResourceDeleted):
    """The contact that a field of the request leads to is deleted."""

    def __init__(self, contact: str, field: str) -> None:
        super().__init__(contact)
        self.violations = ((field, "belongs to a deleted contact"),)


class ExternalIdTaken(ContactsRefusal):
    """Another contact has the external id."""

    code, reason = grpc.StatusCode.ALREADY_EXISTS, "EXTERNAL_ID_TAKEN"

    def __init__(self, owner: str, system: str, value: str) -> None:
        self.external_id = (system, value)
        super().__init__(
            f"{owner} has this external id of {system}",
            violations=[("external_ids", "belongs to another contact")],
            resource=owner,
            system=system,
        )


class PhoneInvalid(ContactsRefusal):
    """Not a phone number in E.164 form."""

    code, reason = INVALID, "PHONE_INVALID"


class EmailInvalid(ContactsRefusal):
    """Not an e-mail address."""

    code, reason = INVALID, "EMAIL_INVALID"


class ValueRepeated(ContactsRefusal):
    """The same value stands twice."""

    code, reason = INVALID, "VALUE_REPEATED"


class TimeInFuture(ContactsRefusal):
    """The time has not come yet."""

    code, reason = INVALID, "TIME_IN_FUTURE"


class QueryEmpty(ContactsRefusal):
    """There is nothing to search for."""

    code, reason = INVALID, "QUERY_EMPTY"


class FieldNotOfKind(ContactsRefusal):
    """A contact of this kind does not have the field."""

    code, reason = INVALID, "FIELD_NOT_OF_KIND"


class DateInvalid(ContactsRefusal):
    """Not a whole date of the calendar."""

    code, reason = INVALID, "DATE_INVALID"
