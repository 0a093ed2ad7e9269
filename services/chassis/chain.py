"""The one way of a call: metrics → errors → deadline → access → validation → the method."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias, cast

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from services.chassis import errors, validation
from services.chassis.call import Call
from services.chassis.identifiers import new_uid
from services.chassis.identity import NOBODY, Principal
from services.chassis.metrics import Metrics
from services.chassis.policy import Method
from services.chassis.roles import Roles
from services.chassis.tokens import Tokens
from services.chassis.tracing import Span

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Unary = Callable[[Any, Call], Awaitable[Message]]
Stream = Callable[[Any, Call], AsyncIterator[Message]]
Messages = AsyncIterator[bytes]
log = structlog.get_logger()

# Kept back from the caller's deadline, so that the refusal still arrives.
MARGIN_SECONDS = 0.05
# A defect of the service, and not of the call.
DEFECTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})


@dataclass
class Outcome:
    """What is known of a call for its log line, as far as it got.

    `peer` is taken at the beginning: asked of a call that is over, gRPC crashes the process.
    """

    peer: str
    started_at: float = field(default_factory=time.monotonic)
    principal: str = ""
    request_id: str = field(default_factory=lambda: str(new_uid()))
    reason: str = ""
    replayed: bool = False


class Chain:
    """Makes the handlers of a service's methods."""

    def __init__(self, tokens: Tokens, roles: Roles, metrics: Metrics, span: Span) -> None:
        self._tokens = tokens
        self._roles = roles
        self._metrics = metrics
        self._span = span

    def handler(self, method: Method, implementation: Any) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of a method; its bytes are read and written in here."""
        self._metrics.declare(method)
        # The request is one message, and is read here as if more could come: gRPC itself would
        # leave a call without an answer whose message never comes.
        if method.descriptor.server_streaming:

            async def stream(_messages: Messages, context: Context) -> AsyncIterator[bytes]:
                async for part in self._serve_stream(method, implementation, context):
                    yield part

            return grpc.stream_stream_rpc_method_handler(stream)

        async def unary(_messages: Messages, context: Context) -> bytes:
            return await self._serve_unary(method, implementation, context)

        return grpc.stream_unary_rpc_method_handler(unary)

    def unknown_handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of all paths that no method has."""

        async def unary(_messages: Messages, context: Context) -> bytes:
            self._metrics.unknown_method()
            await _abort(context, errors.MethodUnknown("there is no such method"), [])

        return grpc.stream_unary_rpc_method_handler(unary)

    async def _serve_unary(self, method: Method, implementation: Unary, context: Context) -> bytes:
        outcome = Outcome(context.peer())
        self._metrics.started(method)
        try:
            with self._span(method.path, tuple(context.invocation_metadata() or ())):
                seconds = self._seconds(method, context)
                async with asyncio.timeout(seconds):
                    request, call = await self._admit(method, context, seconds, outcome)
                    answer = await implementation(request, call)
            outcome.replayed = call.replayed
            context.set_trailing_metadata(_trailers(outcome))
            self._finish(method, outcome, grpc.StatusCode.OK)
            # A stored answer must come out byte for byte as it did at first.
            return answer.SerializeToString(deterministic=True)
        except asyncio.CancelledError:
            self._finish(method, outcome, grpc.StatusCode.CANCELLED)
            raise
        except Exception as error:
            await self._refuse(method, context, outcome, error)

    async def _serve_stream(
        self, method: Method, implementation: Stream, context: Context
    ) -> AsyncIterator[bytes]:
        outcome = Outcome(context.peer())
        self._metrics.started(method)
        try:
            seconds = self._seconds(method, context)
            async with asyncio.timeout(seconds):
                request, call = await self._admit(method, context, seconds, outcome)
                async for part in implementation(request, call):
                    # A stream outlives neither its token nor the roles of its caller.
                    await self._allowed(method, call.token, outcome)
                    self._metrics.sent(method)
                    yield part.SerializeToString()
            self._finish(method, outcome, grpc.StatusCode.OK)
        except (asyncio.CancelledError, GeneratorExit):
            self._finish(method, outcome, grpc.StatusCode.CANCELLED)
            raise
        except Exception as error:
            await self._refuse(method, context, outcome, error)

    @staticmethod
    def _seconds(method: Method, context: Context) -> float:
        remaining = cast("float | None", context.time_remaining())
        if remaining is None:
            return method.deadline_seconds
        return max(0.0, min(method.deadline_seconds, remaining - MARGIN_SECONDS))

    async def _admit(
        self, method: Method, context: Context, seconds: float, outcome: Outcome
    ) -> tuple[Message, Call]:
        """Let the call in: access before validation, so that a stranger learns nothing."""
        token = _bearer(context)
        principal = await self._allowed(method, token, outcome)
        request, raw = await _read(method, context)
        validation.check(request, raw)
        # Only now is it known to be fit for a trailer and a log.
        if method.has_request_id:
            outcome.request_id = request.request_id or outcome.request_id  # type: ignore[attr-defined]
        self._metrics.received(method)
        return request, Call(
            method=method,
            principal=principal,
            token=token,
            request_id=outcome.request_id,
            request_hash=_digest(request) if method.writes else b"",
            ends_at=time.monotonic() + seconds,
        )

    async def _allowed(self, method: Method, token: str, outcome: Outcome) -> Principal:
        """Return who calls, if they may now."""
        if method.public:
            return NOBODY
        principal = await self._tokens.verify(token)
        outcome.principal = principal.subject
        self._roles.require(principal, method.permission)
        return principal

    async def _refuse(
        self, method: Method, context: Context, outcome: Outcome, error: Exception
    ) -> NoReturn:
        """Answer with the refusal that the error is; a defect is logged and not told."""
        if isinstance(error, errors.Refusal):
            refusal = error
        elif isinstance(error, TimeoutError):
            text = "the deadline passed; a write may be repeated with the same request_id"
            refusal = errors.DeadlineExceeded(text)
        else:
            log.exception("defect", method=method.path, request_id=outcome.request_id)
            text = "a defect of the service"
            refusal = errors.Internal(text, request_id=outcome.request_id)
        outcome.reason = refusal.reason
        self._finish(method, outcome, refusal.code)
        await _abort(context, refusal, _trailers(outcome))

    def _finish(self, method: Method, outcome: Outcome, code: grpc.StatusCode) -> None:
        seconds = time.monotonic() - outcome.started_at
        self._metrics.handled(method, code, seconds)
        level = logging.ERROR if code in DEFECTS else logging.INFO
        log.log(
            level,
            "rpc",
            service=method.service,
            method=method.name,
            code=code.name,
            reason=outcome.reason,
            duration_ms=round(seconds * 1000, 3),
            peer=outcome.peer,
            principal=outcome.principal,
            request_id=outcome.request_id,
            replayed=outcome.replayed,
        )


