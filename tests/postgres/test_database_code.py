"""Code of a database that an apply worker or a session of the tool would run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from bluegreen.errors import Refused
from bluegreen.postgres.publications import Publication, PublishedTable
from bluegreen.replication import database_code
from bluegreen.replication.database_code import Code
from lab.postgres.server import LabServer
from tests.fixtures.postgres import EVERY_MAJOR, MASTER, PASSWORD, MakeServer

Connection = psycopg.Connection[Any]

ALL = Publication("bg_green_forward", all_tables=True)

# What stands in many databases and is in nobody's way.
HARMLESS = r"""
CREATE TABLE orders (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text, amount int CHECK (amount > 0),
    customer int REFERENCES orders ON DELETE CASCADE,
    doubled int GENERATED ALWAYS AS (amount * 2) STORED);
CREATE INDEX ON orders (lower(note)) WHERE amount > 1;
CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY);
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.note := upper(NEW.note); RETURN NEW; END';
CREATE TRIGGER stamp BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER off BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
ALTER TABLE orders DISABLE TRIGGER off;
CREATE TRIGGER here AFTER INSERT ON scratch FOR EACH ROW EXECUTE FUNCTION stamp();
ALTER TABLE scratch ENABLE ALWAYS TRIGGER here;
CREATE FUNCTION guard() RETURNS event_trigger LANGUAGE plpgsql AS
    $$BEGIN IF tg_tag = 'DROP TABLE' THEN RAISE NOTICE 'no INSERT INTO either'; END IF; END$$;
