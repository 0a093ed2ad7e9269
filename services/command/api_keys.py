"""`vafa keys`: API keys of applications, and the key that signs tokens."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from google.longrunning import operations_pb2
from rich.console import Console
from rich.table import Table

import vafa
from services.command import keys
from services.command.data_directory import CannotStart
from services.command.options import DEFAULT_DATA_DIRECTORY, DataDirectory
from services.command.running import NotRunning, find_running
from services.command.token import operator_token
from vafa.gateway.v1 import access_pb2

BOOTSTRAP = "bootstrap"
# How long services may take to read the published keys again.
TRUST_SECONDS = 10.0
# How long the edge takes at most; nobody asks it, since it is not among the addresses.
EDGE_SECONDS = 2.0
ApiKey = access_pb2.ApiKey

api_keys = typer.Typer(
    help="API keys of applications, and the key that signs tokens. Who can read the signing key,"
    " that of the data directory or of VAFA_GATEWAY_SIGNING_KEY_FILE, acts as an admin.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Where the gateway serves. [default: as the suite of the data directory does]",
    ),
]
Days = Annotated[int, typer.Option(min=1, max=400, help="For how many days it can be exchanged.")]


@api_keys.command()
def bootstrap(
    days: Days = 90,
    address: Address = None,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
) -> None:
    """Make the first key, with the role admin, and print its secret and nothing else.

    Its id is `bootstrap`, so it is made once.
    """
    with _gateway(address, data_directory) as suite:
        try:
            _create(suite, BOOTSTRAP, "first key", ["admin"], days)
        except vafa.AlreadyExists as error:
            raise CannotStart(
                f"ALREADY_EXISTS: apiKeys/{BOOTSTRAP} was made before, and its secret is not shown"
                " twice; `vafa keys create` makes another key"
            ) from error


@api_keys.command()
def create(
    display_name: Annotated[str, typer.Argument(help="Which application it is for.")],
    role: Annotated[
        list[str], typer.Option(help="A role that its tokens carry; repeat it for more.")
    ],
    id_: Annotated[
        str, typer.Option("--id", metavar="ID", help="Its id. [default: a new one]")
    ] = "",
    days: Days = 90,
    address: Address = None,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
) -> None:
    """Make a key for an application, and print its secret and nothing else."""
    with _gateway(address, data_directory) as suite:
        _create(suite, id_, display_name, role, days)


@api_keys.command()
def revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The id or name of the key.")],
    address: Address = None,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
) -> None:
    """Take a key out of use for ever; its last token ends within 5 minutes."""
    name = f"apiKeys/{id_.removeprefix('apiKeys/')}"
    with _gateway(address, data_directory) as suite:
        revoked = suite.api_keys.RevokeApiKey(access_pb2.RevokeApiKeyRequest(name=name))
    typer.echo(f"{revoked.name} was revoked at {_minute(revoked.revoke_time.ToDatetime())} UTC")


@api_keys.command("list")
def list_(address: Address = None, data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY) -> None:
    """Show all keys, without their secrets."""
    table = Table()
    for heading in ("id", "application", "roles", "state", "expires, UTC", "creator"):
        table.add_column(heading, overflow="fold")
    with _gateway(address, data_directory) as suite:
        for key in _all_keys(suite):
            table.add_row(
                key.name.removeprefix("apiKeys/"),
                key.display_name,
                ", ".join(name.removeprefix("roles/") for name in key.roles),
                _state(key),
                _minute(key.expire_time.ToDatetime()),
                key.creator,
            )
    Console().print(table)


@api_keys.command("make-signing")
def make_signing(data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY) -> None:
    """Make the key that signs tokens and the public keys beside it, unless they are there.

    `vafa up` does so by itself; a cluster is given both, as docs/deploy.md tells.
    """
    try:
        keys.ensure_signing_key(data_directory)
    except ValueError as error:
        raise CannotStart(str(error)) from error
    typer.echo(f"{data_directory / 'keys' / 'signing.pem'} signs; jwks.json beside it is public.")


@api_keys.command("rotate-signing")
def rotate_signing(data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY) -> None:
    """Let a new key sign the tokens of the suite in the data directory, without a stop.

    The former is published on until its last token has ended. Run it again if it was interrupted.
    """
    try:
        keys.publish_next_key(data_directory)
        _wait_until_trusted(data_directory)
        keys.sign_with_next_key(data_directory)
    except FileNotFoundError as error:
        text = f"there is no signing key in {data_directory}; `vafa up` makes one"
        raise CannotStart(text) from error
    except ValueError as error:
        raise CannotStart(str(error)) from error
    typer.echo("A new key signs; the former is published until its last token has ended.")


def _gateway(address: str | None, data_directory: Path) -> vafa.Suite:
    addresses = {"gateway": address} if address else find_running(data_directory)[0]
    token = operator_token(data_directory, "operator", ["admin"])
    return vafa.connect(addresses, token=token)


def _create(suite: vafa.Suite, id_: str, display_name: str, roles: list[str], days: int) -> None:
    key = ApiKey(
        display_name=display_name,
        roles=[f"roles/{role.removeprefix('roles/')}" for role in roles],
    )
    key.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=days))
    request = access_pb2.CreateApiKeyRequest(api_key=key, api_key_id=id_)
    made = suite.api_keys.CreateApiKey(request)
    if made.secret_withheld:
        raise CannotStart(
            f"{made.api_key.name} was made, but the answer with its secret was lost on the way;"
            " revoke it and make another"
        )
    expires = _minute(made.api_key.expire_time.ToDatetime())
    typer.echo(
        f"{made.api_key.name} can be exchanged until {expires} UTC; its secret is shown this once:",
        err=True,
    )
    typer.echo(made.secret)


def _all_keys(suite: vafa.Suite) -> Iterator[ApiKey]:
    request = access_pb2.ListApiKeysRequest(page_size=1000)
    while True:
        page = suite.api_keys.ListApiKeys(request)
        yield from page.api_keys
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _state(key: ApiKey) -> str:
    if key.state == ApiKey.STATE_ACTIVE and key.expire_time.ToDatetime(UTC) <= datetime.now(UTC):
        return "expired"
    return ApiKey.State.Name(key.state).removeprefix("STATE_").lower()


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _wait_until_trusted(data_directory: Path) -> None:
    """Return once every service of the suite that runs, if one does, takes tokens of the next
    key, and the edge too; raises CannotStart if one does not within ten seconds.
    """
    try:
        addresses, _ = find_running(data_directory)
    except NotRunning:
        return
    token = keys.mint_token_of_next_key(data_directory, subject="operator", roles=["admin"])
    edge_trusts_at = time.monotonic() + EDGE_SECONDS
    ends_at = time.monotonic() + TRUST_SECONDS
    with vafa.connect(addresses, token=token) as suite:
        for service in addresses:
            while not _trusts(suite, service):
                if time.monotonic() > ends_at:
                    raise CannotStart(f"{service} does not read the published keys again")
                time.sleep(0.1)
    time.sleep(max(0.0, edge_trusts_at - time.monotonic()))


def _trusts(suite: vafa.Suite, service: str) -> bool:
    try:
        suite.operations(service).ListOperations(operations_pb2.ListOperationsRequest(page_size=1))
    except vafa.Unauthenticated:
        return False
    return True
