"""The sample that comes with the repository: loaded once, and its figures shown."""

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

import vafa
from services.command.csv_rows import CannotLoad
from services.command.customer_view import print_customer
from services.command.data_directory import CannotStart
from services.command.loading import LoadOptions, load_file
from services.command.summary import print_summary
from vafa.contacts.v1 import contacts_pb2
from vafa.gateway.v1 import customers_pb2
from vafa.loyalty.v1 import programs_pb2

SAMPLE = Path(__file__).parents[2] / "data" / "cdnow_sample.csv"
PROGRAM = "programs/club"
CUSTOMER = contacts_pb2.ExternalId(system="cdnow", value="00004")


def require_sample() -> None:
    """Raise CannotStart if the sample is not there."""
    if not SAMPLE.is_file():
        raise CannotStart(f"the sample {SAMPLE} is not there; it comes with the repository")


async def show_sample(directory: Path, console: Console) -> None:
    """Load the sample unless it is there, and print its figures and one customer.

    Raises CannotStart if the suite of the directory does not take it.
    """
    try:
        async with vafa.aio.connect_local(directory) as suite:
            summary = await _summary_if_loaded(suite) or await _load_sample(suite, console)
            contact = await suite.contacts.LookupContact(
                contacts_pb2.LookupContactRequest(external_id=CUSTOMER)
            )
            name = contact.name.replace("contacts/", "customers/")
            customer = await suite.customers.GetCustomer(
                customers_pb2.GetCustomerRequest(name=name)
            )
    except (vafa.VafaError, CannotLoad) as error:
        raise CannotStart(f"the sample was not loaded: {error}") from error
    print_summary(console, summary)
    print_customer(console, customer)


async def _summary_if_loaded(suite: vafa.aio.Suite) -> programs_pb2.ProgramSummary | None:
    """Return the figures of the programme if it has as many orders as the sample has rows."""
    with SAMPLE.open("rb") as file:
        rows_count = sum(1 for _ in file) - 1
    request = programs_pb2.GetProgramSummaryRequest(name=f"{PROGRAM}/summary")
    try:
        summary = await suite.programs.GetProgramSummary(request)
    except vafa.NotFound:
        return None
    return summary if summary.orders_count >= rows_count else None


async def _load_sample(suite: vafa.aio.Suite, console: Console) -> programs_pb2.ProgramSummary:
    """Load the sample and return the figures of its programme."""
    console.print(f"Loading {SAMPLE.name} into {PROGRAM}")
    # A load that was cut short goes on: what is there already is not written again.
    options = LoadOptions(program=PROGRAM.removeprefix("programs/"))
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("customers and orders", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        report = await load_file(suite, SAMPLE, options, progress)
    return report.summary
