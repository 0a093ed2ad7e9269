"""What an application may rely on that calls the suite by an API key, with either client."""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import grpc
import pytest

import vafa
from tests.unit.test_client import (
    GET_CONTACT,
    STREAM_EVENTS,
    Context,
    Handlers,
    Recorder,
    both_clients,
    connected,
    done,
    in_event_loop,
)
from vafa import exchange
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2
from vafa.gateway.v1 import access_pb2

EXCHANGE = "/vafa.gateway.v1.AccessService/ExchangeApiKey"
SECRET = "vafa_till_" + "s" * 43
ADA = contacts_pb2.Contact(name="contacts/ada")
TOGETHER = 64


class Gateway:
    """Exchanges keys for the tokens `token-1`, `token-2` …, and refuses with `refusal` if it is
    set; each exchange takes `busy_seconds`.
    """

    def __init__(self, lifetime_seconds: float = 300, busy_seconds: float = 0) -> None:
        self.lifetime_seconds = lifetime_seconds
        self.busy_seconds = busy_seconds
        self.refusal: grpc.StatusCode | None = None
        self.secrets: list[str] = []
        self.authorizations: list[Any] = []

    async def serve(
        self, request: access_pb2.ExchangeApiKeyRequest, context: Context
    ) -> access_pb2.AccessToken:
        self.secrets.append(request.secret)
        metadata = context.invocation_metadata() or ()
        self.authorizations += [value for key, value in metadata if key == "authorization"]
        await asyncio.sleep(self.busy_seconds)
        if self.refusal is not None:
            await context.abort(self.refusal, "not now")
        answer = access_pb2.AccessToken(token=f"token-{len(self.secrets)}")
        answer.lifetime.FromMilliseconds(int(self.lifetime_seconds * 1000))
        # A clock of the suite's own does not matter.
        answer.expire_time.FromSeconds(0)
        return answer


@asynccontextmanager
async def holding_a_key(
    client: ModuleType, gateway: Gateway, get: Recorder
) -> AsyncIterator[vafa.Suite | vafa.aio.Suite]:
    handlers: Handlers = {EXCHANGE: gateway.serve, GET_CONTACT: get.serve}
    async with connected(client, handlers, api_key=SECRET) as suite:
        yield suite


async def call(suite: vafa.Suite | vafa.aio.Suite) -> None:
    await done(suite.contacts.GetContact, contacts_pb2.GetContactRequest())


@both_clients
@in_event_loop
async def test_a_key_is_exchanged_at_the_first_call_and_not_again_at_the_next(
    client: ModuleType,
) -> None:
    gateway, get = Gateway(), Recorder(ADA)
    async with holding_a_key(client, gateway, get) as suite:
        assert gateway.secrets == []
        for _ in range(3):
            await call(suite)
    assert gateway.secrets == [SECRET]
    assert get.authorizations == [["Bearer token-1"]] * 3


@both_clients
@in_event_loop
async def test_a_stream_carries_the_token_too(client: ModuleType) -> None:
    seen: list[Any] = []

    async def stream(_request: Any, context: Context) -> AsyncIterator[Any]:
        seen.extend(context.invocation_metadata() or ())
        yield events_pb2.StreamEventsResponse()

    def read(suite: vafa.Suite) -> list[Any]:
        return list(suite.events("contacts").StreamEvents(events_pb2.StreamEventsRequest()))

    handlers: Handlers = {EXCHANGE: Gateway().serve, STREAM_EVENTS: stream}
    async with connected(client, handlers, api_key=SECRET) as suite:
        if isinstance(suite, vafa.Suite):
            answers = await asyncio.to_thread(read, suite)
        else:
            stub = suite.events("contacts")
            answers = [a async for a in stub.StreamEvents(events_pb2.StreamEventsRequest())]
    assert len(answers) == 1
    assert ("authorization", "Bearer token-1") in [tuple(pair) for pair in seen]


@both_clients
@in_event_loop
async def test_many_calls_at_once_make_one_exchange(client: ModuleType) -> None:
    gateway, get = Gateway(busy_seconds=0.2), Recorder(ADA)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(TOGETHER))
    async with holding_a_key(client, gateway, get) as suite:
        await asyncio.gather(*(call(suite) for _ in range(TOGETHER)))
    assert len(gateway.secrets) == 1
    assert get.authorizations == [["Bearer token-1"]] * TOGETHER


@both_clients
@in_event_loop
async def test_a_token_is_renewed_before_it_ends(client: ModuleType) -> None:
    gateway, get = Gateway(lifetime_seconds=0.5), Recorder(ADA)
    async with holding_a_key(client, gateway, get) as suite:
        while len(gateway.secrets) < 3:
            await call(suite)
    told = [value for [value] in get.authorizations]
    assert list(dict.fromkeys(told)) == [f"Bearer token-{n}" for n in (1, 2, 3)]


