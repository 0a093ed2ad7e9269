"""Health by grpc.health.v1: `liveness` asks nothing, `readiness` asks the database."""

import asyncio
import time

import structlog
from grpc_health.v1 import health, health_pb2
from sqlalchemy import text

from services.chassis.database import Database
from services.chassis.metrics import Metrics

CHECK_SECONDS = 2.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
log = structlog.get_logger()


class Health:
    """Keeps the health of a service true: of "", `readiness` and each gRPC service by the
    database and the drain, of `liveness` by the event loop alone.
    """

    def __init__(self, database: Database, services: list[str], metrics: Metrics) -> None:
        self.servicer = health.aio.HealthServicer()
        self._database = database
        self._names = ["", "readiness", *services]
        self._metrics = metrics
        self._draining = False
        self._ready: bool | None = None

    async def run(self) -> None:
        """Check every two seconds until cancelled."""
        # A loop that does not turn does not answer; that is all that liveness has to say.
        await self.servicer.set("liveness", SERVING)
        while True:
            await self.check()
            began = time.monotonic()
            await asyncio.sleep(CHECK_SECONDS)
            self._metrics.loop_lag.set(time.monotonic() - began - CHECK_SECONDS)

    async def check(self) -> None:
        """Ask the database, and say what follows."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._database.read(lambda c: c.execute(text("SELECT 1")).scalar_one())
            reachable = True
        except Exception as error:
            log.warning("database_unreachable", kind=type(error).__name__)
            reachable = False
        await self._say(reachable and not self._draining)

    async def drain(self) -> None:
        """Say NOT_SERVING from now on, while calls are still served."""
        self._draining = True
        await self._say(False)

    async def _say(self, ready: bool) -> None:
        if ready != self._ready:
            log.info("readiness", ready=ready)
        self._ready = ready
        for name in self._names:
            await self.servicer.set(name, SERVING if ready else NOT_SERVING)
