"""`vafa up`: the whole suite on this machine, in one terminal."""

import asyncio
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

import vafa
from services.command import keys
from services.command.csv_rows import CannotLoad
from services.command.customer import print_customer
from services.command.data_directory import (
    CannotStart,
    DataDirectoryInUse,
    supervised,
    write_private_file,
)
from services.command.databases import SERVICES, parsed_url
from services.command.load import LoadOptions, load_file
from services.command.migrations import Databases, DatabaseUrl, databases_of, migrate_all
from services.command.summary import print_summary
from services.command.supervisor import OWN_NAME, ProcessSpec, Supervisor
from services.command.token import (
    DEFAULT_DATA_DIRECTORY,
    DataDirectory,
    service_token_file,
    write_tokens,
)
from vafa.contacts.v1 import contacts_pb2
from vafa.gateway.v1 import customers_pb2
from vafa.loyalty.v1 import programs_pb2

HOST = "127.0.0.1"
PORT_OFFSETS = {"gateway": 0, "contacts": 1, "loyalty": 2}
METRICS_OFFSET = 100
SAMPLE = Path(__file__).parents[2] / "data" / "cdnow_sample.csv"
SAMPLE_PROGRAM = "programs/club"
SAMPLE_CUSTOMER = contacts_pb2.ExternalId(system="cdnow", value="00004")
PROBE_SECONDS = 1.0
COLOURS = {"contacts": "cyan", "loyalty": "green", "gateway": "magenta", OWN_NAME: "blue"}
LEVEL_STYLES = {"warning": "yellow", "error": "bold red", "critical": "bold red"}
# What a line shows in a place of its own, or what its colour says already.
PLACED = frozenset({"ts", "level", "event", "process", "exception"})


@dataclass(frozen=True)
class Layout:
    """Where the suite runs: its directory, its databases and its ports."""

    directory: Path
    databases: Databases
    base_port: int

    def address(self, service: str) -> str:
        """Return where a service serves gRPC."""
        return f"{HOST}:{self.base_port + PORT_OFFSETS[service]}"

    def metrics_address(self, service: str) -> str:
        """Return where a service serves its metrics over HTTP."""
        return f"{HOST}:{self.base_port + METRICS_OFFSET + PORT_OFFSETS[service]}"

    def spec(self, service: str) -> ProcessSpec:
        """Return the process of a service."""
        address, metrics_address = self.address(service), self.metrics_address(service)
        settings = {
            "database_url": self.databases.urls[service],
            "listen": address,
            "metrics_listen": metrics_address,
            "jwks_file": str(self.directory / "keys" / "jwks.json"),
            "token_file": str(service_token_file(self.directory, service)),
            "contacts_address": self.address("contacts"),
            "loyalty_address": self.address("loyalty"),
            # Nobody balances load here, so nobody needs to be told before the end.
            "drain_delay_seconds": "0",
        }
        prefix = f"VAFA_{service.upper()}_"
        return ProcessSpec(
            name=service,
            command=(sys.executable, "-P", "-m", f"services.{service}"),
            environment={prefix + name.upper(): value for name, value in settings.items()},
            listen=(address, metrics_address),
            ready=partial(_is_ready, address),
        )

    def announce(self) -> None:
        """Renew the token files, and the list of addresses by which clients find the suite."""
        write_tokens(self.directory, SERVICES)
        addresses = {service: self.address(service) for service in SERVICES}
        write_private_file(self._endpoints, json.dumps(addresses, indent=2).encode() + b"\n")

    def withdraw(self) -> None:
        """Remove the list of addresses, unless another suite has begun here meanwhile."""
        try:
            with supervised(self.directory):
                self._endpoints.unlink(missing_ok=True)
        except DataDirectoryInUse:
            return

    @property
    def _endpoints(self) -> Path:
        return self.directory / "endpoints.json"


