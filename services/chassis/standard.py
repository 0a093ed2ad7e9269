"""The standard methods of a declared resource (AIP-131 to 135, 164, 231, 233)."""

from enum import Enum
from typing import Any, ClassVar

from google.protobuf.message import Message
from sqlalchemy import Connection

from services.chassis import errors
from services.chassis.call import Call
from services.chassis.database import Database
from services.chassis.pages import Page, PageQuery, page
from services.chassis.preparing import Draft
from services.chassis.resource import Resource
from services.chassis.steps import (
    get,
    get_many,
    insert,
    require_parent,
    soft_delete,
    undelete,
    update,
)
from services.chassis.transaction import Transaction


class Std(Enum):
    """The standard methods, by the beginning of their names in the contract."""

    GET = "Get"
    LIST = "List"
    CREATE = "Create"
    UPDATE = "Update"
    DELETE = "Delete"
    UNDELETE = "Undelete"
    BATCH_GET = "BatchGet"
    BATCH_CREATE = "BatchCreate"

    @property
    def is_plural(self) -> bool:
        """Whether the method is named after several resources."""
        return self in (Std.LIST, Std.BATCH_GET, Std.BATCH_CREATE)


class Standard:
    """A servicer that has the standard methods it declares, under their names in the contract."""

    resource: ClassVar[Resource[Any]]
    methods: ClassVar[frozenset[Std]] = frozenset()

    def __init_subclass__(cls) -> None:
        for method in cls.methods:
            named = cls.resource.plural_name if method.is_plural else cls.resource.type_name
            implementation = getattr(cls, f"standard_{method.name.lower()}")
            setattr(cls, method.value + named, implementation)

    def __init__(self, database: Database) -> None:
        self.database = database

    async def standard_get(self, request: Any, _call: Call) -> Any:
        """Answer a Get."""
        return await self.database.get(self.resource, request.name)

    async def standard_list(self, request: Any, call: Call) -> Message:
        """Answer a List."""
        found = await self.database.read(lambda c: self.list_page(c, request))
        response = call.method.response_class(next_page_token=found.next_page_token)
        messages = [self.resource.to_message(row) for row in found.rows]
        getattr(response, self.resource.plural).extend(messages)
        return response

    def list_page(self, connection: Connection, request: Any) -> Page:
        """Return the page that a List request asks for."""
        resource, parent = self.resource, self.resource.parent
        ids = () if parent is None else require_parent(connection, parent, request.parent)
        query = PageQuery.of(request, ids)
        return page(connection, resource, query, self.database.store.page_token_key)

    async def standard_create(self, request: Any, call: Call) -> Any:
        """Answer a Create."""

        def work(transaction: Transaction) -> Any:
            draft = self._draft(transaction, request, f"{self.resource.singular}.")
            return insert(transaction, self.resource, [draft])[0]

        return await self.database.write(call, work)

    def _draft(self, transaction: Transaction, request: Any, path: str) -> Draft[Message]:
        parent = self.resource.parent
        ids: tuple[str, ...] = ()
        if parent is not None:
            get(transaction.connection, parent, request.parent)
            ids = parent.pattern.parse(request.parent)
        singular = self.resource.singular
        id_ = getattr(request, f"{singular}_id")
        message = getattr(request, singular)
        return Draft(message, path, parent=ids, id=id_, is_judged=True)

    async def standard_update(self, request: Any, call: Call) -> Any:
        """Answer an Update."""
        singular = self.resource.singular
        message = getattr(request, singular)

        def work(transaction: Transaction) -> Any:
            row = get(transaction.connection, self.resource, message.name, lock=True)
            mask = request.update_mask
            return update(transaction, self.resource, row, message, mask, f"{singular}.")

        return await self.database.write(call, work)

    async def standard_delete(self, request: Any, call: Call) -> Any:
        """Answer a Delete of a resource that can be undeleted."""

        def work(transaction: Transaction) -> Any:
            row = get(transaction.connection, self.resource, request.name, lock=True)
            return soft_delete(transaction, self.resource, row, request.etag)

        return await self.database.write(call, work)

    async def standard_undelete(self, request: Any, call: Call) -> Any:
        """Answer an Undelete."""

        def work(transaction: Transaction) -> Any:
            row = get(transaction.connection, self.resource, request.name, lock=True, deleted=True)
            return undelete(transaction, self.resource, row, request.etag)

        return await self.database.write(call, work)

    async def standard_batch_get(self, request: Any, call: Call) -> Message:
        """Answer a BatchGet."""

        def work(connection: Connection) -> list[Message]:
            return get_many(connection, self.resource, request.names)

        messages = await self.database.read(work)
        return call.method.response_class(**{self.resource.plural: messages})

    async def standard_batch_create(self, request: Any, call: Call) -> Message:
        """Answer a BatchCreate: all or none."""
        refuse_inner_request_ids(request)

        def work(transaction: Transaction) -> Message:
            singular = self.resource.singular
            drafts = [
                self._draft(transaction, single, f"requests[{n}].{singular}.")
                for n, single in enumerate(request.requests)
            ]
            messages = insert(transaction, self.resource, drafts)
            return call.method.response_class(**{self.resource.plural: messages})

        return await self.database.write(call, work)


def refuse_inner_request_ids(request: Any) -> None:
    """Raise InvalidField for a request_id inside a batch, which is repeated only as a whole."""
    violations = [
        (f"requests[{n}].request_id", "the batch has one request_id for all")
        for n, single in enumerate(request.requests)
        if single.request_id
    ]
    if violations:
        raise errors.InvalidField("a request_id inside a batch", violations=violations)
