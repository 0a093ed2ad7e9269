"""What a failed call raises: one class for each canonical code.

The contract documents for each method which reasons it gives; a reason and its domain name a
value of an ErrorReason enum, such as RESOURCE_NOT_FOUND of vafa.api.v1.
"""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status


class FieldViolation(NamedTuple):
    """A field of the request that was refused."""

    field: str
    """The path of the field, such as `contact.emails[0].address`."""
    description: str
    """What is wrong with it, in English."""


class VafaError(Exception):
    """A call, or a long-running operation, failed; the class tells the canonical code.

    Where the service itself did not answer, as when it could not be reached, there is no
    reason and no detail.
    """

    code: ClassVar[grpc.StatusCode]

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        reason: str = "",
        domain: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: tuple[FieldViolation, ...] = (),
        retry_delay_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        """What went wrong, in English, for developers."""
        self.method = method
        """The RPC, such as `/vafa.contacts.v1.ContactService/GetContact`."""
        self.reason = reason
        """The name of a value of an ErrorReason enum, or empty."""
        self.domain = domain
        """The package of that enum, such as `vafa.api.v1`, or empty."""
        self.metadata = dict(metadata or {})
        """The particulars that the documentation of the reason names."""
        self.field_violations = field_violations
        """The fields that were refused; empty where no field is to blame."""
        self.retry_delay_seconds = retry_delay_seconds
        """How long to wait before another try, where the service says so."""

    def __str__(self) -> str:
        parts = [self.code.name, f"({self.reason})" if self.reason else "", self.method]
        fields = "".join(f"; {field}: {text}" for field, text in self.field_violations)
        return f"{' '.join(part for part in parts if part)}: {self.message}{fields}"


class Cancelled(VafaError):
    """The call or the operation was cancelled."""

    code = grpc.StatusCode.CANCELLED


class Unknown(VafaError):
    """It failed, and more is not known."""

    code = grpc.StatusCode.UNKNOWN


class InvalidArgument(VafaError):
    """The request is wrong whatever the state of the suite; `field_violations` says where."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineExceeded(VafaError):
    """No answer came in time; a write may have happened, and a repeat of its request_id tells."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFound(VafaError):
    """There is no such resource."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(VafaError):
    """The id, or a key that must be unique, is taken."""

    code = grpc.StatusCode.ALREADY_EXISTS


class PermissionDenied(VafaError):
    """The caller's roles do not grant what the method needs."""

    code = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhausted(VafaError):
    """The service has too much to do, or a message is too large; nothing was done."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPrecondition(VafaError):
    """The state of the suite forbids it; repeat it only after that state has changed."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(VafaError):
    """Somebody else wrote first; read and decide anew."""

    code = grpc.StatusCode.ABORTED


class OutOfRange(VafaError):
    """The request asks for what lies outside of what there is, such as too old a cursor."""

    code = grpc.StatusCode.OUT_OF_RANGE


class Unimplemented(VafaError):
    """The service has no such method."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(VafaError):
    """A defect of the service."""

    code = grpc.StatusCode.INTERNAL


class Unavailable(VafaError):
    """The service could not be reached, or could not work; safe to repeat with its request_id."""

    code = grpc.StatusCode.UNAVAILABLE


class DataLoss(VafaError):
    """Data were lost beyond recovery."""

    code = grpc.StatusCode.DATA_LOSS


class Unauthenticated(VafaError):
    """There is no token, or it was not accepted."""

    code = grpc.StatusCode.UNAUTHENTICATED


_CLASSES: Mapping[int, type[VafaError]] = {
    kind.code.value[0]: kind for kind in VafaError.__subclasses__()
}


def error_from_status(status: status_pb2.Status, method: str) -> VafaError:
    """Return the error that a status describes; Unknown for a number that is no error code."""
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_delay_seconds = None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(request)
        if detail.Unpack(retry):
            retry_delay_seconds = retry.retry_delay.ToTimedelta().total_seconds()
    return _CLASSES.get(status.code, Unknown)(
        status.message,
        method=method,
        reason=info.reason,
        domain=info.domain,
        metadata=info.metadata,
        field_violations=tuple(
            FieldViolation(violation.field, violation.description)
            for violation in request.field_violations
        ),
        retry_delay_seconds=retry_delay_seconds,
    )


def error_from_call(error: grpc.RpcError, method: str) -> VafaError:
    """Return the error that a call of either client ended with."""
    bare = status_pb2.Status(code=error.code().value[0], message=error.details() or "")
    try:
        return error_from_status(rpc_status.from_call(error) or bare, method)
    except (ValueError, DecodeError):
        # A proxy has changed the code or the text, or the details are damaged. What the
        # call itself ended with stands.
        return error_from_status(bare, method)
