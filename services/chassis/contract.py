"""The whole contract of the suite, of which a service serves a part."""

from functools import cache
from importlib import import_module
from pathlib import Path

import vafa
from services.chassis.operations import operations_methods
from services.chassis.policy import Method, methods_of


@cache
def contract_methods() -> tuple[Method, ...]:
    """Return every method that any service serves, by the names of services, and in each in the
    order of the contract.
    """
    installed = Path(vafa.__file__).parent
    stubs = (path.relative_to(installed.parent) for path in installed.rglob("*_pb2.py"))
    files = [import_module(".".join(path.with_suffix("").parts)).DESCRIPTOR for path in stubs]
    services = [service for file in files for service in file.services_by_name.values()]
    methods = [*operations_methods(), *(m for service in services for m in methods_of(service))]
    return tuple(sorted(methods, key=lambda method: method.service))


@cache
def contract_permissions() -> tuple[str, ...]:
    """Return every permission that some method needs, sorted."""
    return tuple(sorted({m.permission for m in contract_methods() if not m.public}))
