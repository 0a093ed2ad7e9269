"""The one way of a call: metrics → errors → deadline → access → validation → the method."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, cast

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from services.chassis import errors
from services.chassis.access import Access, Context, token_of
from services.chassis.call import Call
from services.chassis.call_log import CallLog, Outcome
from services.chassis.deadlines import Deadlines
from services.chassis.identifiers import new_request_id
from services.chassis.metrics import Metrics
from services.chassis.policy import Method
from services.chassis.roles import Roles
from services.chassis.tokens import Tokens
from services.chassis.tracing import Span, no_span
from services.chassis.validation import checker

Unary = Callable[[Any, Call], Awaitable[Message]]
Stream = Callable[[Any, Call], AsyncIterator[Message]]
Messages = AsyncIterator[bytes]
UnaryHandler = Callable[[Messages, Context], Awaitable[bytes]]
StreamHandler = Callable[[Messages, Context], AsyncIterator[bytes]]
log = structlog.get_logger()

# Kept back from the caller's deadline, so that the refusal still arrives.
MARGIN_SECONDS = 0.05
OK = grpc.StatusCode.OK


class Chain:
    """Makes the handlers of a service's methods."""

    def __init__(
        self, tokens: Tokens, roles: Roles, metrics: Metrics, span: Span, call_log: CallLog
    ) -> None:
        self.tokens = tokens
        self.roles = roles
        self.metrics = metrics
        self._span = span
        self.call_log = call_log
        self.deadlines = Deadlines()

    def handler(self, method: Method, implementation: Any) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of a method; its bytes are read and written in here."""
        way = _Way(self, method)
        # The request is one message, and is read here as if more could come: gRPC itself would
        # leave a call without an answer whose message never comes.
        if method.descriptor.server_streaming:
            return grpc.stream_stream_rpc_method_handler(way.stream(implementation))
        return grpc.stream_unary_rpc_method_handler(way.unary(implementation, self._span))

    def unknown_handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of all paths that no method has."""

        async def unary(_messages: Messages, context: Context) -> bytes:
            self.metrics.calls.unknown_method()
            await _abort(context, errors.MethodUnknown("there is no such method"), ())

        return grpc.stream_unary_rpc_method_handler(unary)


