"""Single calls as they are on the wire: what goes out is as given, and what comes back is told."""

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

DETAILS = "grpc-status-details-bin"
GRPC_WEB = "application/grpc-web+proto"


@dataclass(frozen=True)
class HttpAnswer:
    """An answer over HTTP, the names of its headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """What its body says, which must be JSON and say so."""
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason of the refusal that it is, by its one ErrorInfo."""
        infos = [one for one in self.json["details"] if one["@type"].endswith("ErrorInfo")]
        assert [one["domain"] for one in infos] == ["vafa.api.v1"], self
        return str(infos[0]["reason"])


@dataclass(frozen=True)
class GrpcAnswer:
    """How a call by gRPC ended."""

    code: grpc.StatusCode
    message: str
    status: status_pb2.Status
    body: bytes

    @property
    def reason(self) -> str:
        """The reason of the refusal, whose details repeat the code and the message."""
        assert self.status.code == self.code.value[0], self
        assert self.status.message == self.message, self
        info = error_details_pb2.ErrorInfo()
        assert self.status.details[0].Unpack(info), self
        return str(info.reason)


def call_http(
    address: str,
    verb: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes | None = None,
) -> HttpAnswer:
    """Send one request; a body is JSON unless a header says otherwise."""
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.putrequest(verb, target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            if "content-type" not in dict(headers):
                connection.putheader("content-type", "application/json")
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return HttpAnswer(answer.status, found, answer.read())
    finally:
        connection.close()


def call_grpc(
    address: str, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
) -> GrpcAnswer:
    """Make one call with the bytes of a message, over a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(address, options) as channel:
        stub: Any = channel.unary_unary(path)
        try:
            answer = stub(body, metadata=headers, timeout=20)
        except grpc.RpcError as error:
            ended: Any = error
            raw = dict(ended.trailing_metadata() or ()).get(DETAILS, b"")
            status = status_pb2.Status.FromString(raw)
            return GrpcAnswer(ended.code(), ended.details(), status, b"")
    return GrpcAnswer(grpc.StatusCode.OK, "", status_pb2.Status(), answer)


def call_grpc_web(
    address: str, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
) -> HttpAnswer:
    """Make one call as a page does, with the bytes of a message."""
    frame = b"\0" + len(body).to_bytes(4, "big") + body
    web = (("content-type", GRPC_WEB), ("x-grpc-web", "1"))
    return call_http(address, "POST", path, (*web, *headers), frame)
