"""A contacts service of a test's own, which may fail and be stopped."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

import vafa
from tests.harness.suite import RunningSuite
from vafa.contacts.v1 import contacts_pb2

GetContact = contacts_pb2.GetContactRequest
GET_CONTACT = "/vafa.contacts.v1.ContactService/GetContact"


class ContactsAlone(RunningSuite):
    """A contacts service, or replicas of it, of a test's own: it may fail and be stopped."""

    def __init__(self, folder: Path, database_url: str = "") -> None:
        super().__init__(folder, {"contacts": database_url or f"sqlite:///{folder}/contacts.db"})

    def launch(self, name: str = "contacts", **settings: str) -> None:
        """Start a service and do not wait for it."""
        self._start(name, settings)

    def exit_code(self, name: str = "contacts", within_seconds: float = 15) -> int:
        """Wait until a service has ended by itself; return its exit code."""
        return self._processes[name].wait(timeout=within_seconds)

    def is_running(self, name: str = "contacts") -> bool:
        """Whether a service has not ended."""
        return self._processes[name].poll() is None


@contextmanager
def alone_on(database_url: str, folder: Path) -> Iterator[ContactsAlone]:
    """Give a contacts service that is not started, and stop in the end what was started."""
    suite = ContactsAlone(folder, database_url)
    try:
        yield suite
    finally:
        suite.stop()


def create(client: vafa.Suite, timeout: float | None = None) -> contacts_pb2.Contact:
    """Create a contact."""
    request = contacts_pb2.CreateContactRequest(contact=contacts_pb2.Contact(display_name="Ada"))
    return client.contacts.CreateContact(request, timeout=timeout)


def log_lines(suite: RunningSuite) -> list[dict[str, Any]]:
    """Return what the service has logged."""
    # The core of gRPC has its own say on standard error, in another form.
    text_lines = suite.log("contacts").split("\n")
    return [json.loads(line) for line in text_lines if line.startswith("{")]


def get_by(address: str, token: str, metadata: tuple[tuple[str, str], ...] = ()) -> grpc.StatusCode:
    """Ask for a contact that is not there; return the code of the answer."""
    options = [("grpc.max_metadata_size", 4 * 1024 * 1024)]
    with grpc.insecure_channel(address, options) as channel:
        method = channel.unary_unary(
            GET_CONTACT, GetContact.SerializeToString, GetContact.FromString
        )
        call = method.future(
            GetContact(name="contacts/nobody"),
            timeout=5,
            metadata=(("authorization", f"Bearer {token}"), *metadata),
        )
        return call.code()
