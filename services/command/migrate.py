"""`vafa migrate`: the databases of all services at the present schema."""

import typer

from services.command.data_directory import make_private_directory
from services.command.databases import parsed_url
from services.command.migrations import databases_of, migrate_all
from services.command.options import DEFAULT_DATA_DIRECTORY, DatabaseUrl, DataDirectory


def migrate(
    database_url: DatabaseUrl = None,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
) -> None:
    """Bring all databases to the present schema.

    Prints each service with the revision that its database is at now. `vafa up` does the same
    before it starts.
    """
    make_private_directory(data_directory)
    databases = databases_of(data_directory, database_url)
    for service, revision in migrate_all(databases).items():
        url = parsed_url(databases.urls[service]).render_as_string()
        typer.echo(f"{service:<10}{revision:<20}{url}")
