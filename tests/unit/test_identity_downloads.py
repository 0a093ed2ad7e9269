"""Keys that are downloaded: when, from whom, and what an outage or a bad answer does."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from services.chassis.download import DOWNLOAD_FAILURES, check_url, download
from services.chassis.key_sources import KeysAtUrl
from tests.harness.issuers import LOOPBACK, ForeignIssuer, KeyServer, new_key, to_jwk

Clock = list[float]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The monotonic time, to be moved on."""
    now = [time.monotonic()]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def issuer() -> ForeignIssuer:
    """An issuer."""
    return ForeignIssuer("https://login.example", "EdDSA")


@pytest.fixture
def server(tmp_path: Path, issuer: ForeignIssuer) -> Iterator[KeyServer]:
    """The address of its keys."""
    with KeyServer(tmp_path) as server:
        server.body = issuer.jwks().encode()
        yield server


def source_of(server: KeyServer, **changed: Any) -> KeysAtUrl:
    """Return the keys at an address; nothing is downloaded yet."""
    declared = {"ca_file": None, "bearer_token_file": None, "refresh_seconds": 300}
    return KeysAtUrl(server.url, **{**declared, **changed})


def knows(source: KeysAtUrl, kid: str) -> bool:
    """Whether a key is found, downloaded or not."""

    async def find() -> bool:
        return await source.find(kid) is not None

    return asyncio.run(find())


def renew(source: KeysAtUrl) -> None:
    """Let the source download if it is time to."""
    asyncio.run(source.renew())


def test_keys_are_downloaded_for_the_first_token_that_needs_them(
    server: KeyServer, issuer: ForeignIssuer
) -> None:
    source = source_of(server)
    assert server.requests == []
    assert knows(source, issuer.kid)
    assert source.changed()
    assert not source.changed()


def test_keys_are_downloaded_again_every_five_minutes(
    server: KeyServer, issuer: ForeignIssuer, clock: Clock
) -> None:
    source = source_of(server)
    renew(source)
    old = issuer.kid
    issuer.rotate()
    server.body = issuer.jwks().encode()
    clock[0] += 299
    renew(source)
    assert knows(source, old)
    assert len(server.requests) == 1
    clock[0] += 2
    renew(source)
    assert not knows(source, old)
    assert knows(source, issuer.kid)
    assert len(server.requests) == 2


def test_the_same_keys_once_more_are_no_change(server: KeyServer, clock: Clock) -> None:
    source = source_of(server)
    renew(source)
    assert source.changed()
    clock[0] += 301
    renew(source)
    assert len(server.requests) == 2
    assert not source.changed()


def test_an_unknown_kid_causes_one_download_in_half_a_minute(
    server: KeyServer, issuer: ForeignIssuer, clock: Clock
) -> None:
    source = source_of(server)
    renew(source)
    for n in range(20):
        assert not knows(source, f"unknown-{n}")
    assert len(server.requests) == 1
    issuer.rotate()
    server.body = issuer.jwks().encode()
    clock[0] += 31
    assert knows(source, issuer.kid)
    for n in range(20):
        assert not knows(source, f"unknown-{n}")
    assert len(server.requests) == 2


def test_calls_that_come_at_once_share_a_download(server: KeyServer, issuer: ForeignIssuer) -> None:
    source = source_of(server)

    async def many() -> list[bool]:
        found = await asyncio.gather(*(source.find(issuer.kid) for _ in range(50)))
        return [key is not None for key in found]

    assert asyncio.run(many()) == [True] * 50
    assert len(server.requests) == 1


def test_a_call_does_not_wait_for_an_address_that_is_slow(
    server: KeyServer, issuer: ForeignIssuer
) -> None:
    released = Event()
    server.before = released.wait
    source = source_of(server)

    async def ask_and_then_wait() -> tuple[float, bool, bool]:
        began = time.monotonic()
        at_first = await source.find(issuer.kid)
        seconds = time.monotonic() - began
        released.set()
        await source.renew()
        return seconds, at_first is not None, await source.find(issuer.kid) is not None

    seconds, found_at_first, found_then = asyncio.run(ask_and_then_wait())
    assert seconds < 3
    assert (found_at_first, found_then) == (False, True)


