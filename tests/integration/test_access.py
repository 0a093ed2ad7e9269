"""API keys: who may give which roles, what a secret is exchanged for, and when it ends."""

import asyncio
import base64
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from sqlalchemy import MetaData, create_engine, select
from sqlalchemy.pool import NullPool

import vafa
from services.chassis.contract import SERVICES
from services.chassis.signing import SigningKey
from services.command import keys
from tests.contract.resources import Wire, refused
from tests.harness.roles import write_roles
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2
from vafa.gateway.v1 import access_pb2

ApiKey = access_pb2.ApiKey
CREATE = "/vafa.gateway.v1.AccessService/CreateApiKey"
TOGETHER = 64


def creation(
    *roles: str, id_: str = "", expires_in: timedelta | None = None
) -> access_pb2.CreateApiKeyRequest:
    """Return a request for a key with these roles, `reader` if none is given."""
    names = [f"roles/{role}" for role in roles or ("reader",)]
    request = access_pb2.CreateApiKeyRequest(
        api_key=ApiKey(display_name="till", roles=names), api_key_id=id_
    )
    if expires_in is not None:
        request.api_key.expire_time.FromDatetime(datetime.now(UTC) + expires_in)
    return request


def exchange(client: vafa.Suite, secret: str) -> access_pb2.AccessToken:
    """Exchange a secret."""
    return client.api_keys.ExchangeApiKey(access_pb2.ExchangeApiKeyRequest(secret=secret))


def revoke(client: vafa.Suite, key: ApiKey) -> ApiKey:
    """Revoke a key."""
    return client.api_keys.RevokeApiKey(access_pb2.RevokeApiKeyRequest(name=key.name))


def refusal_of(client: vafa.Suite, secret: str) -> dict[str, Any]:
    """Return all that is told to whoever tries to exchange a secret in vain."""
    with refused(vafa.Unauthenticated, "UNAUTHENTICATED") as refusal:
        exchange(client, secret)
    assert refusal.error is not None
    return vars(refusal.error)


def permissions_of(client: vafa.Suite) -> dict[str, set[str]]:
    """Return what each role permits, by its name."""
    listed = client.api_keys.ListRoles(access_pb2.ListRolesRequest(page_size=1000)).roles
    return {role.name.removeprefix("roles/"): set(role.permissions) for role in listed}


@pytest.fixture
def stranger(suite: RunningSuite) -> Iterator[vafa.Suite]:
    """A client without any token."""
    with vafa.connect(suite.addresses) as connected:
        yield connected