@both_clients
@in_event_loop
async def test_a_good_token_outlasts_a_gateway_that_is_away(
    client: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "RENEWED_AFTER", 0.0)
    gateway, get = Gateway(), Recorder(ADA)
    async with holding_a_key(client, gateway, get) as suite:
        await call(suite)
        gateway.refusal = grpc.StatusCode.RESOURCE_EXHAUSTED
        for _ in range(3):
            await call(suite)
    # Tried once more, and then not for some seconds.
    assert len(gateway.secrets) == 2
    assert get.authorizations == [["Bearer token-1"]] * 4


@both_clients
@in_event_loop
async def test_a_key_that_is_refused_fails_the_call_though_its_token_is_good(
    client: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "RENEWED_AFTER", 0.0)
    gateway, get = Gateway(), Recorder(ADA)
    async with holding_a_key(client, gateway, get) as suite:
        await call(suite)
        gateway.refusal = grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(vafa.Unauthenticated, match="not now"):
            await call(suite)
    assert len(get.requests) == 1


@both_clients
@in_event_loop
async def test_all_who_wait_for_an_exchange_are_told_that_it_failed(client: ModuleType) -> None:
    gateway, get = Gateway(busy_seconds=0.2), Recorder(ADA)
    gateway.refusal = grpc.StatusCode.UNAUTHENTICATED
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(TOGETHER))
    async with holding_a_key(client, gateway, get) as suite:
        outcomes = await asyncio.gather(
            *(call(suite) for _ in range(TOGETHER)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [vafa.Unauthenticated] * TOGETHER
        first = len(gateway.secrets)
        # Threads begin one by one, so some may come after the first failure.
        assert first < TOGETHER / 4
        gateway.refusal = None
        await call(suite)
    assert len(gateway.secrets) == first + 1
    assert get.authorizations == [[f"Bearer token-{first + 1}"]]


@both_clients
@in_event_loop
async def test_an_exchange_is_tried_again_while_the_gateway_is_away(client: ModuleType) -> None:
    answer = access_pb2.AccessToken(token="token")  # noqa: S106
    answer.lifetime.FromSeconds(300)
    gateway, get = Recorder(answer, unavailable_times=2), Recorder(ADA)
    handlers: Handlers = {EXCHANGE: gateway.serve, GET_CONTACT: get.serve}
    async with connected(client, handlers, api_key=SECRET) as suite:
        await call(suite)
    assert len(gateway.requests) == 3
    assert get.authorizations == [["Bearer token"]]


@in_event_loop
async def test_who_gives_up_does_not_end_the_exchange_for_the_others() -> None:
    gateway, get = Gateway(busy_seconds=0.3), Recorder(ADA)
    async with holding_a_key(vafa.aio, gateway, get) as suite:
        first, second = (asyncio.create_task(call(suite)) for _ in range(2))
        while not gateway.secrets:
            await asyncio.sleep(0.01)
        first.cancel()
        await second
    assert first.cancelled()
    assert len(gateway.secrets) == 1


@both_clients
@in_event_loop
async def test_what_anybody_may_call_carries_no_token(client: ModuleType) -> None:
    gateway = Gateway()
    async with connected(client, {EXCHANGE: gateway.serve}, token="own") as suite:  # noqa: S106
        request = access_pb2.ExchangeApiKeyRequest(secret=SECRET)
        await done(suite.api_keys.ExchangeApiKey, request)
    assert gateway.secrets == [SECRET]
    assert gateway.authorizations == []


@both_clients
@in_event_loop
async def test_neither_key_nor_token_is_shown(
    client: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gateway, get = Gateway(), Recorder(ADA)
    async with holding_a_key(client, gateway, get) as suite:
        await call(suite)
        shown = [repr(suite), repr(vars(suite)), caplog.text]
    gateway.refusal = grpc.StatusCode.UNAUTHENTICATED
    async with holding_a_key(client, gateway, get) as suite:
        with pytest.raises(vafa.Unauthenticated) as refused:
            await call(suite)
        shown += [str(refused.value), repr(refused.value), repr(vars(refused.value))]
    for text in shown:
        assert SECRET not in text
        assert "token-1" not in text


@in_event_loop
async def test_a_token_that_is_held_is_not_shown() -> None:
    answer = access_pb2.AccessToken(token="token-1")  # noqa: S106
    answer.lifetime.FromSeconds(300)

    async def give() -> access_pb2.AccessToken:
        return answer

    blocking, aio = exchange.ExchangedToken(lambda: answer), exchange.AioExchangedToken(give)
    assert blocking() == await aio() == "token-1"
    for source in (blocking, aio):
        assert "token-1" not in f"{source!r} {vars(source)!r}"


@both_clients
def test_a_key_needs_the_address_of_the_gateway(client: ModuleType) -> None:
    with pytest.raises(ValueError, match="no address was given for 'gateway'"):
        client.connect({"contacts": "127.0.0.1:1"}, api_key=SECRET)