def _digest(request: Message) -> bytes:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


async def _read(method: Method, context: Context) -> tuple[Message, bytes]:
    """Return the request of a call, and its bytes."""
    raw = await context.read()
    if raw is grpc.aio.EOF:
        raise errors.MalformedMessage("the request ended before its message")
    try:
        return method.request_class.FromString(raw), raw
    except DecodeError as error:
        text = f"the bytes are not a {method.descriptor.input_type.full_name}"
        raise errors.MalformedMessage(text) from error


def _bearer(context: Context) -> str:
    values = [v for k, v in context.invocation_metadata() or () if k == "authorization"]
    scheme, _, token = str(values[0]).partition(" ") if len(values) == 1 else ("", "", "")
    return token if scheme.lower() == "bearer" else ""


def _trailers(outcome: Outcome) -> list[tuple[str, str]]:
    trailers = [("request-id", outcome.request_id)]
    if outcome.replayed:
        trailers.append(("idempotency-replayed", "true"))
    return trailers


async def _abort(
    context: Context, refusal: errors.Refusal, trailers: list[tuple[str, str]]
) -> NoReturn:
    details = ("grpc-status-details-bin", refusal.to_status().SerializeToString())
    await context.abort(refusal.code, refusal.message, (*trailers, details))
    raise AssertionError
