"""`vafa load` and `vafa customer` against real services, which are killed meanwhile."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

import vafa
from services.command.csv_rows import CannotLoad
from services.command.customer import customer, find_customer
from services.command.customer_view import print_customer
from services.command.data_directory import CannotStart
from services.command.load import load
from services.command.loading import LoadOptions, LoadReport, load_file
from services.command.summary import print_summary
from services.command.token_files import write_tokens
from tests.conftest import DATABASES, database_urls
from tests.harness.edge import Edge
from tests.harness.ports import free_port
from tests.harness.suite import ROOT, RunningSuite
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.loyalty.v1 import ledger_pb2, programs_pb2

Interaction = interactions_pb2.Interaction

CDNOW = ROOT / "data" / "cdnow_sample.csv"
CDNOW_LINE = (
    "2,357 customers · 6,919 orders · 244,091.94 USD"
    " · 1,152 repeat customers (48.88 %) · 239,444 points\n"
)
HEADER = "customer_id,date,amount,name,email,order_id"
WAIT_SECONDS = 30


@pytest.fixture(scope="module", params=DATABASES)
def own(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSuite]:
    """A suite that nobody else uses, since services are killed; each test has its programme."""
    urls = None
    if request.param == "postgresql":
        urls = database_urls(request.getfixturevalue("postgres"), "load")
    suite = RunningSuite(tmp_path_factory.mktemp("load"), urls)
    suite.start()
    announce(suite.folder, suite.addresses)
    yield suite
    suite.stop()


def announce(directory: Path, addresses: Mapping[str, str]) -> None:
    """Say in a data directory where its suite serves, as `vafa up` does."""
    write_tokens(directory, [])
    (directory / "endpoints.json").write_text(json.dumps(dict(addresses)))


def load_with(
    suite: RunningSuite,
    path: Path,
    options: LoadOptions,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> LoadReport:
    """Load a file with a client of the suite's own."""

    async def run() -> LoadReport:
        async with suite.aio_client() as connected:
            return await load_file(connected, path, options, progress)

    return asyncio.run(run())


def vafa_command(command: Callable[..., None], suite: RunningSuite, *arguments: str) -> Result:
    """Run a command of `vafa` on the suite."""
    app = typer.Typer()
    app.command()(command)
    given = [*arguments, "--data-directory", str(suite.folder)]
    # Wide enough that no table is wrapped.
    return CliRunner().invoke(app, given, env={"COLUMNS": "200"})


def summary_of(suite: RunningSuite, program: str) -> programs_pb2.ProgramSummary:
    """Return the figures of a programme."""
    request = programs_pb2.GetProgramSummaryRequest(name=f"programs/{program}/summary")
    with suite.client() as client:
        return client.programs.GetProgramSummary(request)


def assert_cdnow(suite: RunningSuite, program: str) -> None:
    """The programme has the figures of the file, and its ledger agrees with itself."""
    console = Console(file=StringIO(), width=20)
    print_summary(console, summary_of(suite, program))
    assert isinstance(console.file, StringIO)
    assert console.file.getvalue() == CDNOW_LINE
    request = ledger_pb2.VerifyLedgerRequest(parent=f"programs/{program}")
    with suite.client() as client:
        verified = client.wait(client.ledger.VerifyLedger(request), WAIT_SECONDS)
    assert verified.violations_count == 0


def csv_file(folder: Path, *rows: str) -> Path:
    """Write a file of these rows."""
    path = folder / "shop_orders.csv"
    path.write_text("\n".join((HEADER, *rows)) + "\n", encoding="utf-8")
    return path


def contact_of(client: vafa.Suite, system: str, value: str) -> contacts_pb2.Contact:
    """Return the contact of an external id."""
    external_id = contacts_pb2.ExternalId(system=system, value=value)
    return client.contacts.LookupContact(contacts_pb2.LookupContactRequest(external_id=external_id))