@pytest.fixture(scope="module")
def own_suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A gateway, and a service that takes its tokens, whose keys and roles a test may change."""
    folder = tmp_path_factory.mktemp("access")
    urls = {service: f"sqlite:///{folder}/{service}.db" for service in ("gateway", "contacts")}
    suite = RunningSuite(folder, urls)
    suite.start("gateway", "contacts")
    yield suite
    suite.stop()


def restart_gateway(suite: RunningSuite, **settings: str) -> None:
    """Start the gateway anew with these settings."""
    suite.stop("gateway")
    suite.start("gateway", **settings)


def contents_of(url: str) -> str:
    """Return all that a database holds, binary values both in hex and as text."""
    engine = create_engine(url, poolclass=NullPool)
    present = MetaData()
    present.reflect(engine)
    texts: list[str] = []
    with engine.connect() as connection:
        for table in present.sorted_tables:
            for value in (v for row in connection.execute(select(table)) for v in row):
                is_binary = isinstance(value, (bytes, memoryview))
                texts += [bytes(value).hex(), bytes(value).decode("latin-1")] if is_binary else []
                texts.append(str(value))
    return "\n".join(texts)


# The life of a key


def test_a_key_is_used_until_it_is_revoked(client: vafa.Suite, stranger: vafa.Suite) -> None:
    made = client.api_keys.CreateApiKey(creation("reader"))
    key = made.api_key
    assert key.state == ApiKey.STATE_ACTIVE
    assert key.creator == "tester"
    assert made.secret.startswith(f"vafa_{key.name.removeprefix('apiKeys/')}_")
    assert exchange(stranger, made.secret).token
    revoked = revoke(client, key)
    assert revoked.state == ApiKey.STATE_REVOKED
    assert revoked.revoke_time == revoked.update_time
    assert revoked.etag != key.etag
    assert client.api_keys.GetApiKey(access_pb2.GetApiKeyRequest(name=key.name)) == revoked
    refusal_of(stranger, made.secret)
    assert revoke(client, key) == revoked


def test_creation_and_revocation_are_told_once_each(client: vafa.Suite) -> None:
    key = client.api_keys.CreateApiKey(creation()).api_key
    for _ in range(2):
        revoke(client, key)
    told: list[tuple[str, list[str]]] = []
    after = events_pb2.Cursor()
    # Events are numbered a moment after their commits.
    ends_at = time.monotonic() + 10
    while len(told) < 2 and time.monotonic() < ends_at:
        request = events_pb2.ListEventsRequest(parent="feeds/gateway", after=after, page_size=1000)
        page = client.events("gateway").ListEvents(request)
        told += [(e.type, list(e.changed_paths)) for e in page.events if e.subject == key.name]
        after = page.next
    assert told == [("api_key.created", []), ("api_key.revoked", ["state", "revoke_time"])]


def test_a_key_expires_in_ninety_days_unless_told_otherwise(client: vafa.Suite) -> None:
    key = client.api_keys.CreateApiKey(creation()).api_key
    lifetime = key.expire_time.ToDatetime() - key.create_time.ToDatetime()
    assert lifetime == timedelta(days=90)


@pytest.mark.parametrize("days", [-1, 0, 401])
def test_a_key_expires_ahead_and_within_four_hundred_days(client: vafa.Suite, days: int) -> None:
    with refused(vafa.InvalidArgument, "EXPIRY_INVALID") as refusal:
        client.api_keys.CreateApiKey(creation(expires_in=timedelta(days=days)))
    assert refusal.fields == ["api_key.expire_time"]


def test_a_key_that_has_expired_is_exchanged_no_more(
    suite: RunningSuite, client: vafa.Suite, stranger: vafa.Suite
) -> None:
    made = client.api_keys.CreateApiKey(creation(expires_in=timedelta(seconds=3)))
    token = exchange(stranger, made.secret)
    assert token.expire_time.ToNanoseconds() <= made.api_key.expire_time.ToNanoseconds()
    assert 0 < token.lifetime.seconds <= 3

    def is_refused() -> bool:
        try:
            exchange(stranger, made.secret)
        except vafa.Unauthenticated:
            return True
        return False

    until(is_refused, "the expiry")
    assert time.time() >= made.api_key.expire_time.seconds
    # Who looks after the suite sees that somebody still tries.
    assert f'"api_key": "{made.api_key.name}", "event": "api_key_refused"' in suite.log("gateway")


# Roles


def test_a_role_that_is_not_there_is_unknown(client: vafa.Suite) -> None:
    with refused(vafa.InvalidArgument, "ROLE_UNKNOWN") as refusal:
        client.api_keys.CreateApiKey(creation("reader", "emperor"))
    assert refusal.fields == ["api_key.roles[1]"]
    assert refusal.metadata == {"role": "roles/emperor"}
    with refused(vafa.NotFound, "RESOURCE_NOT_FOUND") as refusal:
        client.api_keys.GetRole(access_pb2.GetRoleRequest(name="roles/emperor"))
    assert refusal.metadata == {"resource": "roles/emperor"}


def test_roles_are_listed_by_name_in_pages(client: vafa.Suite) -> None:
    request = access_pb2.ListRolesRequest(page_size=2)
    listed: list[access_pb2.Role] = []
    while not listed or request.page_token:
        page = client.api_keys.ListRoles(request)
        assert 1 <= len(page.roles) <= 2
        listed += page.roles
        request.page_token = page.next_page_token
    names = [role.name for role in listed]
    assert names == sorted(set(names))
    assert {"roles/admin", "roles/reader", "roles/service"} <= set(names)
    for role in listed:
        assert role.description
        assert client.api_keys.GetRole(access_pb2.GetRoleRequest(name=role.name)) == role


def test_a_page_token_of_another_list_is_refused(client: vafa.Suite) -> None:
    for _ in range(2):
        client.api_keys.CreateApiKey(creation())
    keys_page = client.api_keys.ListApiKeys(access_pb2.ListApiKeysRequest(page_size=1))
    for token in (keys_page.next_page_token, "x"):
        with refused(vafa.InvalidArgument, "PAGE_TOKEN_INVALID") as refusal:
            client.api_keys.ListRoles(access_pb2.ListRolesRequest(page_token=token))
        assert refusal.fields == ["page_token"]


def test_nobody_gives_what_they_do_not_have(own_suite: RunningSuite) -> None:
    with own_suite.client() as client:
        permits = permissions_of(client)
    assert len(permits) > 3
    # Each role of the deployment, with the right to make keys beside its own.
    givers = {f"{role}-giver": [*own, "access.write"] for role, own in permits.items()}
    own = {role: sorted(granted) for role, granted in permits.items()}
    roles_file = write_roles(own_suite.folder / "giving.json", own | givers)
    restart_gateway(own_suite, roles_file=str(roles_file))
    for giver, has in givers.items():
        with own_suite.client(giver) as client:
            for given, permissions in permits.items():
                lacking = permissions - set(has)
                if not lacking:
                    made = client.api_keys.CreateApiKey(creation(given)).api_key
                    assert made.roles == [f"roles/{given}"]
                    continue
                with refused(vafa.PermissionDenied, "ROLE_NOT_GRANTED") as refusal:
                    client.api_keys.CreateApiKey(creation(given))
                assert refusal.metadata["role"] == f"roles/{given}"
                assert refusal.metadata["permission"] in lacking


def test_roles_that_are_bound_to_a_key_are_given_with_it(own_suite: RunningSuite) -> None:
    own = {"admin": ["*"], "giver": ["access.write", "contacts.read"], "clerk": ["contacts.read"]}
    bindings = {"apiKeys/erp": ["admin"]}
    roles_file = write_roles(own_suite.folder / "bound.json", own, bindings)
    restart_gateway(own_suite, roles_file=str(roles_file))
    with own_suite.client("giver") as client:
        assert client.api_keys.CreateApiKey(creation("clerk", id_="till")).secret
        with refused(vafa.PermissionDenied, "ROLE_NOT_GRANTED") as refusal:
            client.api_keys.CreateApiKey(creation("clerk", id_="erp"))
        assert refusal.metadata["role"] == "roles/admin"
    with own_suite.client("admin") as client:
        assert client.api_keys.CreateApiKey(creation("clerk", id_="erp")).secret


# Tokens


def test_a_token_carries_the_roles_of_its_key_for_five_minutes(
    client: vafa.Suite, stranger: vafa.Suite
) -> None:
    made = client.api_keys.CreateApiKey(creation("support", "reader"))
    before = int(time.time())
    answer = exchange(stranger, made.secret)
    published = stranger.api_keys.GetJsonWebKeySet(access_pb2.GetJsonWebKeySetRequest()).keys
    kid = jwt.get_unverified_header(answer.token)["kid"]
    [key] = [key for key in published if key.kid == kid]
    assert (key.kty, key.crv, key.alg, key.use) == ("OKP", "Ed25519", "EdDSA", "sig")
    jwk = {"kty": key.kty, "crv": key.crv, "x": key.x, "alg": key.alg}
    claims = jwt.decode(
        answer.token, jwt.PyJWK(jwk), ["EdDSA"], audience="vafa", issuer="vafa-local"
    )
    assert claims.keys() == {"iss", "aud", "sub", "roles", "iat", "nbf", "exp", "jti"}
    assert claims["sub"] == made.api_key.name
    assert claims["roles"] == ["support", "reader"]
    assert before <= claims["iat"] == claims["nbf"] <= time.time()
    assert claims["exp"] - claims["iat"] == answer.lifetime.seconds == 300
    assert claims["exp"] == answer.expire_time.seconds


def test_a_token_permits_what_the_roles_of_its_key_permit(
    suite: RunningSuite, client: vafa.Suite, stranger: vafa.Suite
) -> None:
    made = client.api_keys.CreateApiKey(creation("reader"))
    token = exchange(stranger, made.secret).token
    with vafa.connect(suite.addresses, token=token) as holder:
        holder.contacts.ListContacts(contacts_pb2.ListContactsRequest(page_size=1))
        contact = contacts_pb2.Contact(display_name="Ada")
        with refused(vafa.PermissionDenied, "PERMISSION_DENIED") as refusal:
            holder.contacts.CreateContact(contacts_pb2.CreateContactRequest(contact=contact))
        assert refusal.metadata == {"permission": "contacts.write"}
        revoke(client, made.api_key)
        # What was issued before lives out its minutes.
        holder.contacts.ListContacts(contacts_pb2.ListContactsRequest(page_size=1))


def test_many_may_exchange_one_secret_at_once(client: vafa.Suite, stranger: vafa.Suite) -> None:
    secret = client.api_keys.CreateApiKey(creation()).secret
    with ThreadPoolExecutor(TOGETHER) as pool:
        answers = list(pool.map(lambda _: exchange(stranger, secret), range(TOGETHER)))
    assert len({answer.token for answer in answers}) == TOGETHER


def test_of_many_who_make_a_key_of_one_id_one_gets_its_secret(client: vafa.Suite) -> None:
    request = creation(id_=f"k-{uuid.uuid4().hex}")

    def make(_: int) -> str:
        try:
            return client.api_keys.CreateApiKey(request).secret
        except vafa.AlreadyExists:
            return ""

    with ThreadPoolExecutor(TOGETHER) as pool:
        secrets = list(pool.map(make, range(TOGETHER)))
    [secret] = filter(None, secrets)
    assert exchange(client, secret).token


def test_an_application_calls_the_suite_by_its_key_alone(
    suite: RunningSuite, client: vafa.Suite
) -> None:
    made = client.api_keys.CreateApiKey(creation("reader"))
    request = contacts_pb2.ListContactsRequest(page_size=1)

    async def call_together() -> None:
        async with vafa.aio.connect(suite.addresses, api_key=made.secret) as holder:
            await asyncio.gather(*(holder.contacts.ListContacts(request) for _ in range(TOGETHER)))

    asyncio.run(call_together())
    with (
        vafa.connect(suite.addresses, api_key=made.secret) as holder,
        ThreadPoolExecutor(TOGETHER) as pool,
    ):
        list(pool.map(lambda _: holder.contacts.ListContacts(request), range(TOGETHER)))
    exchanged = f'"api_key": "{made.api_key.name}", "event": "api_key_exchanged"'
    assert suite.log("gateway").count(exchanged) == 2
    revoke(client, made.api_key)
    with (
        vafa.connect(suite.addresses, api_key=made.secret) as holder,
        pytest.raises(vafa.Unauthenticated),
    ):
        holder.contacts.ListContacts(request)


# Secrets


def test_every_wrong_secret_is_refused_alike(client: vafa.Suite, stranger: vafa.Suite) -> None:
    made, other, gone = (client.api_keys.CreateApiKey(creation()) for _ in range(3))
    revoke(client, gone.api_key)
    id_, other_id = (m.api_key.name.removeprefix("apiKeys/") for m in (made, other))
    random = made.secret.removeprefix(f"vafa_{id_}_")
    flipped = ("B" if random[0] == "A" else "A") + random[1:]
    wrong = {
        "revoked": gone.secret,
        "of nobody": f"vafa_nobody_{random}",
        "of another key": f"vafa_{other_id}_{random}",
        "changed": f"vafa_{id_}_{flipped}",
        "prefix": "vafa_",
        "prefix and id": f"vafa_{id_}_",
        "id": id_,
        "truncated": made.secret[:-1],
        "prolonged": f"{made.secret}A",
        "padded": f"{made.secret}=",
        "with a space": f" {made.secret}",
        "with a newline": f"{made.secret}\n",
        "in capitals": made.secret.upper(),
        "without its prefix": made.secret.removeprefix("vafa_"),
        "of another make": made.secret.replace("vafa_", "vafb_", 1),
        "unicode": "واژهٔ گذر 🔑",
        "wide letters": f"vafa_{id_}_{'ａ' * len(random)}",
        "quotes": "' OR 1=1 --",
        "long": "x" * 200,
        "a token": exchange(stranger, made.secret).token[:200],
    }
    told = {case: refusal_of(stranger, secret) for case, secret in wrong.items()}
    [first, *others] = told.values()
    assert first["message"]
    for case, refusal in zip(list(told)[1:], others, strict=True):
        assert refusal == first, case
    assert exchange(stranger, made.secret).token


@pytest.mark.parametrize("secret", ["", "x" * 201, "x" * 1_000_000])
def test_a_secret_out_of_bounds_is_refused_and_not_quoted(
    stranger: vafa.Suite, secret: str
) -> None:
    with refused(vafa.InvalidArgument, "INVALID_FIELD") as refusal:
        exchange(stranger, secret)
    assert refusal.fields == ["secret"]
    assert "xx" not in str(refusal.error)


def test_a_repeat_gets_the_key_without_its_secret(suite: RunningSuite) -> None:
    request = creation()
    request.request_id = str(uuid.uuid4())
    with Wire(suite) as wire:
        answers = [wire.call("gateway", CREATE, request.SerializeToString()) for _ in range(2)]
    first, second = (access_pb2.CreateApiKeyResponse.FromString(answer.raw) for answer in answers)
    assert first.secret
    assert not first.secret_withheld
    assert (second.secret, second.secret_withheld) == ("", True)
    assert second.api_key == first.api_key
    assert answers[1].trailers["idempotency-replayed"] == "true"


def test_a_secret_and_a_token_stand_nowhere(suite: RunningSuite, stranger: vafa.Suite) -> None:
    request = creation("reader")
    request.request_id = str(uuid.uuid4())
    with suite.client() as client:
        made = client.api_keys.CreateApiKey(request)
        assert client.api_keys.CreateApiKey(request).secret_withheld
        token = exchange(stranger, made.secret).token
        with vafa.connect(suite.addresses, api_key=made.secret) as holder:
            holder.contacts.ListContacts(contacts_pb2.ListContactsRequest())
        with refused(vafa.InvalidArgument, "REQUEST_ID_REUSED"):
            client.api_keys.CreateApiKey(
                access_pb2.CreateApiKeyRequest(
                    api_key=made.api_key, request_id=request.request_id, api_key_id="other"
                )
            )
        refusal_of(stranger, made.secret[:-1])
        key = client.api_keys.GetApiKey(access_pb2.GetApiKeyRequest(name=made.api_key.name))
        page = client.api_keys.ListApiKeys(access_pb2.ListApiKeysRequest(page_size=1000))
    random = made.secret[-43:]
    kept = {
        "get": str(key),
        "list": str(page),
        "tables": contents_of(suite.database_urls["gateway"]),
        **{f"log of {service}": suite.log(service) for service in SERVICES},
    }
    # What was created is in there at all.
    assert made.api_key.name in kept["tables"]
    assert "ExchangeApiKey" in kept["log of gateway"]
    wanted = (random, base64.urlsafe_b64decode(f"{random}=").hex(), token)
    for place, content in kept.items():
        assert [one for one in wanted if one in content] == [], place
    url = suite.database_urls["gateway"]
    if url.startswith("sqlite"):
        for file in suite.folder.glob("gateway.db*"):
            assert random.encode() not in file.read_bytes(), file.name


# The issuer


def test_a_new_key_signs_without_a_restart_and_the_former_is_known_on(
    own_suite: RunningSuite,
) -> None:
    def key_ids() -> set[str]:
        request = access_pb2.GetJsonWebKeySetRequest()
        return {key.kid for key in client.api_keys.GetJsonWebKeySet(request).keys}

    def signs() -> str:
        return str(jwt.get_unverified_header(exchange(client, secret).token)["kid"])

    restart_gateway(own_suite)
    with own_suite.client() as client:
        secret = client.api_keys.CreateApiKey(creation("reader")).secret
        old_token, old = exchange(client, secret).token, signs()
        assert key_ids() == {old}
        keys.publish_next_key(own_suite.folder)
        until(lambda: len(key_ids()) == 2, "the next key is published")
        assert signs() == old
        keys.sign_with_next_key(own_suite.folder)
        until(lambda: signs() != old, "the next key signs")
        assert key_ids() == {old, signs()}
        for token in (old_token, exchange(client, secret).token):
            with vafa.connect(own_suite.addresses, token=token) as holder:
                holder.contacts.ListContacts(contacts_pb2.ListContactsRequest())


def test_a_gateway_does_not_start_with_a_signing_key_that_nobody_would_trust(
    tmp_path: Path,
) -> None:
    suite = RunningSuite(tmp_path, {"gateway": f"sqlite:///{tmp_path}/gateway.db"})
    strange, damaged = tmp_path / "strange.pem", tmp_path / "damaged.pem"
    strange.write_bytes(SigningKey.generate().to_pem())
    damaged.write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    for file, told in (
        (strange, "does not hold the public key"),
        (damaged, "not a private key in PEM"),
        (tmp_path / "none.pem", "No such file"),
    ):
        with pytest.raises(AssertionError, match=f"gateway ended:(.|\n)*{told}"):
            suite.start("gateway", signing_key_file=str(file))


def test_a_deployment_without_a_signing_key_issues_no_tokens(own_suite: RunningSuite) -> None:
    restart_gateway(own_suite)
    with own_suite.client() as client:
        secret = client.api_keys.CreateApiKey(creation("reader")).secret
        restart_gateway(own_suite, signing_key_file="")
        with refused(vafa.FailedPrecondition, "TOKENS_NOT_ISSUED"):
            exchange(client, secret)
        published = client.api_keys.GetJsonWebKeySet(access_pb2.GetJsonWebKeySetRequest())
        assert not published.keys