def up(
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    database_url: DatabaseUrl = None,
    base_port: Annotated[
        int,
        typer.Option(
            min=1,
            max=65_535 - METRICS_OFFSET - max(PORT_OFFSETS.values()),
            envvar="VAFA_BASE_PORT",
            help="The port of the gateway. Contacts and loyalty have the next two; the metrics of"
            " the three are 100 above.",
        ),
    ] = 7100,
    sample: Annotated[
        bool,
        typer.Option(
            "--sample", help="Load data/cdnow_sample.csv unless it is there, and print its figures."
        ),
    ] = False,
    json_log: Annotated[
        bool,
        typer.Option(
            "--json-log", help="Write every line of the log as one JSON object, and nothing else."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the calls that succeed too.")
    ] = False,
) -> None:
    """Run the suite on this machine until Ctrl-C.

    Makes the keys and the databases if they are missing, migrates the databases, starts the
    services, starts again what crashes, and shows all their logs as one.
    """
    if sample and not SAMPLE.is_file():
        raise CannotStart(f"the sample {SAMPLE} is not there; it comes with the repository")
    directory = data_directory.resolve()
    layout = Layout(directory, databases_of(directory, database_url), base_port)
    with supervised(directory):
        _ensure_signing_key(directory)
        migrate_all(layout.databases)
    log = JsonLog() if json_log else ReadableLog(verbose=verbose)

    async def on_ready() -> None:
        log.console.print(_ready(layout), soft_wrap=True)
        if sample:
            await _show_sample(directory, log.console)

    supervisor = Supervisor(
        [layout.spec(service) for service in SERVICES],
        data_directory=directory,
        log=log,
        refresh=layout.announce,
    )
    status = asyncio.run(supervisor.run(on_ready))
    layout.withdraw()
    raise typer.Exit(status)


class JsonLog:
    """The log as the services write it; words that are not JSON are made an event of it.

    What a person is to read goes to `console`, and so to standard error.
    """

    def __init__(self) -> None:
        self.console = Console(highlight=False, stderr=True)

    def __call__(self, name: str, line: str) -> None:
        """Write one line of a process."""
        if _fields(line) is None:
            now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            words = {"process": name, "event": line, "level": "info", "ts": now}
            line = json.dumps(words, ensure_ascii=False)
        print(line, flush=True)


class ReadableLog:
    """The log for a person: one line an event, each service in its colour.

    The calls that succeeded are left out unless it is verbose.
    """

    def __init__(self, *, verbose: bool, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._verbose = verbose

    def __call__(self, name: str, line: str) -> None:
        """Show one line of a process."""
        fields = _fields(line)
        if fields is None:
            self._show(name, _local_time(None), Text(_visible(line)))
            return
        if fields.get("event") == "rpc" and fields.get("code") == "OK" and not self._verbose:
            return
        time = _local_time(fields.get("ts"))
        self._show(name, time, _described(fields))
        for part in str(fields.get("exception", "")).splitlines():
            self._show(name, time, Text(_visible(part), style="dim"))

    def _show(self, name: str, time: str, words: Text) -> None:
        start = Text.assemble((time, "dim"), " ", (f"{name:<9}", COLOURS.get(name, "")))
        self.console.print(start + words, soft_wrap=True)


def _fields(line: str) -> dict[str, Any] | None:
    """Return the fields of a line that is a JSON object, else None."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _described(fields: Mapping[str, Any]) -> Text:
    level = str(fields.get("level", "info"))
    style = LEVEL_STYLES.get(level, "")
    words = Text(_visible(str(fields.get("event", ""))), style=f"{style} bold".strip())
    if level in LEVEL_STYLES:
        words = Text.assemble((f"{level} ", style), words)
    for key, value in fields.items():
        if key not in PLACED and value not in ("", None):
            words += Text.assemble((f" {_visible(key)}=", "dim"), _shown(value))
    return words


def _shown(value: object) -> str:
    """Return a value so that one can tell where it ends."""
    if isinstance(value, str) and value.isprintable() and not set(value) & {" ", '"', "="}:
        return value
    return _visible(json.dumps(value, ensure_ascii=False))


def _visible(text: str) -> str:
    """Return text without what could steer the terminal."""
    return "".join(one if one.isprintable() or one == "\t" else "\ufffd" for one in text)


def _local_time(stamp: object) -> str:
    """Return the time of day of a time stamp, or of now if it is none, to the millisecond."""
    try:
        moment = datetime.fromisoformat(str(stamp))
    except ValueError:
        moment = datetime.now(UTC)
    return moment.astimezone().isoformat(timespec="milliseconds")[11:23]


def _ensure_signing_key(directory: Path) -> None:
    try:
        keys.ensure_signing_key(directory)
    except ValueError as error:
        raise CannotStart(str(error)) from error


async def _is_ready(address: str) -> bool:
    # A pool of its own: a shared one would remember that the service was not there yet.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        request = health_pb2.HealthCheckRequest(service="readiness")
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=PROBE_SECONDS)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _ready(layout: Layout) -> Text:
    """Return what the operator may want to know now."""
    words = Text.assemble(("The suite is ready.", "bold green"), "\n")
    for service in PORT_OFFSETS:
        url = parsed_url(layout.databases.urls[service]).render_as_string()
        words += Text.assemble(
            (f"  {service:<10}", COLOURS[service]),
            f"{layout.address(service):<17}metrics http://{layout.metrics_address(service)}/metrics"
            f"  data {url}\n",
        )
    directory = layout.directory
    return words.append(
        f"  token     vafa token --data-directory {shlex.quote(str(directory))}\n"
        f"  Python    vafa.connect_local({str(directory)!r})\n"
        "  stop      Ctrl-C"
    )


async def _show_sample(directory: Path, console: Console) -> None:
    """Load the sample unless it is there, and print its figures and one customer."""
    try:
        async with vafa.aio.connect_local(directory) as suite:
            await _load_sample(suite, console)
            name = f"{SAMPLE_PROGRAM}/summary"
            summary = await suite.programs.GetProgramSummary(
                programs_pb2.GetProgramSummaryRequest(name=name)
            )
            contact = await suite.contacts.LookupContact(
                contacts_pb2.LookupContactRequest(external_id=SAMPLE_CUSTOMER)
            )
            name = contact.name.replace("contacts/", "customers/")
            customer = await suite.customers.GetCustomer(
                customers_pb2.GetCustomerRequest(name=name)
            )
    except (vafa.VafaError, CannotLoad) as error:
        raise CannotStart(f"the sample was not loaded: {error}") from error
    print_summary(console, summary)
    print_customer(console, customer)


async def _load_sample(suite: vafa.aio.Suite, console: Console) -> None:
    if await _has_sample(suite):
        return
    console.print(f"Loading {SAMPLE.name} into {SAMPLE_PROGRAM}")
    # A load that was cut short goes on: what is there already is not written again.
    options = LoadOptions(program=SAMPLE_PROGRAM.removeprefix("programs/"))
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("customers and orders", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        await load_file(suite, SAMPLE, options, progress)


async def _has_sample(suite: vafa.aio.Suite) -> bool:
    """Whether the programme has as many orders as the sample has rows."""
    with SAMPLE.open("rb") as file:
        rows_count = sum(1 for _ in file) - 1
    request = programs_pb2.GetProgramSummaryRequest(name=f"{SAMPLE_PROGRAM}/summary")
    try:
        summary = await suite.programs.GetProgramSummary(request)
    except vafa.NotFound:
        return False
    return summary.orders_count >= rows_count
