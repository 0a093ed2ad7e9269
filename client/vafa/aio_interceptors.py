"""What the asyncio client does with each call: complete it, and raise its error as ours.

gRPC takes an interceptor for one kind of call only, hence two.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar, cast

from grpc import aio

from vafa import access, calls
from vafa.errors import error_from_call

Request = TypeVar("Request")
Response = TypeVar("Response")


def _method_of(details: aio.ClientCallDetails) -> str:
    # Its type says str; what comes is bytes.
    method = cast("str | bytes", details.method)
    return method.decode("ascii") if isinstance(method, bytes) else method


async def _complete(
    details: aio.ClientCallDetails, token: access.TokenSource | None, added: calls.Metadata
) -> aio.ClientCallDetails:
    metadata, method = (*(details.metadata or ()), *added), _method_of(details)
    if token is not None and calls.lacks_token(method, metadata):
        found = token()
        metadata = (*metadata, calls.bearer(found if isinstance(found, str) else await found))
    return aio.ClientCallDetails(
        method=details.method,
        timeout=calls.timeout_seconds(method, details.timeout),
        metadata=aio.Metadata(*metadata),
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
    )


class UnaryInterceptor(aio.UnaryUnaryClientInterceptor):
    """Gives each call its deadline, request_id and token, and its failure our class."""

    def __init__(self, token: access.TokenSource | None, metadata: calls.Metadata = ()) -> None:
        self._token = token
        self._metadata = metadata

    async def intercept_unary_unary(
        self,
        continuation: Callable[
            [aio.ClientCallDetails, Request], Awaitable[aio.UnaryUnaryCall[Request, Response]]
        ],
        client_call_details: aio.ClientCallDetails,
        request: Request,
    ) -> aio.UnaryUnaryCall[Request, Response]:
        """Return the call once it has succeeded."""
        method = _method_of(client_call_details)
        call = await continuation(
            await _complete(client_call_details, self._token, self._metadata),
            calls.with_request_id(method, request),
        )
        try:
            await call
        except aio.AioRpcError as error:
            raise error_from_call(error, method) from error
        return call


class StreamInterceptor(aio.UnaryStreamClientInterceptor):
    """Gives each stream its request_id and token, and its failure our class."""

    def __init__(self, token: access.TokenSource | None, metadata: calls.Metadata = ()) -> None:
        self._token = token
        self._metadata = metadata

    async def intercept_unary_stream(
        self,
        continuation: Callable[
            [aio.ClientCallDetails, Request], Awaitable[aio.UnaryStreamCall[Request, Response]]
        ],
        client_call_details: aio.ClientCallDetails,
        request: Request,
    ) -> AsyncIterator[Response]:
        """Return the answers of the call, of which gRPC makes a call again."""
        method = _method_of(client_call_details)
        call = await continuation(
            await _complete(client_call_details, self._token, self._metadata),
            calls.with_request_id(method, request),
        )
        return _answers(call, method)


async def _answers(
    call: aio.UnaryStreamCall[Request, Response], method: str
) -> AsyncIterator[Response]:
    try:
        async for response in call:
            yield response
    except aio.AioRpcError as error:
        raise error_from_call(error, method) from error
