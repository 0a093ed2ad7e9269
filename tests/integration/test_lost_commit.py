"""A commit whose confirmation is lost: it happened, and the caller still gets the whole answer."""

import asyncio
import sqlite3
import time
import uuid
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from services.chassis.call import Call
from services.chassis.database import Database
from services.chassis.identity import Principal
from services.chassis.metrics import Metrics
from services.chassis.migrate import migrate
from services.chassis.policy import method_of
from services.chassis.settings import ServiceSettings
from services.chassis.transaction import Transaction
from services.gateway.schema import chassis
from tests.conftest import DATABASES
from tests.harness.postgres import Postgres
from vafa.gateway.v1 import access_pb2

ANSWER = access_pb2.CreateApiKeyResponse(
    api_key=access_pb2.ApiKey(name="apiKeys/till"),
    secret="vafa_till_secret",  # noqa: S106
)


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database of the gateway."""
    url = f"sqlite:///{tmp_path}/gateway.db"
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.create("lost_commit")
    migrate("gateway", url)
    return url


def a_call(request_id: str) -> Call:
    """Return a call of CreateApiKey that has ten seconds."""
    service = access_pb2.DESCRIPTOR.services_by_name["AccessService"]
    return Call(
        method=method_of(service.methods_by_name["CreateApiKey"]),
        principal=Principal("tester", ("admin",)),
        token="",
        request_id=request_id,
        request_hash=b"",
        ends_at=time.monotonic() + 10,
    )


def test_the_secret_is_told_though_the_first_confirmation_was_lost(database_url: str) -> None:
    runs: list[Transaction] = []
    losses: list[Connection] = []

    def work(transaction: Transaction) -> access_pb2.CreateApiKeyResponse:
        runs.append(transaction)
        return ANSWER

    def lose_confirmation(connection: Connection) -> None:
        if not losses:
            losses.append(connection)
            connection.connection.commit()
            lost = sqlite3.OperationalError("the connection was lost")
            raise OperationalError("COMMIT", None, lost)

    async def write_twice() -> None:
        settings = ServiceSettings(database_url=database_url, listen="", metrics_listen="")
        database = Database(settings, chassis, Metrics())
        await database.open(lambda: None)
        event.listen(database._writer, "commit", lose_confirmation)
        request_id = str(uuid.uuid4())
        first, second = a_call(request_id), a_call(request_id)
        try:
            assert await database.write(first, work) == ANSWER
            assert not first.replayed
            repeated = await database.write(second, work)
            assert (repeated.secret, repeated.secret_withheld) == ("", True)
            assert second.replayed
        finally:
            await asyncio.get_running_loop().run_in_executor(None, database.close)

    asyncio.run(write_twice())
    assert (len(losses), len(runs)) == (1, 1)
