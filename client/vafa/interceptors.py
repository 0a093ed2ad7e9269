"""What the blocking client does with each call: complete it, and raise its error as ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import grpc

from vafa import calls
from vafa.calls import Metadata
from vafa.errors import error_from_call

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True)
class _Details(grpc.ClientCallDetails):
    method: str
    timeout: float | None
    metadata: Metadata | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Call(grpc.Call):
    """A call of gRPC, as it is."""

    def __init__(self, call: Any, method: str) -> None:
        self._call = call
        self._method = method

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return bool(self._call.add_callback(callback))

    def cancel(self) -> bool:
        return bool(self._call.cancel())

    def is_active(self) -> bool:
        return bool(self._call.is_active())

    def time_remaining(self) -> float:
        remaining_seconds: float = self._call.time_remaining()
        return remaining_seconds

    def code(self) -> grpc.StatusCode:
        code: grpc.StatusCode = self._call.code()
        return code

    def details(self) -> str:
        details: str = self._call.details()
        return details

    def initial_metadata(self) -> Metadata:
        metadata: Metadata = self._call.initial_metadata()
        return metadata

    def trailing_metadata(self) -> Metadata:
        metadata: Metadata = self._call.trailing_metadata()
        return metadata


class _Future(_Call, grpc.Future):  # type: ignore[type-arg]  # no generic when it runs
    """A call with one answer, whose failure is a VafaError."""

    def result(self, timeout: float | None = None) -> Any:
        try:
            return self._call.result(timeout)
        except grpc.RpcError as error:
            raise error_from_call(error, self._method) from error

    def exception(self, timeout: float | None = None) -> Exception | None:
        error: Exception | None = self._call.exception(timeout)
        if not isinstance(error, grpc.RpcError):
            return error
        ours = error_from_call(error, self._method)
        ours.__cause__ = error
        return ours

    def traceback(self, timeout: float | None = None) -> Any:
        return self._call.traceback(timeout)

    def cancelled(self) -> bool:
        return bool(self._call.cancelled())

    def done(self) -> bool:
        return bool(self._call.done())

    def running(self) -> bool:
        return bool(self._call.running())

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        self._call.add_done_callback(lambda _: fn(self))


class _Stream(_Call):
    """A call with many answers, whose failure is a VafaError."""

    def __iter__(self) -> _Stream:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise error_from_call(error, self._method) from error


class CallInterceptor(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Gives each call its deadline, request_id and token, and its failure our class."""

    def __init__(self, token: Callable[[], str] | None, metadata: Metadata = ()) -> None:
        self._token = token
        self._metadata = metadata

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Request], grpc._CallFuture[Response]],
        client_call_details: grpc.ClientCallDetails,
        request: Request,
    ) -> grpc._CallFuture[Response]:
        details = self._complete(client_call_details)
        request = calls.with_request_id(details.method, request)
        answer = _Future(continuation(details, request), details.method)
        return cast("grpc._CallFuture[Response]", answer)

    def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Request], grpc._CallIterator[Response]],
        client_call_details: grpc.ClientCallDetails,
        request: Request,
    ) -> grpc._CallIterator[Response]:
        details = self._complete(client_call_details)
        request = calls.with_request_id(details.method, request)
        answers = _Stream(continuation(details, request), details.method)
        return cast("grpc._CallIterator[Response]", answers)

    def _complete(self, details: grpc.ClientCallDetails) -> _Details:
        metadata = (*(details.metadata or ()), *self._metadata)
        if self._token is not None and calls.lacks_token(details.method, metadata):
            metadata = (*metadata, calls.bearer(self._token()))
        return _Details(
            method=details.method,
            timeout=calls.timeout_seconds(details.method, details.timeout),
            metadata=metadata,
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
            compression=details.compression,
        )
