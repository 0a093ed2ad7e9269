"""Serves a service: opens the database, binds the ports, and stops without losing a call."""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog
import uvloop
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from services.chassis.call_log import CallLog
from services.chassis.chain import Chain
from services.chassis.consumer import Consumer, Rebuild
from services.chassis.database import Database
from services.chassis.feed import EventServicer, Feed
from services.chassis.health import Health
from services.chassis.issuers import Issuer, Issuers
from services.chassis.logs import configure_logs
from services.chassis.metrics import Metrics
from services.chassis.migrate import wait_for_schema
from services.chassis.operations import Kind, Operations, operations_methods
from services.chassis.parking import Handler, Parking
from services.chassis.policy import Method, methods_of
from services.chassis.roles import Roles
from services.chassis.schema import ChassisTables
from services.chassis.settings import EXIT_CONFIGURATION, ServiceSettings
from services.chassis.tokens import Tokens
from services.chassis.tracing import no_span, spans_to
from services.chassis.watched_file import UNREADABLE
from vafa.aio import Suite
from vafa.events.v1 import events_pb2

log = structlog.get_logger()
# What sysexits.h calls EX_SOFTWARE.
EXIT_DEFECT = 70
# After so many new objects those that hold each other are looked for. By default, 700: then a
# service that answers calls spends a twentieth of its time so, and now and then stands still.
NEW_OBJECTS = 10_000


@dataclass(frozen=True)
class Subscription:
    """The feed of another service that this one applies."""

    suite: Suite
    handlers: Mapping[str, Handler]
    rebuild: Rebuild


@dataclass(frozen=True)
class Parts:
    """What a service is made of beside the chassis: servicers by the contract they serve."""

    servicers: Mapping[ServiceDescriptor, Any]
    subscriptions: Mapping[str, Subscription] = field(default_factory=dict)
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
    suites: Sequence[Suite] = ()


@dataclass(frozen=True)
class Furniture:
    """What the chassis gives to the servicers of a service."""

    database: Database
    operations: Operations
    metrics: Metrics
    roles: Roles


class Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a path; the last to be asked, it has one for unknown paths too."""

    def __init__(self, handlers: Mapping[str, Any], unknown: Any) -> None:
        self._handlers = handlers
        self._unknown = unknown

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call."""
        return self._handlers.get(details.method, self._unknown)