def test_the_last_good_keys_stay_during_an_outage_and_are_renewed_after_it(
    server: KeyServer, issuer: ForeignIssuer, clock: Clock
) -> None:
    source = source_of(server)
    renew(source)
    old = issuer.kid
    server.stop()
    clock[0] += 301
    renew(source)
    assert knows(source, old)
    issuer.rotate()
    server.body = issuer.jwks().encode()
    server.start()
    clock[0] += 31
    renew(source)
    assert knows(source, issuer.kid)
    assert not knows(source, old)


def test_an_address_that_does_not_answer_is_asked_again_after_half_a_minute(
    server: KeyServer, issuer: ForeignIssuer, clock: Clock
) -> None:
    server.status = 503
    source = source_of(server)
    renew(source)
    assert not knows(source, issuer.kid)
    server.status = 200
    clock[0] += 29
    renew(source)
    assert not knows(source, issuer.kid)
    clock[0] += 2
    renew(source)
    assert knows(source, issuer.kid)


ONE = to_jwk(new_key("EdDSA"), kid="now")
BAD_ANSWERS: dict[str, dict[str, Any]] = {
    "no JSON": {"body": b"<html>"},
    "two keys of one kid": {"body": json.dumps({"keys": [ONE, ONE]}).encode()},
    "no success": {"status": 404},
    "a redirect": {"status": 302, "headers": {"location": "/jwks"}},
    "more than a mebibyte": {"body": b'{"keys": []' + b" " * 1024 * 1024 + b"}"},
    "less than it announces": {"headers": {"content-length": "100000"}},
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_the_last_good_keys_stay_when_the_answer_is(
    server: KeyServer, issuer: ForeignIssuer, clock: Clock, case: str
) -> None:
    source = source_of(server)
    renew(source)
    for name, value in BAD_ANSWERS[case].items():
        setattr(server, name, value)
    clock[0] += 301
    renew(source)
    assert len(server.requests) == 2
    assert knows(source, issuer.kid)


def test_the_api_of_a_cluster_is_shown_a_token_which_is_read_anew(
    server: KeyServer, tmp_path: Path, clock: Clock
) -> None:
    token_file = tmp_path / "token"
    source = source_of(server, bearer_token_file=token_file)
    for token in ("first", "second"):
        token_file.write_text(f"{token}\n")
        clock[0] += 301
        renew(source)
    assert [r["authorization"] for r in server.requests] == ["Bearer first", "Bearer second"]


class TestTls:
    """What is downloaded over TLS is what the trusted address says."""

    @pytest.fixture
    def secure(self, tmp_path: Path, issuer: ForeignIssuer) -> Iterator[KeyServer]:
        with KeyServer(tmp_path, tls=True) as server:
            server.body = issuer.jwks().encode()
            yield server

    def test_its_certificate_is_checked_by_the_authority_given(
        self, secure: KeyServer, issuer: ForeignIssuer
    ) -> None:
        assert secure.url.startswith("https://")
        assert knows(source_of(secure, ca_file=secure.ca_file), issuer.kid)

    def test_a_stranger_in_its_place_is_not_believed(
        self, secure: KeyServer, issuer: ForeignIssuer
    ) -> None:
        assert not knows(source_of(secure), issuer.kid)
        assert secure.requests == []


def test_an_answer_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chassis.download.DOWNLOAD_SECONDS", 0.5)
    over = Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            while not over.wait(0.1):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    with socket.create_server((LOOPBACK, 0)) as listener:
        dripping = Thread(target=drip, args=[listener])
        dripping.start()
        began = time.monotonic()
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}/"
        with pytest.raises(DOWNLOAD_FAILURES):
            download(url, bytes_limit=10**6, ca_file=None, bearer_token_file=None)
        assert time.monotonic() - began < 3
        over.set()
        dripping.join()


@pytest.mark.parametrize(
    "url",
    ["https://login.example/a?b=c", "http://127.0.0.1:1/", "http://[::1]/", "http://localhost"],
)
def test_an_address_is_accepted_that_nobody_in_between_can_answer_for(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    ["http://login.example", "http://10.0.0.1", "http://localhost.example", "ftp://localhost", "x"],
)
def test_an_address_is_refused_that_somebody_in_between_can_answer_for(url: str) -> None:
    with pytest.raises(ValueError, match=r"https nor on loopback|no address"):
        check_url(url)


def test_the_query_of_an_address_is_asked_too(server: KeyServer) -> None:
    with_query = f"{server.url}?tenant=a&v=2"
    body = download(with_query, bytes_limit=10**6, ca_file=None, bearer_token_file=None)
    assert json.loads(body)["keys"]