class _Way:
    """The way of the calls of one method, with all that is known before the first of them."""

    def __init__(self, chain: Chain, method: Method) -> None:
        self._method = method
        self._allow = Access(chain.tokens, chain.roles, method).allow
        self._calls = chain.metrics.calls.of(method)
        self._log = chain.call_log.of(method)
        self._deadlines = chain.deadlines
        self._check = checker(method.request_class)

    def unary(self, implementation: Unary, span: Span) -> UnaryHandler:
        """Return what handles a call with one answer."""
        calls, log_, deadlines = self._calls, self._log, self._deadlines

        async def answer_to(context: Context, outcome: Outcome) -> tuple[Message, Call]:
            ends_at = self._ends_at(context, outcome)
            with deadlines.at(ends_at):
                request, call = await self._admit(context, outcome, ends_at)
                return await implementation(request, call), call

        async def traced(context: Context, outcome: Outcome) -> tuple[Message, Call]:
            with span(self._method.path, tuple(context.invocation_metadata() or ())):
                return await answer_to(context, outcome)

        answer = answer_to if span is no_span else traced

        async def handle(_messages: Messages, context: Context) -> bytes:
            outcome = Outcome(log_, context.peer())
            calls.started += 1
            try:
                message, call = await answer(context, outcome)
                serialized = call.serialized
                if serialized is None:
                    # A stored answer must come out byte for byte as it did at first.
                    serialized = message.SerializeToString(deterministic=True)
                outcome.replayed = call.replayed
                context.set_trailing_metadata(_trailers(outcome))
                calls.sent += 1
                self._end(outcome, OK)
                return serialized
            except asyncio.CancelledError:
                self._end(outcome, grpc.StatusCode.CANCELLED)
                raise
            except Exception as error:
                await self._refuse(context, outcome, error)

        return handle

    def stream(self, implementation: Stream) -> StreamHandler:
        """Return what handles a call with a stream of answers."""

        async def handle(_messages: Messages, context: Context) -> AsyncIterator[bytes]:
            outcome = Outcome(self._log, context.peer())
            self._calls.started += 1
            try:
                ends_at = self._ends_at(context, outcome)
                async with asyncio.timeout(ends_at - time.monotonic()):
                    request, call = await self._admit(context, outcome, ends_at)
                    async for part in implementation(request, call):
                        # A stream outlives neither its token nor the roles of its caller.
                        await self._allow(call.token, outcome)
                        self._calls.sent += 1
                        yield part.SerializeToString()
                self._end(outcome, OK)
            except (asyncio.CancelledError, GeneratorExit):
                self._end(outcome, grpc.StatusCode.CANCELLED)
                raise
            except Exception as error:
                await self._refuse(context, outcome, error)

        return handle

    def _ends_at(self, context: Context, outcome: Outcome) -> float:
        seconds = self._method.deadline_seconds
        remaining = cast("float | None", context.time_remaining())
        if remaining is not None and remaining - MARGIN_SECONDS < seconds:
            seconds = remaining - MARGIN_SECONDS
        return outcome.started_at + seconds

    async def _admit(
        self, context: Context, outcome: Outcome, ends_at: float
    ) -> tuple[Message, Call]:
        """Let the call in: access before validation, so that a stranger learns nothing."""
        token = token_of(context)
        principal = await self._allow(token, outcome)
        request, raw = await self._read(context)
        self._check(request, raw)
        # Only now is it known to be fit for a trailer and a log.
        if self._method.has_request_id:
            outcome.request_id = request.request_id  # type: ignore[attr-defined]
        if not outcome.request_id:
            outcome.request_id = new_request_id()
        self._calls.received += 1
        return request, Call(
            method=self._method,
            principal=principal,
            token=token,
            request_id=outcome.request_id,
            request_hash=digest_of(request) if self._method.writes else b"",
            ends_at=ends_at,
        )

    async def _read(self, context: Context) -> tuple[Message, bytes]:
        """Return the request of a call, and its bytes."""
        raw = await context.read()
        if raw is grpc.aio.EOF:
            raise errors.MalformedMessage("the request ended before its message")
        try:
            return self._method.request_class.FromString(raw), raw
        except DecodeError as error:
            text = f"the bytes are not a {self._method.descriptor.input_type.full_name}"
            raise errors.MalformedMessage(text) from error

    async def _refuse(self, context: Context, outcome: Outcome, error: Exception) -> NoReturn:
        """Answer with the refusal that the error is; a defect is logged and not told."""
        outcome.request_id = outcome.request_id or new_request_id()
        if isinstance(error, errors.Refusal):
            refusal = error
        elif isinstance(error, TimeoutError):
            text = "the deadline passed; a write may be repeated with the same request_id"
            refusal = errors.DeadlineExceeded(text)
        else:
            log.exception("defect", method=self._method.path, request_id=outcome.request_id)
            text = "a defect of the service"
            refusal = errors.Internal(text, request_id=outcome.request_id)
        outcome.reason = refusal.reason
        self._end(outcome, refusal.code)
        await _abort(context, refusal, _trailers(outcome))

    def _end(self, outcome: Outcome, code: grpc.StatusCode) -> None:
        outcome.request_id = outcome.request_id or new_request_id()
        outcome.end(code)
        self._calls.end(code, outcome.seconds)


def digest_of(request: Message) -> bytes:
    """Return what tells a request from others under the same request_id."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


def _trailers(outcome: Outcome) -> tuple[tuple[str, str], ...]:
    request_id = ("request-id", outcome.request_id)
    return (request_id, ("idempotency-replayed", "true")) if outcome.replayed else (request_id,)


async def _abort(
    context: Context, refusal: errors.Refusal, trailers: tuple[tuple[str, str], ...]
) -> NoReturn:
    details = ("grpc-status-details-bin", refusal.to_status().SerializeToString())
    await context.abort(refusal.code, refusal.message, (*trailers, details))
    raise AssertionError
