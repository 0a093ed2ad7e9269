"""`vafa migrate`: the databases of the services at the present schema."""

from typing import Annotated

import typer

from services.chassis.contract import SERVICES
from services.command.data_directory import make_private_directory
from services.command.databases import parsed_url
from services.command.migrations import databases_of, migrate_all
from services.command.options import DEFAULT_DATA_DIRECTORY, DatabaseUrl, DataDirectory

Services = Annotated[
    list[str] | None,
    typer.Option(help="Only the database of this service; may be repeated. [default: all]"),
]


def migrate(
    database_url: DatabaseUrl = None,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    service: Services = None,
) -> None:
    """Bring the databases to the present schema.

    Prints each service with the revision that its database is at now. `vafa up` does the same
    before it starts.
    """
    make_private_directory(data_directory)
    databases = databases_of(data_directory, database_url).of(service or SERVICES)
    for name, revision in migrate_all(databases).items():
        url = parsed_url(databases.urls[name]).render_as_string()
        typer.echo(f"{name:<10}{revision:<20}{url}")
