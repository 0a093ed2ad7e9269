"""The OpenAPI document as a whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

from scripts import reference
from scripts.openapi.bounds import Schema
from scripts.openapi.comments import comments_of
from scripts.openapi.failures import Failures
from scripts.openapi.paths import Binding, Paths, binding_of, resource_patterns
from scripts.openapi.schemas import Schemas
from scripts.openapi.wellknown import ALWAYS
from services.chassis.operations import operations_methods
from services.chassis.policy import Method, methods_of

_ABOUT = "\n\n".join(
    [
        "Relationships, loyalty points and feedback of customers. Every method is a gRPC method"
        " too; this is its JSON form.",
        "Names of fields are in lowerCamelCase; those of the contract, in snake_case, are taken"
        " as well. Numbers of 64 bits are strings in answers. A field that has its default value"
        " may be left out, and `null` means the same. A field that the method does not know is"
        " passed over in most places of a body, and refused in the query.",
        "Send a token as `authorization: Bearer …`. A write with a `requestId` may be repeated:"
        " it happens once. Texts hold no NUL character.",
    ]
)
# google.longrunning comes without the comments of its source.
_OPERATIONS: Mapping[str, str] = {
    "google.longrunning.Operations": "Long-running operations, served by the service that"
    " works on them.",
    "google.longrunning.Operations.GetOperation": "Gets an operation.\n\nReturns NOT_FOUND"
    " (RESOURCE_NOT_FOUND) if there is none.",
    "google.longrunning.Operations.ListOperations": "Lists the operations of a service, the"
    " latest first; it takes no filter.\n\nReturns INVALID_ARGUMENT (FILTER_INVALID,"
    " PAGE_TOKEN_INVALID).",
    "google.longrunning.Operations.CancelOperation": "Asks for the end of an operation. It ends"
    " soon, with CANCELLED (OPERATION_CANCELLED), unless it has ended before.\n\nReturns"
    " NOT_FOUND (RESOURCE_NOT_FOUND) if there is none.",
    "google.longrunning.GetOperationRequest.name": "The id is that of the name which the"
    " starting call answered.",
    "google.longrunning.CancelOperationRequest.name": "The id is that of the name which the"
    " starting call answered.",
    "google.longrunning.ListOperationsRequest.filter": "Must be empty.",
    "google.longrunning.ListOperationsRequest.page_size": "At most this many. 0 means 50; above"
    " 1000 is coerced to 1000.",
    "google.longrunning.ListOperationsRequest.page_token": "The nextPageToken of the page"
    " before. Default: the first page.",
    "google.longrunning.ListOperationsRequest.return_partial_success": "Passed over.",
    "google.longrunning.ListOperationsResponse": "A page of operations.",
    "google.longrunning.ListOperationsResponse.operations": "The operations of this page.",
    "google.longrunning.ListOperationsResponse.next_page_token": "Empty if this was the last page.",
}


@dataclass(frozen=True)
class Mapped:
    """A method that is called over HTTP."""

    method: Method
    binding: Binding


def document() -> dict[str, Any]:
    """Return the document; the same for the same contract."""
    files = reference.contract()
    return draw(files)


def mapped_methods(files: descriptor_pb2.FileDescriptorSet) -> Iterator[Mapped]:
    """Yield the methods of the suite that are called over HTTP, in the order of the contract."""
    ours = [
        method
        for file in _descriptors(files)
        for service in file.services_by_name.values()
        for method in methods_of(service)
    ]
    for method in [*ours, *operations_methods()]:
        if binding := binding_of(method.descriptor):
            yield Mapped(method, binding)


def draw(files: descriptor_pb2.FileDescriptorSet) -> dict[str, Any]:
    """Return the document of a contract with comments, as `reference.contract` gives it."""
    schemas = Schemas({**comments_of(files), **_OPERATIONS})
    paths = Paths(schemas, resource_patterns(_descriptors(files)))
    failures = Failures(reference.reasons_of(files, reference.methods_of(files)))
    found: dict[str, dict[str, Any]] = {}
    tags: dict[str, str] = {}
    for mapped in mapped_methods(files):
        service = mapped.method.descriptor.containing_service
        tags[service.name] = schemas.comment(service.full_name)
        path = paths.path(mapped.method.descriptor, mapped.binding)
        operation = _operation(mapped, schemas, paths, failures)
        found.setdefault(path, {})[mapped.binding.verb] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Vafa", "version": "1", "description": _ABOUT},
        "x-vafa-reasons": failures.reasons(),
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": {path: found[path] for path in sorted(found)},
        "components": {
            "schemas": dict(sorted({**ALWAYS, **schemas.all()}.items())),
            "responses": failures.components(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token of at most five minutes, such as ExchangeApiKey gives.",
                }
            },
        },
    }


def _descriptors(files: descriptor_pb2.FileDescriptorSet) -> list[FileDescriptor]:
    names = [file.name.removesuffix(".proto").replace("/", ".") for file in files.file]
    return [import_module(f"{name}_pb2").DESCRIPTOR for name in names]


def _operation(
    mapped: Mapped, schemas: Schemas, paths: Paths, failures: Failures
) -> dict[str, Any]:
    method, binding = mapped.method, mapped.binding
    descriptor = method.descriptor
    comment = schemas.comment(descriptor.full_name)
    package = descriptor.containing_service.file.package
    own = failures.own(package, method.failures)
    operation: dict[str, Any] = {
        "operationId": f"{descriptor.containing_service.name}_{descriptor.name}",
        "tags": [descriptor.containing_service.name],
        "summary": comment.split(".", 1)[0].split(":", 1)[0],
        "description": f"{comment}\n\n{_policy(method)}",
        "x-vafa-rpc": method.path.removeprefix("/"),
        "x-vafa-deadline-seconds": _number(method.deadline_seconds),
        "x-vafa-effect": "write" if method.writes else "read",
        "x-vafa-reasons": [f"{reason.domain}.{reason.name}" for reason in own],
    }
    if method.public:
        operation["security"] = []
    else:
        operation["x-vafa-permission"] = method.permission
    if parameters := paths.parameters(descriptor, binding):
        operation["parameters"] = parameters
    if body := paths.body(descriptor, binding):
        operation["requestBody"] = body
    answer = {"200": _answer(descriptor, schemas)}
    operation["responses"] = answer | failures.responses(own, public=method.public)
    return operation


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def _policy(method: Method) -> str:
    need = "Anybody may call it." if method.public else f"Needs `{method.permission}`."
    effect = "May be repeated at will."
    if method.writes:
        effect = "Writes; a repeat under the same requestId gets the first answer."
        if not method.has_request_id:
            effect = "Writes; a repeat does no more."
    return f"{need} Deadline {method.deadline_seconds:g} s. {effect}"


def _answer(method: MethodDescriptor, schemas: Schemas) -> Schema:
    schema = schemas.of_message(method.output_type)
    description = schemas.comment(method.output_type.full_name) or "What the method gives."
    if method.output_type is operations_pb2.Operation.DESCRIPTOR:
        schema |= _of_operation(method, schemas)
        description = "The operation."
    if method.server_streaming:
        description = "Messages, each on a line of its own, as they come."
    return {
        "description": description,
        "content": {"application/json": {"schema": schema}},
    }


def _of_operation(method: MethodDescriptor, schemas: Schemas) -> Schema:
    """Return what the metadata and the response of an operation are, if the method says so."""
    info = method.GetOptions().Extensions[operations_pb2.operation_info]
    if not info.response_type:
        return {}
    messages = method.containing_service.file.message_types_by_name
    return {
        "properties": {
            "metadata": schemas.of_message(messages[info.metadata_type]),
            "response": schemas.of_message(messages[info.response_type]),
        }
    }