CREATE EVENT TRIGGER guard ON ddl_command_end EXECUTE FUNCTION guard();
CREATE FUNCTION log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO public.orders (note) VALUES (tg_tag); END$$;
CREATE EVENT TRIGGER disabled ON ddl_command_end EXECUTE FUNCTION log_ddl();
ALTER EVENT TRIGGER disabled DISABLE;
CREATE SCHEMA app;
CREATE FUNCTION app.fold(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
CREATE FUNCTION app.good(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT app.fold($1)';
CREATE FUNCTION app.pinned(text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = app
    AS 'SELECT fold($1)';
CREATE INDEX ON orders (app.good(note), app.pinned(note));
"""


@pytest.fixture(params=EVERY_MAJOR)
def lab(request: pytest.FixtureRequest, shared_server: MakeServer) -> LabServer:
    return _servers.setdefault(request.param, None) or _made(request.param, shared_server)


_servers: dict[int, LabServer | None] = {}


def _made(major: int, shared_server: MakeServer) -> LabServer:
    _servers[major] = made = shared_server(major, "code")
    return made


@pytest.fixture
def conn(lab: LabServer) -> Iterator[Connection]:
    with lab.connect() as admin:
        admin.execute("DROP DATABASE IF EXISTS app WITH (FORCE)")
        admin.execute("CREATE DATABASE app")
    # Not the service's own superuser, whose event triggers are left alone.
    with lab.connect("app", user=MASTER, password=PASSWORD) as made:
        made.execute(HARMLESS)
        made.execute("SET search_path = pg_catalog")
        yield made


def found(conn: Connection, what: Publication = ALL) -> Code:
    return database_code.inspect(conn, database_code.planned(conn, what))


def run(conn: Connection, statements: str) -> None:
    with conn.transaction():
        conn.execute("SET LOCAL search_path = app, public")
        conn.execute(statements.encode())


def test_what_is_in_nobodys_way_is_not_named(conn: Connection) -> None:
    assert found(conn) == Code(True, [], [], [], [], [])
    database_code.require_replicable(conn, ALL, "orders-1")


@pytest.mark.usefixtures("conn")
def test_a_schema_that_the_role_may_not_use_is_looked_into_all_the_same(lab: LabServer) -> None:
    """On Aurora an application's own schema is closed to the master user, unless it is let in."""
    with lab.as_superuser("app") as admin:
        admin.execute("DROP ROLE IF EXISTS outside; CREATE ROLE outside LOGIN PASSWORD 'x'")
        admin.execute("CREATE SCHEMA closed; CREATE TABLE closed.item (id int PRIMARY KEY, n text)")
        admin.execute("INSERT INTO closed.item VALUES (1, 'A')")
        admin.execute(
            "CREATE INDEX ON closed.item (lower(n)); REVOKE ALL ON SCHEMA app FROM public"
        )
    one = PublishedTable("closed", "item")
    with lab.connect("app", user="outside", password="x") as outside:
        for what in (ALL, Publication("p", all_tables=False, tables=frozenset({one}))):
            assert ("closed", "item") in database_code.planned(outside, what)
            assert found(outside, what) == Code(True, [], [], [], [], [])
    with lab.as_superuser("app") as admin:
        admin.execute("DROP ROLE outside")


def test_triggers_that_an_apply_worker_fires_are_named(conn: Connection, lab: LabServer) -> None:
    run(
        conn,
        """
        ALTER TABLE orders ENABLE ALWAYS TRIGGER stamp;
        CREATE TABLE other (id int PRIMARY KEY);
        CREATE TRIGGER mine AFTER DELETE ON other FOR EACH ROW EXECUTE FUNCTION stamp();
        ALTER TABLE other ENABLE REPLICA TRIGGER mine;
        CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (9);
        CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (9) TO (19);
        CREATE TRIGGER all_parts AFTER INSERT ON part FOR EACH ROW EXECUTE FUNCTION stamp();
        CREATE TRIGGER one_part AFTER INSERT ON part_2 FOR EACH ROW EXECUTE FUNCTION stamp();
        ALTER TABLE part_2 ENABLE ALWAYS TRIGGER one_part;
        """,
    )
    expected = [
        "mine on app.other (REPLICA)",
        "one_part on app.part_2 (ALWAYS)",
        "stamp on public.orders (ALWAYS)",
    ]
    assert found(conn).triggers == expected
    run(conn, "ALTER TABLE part_1 ENABLE ALWAYS TRIGGER all_parts")
    assert "all_parts on app.part_1 (ALWAYS)" in found(conn).triggers
    # Rows of a root are routed to its partitions, whichever of them is published.
    root = Publication("p", all_tables=False, tables=frozenset({PublishedTable("app", "part")}))
    assert found(conn, root).triggers == [
        "all_parts on app.part_1 (ALWAYS)",
        "one_part on app.part_2 (ALWAYS)",
    ]
    schema = Publication("p", all_tables=False, schemas=frozenset({"public"}))
    assert found(conn, schema).triggers == ["stamp on public.orders (ALWAYS)"]
    with pytest.raises(Refused, match=r"mine on app\.other \(REPLICA\).*ENABLE TRIGGER"):
        database_code.require_replicable(conn, ALL, "orders-1")
    # A foreign key's too, by name: it locks rows, which a read-only default forbids.
    (row,) = conn.execute(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'public.orders'::regclass"
        " AND tgname LIKE 'RI_ConstraintTrigger_c%' AND tgtype & 4 > 0"
    ).fetchall()
    with lab.as_superuser("app") as admin:
        admin.execute(f'ALTER TABLE orders ENABLE ALWAYS TRIGGER "{row[0]}"'.encode())
    assert f'"{row[0]}" on public.orders (ALWAYS)' in found(conn).triggers


def test_columns_that_an_apply_worker_would_fill_by_writing_are_named(conn: Connection) -> None:
    run(
        conn,
        """
        CREATE SEQUENCE numbers;
        CREATE FUNCTION next_number() RETURNS int LANGUAGE sql AS 'SELECT nextval(''app.numbers'')';
        CREATE TABLE filled (id int PRIMARY KEY, a serial, b int DEFAULT nextval('app.numbers'),
            c int GENERATED ALWAYS AS IDENTITY, d int DEFAULT app.next_number(),
            e timestamptz DEFAULT now(), f int DEFAULT 1,
            g int GENERATED ALWAYS AS (id + 1) STORED);
        """,
    )
    assert found(conn).defaults == []
    some = Publication(
        "p", False, tables=frozenset({PublishedTable("app", "filled", columns=frozenset({"id"}))})
    )
    assert [name.partition(" ")[0] for name in found(conn, some).defaults] == [
        f"app.filled.{name}" for name in "abcd"
    ]
    with pytest.raises(Refused, match=r"app\.filled\.a DEFAULT nextval.*send the column"):
        database_code.require_replicable(conn, some, "orders-1")


FUNCTIONS = """
CREATE FUNCTION bad(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT app.fold($1)';
CREATE FUNCTION strict_one(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT app.fold($1)';
CREATE FUNCTION bad_plpgsql(text) RETURNS text LANGUAGE plpgsql IMMUTABLE
    AS 'BEGIN IF $1 IS NULL THEN RETURN 1; END IF; RETURN fold($1); END';
CREATE FUNCTION calls_bad(text) RETURNS text LANGUAGE plpgsql STRICT
    AS 'BEGIN RETURN app.bad_plpgsql($1); END';
CREATE FUNCTION reads_table(text) RETURNS bool LANGUAGE plpgsql STRICT
    AS 'BEGIN RETURN EXISTS (SELECT 1 FROM known WHERE word = $1) OR true; END';
CREATE FUNCTION writing(text) RETURNS bool LANGUAGE plpgsql STRICT
    AS 'BEGIN INSERT INTO app.known VALUES ($1); RETURN true; END';
CREATE TABLE known (word text);
CREATE TABLE words (id int PRIMARY KEY, word text);
"""
# Since 17 the server itself makes no such index: the function is changed afterwards.
CHANGED = """
CREATE OR REPLACE FUNCTION bad(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT fold($1)';
CREATE OR REPLACE FUNCTION strict_one(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT fold($1)';
"""
USES = {
    "index app.i1": "CREATE INDEX i1 ON words (bad(word))",
    "index app.i2": "CREATE INDEX i2 ON words (strict_one(word))",
    "index app.i3": "CREATE INDEX i3 ON words (id) WHERE bad(word) > ''",
    "constraint c1": "ALTER TABLE words ADD CONSTRAINT c1 CHECK (bad_plpgsql(word) > '')",
    "constraint c2": "ALTER TABLE words ADD CONSTRAINT c2 CHECK (calls_bad(word) > '')",
    "constraint c3": "ALTER TABLE words ADD CONSTRAINT c3 CHECK (reads_table(word))",
    "constraint c4": "ALTER TABLE words ADD CONSTRAINT c4 CHECK (writing(word))",
    "column g": "ALTER TABLE words ADD g text GENERATED ALWAYS AS (bad(word)) STORED",
    "domain app.d": "CREATE DOMAIN d AS text CHECK (bad(VALUE) > ''); ALTER TABLE words ADD d d",
    "partition key": "CREATE TABLE parts (id int, word text) PARTITION BY LIST (bad(word))",
}


def test_expressions_that_an_apply_worker_cant_evaluate_are_named(conn: Connection) -> None:
    run(conn, FUNCTIONS)
    for statements in USES.values():
        run(conn, statements)
    assert len(found(conn).expressions) == 4  # of those that are not changed yet
    run(conn, CHANGED)
    named = found(conn).expressions
    assert sorted(name.partition(" of app.")[0] for name in named) == sorted(USES)
    with pytest.raises(Refused, match=r"c1 of app\.words calls app\.bad_plpgsql.* SET search_path"):
        database_code.require_replicable(conn, ALL, "orders-1")
    # Evaluated for a row that is there, nothing is written.
    conn.execute("ALTER TABLE app.words DISABLE TRIGGER ALL")
    run(conn, "INSERT INTO words VALUES (1, 'x')")
    assert len(found(conn).expressions) == len(USES)
    assert conn.execute("SELECT count(*) FROM app.known").fetchone() == (1,)


def test_event_triggers_that_may_write_are_named(conn: Connection, lab: LabServer) -> None:
    events = ["ddl_command_end", "sql_drop"] + (["login"] if lab.major >= 17 else [])
    for event in events:
        run(conn, f"CREATE EVENT TRIGGER on_{event} ON {event} EXECUTE FUNCTION log_ddl()")
    assert found(conn).event_triggers == sorted(f"on_{event} on {event}" for event in events)
    with pytest.raises(Refused, match=r"on_ddl_command_end.*ALTER EVENT TRIGGER \.\.\. DISABLE"):
        database_code.require_replicable(conn, ALL, "orders-1")
    for event in events:
        run(conn, f"ALTER EVENT TRIGGER on_{event} ENABLE REPLICA")
    assert found(conn).event_triggers == []


def test_a_missing_plpgsql_is_named(lab: LabServer) -> None:
    with lab.connect() as admin:
        admin.execute("DROP DATABASE IF EXISTS bare WITH (FORCE)")
        admin.execute("CREATE DATABASE bare")
    with lab.as_superuser("bare") as admin:
        admin.execute("DROP EXTENSION plpgsql")
    with lab.connect("bare") as conn:
        with pytest.raises(Refused, match=r"language plpgsql: is missing.*CREATE EXTENSION"):
            database_code.require_replicable(conn, ALL, "orders-1")
        conn.execute("CREATE EXTENSION plpgsql")
        database_code.require_replicable(conn, ALL, "orders-1")


def test_what_a_scheduler_writes_on_both_sides_is_named(conn: Connection) -> None:
    run(conn, "CREATE SCHEMA cron; CREATE TABLE cron.job_run_details (runid bigint PRIMARY KEY)")
    assert found(conn).written_by_both == []  # nothing of it runs here
    conn.execute("SET cron.log_run = on")
    with pytest.raises(Refused, match=r"cron\.job_run_details.*cron\.log_run to off"):
        database_code.require_replicable(conn, ALL, "orders-1")
    app = Publication("p", all_tables=False, schemas=frozenset({"app"}))
    assert found(conn, app).written_by_both == []
    conn.execute("SET cron.log_run = off")
    assert found(conn).written_by_both == []


def test_jobs_that_make_tables_are_warned_of(
    conn: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    run(
        conn,
        """
        CREATE FUNCTION report() RETURNS void LANGUAGE plpgsql AS
            'BEGIN EXECUTE ''CREATE TABLE report AS SELECT 1 AS a''; UPDATE report SET a = 2; END';
        CREATE FUNCTION staging() RETURNS void LANGUAGE plpgsql AS
            'BEGIN CREATE TEMPORARY TABLE s (a int); CREATE UNLOGGED TABLE u (a int); END';
        """,
    )
    database_code.require_replicable(conn, ALL, "orders-1")
    (said,) = [one.getMessage() for one in caplog.records if "make(s) tables" in one.getMessage()]
    assert "app.report()" in said
    assert "staging" not in said
