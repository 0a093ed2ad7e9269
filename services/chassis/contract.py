"""The whole contract of the suite: which services there are, and what each of them serves."""

from collections.abc import Mapping
from functools import cache

from services.chassis.operations import operations_methods
from services.chassis.policy import Method, methods_of
from vafa.descriptors import served_files
from vafa.events.v1 import events_pb2


@cache
def common_methods() -> tuple[Method, ...]:
    """Return the methods that every service serves under one name."""
    events = events_pb2.DESCRIPTOR.services_by_name["EventService"]
    return (*methods_of(events), *operations_methods())


@cache
def own_methods() -> Mapping[str, tuple[Method, ...]]:
    """Return by service what it alone serves, in the order of the contract: a service is named
    as its package is, such as contacts for vafa.contacts.v1.
    """
    found: dict[str, tuple[Method, ...]] = {}
    for file in served_files():
        if file.package == events_pb2.DESCRIPTOR.package:
            continue
        service = file.package.split(".")[1]
        methods = (methods_of(descriptor) for descriptor in file.services_by_name.values())
        found[service] = sum(methods, start=found.get(service, ()))
    return found


SERVICES = tuple(own_methods())


@cache
def contract_methods() -> tuple[Method, ...]:
    """Return every method that any service serves, by the names of their gRPC services, and in
    each in the order of the contract.
    """
    own = (method for methods in own_methods().values() for method in methods)
    return tuple(sorted((*common_methods(), *own), key=lambda method: method.service))


@cache
def contract_permissions() -> tuple[str, ...]:
    """Return every permission that some method needs, sorted."""
    return tuple(sorted({m.permission for m in contract_methods() if not m.public}))