def serve(
    service: str,
    settings: ServiceSettings,
    tables: ChassisTables,
    make_parts: Callable[[Furniture], Parts],
    kinds: Mapping[str, Callable[[Database], Kind]] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; exits with 78 if the settings cannot work."""
    lines = configure_logs(service, settings.log_level)
    call_log = CallLog(lines, service, settings.log_level)
    served = _serve(service, settings, tables, make_parts, kinds or {}, call_log)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            sys.exit(runner.run(served))
    except ConfigurationError as error:
        log.error("configuration", problem=str(error))
        sys.exit(EXIT_CONFIGURATION)
    finally:
        lines.flush()


class ConfigurationError(Exception):
    """The settings cannot work; the text says which and why."""


def _access(settings: ServiceSettings) -> tuple[Tokens, Roles]:
    try:
        issuers = Issuers(_own_issuer(settings), settings.issuers_file)
        return Tokens(issuers), Roles(settings.roles_file)
    except UNREADABLE as error:
        raise ConfigurationError(f"keys, issuers or roles cannot be read: {error}") from error


def _own_issuer(settings: ServiceSettings) -> Issuer | None:
    """Return the suite's own issuer, whose subjects bear no prefix; None if it has none."""
    if not settings.token_issuer:
        return None
    return Issuer(
        issuer=settings.token_issuer,
        audiences=[settings.token_audience],
        algorithms=["EdDSA"],
        jwks_file=settings.jwks_file,
        roles_claim="roles",
        subject_prefix="",
        max_lifetime_seconds=300,
    )


def make_server(settings: ServiceSettings) -> grpc.aio.Server:
    """Return a server with the options of the services, which serves nothing yet."""
    return grpc.aio.server(
        maximum_concurrent_rpcs=settings.concurrent_calls,
        options=[
            # Two servers must not share a port silently.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            ("grpc.max_metadata_size", 16 * 1024),
            ("grpc.server_handshake_timeout_ms", 5_000),
            # Clients come to see new replicas; streams are begun again at their cursor.
            ("grpc.max_connection_age_ms", 60_000),
            ("grpc.max_connection_age_grace_ms", 30_000),
            ("grpc.max_connection_idle_ms", 300_000),
            ("grpc.max_concurrent_streams", 1_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )


def _bound(
    chain: Chain, servicers: Mapping[str, tuple[Sequence[Method], Any]]
) -> tuple[dict[str, Any], list[str]]:
    """Return the handlers by path, and the names of the services; every method must be there."""
    handlers: dict[str, Any] = {}
    for methods, servicer in servicers.values():
        for method in methods:
            implementation = getattr(servicer, method.name, None)
            if implementation is None:
                raise TypeError(f"{type(servicer).__name__} has no {method.name}")
            handlers[method.path] = chain.handler(method, implementation)
    return handlers, list(servicers)


async def _serve(
    service: str,
    settings: ServiceSettings,
    tables: ChassisTables,
    make_parts: Callable[[Furniture], Parts],
    kinds: Mapping[str, Callable[[Database], Kind]],
    call_log: CallLog,
) -> int:
    metrics = Metrics()
    database = Database(settings, tables, metrics)
    try:
        exit_code = await _serve_from(
            database, metrics, service, settings, make_parts, kinds, call_log
        )
    finally:
        # However it ends: the threads of the database would keep the process from ending.
        await asyncio.get_running_loop().run_in_executor(None, database.close)
    log.info("stopped")
    return exit_code


async def _serve_from(
    database: Database,
    metrics: Metrics,
    service: str,
    settings: ServiceSettings,
    make_parts: Callable[[Furniture], Parts],
    kinds: Mapping[str, Callable[[Database], Kind]],
    call_log: CallLog,
) -> int:
    tokens, roles = _access(settings)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    _start_metrics(settings, metrics)
    if not await _unless(stopping, wait_for_schema(service, database)):
        return 0
    feed = Feed(database, settings, metrics)
    of_kind = {name: make(database) for name, make in kinds.items()}
    operations = Operations(service, database, of_kind)
    await database.open(feed.committed)
    parts = make_parts(Furniture(database, operations, metrics, roles))
    handlers = {f"feeds/{name}": sub.handlers for name, sub in parts.subscriptions.items()}
    parking = Parking(database, handlers)
    event_service = events_pb2.DESCRIPTOR.services_by_name["EventService"]
    servicers: dict[str, tuple[Sequence[Method], Any]] = {
        descriptor.full_name: (methods_of(descriptor), servicer)
        for descriptor, servicer in parts.servicers.items()
    }
    own_events = EventServicer(service, database, feed, parking)
    servicers[event_service.full_name] = (methods_of(event_service), own_events)
    served = operations_methods()
    servicers[served[0].service] = (served, operations)
    span = spans_to(settings.otlp_endpoint, service) if settings.otlp_endpoint else no_span
    chain = Chain(tokens, roles, metrics, span, call_log)
    by_path, names = _bound(chain, servicers)
    health = Health(database, names, metrics)
    server = make_server(settings)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    if settings.reflection:
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
    server.add_generic_rpc_handlers((Handlers(by_path, chain.unknown_handler()),))
    _bind(server, settings.listen)
    consumers = [
        Consumer(name, sub.suite, database, sub.handlers, sub.rebuild, metrics)
        for name, sub in parts.subscriptions.items()
    ]
    await server.start()
    background = [
        *(() if database.is_sqlite else (feed.run(),)),
        feed.prune(),
        feed.measure(),
        parking.measure(metrics),
        operations.run(),
        health.run(),
        tokens.run(),
        *(consumer.run() for consumer in consumers),
        *(work() for work in parts.background),
    ]
    tasks = [asyncio.create_task(work) for work in background]
    spare_what_is_there()
    log.info("serving", listen=settings.listen, metrics=settings.metrics_listen)
    exit_code = await _until_stopped(stopping, tasks)
    await health.drain()
    log.info("draining", seconds=settings.drain_delay_seconds)
    await asyncio.sleep(settings.drain_delay_seconds)
    feed.close()
    await server.stop(settings.stop_grace_seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for suite in parts.suites:
        await suite.close()
    return exit_code


def spare_what_is_there() -> None:
    """Let the garbage collector look through what comes from now on alone."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work unless the service is stopped meanwhile; return whether it was done."""
    task = asyncio.create_task(work)
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return False
    task.result()
    return True


async def _until_stopped(stopping: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> int:
    """Wait for the stop and return the exit code; background work that ends by itself is a
    defect, which stops all.
    """
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    ended = [task for task in tasks if task.done()]
    for task in ended:
        log.error("background_ended", exc_info=task.exception())
    return EXIT_DEFECT if ended else 0


def _bind(server: grpc.aio.Server, listen: str) -> None:
    try:
        server.add_insecure_port(listen)
    except RuntimeError as error:
        raise ConfigurationError(f"the address {listen} is in use or cannot be had") from error


def _start_metrics(settings: ServiceSettings, metrics: Metrics) -> None:
    host, _, port = settings.metrics_listen.rpartition(":")
    try:
        start_http_server(int(port), addr=host, registry=metrics.registry)
    except (OSError, ValueError, OverflowError) as error:
        text = f"the address {settings.metrics_listen} is in use or cannot be had"
        raise ConfigurationError(text) from error
