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
# What a health check may ask for beside "" and the names of the gRPC services.
LIVENESS = "liveness"
READINESS = "readiness"
log = structlog.get_logger()


class Health:
    """Keeps the health of a service true: of "", `readiness` and each gRPC service by the
    database and the drain, of `liveness` by the event loop alone.
    """

    def __init__(self, database: Database, services: list[str], metrics: Metrics) -> None:
        self.servicer = health.aio.HealthServicer()
        self._database = database
        self._names = ["", READINESS, *services]
        self._metrics = metrics
        self._draining = False
        self._reachable = False
        self._said: bool | None = None

    async def run(self) -> None:
        """Check every two seconds until cancelled."""
        # A loop that does not turn does not answer; that is all that liveness has to say.
        await self.servicer.set(LIVENESS, SERVING)
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
            self._reachable = True
        except Exception as error:
            log.warning("database_unreachable", kind=type(error).__name__)
            self._reachable = False
        await self._say()

    async def drain(self) -> None:
        """Say NOT_SERVING from now on, while calls are still served."""
        self._draining = True
        await self._say()

    async def _say(self) -> None:
        for name in self._names:
            # Asked for each name: a drain may begin while a check is telling.
            ready = self._reachable and not self._draining
            if ready != self._said:
                log.info("readiness", ready=ready)
                self._said = ready
            await self.servicer.set(name, SERVING if ready else NOT_SERVING)
