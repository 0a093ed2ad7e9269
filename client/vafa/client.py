"""The blocking client of a suite."""

import os
import time
from collections.abc import Callable
from functools import cached_property
from threading import Lock
from typing import Any, Self

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc

from vafa import access, calls, operations
from vafa.contacts.v1.contacts_pb2_grpc import ContactServiceStub
from vafa.contacts.v1.interactions_pb2_grpc import InteractionServiceStub
from vafa.events.v1.events_pb2_grpc import EventServiceStub
from vafa.exchange import ExchangedToken
from vafa.feedback.v1.responses_pb2_grpc import ResponseServiceStub
from vafa.feedback.v1.surveys_pb2_grpc import SurveyServiceStub
from vafa.gateway.v1 import access_pb2
from vafa.gateway.v1.access_pb2_grpc import AccessServiceStub
from vafa.gateway.v1.customers_pb2_grpc import CustomerServiceStub
from vafa.interceptors import CallInterceptor
from vafa.loyalty.v1.ledger_pb2_grpc import LedgerServiceStub
from vafa.loyalty.v1.members_pb2_grpc import MemberServiceStub
from vafa.loyalty.v1.orders_pb2_grpc import OrderServiceStub
from vafa.loyalty.v1.programs_pb2_grpc import ProgramServiceStub
from vafa.policy import CHANNEL_OPTIONS


class Suite:
    """The services of a suite, each as its generated stub. Threads may share it.

    Every call through it:
    - has the deadline that the contract states, unless it gives a `timeout`; a stream has none;
    - carries a request_id if it writes and takes one; the caller's message is left as it is;
    - is repeated up to three times after UNAVAILABLE, or if the server cancelled it, within its
      deadline, where that is safe;
    - carries the token, unless its metadata has an `authorization`;
    - raises a VafaError if it fails, from the grpc.RpcError.

    It connects at the first call to a service. A stub whose service has no address is a
    ValueError. Close it, or use it as a context manager.
    """

    def __init__(
        self,
        addresses: access.Addresses,
        token: Callable[[], str] | None,
        tls: grpc.ChannelCredentials | None,
        api_key: str | None = None,
    ) -> None:
        self._addresses = addresses
        if api_key is not None:
            access.address_of(addresses, "gateway")
            request = access_pb2.ExchangeApiKeyRequest(secret=api_key)
            token = ExchangedToken(lambda: self.api_keys.ExchangeApiKey(request))
        self._token = token
        self._tls = tls
        self._channels: dict[tuple[str, str], grpc.Channel] = {}
        self._lock = Lock()

    @cached_property
    def contacts(self) -> ContactServiceStub:
        """The contacts of the business."""
        return ContactServiceStub(self._channel("contacts"))

    @cached_property
    def interactions(self) -> InteractionServiceStub:
        """What passed between the business and its contacts."""
        return InteractionServiceStub(self._channel("contacts"))

    @cached_property
    def programs(self) -> ProgramServiceStub:
        """The loyalty programmes."""
        return ProgramServiceStub(self._channel("loyalty"))

    @cached_property
    def members(self) -> MemberServiceStub:
        """The members of the programmes."""
        return MemberServiceStub(self._channel("loyalty"))

    @cached_property
    def orders(self) -> OrderServiceStub:
        """The orders of the members."""
        return OrderServiceStub(self._channel("loyalty"))

    @cached_property
    def ledger(self) -> LedgerServiceStub:
        """The points of the members."""
        return LedgerServiceStub(self._channel("loyalty"))

    @cached_property
    def surveys(self) -> SurveyServiceStub:
        """The surveys."""
        return SurveyServiceStub(self._channel("feedback"))

    @cached_property
    def responses(self) -> ResponseServiceStub:
        """What customers answered, and the scores that it comes to."""
        return ResponseServiceStub(self._channel("feedback"))

    @cached_property
    def customers(self) -> CustomerServiceStub:
        """All that the suite knows of a customer."""
        return CustomerServiceStub(self._channel("gateway"))

    @cached_property
    def api_keys(self) -> AccessServiceStub:
        """The API keys, the tokens they are exchanged for, and the roles."""
        return AccessServiceStub(self._channel("gateway"))

    def events(self, service: str) -> EventServiceStub:
        """Return the feed of a service, such as `contacts`."""
        return EventServiceStub(self._channel(service, named=True))

    def operations(self, service: str) -> operations_pb2_grpc.OperationsStub:
        """Return the long-running operations of a service, such as `loyalty`."""
        return operations_pb2_grpc.OperationsStub(self._channel(service, named=True))

    def wait(self, operation: operations_pb2.Operation, timeout_seconds: float) -> Any:
        """Return the response message of the operation as soon as it has ended.

        Raises what the operation failed with, and DeadlineExceeded if it has not ended after
        timeout_seconds; it goes on then, and may be waited for again.
        """
        deadline = time.monotonic() + timeout_seconds
        delays_seconds = operations.poll_delays_seconds()
        while not operation.done:
            stub = self.operations(operations.service_of(operation))
            time.sleep(max(min(next(delays_seconds), deadline - time.monotonic()), 0.0))
            remaining_seconds = deadline - time.monotonic()
            if remaining_seconds <= 0:
                raise operations.still_running(operation, timeout_seconds)
            operation = stub.GetOperation(
                operations_pb2.GetOperationRequest(name=operation.name), timeout=remaining_seconds
            )
        return operations.result_of(operation)

    def close(self) -> None:
        """Close the connections. Calls that are under way fail with Cancelled."""
        with self._lock:
            for channel in self._channels.values():
                channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _channel(self, service: str, *, named: bool = False) -> grpc.Channel:
        # Methods that every service has are told apart by its name, behind one address.
        address = access.address_of(self._addresses, service)
        key = (address, service if named else "")
        with self._lock:
            if key not in self._channels:
                interceptor = CallInterceptor(
                    self._token, (calls.naming(service),) if named else ()
                )
                self._channels[key] = grpc.intercept_channel(self._open(address), interceptor)
            return self._channels[key]

    def _open(self, address: str) -> grpc.Channel:
        if self._tls is None:
            return grpc.insecure_channel(address, CHANNEL_OPTIONS)
        return grpc.secure_channel(address, self._tls, CHANNEL_OPTIONS)


def connect(
    addresses: access.Addresses,
    *,
    token: access.Token | None = None,
    token_file: str | os.PathLike[str] | None = None,
    api_key: str | None = None,
    tls: grpc.ChannelCredentials | None = None,
) -> Suite:
    """Return the suite at these addresses: one for each of its services by name, or one for all.

    Tokens last minutes: a callable is asked for one at each call, a file is read again when it
    has changed, and an API key, given by its secret, is exchanged for one anew in time. Calls go
    in plain text unless `tls` is given.
    """
    source = access.token_source(token, token_file, api_key)
    return Suite(addresses, source, tls, api_key)


def connect_local(data_directory: str | os.PathLike[str] | None = None) -> Suite:
    """Return the suite that `vafa up` runs on this machine, with the rights of its operator.

    It is found by its data directory: the one given, or else $VAFA_DATA_DIRECTORY, or else
    `.vafa`. FileNotFoundError if no suite runs there.
    """
    addresses, token_file = access.local_suite(data_directory)
    return connect(addresses, token_file=token_file)
