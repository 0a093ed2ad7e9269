"""The least that a call can cost here: a bare grpc.aio server, with the options of the services.

It reads the one message of a call as the services do, and answers with as many bytes as the
path says: `/bench.Echo/Bytes374` with 374. `python -m bench.echo ADDRESS` serves.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
import uvloop

from services.chassis.server import make_server, spare_what_is_there
from services.chassis.settings import ServiceSettings

PREFIX = "/bench.Echo/Bytes"
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


def path_of(answer_bytes: int) -> str:
    """Return the path whose answer has so many bytes."""
    return f"{PREFIX}{answer_bytes}"


class Echo(grpc.GenericRpcHandler):
    """Serves every path of the prefix."""

    def __init__(self) -> None:
        self._handlers: dict[str, Any] = {}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a path."""
        if details.method not in self._handlers:
            size = int(details.method.removeprefix(PREFIX))
            self._handlers[details.method] = self._handler(bytes(size))
        return self._handlers[details.method]

    @staticmethod
    def _handler(answer: bytes) -> Any:
        async def echo(_messages: AsyncIterator[bytes], context: Context) -> bytes:
            await context.read()
            return answer

        return grpc.stream_unary_rpc_method_handler(echo)


async def serve(address: str) -> None:
    """Serve until the process is stopped."""
    settings = ServiceSettings(database_url="sqlite://", listen=address, metrics_listen="")
    server = make_server(settings)
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(address)
    await server.start()
    spare_what_is_there()
    await server.wait_for_termination()


def main() -> None:
    """Serve at the address that the command line names."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1]))


if __name__ == "__main__":
    main()
