"""`vafa customer`: all that the suite knows of one customer."""

import re
from typing import Annotated, Final

import typer
from google.protobuf import json_format
from rich.console import Console

import vafa
from services.command.customer_view import print_customer
from services.command.options import DEFAULT_DATA_DIRECTORY, Address, DataDirectory, TokenFile
from services.command.running import connect_running
from vafa.contacts.v1 import contacts_pb2
from vafa.gateway.v1 import customers_pb2

EXIT_NOT_FOUND = 1
Customer = customers_pb2.Customer
_ID: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def customer(
    id_: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="The id or name of a contact, or with --system an external id."
        ),
    ],
    system: Annotated[
        str | None, typer.Option(help="The system that the id is of, such as cdnow.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the message as JSON, and nothing else.")
    ] = False,
    address: Address = None,
    token_file: TokenFile = None,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
) -> None:
    """Show all that the suite knows of a customer.

    Profile, purchases, points, scores, last orders and last interactions. Exit code 1 if there
    is no such customer.
    """
    with connect_running(data_directory, address, token_file) as suite:
        found = find_customer(suite, id_, system)
    if found is None:
        hint = "" if system else "; for an id of another system, give --system"
        typer.echo(f"vafa customer: there is no customer {id_}{hint}", err=True)
        raise typer.Exit(EXIT_NOT_FOUND)
    if as_json:
        typer.echo(json_format.MessageToJson(found, ensure_ascii=False))
    else:
        print_customer(Console(), found)


def find_customer(suite: vafa.Suite, id_: str, system: str | None) -> Customer | None:
    """Return the customer of an external id if a system is given, or else of a contact's id.

    An id that is nobody's there is tried as the other kind: None if it is nobody's at all.
    """
    name = id_
    if system is not None:
        external_id = contacts_pb2.ExternalId(system=system, value=id_)
        lookup = contacts_pb2.LookupContactRequest(external_id=external_id)
        try:
            name = suite.contacts.LookupContact(lookup).name
        except vafa.NotFound:
            name = id_
    contact_id = name.removeprefix("contacts/").removeprefix("customers/")
    if not _ID.fullmatch(contact_id):
        return None
    request = customers_pb2.GetCustomerRequest(name=f"customers/{contact_id}")
    try:
        return suite.customers.GetCustomer(request)
    except vafa.NotFound:
        return None
