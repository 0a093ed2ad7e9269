"""Long-running operations: whose they are, how to wait for them, what came of them."""

from collections.abc import Iterator
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import descriptor_pool, message_factory

from vafa.errors import DeadlineExceeded, error_from_status

GET_OPERATION = "/google.longrunning.Operations/GetOperation"


def service_of(operation: operations_pb2.Operation) -> str:
    """Return the name of the service that runs the operation, such as `loyalty`.

    Every service keeps operations under names that look alike. What tells them apart is their
    metadata, whose type is of the package of the service.
    """
    package = operation.metadata.TypeName().split(".")
    if package[0] != "vafa":
        raise ValueError(f"operation {operation.name!r} does not tell which service runs it")
    return str(package[1])


def result_of(operation: operations_pb2.Operation) -> Any:
    """Return the message that an ended operation answered with, or raise what it failed with."""
    if not operation.HasField("response"):
        raise error_from_status(operation.error, GET_OPERATION)
    descriptor = descriptor_pool.Default().FindMessageTypeByName(operation.response.TypeName())
    response = message_factory.GetMessageClass(descriptor)()
    operation.response.Unpack(response)
    return response


def poll_delays_seconds() -> Iterator[float]:
    """Give the pauses between polls: 0.05 s at first, then twice as long each time, up to 1 s."""
    delay_seconds = 0.05
    while True:
        yield delay_seconds
        delay_seconds = min(2 * delay_seconds, 1.0)


def still_running(operation: operations_pb2.Operation, timeout_seconds: float) -> DeadlineExceeded:
    """Return the error of a caller who waited as long as they wished to."""
    return DeadlineExceeded(
        f"{operation.name} had not ended after {timeout_seconds} s; it goes on",
        method=GET_OPERATION,
    )
