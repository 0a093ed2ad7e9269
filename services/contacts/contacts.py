"""Serves contacts: beside the standard methods, upsert, lookup and search."""

from collections import Counter
from collections.abc import Sequence

from services.chassis.call import Call
from services.chassis.errors import UpdateMaskInvalid
from services.chassis.given import first_repeated
from services.chassis.pages import PageQuery, page
from services.chassis.preparing import Draft
from services.chassis.rows import Row
from services.chassis.standard import Standard, Std, refuse_inner_request_ids
from services.chassis.steps import get, insert, update
from services.chassis.transaction import Transaction
from services.chassis.writes import RunAgain
from services.contacts import errors, queries
from services.contacts.resources import CONTACT
from services.contacts.rules.names import query_words
from services.contacts.rules.reachability import email_key, normalise_email, normalise_phone
from vafa.contacts.v1 import contacts_pb2

Upsert = contacts_pb2.UpsertContactRequest


class Contacts(Standard):
    """Serves vafa.contacts.v1.ContactService."""

    resource = CONTACT
    methods = frozenset(Std)

    async def UpsertContact(self, request: Upsert, call: Call) -> contacts_pb2.Contact:
        """Create or change the contact of an external id."""
        return await self.database.write(call, lambda t: _upsert(t, [request], [""])[0])

    async def BatchUpsertContacts(
        self, request: contacts_pb2.BatchUpsertContactsRequest, call: Call
    ) -> contacts_pb2.BatchUpsertContactsResponse:
        """Create or change the contacts of several external ids."""
        refuse_inner_request_ids(request)
        paths = [f"requests[{n}]." for n in range(len(request.requests))]
        _refuse_repeated_keys(request.requests, paths)

        def work(transaction: Transaction) -> contacts_pb2.BatchUpsertContactsResponse:
            done = _upsert(transaction, request.requests, paths)
            return contacts_pb2.BatchUpsertContactsResponse(contacts=done)

        return await self.database.write(call, work)

    async def LookupContact(
        self, request: contacts_pb2.LookupContactRequest, _call: Call
    ) -> contacts_pb2.Contact:
        """Find the one contact that has a key."""
        key = request.WhichOneof("key") or ""
        rows = await self.database.read(_lookup_by(request))
        if not rows:
            raise errors.ContactNotFound(key)
        if len(rows) > 1:
            raise errors.LookupAmbiguous(key, len(rows))
        return CONTACT.to_message(rows[0])

    async def SearchContacts(
        self, request: contacts_pb2.SearchContactsRequest, _call: Call
    ) -> contacts_pb2.SearchContactsResponse:
        """Find contacts by parts of their names."""
        words = query_words(request.query)
        if not words:
            text = "holds no letter or digit"
            raise errors.QueryEmpty(f"the query {text}", violations=[("query", text)])
        query = PageQuery(scope=words, page_size=request.page_size, page_token=request.page_token)
        select = queries.select_by_name(words)
        key = self.database.store.page_token_key
        found = await self.database.read(lambda c: page(c, CONTACT, query, key, select))
        return contacts_pb2.SearchContactsResponse(
            contacts=[CONTACT.to_message(row) for row in found.rows],
            next_page_token=found.next_page_token,
        )


def _lookup_by(request: contacts_pb2.LookupContactRequest) -> queries.Lookup:
    """Return the query for the key of a request; raises EmailInvalid, PhoneInvalid."""
    if request.WhichOneof("key") == "email":
        try:
            address_key = email_key(normalise_email(request.email))
        except ValueError as error:
            violations = [("email", str(error))]
            raise errors.EmailInvalid(f"email: {error}", violations=violations) from None
        return lambda c: queries.find_by_email(c, address_key)
    if request.WhichOneof("key") == "phone":
        try:
            number = normalise_phone(request.phone)
        except ValueError as error:
            violations = [("phone", str(error))]
            raise errors.PhoneInvalid(f"phone: {error}", violations=violations) from None
        return lambda c: queries.find_by_phone(c, number)
    external_id = (request.external_id.system, request.external_id.value)
    return lambda c: queries.find_live_by_external_id(c, external_id)


def _pair(external_id: contacts_pb2.ExternalId) -> tuple[str, str]:
    return external_id.system, external_id.value


def _key(request: Upsert) -> tuple[str, str]:
    return _pair(request.external_id)


def _refuse_repeated_keys(requests: Sequence[Upsert], paths: Sequence[str]) -> None:
    n = first_repeated(map(_key, requests))
    if n is not None:
        field, text = f"{paths[n]}external_id", "stands twice in the batch"
        raise errors.ValueRepeated(f"{field} {text}", violations=[(field, text)])


def _upsert(
    transaction: Transaction, requests: Sequence[Upsert], paths: Sequence[str]
) -> list[contacts_pb2.Contact]:
    keys = [_key(request) for request in requests]
    found = queries.find_by_external_ids(transaction.connection, keys, lock=True)
    for key, path in zip(keys, paths, strict=True):
        if key in found and found[key]["delete_time"] is not None:
            raise errors.ContactDeleted(CONTACT.name_of(found[key]), f"{path}external_id")
    fresh = [n for n, key in enumerate(keys) if key not in found]
    drafts = [Draft(_with_key(requests[n]), f"{paths[n]}contact.") for n in fresh]
    try:
        created = insert(transaction, CONTACT, drafts)
    except errors.ExternalIdTaken as taken:
        asked = Counter(_pair(x) for draft in drafts for x in draft.message.external_ids)
        if asked[taken.external_id] == 1 and taken.external_id in {keys[n] for n in fresh}:
            # Somebody created this contact meanwhile: now it is there to change.
            raise RunAgain from taken
        raise
    done = dict(zip(fresh, created, strict=True))
    changed: set[str] = set()
    for n, key in enumerate(keys):
        if key in found:
            row, name = found[key], CONTACT.name_of(found[key])
            if name in changed:
                transaction.write_now()
                row = get(transaction.connection, CONTACT, name)
            changed.add(name)
            done[n] = _change(transaction, row, requests[n], paths[n])
    return [done[n] for n in range(len(keys))]


def _change(transaction: Transaction, row: Row, request: Upsert, path: str) -> contacts_pb2.Contact:
    message, mask = request.contact, request.update_mask
    if message.external_ids or {"external_ids", "*"} & set(mask.paths):
        message = _with_key(request)
    try:
        return update(transaction, CONTACT, row, message, mask, f"{path}contact.")
    except UpdateMaskInvalid as refusal:
        raise refusal.under(path) from None


def _with_key(request: Upsert) -> contacts_pb2.Contact:
    """Return the contact of a request with the key among its external ids."""
    message = contacts_pb2.Contact()
    message.CopyFrom(request.contact)
    if request.external_id not in message.external_ids:
        message.external_ids.append(request.external_id)
    return message
