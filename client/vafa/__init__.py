"""The client of Vafa, and the messages and stubs of its contract in `vafa.<package>.v1`.

    with vafa.connect_local() as suite:
        suite.contacts.GetContact(contacts_pb2.GetContactRequest(name="contacts/ada"))

`vafa.aio` is the same for asyncio. A call that fails raises a VafaError.
"""

from vafa import aio
from vafa.client import Suite, connect, connect_local
from vafa.descriptors import descriptor_set
from vafa.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
    VafaError,
)

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "ResourceExhausted",
    "Suite",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "VafaError",
    "aio",
    "connect",
    "connect_local",
    "descriptor_set",
]
