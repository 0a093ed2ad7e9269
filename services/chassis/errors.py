"""Refusals: what went wrong, as the caller is told. Handlers raise; one place renders.

A refusal class names a reason of the contract, so that a reason nobody declared cannot be
given. Its text and metadata never hold personal data.
"""

from collections.abc import Sequence
from typing import ClassVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.rpc import error_details_pb2, status_pb2

from vafa.api.v1 import error_reason_pb2

Violations = Sequence[tuple[str, str]]

# A refusal travels in trailers, of which many clients take 8 KiB and no more, as base64; its
# text travels there twice.
MESSAGE_BYTES = 600
VIOLATIONS_BYTES = 3000


class Refusal(Exception):
    """An expected failure of a call: nothing was changed.

    `violations` are pairs of the path of a field and what is wrong with it. The first of them
    are told, as many as fit, and the beginning of the message and of each metadata value.
    """

    reasons: ClassVar[EnumTypeWrapper] = error_reason_pb2.ErrorReason  # type: ignore[assignment]
    code: ClassVar[grpc.StatusCode]
    reason: ClassVar[str]

    def __init_subclass__(cls) -> None:
        if "reason" in cls.__dict__:
            cls.reasons.Value(cls.reason)

    def __init__(
        self,
        message: str,
        *,
        violations: Violations = (),
        retry_delay_seconds: float | None = None,
        **metadata: str | int,
    ) -> None:
        super().__init__(message)
        self.message = _beginning(message)
        self.violations = tuple(violations)
        self.retry_delay_seconds = retry_delay_seconds
        self.metadata = {key: _beginning(str(value)) for key, value in metadata.items()}

    def under(self, prefix: str) -> "Refusal":
        """Return this refusal with its fields placed under prefix, such as `requests[3].`."""
        self.violations = tuple((prefix + field, text) for field, text in self.violations)
        return self

    def to_status(self) -> status_pb2.Status:
        """Return the refusal as it travels: one ErrorInfo, then what else there is to say."""
        domain = self.reasons.DESCRIPTOR.file.package
        details: list[any_pb2.Any] = []

        def add(detail: object) -> None:
            packed = any_pb2.Any()
            packed.Pack(detail)  # type: ignore[arg-type]
            details.append(packed)

        add(error_details_pb2.ErrorInfo(reason=self.reason, domain=domain, metadata=self.metadata))
        if self.violations:
            request = error_details_pb2.BadRequest()
            for field, text in self.violations:
                told = request.field_violations.add()
                told.field, told.description = _beginning(field), _beginning(text)
                if request.ByteSize() > VIOLATIONS_BYTES:
                    del request.field_violations[-1]
                    break
            add(request)
        if self.retry_delay_seconds is not None:
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(int(self.retry_delay_seconds * 1e9))
            add(error_details_pb2.RetryInfo(retry_delay=delay))
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=details)


def _beginning(text: str) -> str:
    return text.encode()[:MESSAGE_BYTES].decode(errors="ignore")


class MalformedMessage(Refusal):
    """The bytes are not a message of the expected type."""

    code, reason = grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE"


class InvalidField(Refusal):
    """Fields break their bounds."""

    code, reason = grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"


class Unauthenticated(Refusal):
    """No token, or one that was not accepted."""

    code, reason = grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"


class PermissionDenied(Refusal):
    """The caller's roles do not grant the permission."""

    code, reason = grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"


class DeadlineExceeded(Refusal):
    """The deadline passed before the answer."""

    code, reason = grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"


class Unavailable(Refusal):
    """Something that the call needs could not be reached in time; safe to repeat."""

    code, reason = grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"


class Overloaded(Refusal):
    """More calls wait than may wait."""

    code, reason = grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"


class Internal(Refusal):
    """A defect of ours; the text says nothing of it."""

    code, reason = grpc.StatusCode.INTERNAL, "INTERNAL"


class RequestIdReused(Refusal):
    """The request_id stands for another payload."""

    code, reason = grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"


class MethodUnknown(Refusal):
    """The service has no such method."""

    code, reason = grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN"


class OfResource(Refusal):
    """A refusal that says one thing of the resource it names."""

    said: ClassVar[str]

    def __init__(self, resource: str) -> None:
        super().__init__(f"{resource} {self.said}", resource=resource)


class ResourceNotFound(OfResource):
    """No such resource, or it is deleted."""

    code, reason = grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"
    said = "was not found"


class ResourceAlreadyExists(OfResource):
    """The id is taken."""

    code, reason = grpc.StatusCode.ALREADY_EXISTS, "RESOURCE_ALREADY_EXISTS"
    said = "exists already"


class EtagMismatch(OfResource):
    """Somebody else wrote first."""

    code, reason = grpc.StatusCode.ABORTED, "ETAG_MISMATCH"
    said = "has changed since its etag was read"


class ResourceDeleted(OfResource):
    """The resource is deleted; undelete it first."""

    code, reason = grpc.StatusCode.FAILED_PRECONDITION, "RESOURCE_DELETED"
    said = "is deleted"


class ResourceNotDeleted(OfResource):
    """There is nothing to undelete."""

    code, reason = grpc.StatusCode.FAILED_PRECONDITION, "RESOURCE_NOT_DELETED"
    said = "is not deleted"


class PageTokenInvalid(Refusal):
    """The page token was not made for this list."""

    code, reason = grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"

    def __init__(self) -> None:
        text = "not a token of this list with this filter and order"
        super().__init__("the page token is not valid", violations=[("page_token", text)])


class FilterInvalid(Refusal):
    """The filter cannot be read."""

    code, reason = grpc.StatusCode.INVALID_ARGUMENT, "FILTER_INVALID"


class OrderByInvalid(Refusal):
    """The order cannot be read."""

    code, reason = grpc.StatusCode.INVALID_ARGUMENT, "ORDER_BY_INVALID"


class UpdateMaskInvalid(Refusal):
    """The update mask names what callers do not set."""

    code, reason = grpc.StatusCode.INVALID_ARGUMENT, "UPDATE_MASK_INVALID"


class FieldImmutable(Refusal):
    """An immutable field would change."""

    code, reason = grpc.StatusCode.INVALID_ARGUMENT, "FIELD_IMMUTABLE"


class CursorExpired(Refusal):
    """The cursor belongs to another epoch, or to events that are no longer kept."""

    code, reason = grpc.StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED"


class OperationCancelled(Refusal):
    """The long-running operation was cancelled before it ended."""

    code, reason = grpc.StatusCode.CANCELLED, "OPERATION_CANCELLED"
