"""What `vafa` can do."""

import typer

from services.command.api_keys import api_keys
from services.command.copy import copy
from services.command.customer import customer
from services.command.load import load
from services.command.migrate import migrate
from services.command.token import token
from services.command.up import up
from services.command.verify import verify

app = typer.Typer(
    name="vafa",
    help="Customer relationships, a loyalty club and customer experience, as gRPC services.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (up, load, customer, verify, token, migrate, copy):
    app.command()(command)
app.add_typer(api_keys, name="keys")
