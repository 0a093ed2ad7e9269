"""The main table: each call on both databases, and beside what it is held against."""

from collections.abc import Mapping

from bench import requests
from bench.figures import Figure
from bench.imports import copy_contacts, import_contacts
from bench.references import Echo, TpcB
from bench.runs import Run, Work, run
from bench.sites import BATCH, POSTGRESQL, Site
from tests.harness.postgres import Postgres

PAIRS = 5
SECONDS = 3.0
WARM_UP_SECONDS = 1.0
TPCB_SECONDS = 5
CONTACT_SERVICE = "/vafa.contacts.v1.ContactService"
LEDGER_SERVICE = "/vafa.loyalty.v1.LedgerService"

GET_CONTACT = Work(
    "GetContact", f"{CONTACT_SERVICE}/GetContact", lambda s: requests.get_contact(s.filled.contacts)
)
GET_BALANCE = Work(
    "GetBalance", f"{LEDGER_SERVICE}/GetBalance", lambda s: requests.get_balance(s.filled.members)
)
GET_CUSTOMER = Work(
    "GetCustomer",
    "/vafa.gateway.v1.CustomerService/GetCustomer",
    lambda s: requests.get_customer(s.filled.contacts),
)
CREATE_CONTACT = Work(
    "CreateContact", f"{CONTACT_SERVICE}/CreateContact", lambda _: requests.create_contact()
)
AWARD_POINTS = Work(
    "AwardPoints",
    f"{LEDGER_SERVICE}/AwardPoints",
    lambda s: requests.award_points(s.filled.members),
)
AWARD_TO_TEN = Work(
    "AwardPoints to 10",
    f"{LEDGER_SERVICE}/AwardPoints",
    lambda s: requests.award_points(s.hot_members),
)
SPEND_POINTS = Work(
    "SpendPoints",
    f"{LEDGER_SERVICE}/SpendPoints",
    lambda s: requests.spend_points(s.filled.members),
)
RECORD_ORDER = Work(
    "RecordOrder",
    "/vafa.loyalty.v1.OrderService/RecordOrder",
    lambda s: requests.record_order(s.filled.contacts),
)
# 500 postings a call, which are what is counted; no more calls than are written at a time.
BATCH_AWARD_POINTS = Work(
    "BatchAwardPoints",
    f"{LEDGER_SERVICE}/BatchAwardPoints",
    lambda s: requests.batch_award_points(s.filled.members, BATCH),
    in_flight=4,
    items=BATCH,
)
READS = {GET_CONTACT: 0.40, GET_BALANCE: None, GET_CUSTOMER: None}
WRITES = {
    AWARD_POINTS: 0.6,
    SPEND_POINTS: None,
    RECORD_ORDER: None,
    BATCH_AWARD_POINTS: 6.0,
    CREATE_CONTACT: None,
}
REPLICAS = ("loyalty", "loyalty-2")


def reads(sites: Mapping[str, Site], echo: Echo) -> list[Figure]:
    """Hold reads against a bare server."""
    figures = {
        (work, name): Figure(work.name, name, "echo", wanted if name == POSTGRESQL else None)
        for work, wanted in READS.items()
        for name in sites
    }
    for work, name in figures:
        run(sites[name], work, WARM_UP_SECONDS)
    for _ in range(PAIRS):
        for work in READS:
            bare = echo.calls_per_second(sites[POSTGRESQL], work, SECONDS)
            for name, site in sites.items():
                figures[work, name].add(run(site, work, SECONDS), bare)
    return list(figures.values())


def writes(sites: Mapping[str, Site], tpcb: TpcB) -> list[Figure]:
    """Hold writes against TPC-B, and awards to few against awards to many; one process each."""
    works = [*WRITES, AWARD_TO_TEN]
    for site in sites.values():
        for work in works:
            run(site, work, WARM_UP_SECONDS)
    figures = {
        (work, name): Figure(work.name, name, "TPC-B", wanted if name == POSTGRESQL else None)
        for work, wanted in WRITES.items()
        for name in sites
    }
    hot = {name: _hot(name, 0.8 if name == POSTGRESQL else None) for name in sites}
    for _ in range(PAIRS):
        pgbench = tpcb.transactions_per_second(TPCB_SECONDS)
        for name, site in sites.items():
            done = {work: run(site, work, SECONDS) for work in works}
            for work in WRITES:
                figures[work, name].add(done[work], pgbench)
            hot[name].add(done[AWARD_TO_TEN], done[AWARD_POINTS].per_second)
    return [*figures.values(), *hot.values()]


def writes_of_two(site: Site, tpcb: TpcB) -> list[Figure]:
    """Hold awards at two replicas of loyalty over one database against the same."""
    site.suite.start(*REPLICAS[1:])

    def awards(work: Work, seconds: float = SECONDS) -> Run:
        return run(site, work, seconds, REPLICAS)

    awards(AWARD_POINTS, WARM_UP_SECONDS)
    many = Figure("AwardPoints, 2 replicas", site.database, "TPC-B", 0.8)
    few = _hot(f"{site.database}", 0.5, ", 2 replicas")
    for _ in range(PAIRS):
        pgbench = tpcb.transactions_per_second(TPCB_SECONDS)
        to_many, to_few = awards(AWARD_POINTS), awards(AWARD_TO_TEN)
        many.add(to_many, pgbench)
        few.add(to_few, to_many.per_second)
    site.suite.stop(*REPLICAS[1:])
    return [many, few]


def _hot(database: str, wanted: float | None, where: str = "") -> Figure:
    return Figure(f"{AWARD_TO_TEN.name}{where}", database, "to 10,000", wanted)


def imports(sites: Mapping[str, Site], postgres: Postgres) -> list[Figure]:
    """Hold an import of contacts against COPY on PostgreSQL: of all rows of each contact, and of
    the one row that is the contact itself.
    """
    whole = {name: Figure("import, contacts", name, "COPY") for name in sites}
    whole[POSTGRESQL].wanted = 0.05
    rows = Figure("import, contacts", POSTGRESQL, "COPY, 1 table")
    database = sites[POSTGRESQL].suite.database_urls["contacts"].rpartition("/")[2]
    for site in sites.values():
        import_contacts(site, "warm-up")
    for n in range(PAIRS):
        system = f"bench-{n}"
        done = {name: import_contacts(site, system) for name, site in sites.items()}
        copied = copy_contacts(postgres, database, system)
        for name, figure in whole.items():
            figure.add(done[name], copied.whole_per_second)
        rows.add(done[POSTGRESQL], copied.rows_per_second)
    return [*whole.values(), rows]
