"""A client that calls the suite as JSON over HTTP, by the mapping that the contract states."""

import http.client
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import grpc
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2

import vafa
from services.chassis.policy import Method
from vafa.errors import error_from_status

VARIABLE = re.compile(r"{([a-z_.]+)(?:=[^}]+)?}")
# As google.rpc.Code states it, in numbers of HTTP.
HTTP_STATUS: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}


@dataclass(frozen=True)
class HttpRequest:
    """A request as the mapping makes it: method, path with query, and the JSON of its body."""

    verb: str
    target: str
    body: str | None


def http_request(method: MethodDescriptor, request: Any) -> HttpRequest:
    """Return the request by the mapping of its method, which must have one."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    assert verb, f"{method.full_name} is not mapped to HTTP"
    rest = type(request)()
    rest.CopyFrom(request)

    def take(variable: re.Match[str]) -> str:
        return quote(_take(rest, variable.group(1)), safe="/")

    path = VARIABLE.sub(take, getattr(rule, verb))
    body = None
    if rule.body == "*":
        body, rest = json_format.MessageToJson(rest), type(request)()
    elif rule.body:
        body = json_format.MessageToJson(getattr(rest, rule.body))
        rest.ClearField(rule.body)
    query = urlencode(list(_parameters(json_format.MessageToDict(rest))))
    return HttpRequest(verb.upper(), path + (f"?{query}" if query else ""), body)


def _take(message: Any, path: str) -> str:
    """Return the text at a path of fields and take it out of the message."""
    *outer, last = path.split(".")
    for name in outer:
        message = getattr(message, name)
    text = str(getattr(message, last))
    message.ClearField(last)
    return text


def _parameters(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield from _parameters(one, f"{prefix}{name}.")
            else:
                yield prefix + name, {True: "true", False: "false"}.get(one, str(one))


class JsonClient:
    """Calls what listens at an address. A refusal is raised as the gRPC client would raise it."""

    def __init__(self, address: str, token: Callable[[], str]) -> None:
        self._address = address
        self._token = token

    def call(self, method: Method, request: Message, service: str = "") -> Message:
        """Return the answer of a method, of a stream the first, which is one line; `service` says
        whose method is meant where every service has it.
        """
        with self._answer(method, request, service) as response:
            streams = method.descriptor.server_streaming
            body = response.readline() if streams else response.read()
            return json_format.Parse(body, method.response_class())

    @contextmanager
    def _answer(
        self, method: Method, request: Message, service: str
    ) -> Iterator[http.client.HTTPResponse]:
        asked = http_request(method.descriptor, request)
        headers = {"authorization": f"Bearer {self._token()}"}
        if asked.body is not None:
            headers["content-type"] = "application/json"
        if service:
            headers["vafa-service"] = service
        connection = http.client.HTTPConnection(self._address, timeout=10)
        try:
            body = asked.body.encode() if asked.body is not None else None
            connection.request(asked.verb, asked.target, body, headers)
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise _refusal(method, response.status, response.read())
            yield response
        finally:
            connection.close()


def _refusal(method: Method, http_status: int, body: bytes) -> vafa.VafaError:
    """Return the error of a refusal, whose HTTP status must be that of its code."""
    error = error_from_status(json_format.Parse(body, status_pb2.Status()), method.path)
    assert HTTP_STATUS[error.code] == http_status, (http_status, body)
    return error
