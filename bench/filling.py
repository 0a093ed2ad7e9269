"""Fills new databases of contacts and loyalty on PostgreSQL with a business of any size.

The rows are those that the services would have written: a contact each `contacts`, all of them
members of the programme `club`, and half as many postings as `entries`, each of two entries,
three of five for an order, one of five a spending. A few members have many more than the rest.
The postings are of the last 24 days, so that no service finds anything to prune; contacts and
members came before. Ids are unique within their kind alone.
"""

import random
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from services.chassis.identifiers import id_of
from services.contacts.rules.names import name_parts

PROGRAM = "programs/club"
POSTINGS_BEGAN = timedelta(days=24)
CONTACTS_BEGAN = timedelta(days=755)
TOLD = 10_000
HERE = Path(__file__).parent
GIVEN = (
    *(("Ada", "ada"), ("Amir", "amir"), ("Anna", "anna"), ("Ben", "ben"), ("Clara", "clara")),
    *(("Darius", "darius"), ("Élodie", "elodie"), ("Emma", "emma"), ("Farah", "farah")),
    *(("Felix", "felix"), ("Grace", "grace"), ("Hana", "hana"), ("Henry", "henry")),
    *(("Isabel", "isabel"), ("Jonas", "jonas"), ("José", "jose"), ("Kamran", "kamran")),
    *(("Laila", "laila"), ("Leon", "leon"), ("Maria", "maria"), ("Mina", "mina")),
    *(("Nadia", "nadia"), ("Noah", "noah"), ("Olivia", "olivia"), ("Omid", "omid")),
    *(("Parisa", "parisa"), ("Paul", "paul"), ("Roya", "roya"), ("Samuel", "samuel")),
    *(("Sara", "sara"), ("Sophie", "sophie"), ("Thomas", "thomas"), ("Yusuf", "yusuf")),
    *(("آرش", "arash"), ("الهام", "elham"), ("بهرام", "bahram"), ("پریسا", "parisa")),
    *(("رضا", "reza"), ("زهرا", "zahra"), ("سارا", "sara"), ("فاطمه", "fatemeh")),
    *(("محمد", "mohammad"), ("مریم", "maryam"), ("نرگس", "narges"), ("یاسمن", "yasaman")),
)
FAMILY = (
    *(("Ahmadi", "ahmadi"), ("Almeida", "almeida"), ("Bauer", "bauer"), ("Berg", "berg")),
    *(("Brown", "brown"), ("Cohen", "cohen"), ("Costa", "costa"), ("Dubois", "dubois")),
    *(("Evans", "evans"), ("Fischer", "fischer"), ("García", "garcia"), ("Haddad", "haddad")),
    *(("Hansen", "hansen"), ("Hosseini", "hosseini"), ("Ito", "ito"), ("Jensen", "jensen")),
    *(("Karimi", "karimi"), ("Kaya", "kaya"), ("Khan", "khan"), ("Lindqvist", "lindqvist")),
    *(("Martin", "martin"), ("Meyer", "meyer"), ("Moretti", "moretti"), ("Müller", "mueller")),
    *(("Nguyen", "nguyen"), ("Novak", "novak"), ("O'Brien", "obrien"), ("Okafor", "okafor")),
    *(("Patel", "patel"), ("Rossi", "rossi"), ("Schneider", "schneider"), ("Silva", "silva")),
    *(("Smith", "smith"), ("Tanaka", "tanaka"), ("Taylor", "taylor"), ("Van Dijk", "vandijk")),
    *(("Weber", "weber"), ("Williams", "williams"), ("Yilmaz", "yilmaz"), ("Zhang", "zhang")),
    *(("احمدی", "ahmadi"), ("حسینی", "hosseini"), ("رضایی", "rezaei"), ("صادقی", "sadeghi")),
    *(("کریمی", "karimi"), ("محمدی", "mohammadi"), ("موسوی", "mousavi"), ("نوری", "nouri")),
)
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Filled:
    """What is there now: up to 10,000 contacts that live, evenly spread over all, their names as
    members, the e-mail addresses of those that have one; and the values of the label `campaign`,
    each of 50 contacts.
    """

    contacts: list[str]
    members: list[str]
    emails: list[str]
    campaigns: list[str]
    program: str = PROGRAM