def test_the_sample_gives_its_figures_and_a_repeat_adds_nothing(own: RunningSuite) -> None:
    seen: list[tuple[int, int]] = []
    first = load_with(own, CDNOW, LoadOptions(), lambda done, total: seen.append((done, total)))
    assert (first.customers_count, first.orders_count) == (2357, 6919)
    assert (first.new_members_count, first.new_orders_count) == (2357, 6919)
    assert first.skipped_count == 0
    assert seen[-1] == (2357 + 6919, 2357 + 6919)
    assert seen == sorted(seen)
    assert_cdnow(own, "club")
    with own.client() as client:
        before = contact_of(client, "cdnow", "00004")
        assert before.display_name == "cdnow customer 00004"
        assert before.acquisition_source == "cdnow"
        assert before.lifecycle_stage == contacts_pb2.Contact.LIFECYCLE_STAGE_CUSTOMER
    # The same batches get their stored answers; other batches are known by external ids.
    for options in (LoadOptions(), LoadOptions(batch_size=499)):
        again = load_with(own, CDNOW, options)
        assert (again.customers_count, again.orders_count) == (2357, 6919)
        assert (again.new_members_count, again.new_orders_count) == (0, 0)
        assert again.summary == first.summary
    with own.client() as client:
        assert contact_of(client, "cdnow", "00004") == before


def test_the_sample_loaded_through_the_edge_gives_the_same_figures(own: RunningSuite) -> None:
    with Edge(own) as edge:
        options = ["--program", "edge", "--system", "edge", "--address", edge.address]
        loaded = vafa_command(load, own, str(CDNOW), *options)
    assert loaded.exit_code == 0, loaded.output
    assert CDNOW_LINE in loaded.stdout
    assert_cdnow(own, "edge")


def test_services_that_are_killed_during_the_load_change_no_figure(own: RunningSuite) -> None:
    # By how much is done: contacts are the first 2357.
    kills = [(500, "contacts"), (5000, "loyalty")]
    killed: list[str] = []
    restarts: list[threading.Thread] = []

    def progress(done: int, _total: int) -> None:
        if kills and done >= kills[0][0]:
            _, name = kills.pop(0)
            own.kill(name)
            killed.append(name)
            restarts.append(threading.Thread(target=own.start, args=(name,)))
            restarts[-1].start()

    options = LoadOptions(program="killed", system="killed", batch_size=250)
    report = load_with(own, CDNOW, options, progress)
    for restart in restarts:
        restart.join()
    assert killed == ["contacts", "loyalty"]
    assert (report.customers_count, report.orders_count) == (2357, 6919)
    assert report.skipped_count == 0
    assert_cdnow(own, "killed")


def test_a_load_that_is_killed_goes_on_when_it_is_started_again(
    own: RunningSuite, tmp_path: Path
) -> None:
    path = tmp_path / "resumed_part.csv"
    lines = CDNOW.read_text().splitlines()[:1501]
    path.write_text("\n".join(lines))
    customers_count = len({line.partition(",")[0] for line in lines[1:]})
    command = [sys.executable, "-c"]
    command += ["import typer; from services.command.load import load; typer.run(load)"]
    command += [str(path), "--program", "resumed", "--batch-size", "20", "--concurrency", "2"]
    command += ["--data-directory", str(own.folder)]
    announce(own.folder, own.addresses)
    first = subprocess.Popen(command, cwd=ROOT)
    ends_at = time.monotonic() + WAIT_SECONDS
    while not _orders_count(own, "resumed"):
        assert time.monotonic() < ends_at
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert _orders_count(own, "resumed") < 1500
    second = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (second.returncode, second.stderr) == (0, "")
    told = f"loaded {customers_count:,} customers and 1,500 orders in "
    assert second.stdout.startswith(told)
    summary = summary_of(own, "resumed")
    assert (summary.customers_count, summary.orders_count) == (customers_count, 1500)


def _orders_count(suite: RunningSuite, program: str) -> int:
    try:
        return summary_of(suite, program).orders_count
    except vafa.NotFound:
        return 0


