"""The two sides are compared: what differs is named before a switch, with what fixes it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from bluegreen.finding import Finding, Level
from bluegreen.postgres.server import Server
from bluegreen.register import register
from bluegreen.switch.readiness import fingerprint, side_findings
from bluegreen.switch.readiness.comparison import differences
from bluegreen.switch.readiness.fingerprint import Fingerprint
from bluegreen.switch.readiness.side_findings import Tolerance
from lab.postgres import clone
from lab.postgres.binaries import available
from lab.postgres.server import LabServer
from lab.workload import schema
from tests.fixtures.postgres import MASTER, MakeServer
from tests.fixtures.rds import PlacedClusters
from tests.fixtures.replicated import DATABASE
from tests.fixtures.zoo import make_drift, make_zoo

SQL = Path(schema.__file__).with_name("sql")

# Alike on both sides, whatever majors they are; the fixture makes it.
BASE = """
CREATE TYPE mood AS ENUM ('calm', 'wild');
CREATE TABLE parts (id int PRIMARY KEY, at int, note text, code varchar(10), mood mood,
                    total int DEFAULT 0, must int NOT NULL, may int);
CREATE TABLE m (id int, region int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE m_0 PARTITION OF m FOR VALUES IN (0);
CREATE TABLE m_1 PARTITION OF m FOR VALUES IN (1);
CREATE TABLE ids (id int GENERATED ALWAYS AS IDENTITY, twice int GENERATED ALWAYS AS (3) STORED);
CREATE TABLE theirs (id int);
CREATE TABLE filled (id int); INSERT INTO filled VALUES (1);
CREATE DOMAIN code AS text;
CREATE VIEW seen AS SELECT id, note FROM parts;
CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 41';
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touch BEFORE UPDATE ON theirs FOR EACH ROW EXECUTE FUNCTION touched();
CREATE SEQUENCE numbers;
GRANT SELECT, INSERT ON parts, m TO app_user;
GRANT CREATE ON SCHEMA public TO readers; -- who is given a table
"""
ROLES = """
CREATE ROLE app_user LOGIN; CREATE ROLE leaver LOGIN; CREATE ROLE readers; CREATE ROLE goner;
CREATE ROLE "Odd ""role"; GRANT readers TO leaver;
GRANT readers, app_user TO CURRENT_USER; -- who gives them tables
ALTER ROLE app_user SET statement_timeout = '5s';
"""

# What is done on one side, how it is called, its level on the writer only and on the standby only.
B, W = Level.BLOCK, Level.WARN
CASES = [
    ("CREATE TABLE invoices (id int PRIMARY KEY)", "app: table public.invoices", B, B),
    ("CREATE TABLE m_2 PARTITION OF m FOR VALUES IN (2)", "app: table public.m_2", B, B),
    ("DROP TABLE m_1", "app: table public.m_1", B, B),
    ("ALTER TABLE m DETACH PARTITION m_0", "app: partition public.m_0", B, B),
    ("ALTER TABLE parts ADD COLUMN extra text", "app: column public.parts.extra", B, B),
    (
        "ALTER TABLE filled ADD COLUMN state text DEFAULT 'new';"
        "ALTER TABLE filled ALTER COLUMN state DROP DEFAULT",
        "app: column public.filled.state",
        B,
        B,
    ),
    ("ALTER TABLE parts ALTER COLUMN at TYPE bigint", "app: column public.parts.at", B, B),
    ("ALTER TABLE parts ALTER COLUMN may SET DEFAULT 7", "app: default public.parts.may", B, W),
    ("ALTER TABLE parts ALTER COLUMN total SET DEFAULT 1", "app: default public.parts.total", B, B),
    ("ALTER TABLE parts ALTER COLUMN at SET NOT NULL", "app: not null public.parts.at", B, B),
    ("ALTER TABLE parts ALTER COLUMN must DROP NOT NULL", "app: not null public.parts.must", B, B),
    (
        "ALTER TABLE parts ADD CHECK (at > 0)",
        "app: constraint parts_at_check on public.parts",
        B,
        B,
    ),
    ("ALTER TABLE parts ADD UNIQUE (code)", "app: constraint parts_code_key on public.parts", B, B),
    (
        "ALTER TABLE parts ADD CONSTRAINT refers FOREIGN KEY (may) REFERENCES parts",
        "app: constraint refers on public.parts",
        B,
        B,
    ),
    ("CREATE UNIQUE INDEX once ON parts (lower(note))", "app: unique index public.once", B, B),
    ("CREATE INDEX slow ON parts (at)", "app: index public.slow", W, W),
    ("ALTER TYPE mood ADD VALUE 'odd' BEFORE 'wild'", "app: enum public.mood", B, B),
    ("ALTER TABLE parts REPLICA IDENTITY FULL", "app: replica identity public.parts", B, B),
    (
        "CREATE TRIGGER late BEFORE INSERT ON parts FOR EACH ROW EXECUTE FUNCTION touched()",
        "app: trigger late on public.parts",
        B,
        B,
    ),
    ("ALTER TABLE parts ENABLE ROW LEVEL SECURITY", "app: row security public.parts", B, B),
    ("CREATE POLICY few ON parts USING (at > 1)", "app: policy few on public.parts", B, B),
    (
        "CREATE OR REPLACE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 42'",
        "app: function public.answer()",
        W,
        W,
    ),
    ("CREATE FUNCTION news() RETURNS int RETURN 1", "app: function public.news()", B, W),
    (
        "CREATE OR REPLACE VIEW seen AS SELECT id, note || 'x' AS note FROM parts",
        "app: query public.seen",
        W,
        W,
    ),
    ("CREATE VIEW sights AS SELECT 1 AS one", "app: view public.sights", B, W),
    ("CREATE EXTENSION vector", "app: extension vector", B, W),
    ("CREATE SEQUENCE more", "app: sequence public.more", B, B),
    ("ALTER SEQUENCE numbers INCREMENT 5", "app: sequence public.numbers", B, B),
    (
        "ALTER TABLE ids ALTER COLUMN id SET GENERATED BY DEFAULT",
        "app: identity public.ids.id",
        B,
        B,
    ),
    ("ALTER TABLE ids ALTER COLUMN twice DROP EXPRESSION", "app: generated public.ids.twice", B, B),
    (
        "ALTER DOMAIN code ADD CHECK (VALUE <> '')",
        "app: constraint code_check on domain public.code",
        B,
        B,
    ),
    (
        "CREATE RULE quiet AS ON DELETE TO theirs DO INSTEAD NOTHING",
        "app: rule quiet on public.theirs",
        B,
        B,
    ),
    ("ALTER TABLE theirs DISABLE TRIGGER touch", "app: trigger touch on public.theirs", B, B),
    ("CREATE PUBLICATION debezium", "app: publication debezium", W, W),
    ("CREATE SCHEMA ours", "app: schema ours", B, W),
    ("SELECT lo_create(4711)", "app: large objects", B, W),
    ("REVOKE ALL ON parts FROM app_user", "app: privilege app_user on TABLE public.parts", B, B),
    ("GRANT DELETE ON parts TO PUBLIC", "app: privilege PUBLIC on TABLE public.parts", B, B),
    ("REVOKE INSERT ON m FROM app_user", "app: privilege app_user on TABLE public.m", B, B),
    (
        'GRANT UPDATE (note) ON parts TO "Odd ""role"',
        'app: privilege "Odd ""role" on COLUMN public.parts.note',
        B,
        B,
    ),
    ("ALTER TABLE theirs OWNER TO readers", "app: owner TABLE public.theirs", B, B),
    ("ALTER ROLE leaver NOLOGIN", "cluster: login leaver", B, B),
    ("REVOKE readers FROM leaver", "cluster: membership leaver in readers", B, B),
    ("ALTER ROLE leaver VALID UNTIL '2020-01-01'", "cluster: role attributes leaver", B, B),
    ("ALTER ROLE leaver SET work_mem = '8MB'", "cluster: setting work_mem of role leaver", W, W),
    (
        "ALTER ROLE leaver IN DATABASE app SET search_path = m, public",
        "cluster: setting search_path of role leaver in database app",
        B,
        B,
    ),
    ("DROP ROLE goner", "cluster: role goner", B, B),
    ("CREATE ROLE newcomer LOGIN", "cluster: role newcomer", B, B),
    ("ALTER DATABASE app SET work_mem = '8MB'", "cluster: setting work_mem of database app", W, W),
    ("GRANT CREATE ON DATABASE app TO leaver", "cluster: privilege leaver on DATABASE app", B, B),
    ("CREATE DATABASE reports", "cluster: database reports", B, B),
]

# What no single statement can bring over.
BY_HAND = {
    "cluster: database reports",
    "cluster: login newcomer",
    "app: table public.invoices",
    "app: table public.m_2",
    "app: view public.sights",
    "app: query public.seen",
    "app: function public.answer()",
    "app: function public.news()",
    "app: large objects",
    "app: policy few on public.parts",
    "app: rule quiet on public.theirs",
    "app: trigger touch on public.theirs",
    "app: constraint code_check on domain public.code",
    "app: publication debezium",
    # Its remedy for the column makes it; rows of before would have another value.
    "app: value of earlier rows public.filled.state",
}


@dataclass(frozen=True, slots=True)
class Sides:
    """A writer and a standby with a database each, and nothing between them."""

    writer: Server
    standby: Server
    labs: tuple[LabServer, LabServer]

    def findings(
        self, *, swapped: bool = False, tolerance: Tolerance | None = None
    ) -> list[Finding]:
        """Return what differs; `swapped` when the standby is to hand the writer's role back."""
        with ExitStack() as stack:
            sides = [
                (one, {DATABASE: stack.enter_context(one.connect(DATABASE))})
                for one in (self.writer, self.standby)
            ]
            old, new = reversed(sides) if swapped else sides
            return side_findings.check(old, new, tolerance or Tolerance())

    def levels(self, *, swapped: bool = False) -> dict[str, Level]:
        """Return each finding's level by its subject, but for what is alike."""
        found = self.findings(swapped=swapped)
        return {one.subject: one.level for one in found if one.level is not Level.OK}


@pytest.fixture
def sides(make_server: MakeServer, placed: PlacedClusters) -> Sides:
    """Return two sides that are alike."""
    labs = make_server(16, "writer"), make_server(18, "standby")
    for lab in labs:
        with lab.connect() as conn:
            conn.execute(f"CREATE DATABASE {DATABASE}")
            conn.execute(ROLES)
        with lab.connect(DATABASE) as conn:
            conn.execute(BASE)
    servers = placed.place(labs[0], "orders-1"), placed.place(labs[1], "orders-2")
    for server in servers:
        register.ensure_database(server)
    return Sides(*servers, labs)


def test_every_difference_is_named_in_both_directions_and_mended_by_its_remedy(
    sides: Sides,
) -> None:
    assert sides.levels() == {}
    with sides.labs[0].connect(DATABASE) as conn:
        for done, *_ in CASES:
            conn.execute(done.encode())
    # Nothing else: parts of what is missing are not named.
    assert sides.levels() == {subject: there for _, subject, there, _ in CASES}
    assert sides.levels(swapped=True) == {subject: back for _, subject, _, back in CASES}
    _mend(sides.labs[1], sides.findings())
    assert set(sides.levels()) == BY_HAND


def test_who_has_made_a_role_is_no_difference(sides: Sides) -> None:
    """From 16 on a role's maker becomes its administrator, which an upgraded role has none of."""
    for connect in (sides.labs[0].as_superuser, sides.labs[1].connect):
        with connect() as conn:
            conn.execute("CREATE ROLE newcomer")
    assert sides.levels() == {}
    with sides.labs[1].connect() as conn:
        conn.execute("GRANT newcomer TO CURRENT_USER")
    assert set(sides.levels()) == {f"cluster: membership {MASTER} in newcomer"}


def _mend(lab: LabServer, findings: list[Finding]) -> None:
    with lab.connect(DATABASE) as conn:
        for one in findings:
            statement = one.remedy.partition("on orders-2: ")[2]
            if statement:
                conn.execute(statement.encode())


def test_what_is_accepted_warns_and_what_is_not_listed_is_named(sides: Sides) -> None:
    with sides.labs[0].connect(DATABASE) as conn:
        conn.execute("CREATE TABLE kept (id int); CREATE UNIQUE INDEX once ON theirs (id)")
    accepted = Tolerance(("app: unique index public.once", "app: gone"), ("public.kept",))
    found = sides.findings(tolerance=accepted)
    assert {one.level for one in found} == {Level.WARN}
    assert {one.subject for one in found} == {
        "app: table public.kept",
        "app: unique index public.once",
        "switch.accept_differences",
    }
    # A long list is counted, and keeps its level.
    with sides.labs[0].connect(DATABASE) as conn:
        for number in range(12):
            conn.execute(f"CREATE TABLE many_{number} (id int)")
    found = sides.findings(tolerance=accepted)
    assert Finding(Level.BLOCK, "app: relation", "2 more differ", "fix those above first") in found
    with sides.labs[0].connect(DATABASE) as conn:
        conn.execute("DROP TABLE kept; DROP INDEX once")
        for number in range(12):
            conn.execute(f"DROP TABLE many_{number}")
    _slots_of_others(sides)
    _databases_that_are_not_listed(sides)


def _slots_of_others(sides: Sides) -> None:
    with sides.labs[0].connect() as conn:
        for name in ("debezium", "bg_reports", "bg_green_forward_app"):
            conn.execute("SELECT pg_create_physical_replication_slot(%s)", (name,))
    named = {"cluster: slot debezium": Level.WARN, "cluster: slot bg_reports": Level.WARN}
    assert sides.levels() == named
    assert all("its consumer gets nothing more" in one.remedy for one in sides.findings())
    assert sides.levels(swapped=True) == {}
    with sides.labs[0].connect() as conn:
        conn.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def _databases_that_are_not_listed(sides: Sides) -> None:
    for lab in sides.labs:
        with lab.connect() as conn:
            conn.execute('CREATE DATABASE "Not listed"')
    assert sides.levels() == {'cluster: database "Not listed"': Level.WARN}
    with sides.labs[1].connect() as conn:
        conn.execute('DROP DATABASE "Not listed"')
    assert sides.levels() == {'cluster: database "Not listed"': Level.BLOCK}
    assert sides.levels(swapped=True) == {'cluster: database "Not listed"': Level.BLOCK}


def _filled(make_server: MakeServer, major: int, like: int) -> LabServer:
    """Return a server with all that a server of `like` can have, as an upgrade would keep it."""
    lab = make_server(major, "writer")
    with lab.connect() as conn:
        conn.execute(f"CREATE DATABASE {DATABASE}")
    with lab.connect(DATABASE) as conn:
        make_zoo(conn, major=like)
        make_drift(conn)
        conn.execute(ROLES)
        for name in ("tables", "constraints", "grants"):
            conn.execute((SQL / f"{name}.sql").read_bytes())
        # New in 15, but an upgrade keeps what was.
        conn.execute(
            "ALTER SCHEMA public OWNER TO CURRENT_USER; GRANT ALL ON SCHEMA public TO PUBLIC"
        )
    return lab


def _fingerprints(server: Server) -> tuple[Fingerprint, Fingerprint]:
    with server.connect(DATABASE) as conn:
        return fingerprint.of_cluster(server), fingerprint.of_database(conn)


def _require_alike(
    writer: tuple[Fingerprint, Fingerprint], standby: tuple[Fingerprint, Fingerprint]
) -> None:
    assert len(writer[1].facts) > 1000
    assert [differences(*pair) for pair in zip(writer, standby, strict=True)] == [[], []]


def _upgrade(make_server: MakeServer, placed: PlacedClusters, majors: tuple[int, int]) -> None:
    lab = _filled(make_server, majors[0], majors[0])
    writer = placed.place(lab, "orders-1")
    register.ensure_database(writer)
    before = _fingerprints(writer)
    upgraded = clone.upgrade(lab, majors[1], {"wal_level": "logical"})
    try:
        after = _fingerprints(placed.place_with(upgraded, "orders-2", writer.credentials))
    finally:
        upgraded.remove()
    _require_alike(before, after)


def _require_installed(majors: tuple[int, int]) -> None:
    if missing := set(majors) - set(available()):
        pytest.skip(f"PostgreSQL {missing} is not installed: `make more-versions` fetches it")


def test_an_upgrade_makes_no_difference(make_server: MakeServer, placed: PlacedClusters) -> None:
    """The zoo, the workload's shop, and what majors spell in their own way."""
    _upgrade(make_server, placed, (16, 18))


@pytest.mark.slow
@pytest.mark.parametrize("majors", [pytest.param((15, 16), marks=pytest.mark.long), (15, 18)])
def test_no_upgrade_makes_a_difference(
    make_server: MakeServer, placed: PlacedClusters, majors: tuple[int, int]
) -> None:
    _require_installed(majors)
    _upgrade(make_server, placed, majors)


@pytest.mark.slow
@pytest.mark.parametrize(
    "majors",
    [
        (14, 18),
        (17, 18),
        pytest.param((14, 15), marks=pytest.mark.long),
        pytest.param((15, 17), marks=pytest.mark.long),
    ],
)
def test_majors_that_were_filled_alike_do_not_differ(
    make_server: MakeServer, placed: PlacedClusters, majors: tuple[int, int]
) -> None:
    """Where the lab has no pg_upgrade for one of the two."""
    _require_installed(majors)
    found = []
    for number, major in enumerate(majors, 1):
        server = placed.place(_filled(make_server, major, majors[0]), f"orders-{number}")
        register.ensure_database(server)
        found.append(_fingerprints(server))
    _require_alike(found[0], found[1])