@dataclass(frozen=True)
class Wanted:
    """How many contacts and postings; when the postings begin, and before them the contacts."""

    contacts: int
    postings: int
    now: datetime

    @property
    def began(self) -> datetime:
        """When the first posting was made, and the last contact came."""
        return self.now - POSTINGS_BEGAN

    @property
    def contacts_began(self) -> datetime:
        """When the first contact came."""
        return self.now - CONTACTS_BEGAN


def fill(database_urls: Mapping[str, str], *, contacts: int, entries: int) -> Filled:
    """Fill the migrated and otherwise empty databases of `contacts` and `loyalty`, and analyse.

    Wants a superuser, since the rows are not checked one by one. Raises ValueError for a
    database that is not empty.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    wanted = Wanted(contacts, entries // 2, now)
    with ThreadPoolExecutor() as two:
        loyalty = two.submit(_fill_loyalty, database_urls, wanted)
        found = _fill_contacts(database_urls, wanted)
        loyalty.result()
    return Filled(
        contacts=[f"contacts/{id_}" for id_, _ in found],
        members=[f"{PROGRAM}/members/{id_}" for id_, _ in found],
        emails=[email for _, email in found if email],
        campaigns=[f"campaign-{n}" for n in range(max(1, contacts // 200))],
    )


def _fill_contacts(urls: Mapping[str, str], wanted: Wanted) -> list[tuple[str, str | None]]:
    """Return the ids, each with an e-mail address, of contacts spread over all."""
    with _opened(urls["contacts"]) as connection:
        with _loading(connection):
            _make_ids(connection, "ids", wanted.contacts, wanted.contacts_began, wanted.began)
            _make_names(connection)
            _run(connection, "filling_contacts.sql", wanted)
        _settle(connection)
        every = max(1, wanted.contacts // TOLD)
        asked = "SELECT contact_id, email FROM filled WHERE n %% %s = 0 AND NOT deleted ORDER BY n"
        return connection.execute(asked, [every]).fetchmany(TOLD)


def _fill_loyalty(urls: Mapping[str, str], wanted: Wanted) -> None:
    with _opened(urls["contacts"]) as connection:
        epoch = connection.execute("SELECT epoch FROM store").fetchall()[0][0]
    with _opened(urls["loyalty"]) as connection:
        with _loading(connection):
            _make_ids(connection, "ids", wanted.contacts, wanted.contacts_began, wanted.began)
            _make_ids(connection, "posting_ids", wanted.postings, wanted.began, wanted.now)
            _run(connection, "filling_loyalty.sql", wanted)
            followed = "INSERT INTO cursors VALUES ('feeds/contacts', %s, %s, %s)"
            connection.execute(followed, [epoch, wanted.contacts, wanted.now])
        _settle(connection)


def _opened(url: str) -> Connection:
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(address, autocommit=True)


@contextmanager
def _loading(connection: Connection) -> Iterator[None]:
    """Load within one transaction, without indexes and constraints until all is there."""
    with connection.transaction():
        tables = [
            sql.Identifier(row[0])
            for row in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
                " AND tablename NOT IN ('alembic_version', 'store')"
            )
        ]
        for one in tables:
            found = connection.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(one))
            if found.fetchone():
                raise ValueError(f"{one.as_string()} is not empty")
        # No triggers; and a new table of this transaction needs no log if nothing copies it.
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("SET LOCAL maintenance_work_mem = '512MB'")
        connection.execute("SET LOCAL work_mem = '256MB'")
        connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables)))
        constraints = _constraints(connection)
        indexes = _indexes(connection)
        for table, name, _ in reversed(constraints):
            connection.execute(_altered(table, "DROP CONSTRAINT {}", name))
        for name, _ in indexes:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
        yield
        for _, index in indexes:
            connection.execute(index)
        for table, name, constraint in constraints:
            connection.execute(_altered(table, "ADD CONSTRAINT {} " + constraint, name))


def _constraints(connection: Connection) -> list[tuple[str, str, str]]:
    """Return tables, names and definitions; foreign keys last, which stand on the others."""
    return connection.execute(
        "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)"
        " FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
        " AND contype IN ('p', 'u', 'f')"
        " AND conrelid::regclass::text NOT IN ('alembic_version', 'store')"
        " ORDER BY contype = 'f', conname"
    ).fetchall()


def _indexes(connection: Connection) -> list[tuple[str, bytes]]:
    """Return names and definitions of the indexes that no constraint stands on."""
    found = connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE relnamespace = 'public'::regnamespace"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"
    )
    return [(name, definition.encode()) for name, definition in found]


def _altered(table: str, what: Any, name: str) -> sql.Composed:
    alter = sql.SQL("ALTER TABLE {} ").format(sql.Identifier(table))
    return alter + sql.SQL(what).format(sql.Identifier(name))


def _make_ids(
    connection: Connection, table: str, count: int, began: datetime, ended: datetime
) -> None:
    """Make a table of ids and uids that rise with their number and with time, always the same."""
    # No secret is made of it.
    chance = random.Random(table)  # noqa: S311
    first_ms = int(began.timestamp() * 1000)
    step_ms = int((ended - began).total_seconds() * 1000) // count
    name = sql.Identifier(table)
    columns = sql.SQL('CREATE TEMP TABLE {} (n bigint, id text COLLATE "C", uid text)')
    connection.execute(columns.format(name))
    with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(name)) as copy:
        for n in range(count):
            marks = 0x7 << 76 | chance.getrandbits(12) << 64 | 0x2 << 62
            uid = uuid.UUID(int=(first_ms + n * step_ms) << 80 | marks | chance.getrandbits(62))
            copy.write(f"{n}\t{id_of(uid)}\t{uid}\n")
    connection.execute(sql.SQL("ANALYZE {}").format(name))


def _make_names(connection: Connection) -> None:
    """Make `names`, of persons and of companies, and `parts`, by which each is found."""
    connection.execute(
        "CREATE TEMP TABLE names (name_n int, is_company boolean, display_name text,"
        " given_name text, family_name text, slug text)"
    )
    connection.execute('CREATE TEMP TABLE parts (name_n int, part text COLLATE "C")')
    persons = [
        (False, f"{given} {family}", given, family, f"{given_slug}.{family_slug}")
        for family, family_slug in FAMILY
        for given, given_slug in GIVEN
    ]
    companies = [(True, f"{family} & Co.", "", "", f"{slug}.co") for family, slug in FAMILY]
    with connection.cursor() as cursor:
        rows = list(enumerate(persons + companies))
        with cursor.copy("COPY names FROM STDIN") as copy:
            for n, row in rows:
                copy.write_row((n, *row))
        with cursor.copy("COPY parts FROM STDIN") as copy:
            for n, row in rows:
                for part in name_parts(*row[1:4]):
                    copy.write_row((n, part))
    connection.execute("ANALYZE names, parts")


def _run(connection: Connection, name: str, wanted: Wanted) -> None:
    """Run the statements of a file, which find in the table `wanted` how much that is."""
    connection.execute(
        "CREATE TEMP TABLE wanted (contacts bigint, postings bigint, now timestamptz,"
        " contacts_began timestamptz, postings_began timestamptz)"
    )
    row = (wanted.contacts, wanted.postings, wanted.now, wanted.contacts_began, wanted.began)
    connection.execute("INSERT INTO wanted VALUES (%s, %s, %s, %s, %s)", row)
    connection.execute((HERE / name).read_bytes())


def _settle(connection: Connection) -> None:
    """Leave nothing to do to autovacuum."""
    connection.execute("VACUUM (ANALYZE)")