def test_rows_that_are_refused_are_reported_and_the_rest_is_loaded(
    own: RunningSuite, tmp_path: Path
) -> None:
    with own.client() as client:
        gone = contacts_pb2.Contact(display_name="Gone")
        gone.external_ids.add(system="shop", value="8")
        created = client.contacts.CreateContact(contacts_pb2.CreateContactRequest(contact=gone))
        client.contacts.DeleteContact(contacts_pb2.DeleteContactRequest(name=created.name))
    path = csv_file(
        tmp_path,
        "1,2026-01-02,5.00,Ada,ada@example.org,A-1",
        "2,2026-01-02,5.00,Bob,,A-2",
        "2,2026-01-03,5.00,Bob,not an address,A-3",
        "3,2026-01-02,5.005,مریم,,A-4",
        "3,2999-01-02,5.00,مریم,,A-5",
        "3,2026-01-02,five,مریم,,A-6",
        "8,2026-01-02,5.00,Gone,,A-7",
        "3,2026-01-02,5.00,مریم,,A-8",
        f"4,2026-01-02,5.00,{'x' * 201},,A-9",
    )
    result = vafa_command(load, own, str(path), "--program", "refused")
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert lines[0].startswith("loaded 2 customers and 2 orders in ")
    assert lines[1] == "skipped 7 rows:"
    said = dict(line.strip().split(": ", 1) for line in lines[2:-1])
    assert sorted(said, key=lambda line: int(line.split()[1])) == list(said)
    assert said.keys() == {f"line {n}" for n in (3, 4, 5, 6, 7, 8, 10)}
    assert said["line 3"].startswith("customer_id: its customer was refused: line 4: email: ")
    assert said["line 4"].startswith("email: ")
    assert said["line 5"] == "amount: must have no more decimals than USD, 2"
    assert said["line 6"] == "date: lies in the future"
    assert said["line 7"] == "amount: 'five' is not an amount"
    assert said["line 8"] == "customer_id: belongs to a deleted contact"
    assert said["line 10"].startswith("name: ")
    assert lines[-1].startswith("2 customers · 2 orders · 10.00 USD · 0 repeat customers (0.00 %)")


def test_an_order_that_changed_in_the_file_stays_as_it_was_recorded(
    own: RunningSuite, tmp_path: Path
) -> None:
    options = LoadOptions(program="changed")
    same = "1,2026-01-02,5.00,Ada,,B-2"
    load_with(own, csv_file(tmp_path, "1,2026-01-02,5.00,Ada,,B-1", same), options)
    report = load_with(own, csv_file(tmp_path, "1,2026-01-02,6.00,Ada,,B-1", same), options)
    assert [str(row) for row in report.skipped] == [
        "line 2: order_id: stands for an order with another content"
    ]
    assert (report.orders_count, report.new_orders_count) == (1, 0)
    assert report.summary.revenue.units == 10


def test_a_name_that_was_given_here_outlives_a_load_of_a_file_without_names(
    own: RunningSuite, tmp_path: Path
) -> None:
    path = csv_file(tmp_path, "30,2026-01-02,5.00,,,")
    path.write_text(path.read_text().replace("order_id", "sku"))
    options = LoadOptions(program="named")
    load_with(own, path, options)
    with own.client() as client:
        contact = contact_of(client, "shop", "30")
        contact.display_name = "مریم"
        client.contacts.UpdateContact(contacts_pb2.UpdateContactRequest(contact=contact))
        # Another content, so that no stored answer stands in for it.
        path.write_text(path.read_text() + "31,2026-01-02,5.00,,,\n")
        assert load_with(own, path, options).customers_count == 2
        assert contact_of(client, "shop", "30").display_name == "مریم"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"customer_id,date,amount\n", "has no rows"),
        (b"customer_id,date,price\n1,2026-01-02,5\n", "there is no column 'amount'"),
        (b"customer_id,date,amount\n1,2026-01-02,5\n\xff,2026-01-02,5\n", "is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_sends_nothing(
    own: RunningSuite, tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "unread.csv"
    path.write_bytes(content)
    result = vafa_command(load, own, str(path), "--program", "unread")
    assert result.exit_code == 1
    assert said in result.stderr
    with pytest.raises(vafa.NotFound):
        summary_of(own, "unread")


def test_a_programme_in_another_currency_is_left_alone(own: RunningSuite, tmp_path: Path) -> None:
    path = csv_file(tmp_path, "1,2026-01-02,5,Ada,,C-1")
    load_with(own, path, LoadOptions(program="rial", currency_code="IRR", points=2))
    with pytest.raises(CannotLoad, match="programs/rial counts in IRR"):
        load_with(own, path, LoadOptions(program="rial"))
    assert summary_of(own, "rial").points_issued == 10


def test_a_suite_that_does_not_come_back_ends_the_load(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "1,2026-01-02,5.00,Ada,,D-1")

    async def run() -> None:
        async with vafa.aio.connect(f"127.0.0.1:{free_port()}") as away:
            options = LoadOptions(patience_seconds=0.5)
            await load_file(away, path, options, lambda _done, _total: None)

    with pytest.raises(vafa.Unavailable):
        asyncio.run(run())


def test_where_no_suite_runs_nothing_is_loaded(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(load)
    path = csv_file(tmp_path, "1,2026-01-02,5.00,Ada,,E-1")
    result = CliRunner().invoke(app, [str(path), "--data-directory", str(tmp_path)])
    assert isinstance(result.exception, CannotStart)
    assert "vafa up" in str(result.exception)


def test_a_suite_that_comes_back_at_another_address_is_found(
    own: RunningSuite, tmp_path: Path
) -> None:
    path = csv_file(tmp_path, "1,2026-01-02,5.00,Ada,,F-1")
    with socket.create_server(("127.0.0.1", 0)) as former:
        address = f"127.0.0.1:{former.getsockname()[1]}"
        announce(own.folder, dict.fromkeys(own.addresses, address))

        def move() -> None:
            caller, _ = former.accept()
            announce(own.folder, own.addresses)
            former.close()
            caller.close()

        mover = threading.Thread(target=move)
        mover.start()
        result = vafa_command(load, own, str(path), "--program", "moved")
        mover.join()
    assert result.exit_code == 0
    assert summary_of(own, "moved").orders_count == 1


def test_a_customer_is_shown_by_an_external_id(own: RunningSuite, tmp_path: Path) -> None:
    name = "مریم می‌خواهد [red]"
    path = csv_file(tmp_path, f"40,2026-01-02,1234.50,{name},m@example.org,G-1")
    load_with(own, path, LoadOptions(program="shown"))
    with own.client() as client:
        contact = contact_of(client, "shop", "40")
        interaction = Interaction(
            channel=Interaction.CHANNEL_PHONE,
            direction=Interaction.DIRECTION_INBOUND,
            subject="سلام",
        )
        client.interactions.CreateInteraction(
            interactions_pb2.CreateInteractionRequest(parent=contact.name, interaction=interaction)
        )
    result = vafa_command(customer, own, "40", "--system", "shop")
    assert result.exit_code == 0
    told = ("m@example.org", "shop:40", "1,234.50 USD", "1,234", "G-1", "phone", "inbound", "سلام")
    for text in (name, contact.name.removeprefix("contacts/"), *told):
        assert text in result.stdout
    as_json = vafa_command(customer, own, contact.name, "--json")
    assert name in as_json.stdout
    assert json.loads(as_json.stdout)["purchases"]["ordersCount"] == "1"


def test_a_customer_whom_nobody_knows_is_not_shown(own: RunningSuite) -> None:
    for arguments in (["nobody"], ["Not an id"], ["nobody", "--system", "shop"]):
        result = vafa_command(customer, own, *arguments)
        assert result.exit_code == 1
        assert f"there is no customer {arguments[0]}" in result.stderr


def test_what_cannot_be_had_of_a_customer_is_named(own: RunningSuite, tmp_path: Path) -> None:
    load_with(own, csv_file(tmp_path, "50,2026-01-02,5,Ada,,H-1"), LoadOptions(program="parts"))
    own.stop("loyalty")
    try:
        with own.client() as client:
            found = find_customer(client, "50", "shop")
    finally:
        own.start("loyalty")
    assert found is not None
    console = Console(file=StringIO(), width=100)
    print_customer(console, found)
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert "Ada" in shown
    assert "purchases: unavailable (UNAVAILABLE)" in shown
    assert "points: unavailable (UNAVAILABLE)" in shown
    assert "Purchases\n" not in shown
