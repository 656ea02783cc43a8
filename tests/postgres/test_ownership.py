"""What the tool did not make is neither used nor dropped, and what it made is nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import psycopg
import pytest
from psycopg import errors

from bluegreen import names
from bluegreen.errors import Refused, Retry
from bluegreen.postgres import owned
from bluegreen.postgres.publications import Publication
from bluegreen.postgres.server import Server
from bluegreen.register import register, tool_database
from bluegreen.replication import heartbeat, slot
from bluegreen.replication.publication import publishing
from dynamic_providers.deployment import DeploymentProvider
from dynamic_providers.host_errors import ProviderError
from lab.postgres.binaries import MAJORS
from lab.postgres.server import SUPERUSER, LabServer
from tests.fixtures.databases import soon
from tests.fixtures.postgres import MASTER, PASSWORD, MakeServer
from tests.fixtures.rds import REGION, PlacedClusters
from tests.fixtures.switchable import DEMOTE, wait_until

Connection = psycopg.Connection[tuple[Any, ...]]
Props = dict[str, Any]

APP = "app_user"
WANT = Publication("bg_green_forward", all_tables=True)
MARK = json.dumps(owned.MARK)


@pytest.fixture(params=[m if m == 18 else pytest.param(m, marks=pytest.mark.slow) for m in MAJORS])
def lab(request: pytest.FixtureRequest, make_server: MakeServer) -> LabServer:
    """Return a server with a database `app` and an ordinary role that owns nothing."""
    made = make_server(request.param)
    with made.connect() as conn:
        conn.execute("CREATE DATABASE app")
        conn.execute(f"CREATE ROLE {APP} LOGIN PASSWORD '{APP}' CREATEDB")
        conn.execute(f"GRANT CREATE ON DATABASE app TO {APP}")
    return made


@pytest.fixture
def server(lab: LabServer, placed: PlacedClusters) -> Server:
    return placed.place(lab, "orders-1")


@contextmanager
def application(lab: LabServer, database: str = "app") -> Iterator[Connection]:
    with lab.connect(database, user=APP, password=APP) as conn:
        yield conn


def props(source: Server) -> Props:
    """Return the properties of stack `green`, which is to replace `source`."""
    return {
        "stack": "green",
        "cluster_identifier": "orders-2",
        "region": REGION,
        "credentials": asdict(source.credentials),
        "databases": ["app"],
        "cutover": False,
        "rollback": True,
        "rehearsal": False,
        "source": source.to_props(),
        "source_stack": "blue",
        "publishes": {"app": {"name": WANT.name, "scope": {"kind": "all"}}},
    }


def contents(lab: LabServer, database: str) -> list[tuple[Any, ...]]:
    """Return what is in a database, but for what every database has."""
    with lab.connect(database) as conn:
        return conn.execute(
            "SELECT n.nspname, n.nspowner, obj_description(n.oid), c.relname, c.relacl::text"
            " FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid"
            " WHERE n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')"
            " ORDER BY 1, 4"
        ).fetchall()


def publish(conn: Connection, *, alter: bool = False) -> None:
    publishing.ensure(conn, WANT, {}, alter=alter, deadline=soon())


def test_what_an_application_calls_bluegreen_is_refused_first_and_never_touched(
    lab: LabServer, server: Server
) -> None:
    provider = DeploymentProvider()
    with application(lab) as conn:
        conn.execute("CREATE SCHEMA bluegreen; CREATE TABLE bluegreen.orders (id int PRIMARY KEY)")
    before = contents(lab, "app")
    with pytest.raises(
        ProviderError, match=r"schema bluegreen.*'app'.*holds table .*orders.*RENAME"
    ):
        provider.create(props(server))
    with lab.connect("app") as conn, pytest.raises(Refused, match="no mark of this tool"):
        publish(conn)
    with lab.connect("app") as conn:
        heartbeat.drop(conn)
    assert contents(lab, "app") == before
    assert "bluegreen" not in lab.databases()
    with application(lab) as conn:
        conn.execute("ALTER SCHEMA bluegreen RENAME TO theirs; DROP SCHEMA theirs CASCADE")

    with application(lab, "postgres") as conn:
        conn.execute("CREATE DATABASE bluegreen")
    with application(lab, "bluegreen") as conn:
        conn.execute("CREATE SCHEMA own; CREATE TABLE own.orders (id int)")
    before = contents(lab, "bluegreen")
    with pytest.raises(ProviderError, match=r"database bluegreen on orders-1: has no mark.*RENAME"):
        provider.create(props(server))
    provider.delete("green", props(server))
    register.drop_database(server)
    assert contents(lab, "bluegreen") == before
    # Even an empty one, and one whose name for the tables is the tool's.
    with application(lab, "bluegreen") as conn:
        conn.execute("DROP SCHEMA own CASCADE")
    with pytest.raises(Refused, match="no mark"):
        register.ensure_database(server)
    register.drop_database(server)
    assert "bluegreen" in lab.databases()


def test_what_others_put_into_it_or_make_depend_on_it_is_named_and_stays(
    lab: LabServer, server: Server
) -> None:
    register.ensure_database(server)
    with lab.connect("bluegreen") as conn:
        conn.execute("CREATE TABLE bluegreen.notes (id int)")
    with pytest.raises(Refused, match=r"holds what this tool did not make: table bluegreen\.notes"):
        register.drop_database(server)
    with lab.connect("bluegreen") as conn:
        conn.execute("ALTER TABLE bluegreen.notes SET SCHEMA public")
    with pytest.raises(Refused, match=r"table public\.notes"):
        register.drop_database(server)
    with lab.connect("bluegreen") as conn:
        conn.execute("DROP TABLE public.notes")
    register.drop_database(server)
    assert "bluegreen" not in lab.databases()

    with lab.connect("app") as conn:
        publish(conn)
        conn.execute("CREATE VIEW public.beats AS SELECT beat FROM bluegreen.heartbeat")
        with pytest.raises(Refused, match=r"others depend on it \(view beats depends on"):
            publishing.drop(conn, WANT.name, deadline=soon())
        publish(conn)  # which a view doesn't disturb
        conn.execute("DROP VIEW public.beats; CREATE TABLE bluegreen.orders (id int)")
        for attempt in (publish, lambda c: publishing.drop(c, WANT.name, deadline=soon())):
            with pytest.raises(Refused, match=r"holds .* did not make: table bluegreen\.orders"):
                attempt(conn)
        assert owned.is_marked(conn, "PUBLICATION", WANT.name)
        conn.execute("ALTER TABLE bluegreen.orders SET SCHEMA public")
        publishing.drop(conn, WANT.name, deadline=soon())
        assert owned.find_schema(conn) is None


def test_a_publication_or_slot_that_somebody_else_made_under_the_name_is_refused(
    lab: LabServer,
) -> None:
    name = "bg_green_forward_app"
    with lab.connect("app") as conn:
        conn.execute(f"CREATE PUBLICATION {WANT.name} FOR ALL TABLES")
        for attempt in (publish, lambda c: publishing.drop(c, WANT.name, deadline=soon())):
            with pytest.raises(
                Refused, match=r"'bg_green_forward' in 'app': exists and has no mark"
            ):
                attempt(conn)
        assert owned.find_schema(conn) is None
        publish(conn, alter=True)  # the state of an earlier version knows it
        assert owned.is_marked(conn, "PUBLICATION", WANT.name)

        conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
        with pytest.raises(Refused, match="exists and somebody else made it"):
            slot.ensure(conn, name, reader=WANT.name, where="orders-1", wait_seconds=30)
        conn.execute("SELECT pg_drop_replication_slot(%s)", (name,))
        for _ in range(2):
            slot.ensure(conn, name, reader=WANT.name, where="orders-1", wait_seconds=30)
        slot.drop(conn, name, where="orders-1", deadline=soon())
        owned.forget_slot(conn, name)
        assert owned.remembered(conn) == owned.MARK


def test_two_deployments_of_one_source_share_its_schema_and_the_last_one_drops_it(
    lab: LabServer,
) -> None:
    other = Publication("bg_teal_forward", all_tables=True)
    with lab.connect("app") as conn:
        conn.execute("CREATE TABLE keyless (id int)")
        for want in (WANT, other):
            publishing.ensure(conn, want, {"public.keyless": "full"}, alter=False, deadline=soon())
        publishing.drop(conn, WANT.name, deadline=soon())
        assert set(owned.remembered(conn)) == {"made_by", "replica_identity"}
        publishing.drop(conn, other.name, deadline=soon())
        assert owned.find_schema(conn) is None


def test_what_the_version_before_marks_made_is_known_by_its_shape(
    lab: LabServer, server: Server
) -> None:
    register.ensure_database(server)
    with lab.connect("app") as conn:
        publish(conn)
        conn.execute("COMMENT ON SCHEMA bluegreen IS NULL; COMMENT ON DATABASE bluegreen IS NULL")
        conn.execute("GRANT ALL ON DATABASE bluegreen TO PUBLIC")
        heartbeat.ensure(conn)
        assert owned.remembered(conn) == owned.MARK
    assert tool_database.exists(server)
    register.ensure_database(server)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        application(lab, "bluegreen").__enter__()
    with lab.connect("app") as conn:
        conn.execute("COMMENT ON DATABASE bluegreen IS NULL")
    register.drop_database(server)
    assert "bluegreen" not in lab.databases()


def test_a_database_whose_making_was_interrupted_is_finished_or_dropped(
    lab: LabServer, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for end in (register.ensure_database, register.drop_database):
        with monkeypatch.context() as dying:
            dying.setattr(tool_database, "_finish", lambda _: None)
            tool_database.ensure(server)
        assert "bluegreen" not in lab.databases()  # it takes no connections yet
        assert not tool_database.exists(server)
        end(server)
        assert tool_database.exists(server) == (end is register.ensure_database)
        register.drop_database(server)


def test_a_superuser_s_session_is_waited_for_where_the_database_is_dropped(
    lab: LabServer, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS's own has one to any database now and then; those of others are ended."""
    if lab.major < 16:
        pytest.skip("before 16 community PostgreSQL has no master user who is no superuser")
    with lab.as_superuser() as conn:
        conn.execute(DEMOTE)
    register.ensure_database(server)
    with ThreadPoolExecutor(1) as pool, lab.as_superuser(names.TOOL_DATABASE) as theirs:
        with server.connect(names.TOOL_DATABASE) as ours:
            dropping = pool.submit(register.drop_database, server)
            wait_until(lambda: _is_ended(ours), "an ordinary session's end")
        assert not dropping.done()
        theirs.close()
        dropping.result()
    assert names.TOOL_DATABASE not in lab.databases()
    register.ensure_database(server)
    monkeypatch.setattr(tool_database, "_DROP_SECONDS", 0.0)
    with (
        lab.as_superuser(names.TOOL_DATABASE),
        pytest.raises(Retry, match=f"can't be dropped while sessions of {SUPERUSER} are there"),
    ):
        register.drop_database(server)


def _is_ended(conn: psycopg.Connection[Any]) -> bool:
    try:
        conn.execute("SELECT")
    except psycopg.OperationalError:
        return True
    return False


def test_two_that_make_the_database_at_once_share_it(lab: LabServer, server: Server) -> None:
    """Each has seen that there is none; the second waits for the first one's row of that name."""
    with (
        lab.as_superuser() as holder,
        lab.connect() as watch,
        ThreadPoolExecutor(2) as pool,
    ):
        with holder.transaction():
            # What a CREATE DATABASE writes behind its row.
            holder.execute("LOCK TABLE pg_shdepend IN SHARE MODE")
            both = [pool.submit(register.ensure_database, server) for _ in range(2)]
            waits = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
            wait_until(lambda: watch.execute(waits).fetchone() == (2,), "both to wait")
        for one in both:
            one.result(timeout=60)
    assert tool_database.exists(server)


def test_an_ordinary_role_has_nothing_in_the_tools_database(lab: LabServer, server: Server) -> None:
    """Not on 14 either, where everybody may create in `public`; nor with a hardened template1."""
    with lab.connect("template1") as conn:
        conn.execute("DROP SCHEMA public CASCADE")
    register.ensure_database(server)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        application(lab, "bluegreen").__enter__()  # no reads, no overloads, no advisory locks
    with lab.connect() as conn:
        conn.execute(f"GRANT CONNECT ON DATABASE bluegreen TO {APP}")
    with application(lab, "bluegreen") as conn:
        for statement in (
            "CREATE FUNCTION bluegreen.abort_switch(text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE TABLE bluegreen.register (id int)",
            "CREATE FUNCTION public.end_sessions(text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "SELECT * FROM bluegreen.register",
            "SELECT bluegreen.reopen(NULL)",
            "CREATE SCHEMA own",
            "CREATE TEMPORARY TABLE register (id int)",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                conn.execute(statement)
    with lab.connect("bluegreen") as conn:
        encoding = conn.execute("SHOW server_encoding").fetchone()
        unpinned = conn.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'bluegreen'::regnamespace"
            " AND prokind = 'f' AND NOT 'search_path=pg_catalog' = ANY (coalesce(proconfig, '{}'))"
        ).fetchall()
    assert encoding == ("UTF8",)
    assert unpinned == []


def test_what_belongs_to_somebody_who_may_less_than_the_administrator_is_refused(
    lab: LabServer, server: Server
) -> None:
    register.ensure_database(server)
    with lab.connect() as conn:
        # As RDS wants it of an administrator who makes databases for others.
        conn.execute(f"GRANT {APP} TO {MASTER}; ALTER DATABASE bluegreen OWNER TO {APP}")
    with pytest.raises(Refused, match=r"database bluegreen .*belongs to 'app_user'.*OWNER TO"):
        register.ensure_database(server)
    with lab.connect() as conn:
        conn.execute(f"ALTER DATABASE bluegreen OWNER TO {MASTER}")
    with lab.connect("bluegreen") as conn:
        conn.execute(f"ALTER SCHEMA bluegreen OWNER TO {APP}")
    with pytest.raises(Refused, match=r"did not make: .*schema bluegreen"):
        register.ensure_database(server)

    # A schema with the very shape and mark, made by an application beforehand.
    with application(lab) as conn:
        conn.execute("CREATE SCHEMA bluegreen")
        conn.execute(heartbeat._TABLE)
        conn.execute(f"COMMENT ON SCHEMA bluegreen IS '{MARK}'")
    with lab.connect("app", user=MASTER, password=PASSWORD) as conn:
        with pytest.raises(Refused, match="belongs to 'app_user'"):
            heartbeat.ensure(conn)
        conn.execute(f"ALTER SCHEMA bluegreen OWNER TO {MASTER}")
        with pytest.raises(Refused, match="its table belongs"):
            heartbeat.ensure(conn)
        conn.execute(f"ALTER TABLE bluegreen.heartbeat OWNER TO {MASTER}")
        heartbeat.ensure(conn)
        conn.execute("CREATE RULE nothing AS ON INSERT TO bluegreen.heartbeat DO INSTEAD NOTHING")
        with pytest.raises(Refused, match=r"rule nothing on table bluegreen\.heartbeat"):
            heartbeat.ensure(conn)


def test_default_privileges_give_nobody_anything_in_the_schema(lab: LabServer) -> None:
    with lab.connect("app") as conn:
        conn.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO {APP}, PUBLIC")
        conn.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {APP}")
        heartbeat.ensure(conn)
    with application(lab) as conn:
        for statement in (
            "CREATE TABLE bluegreen.mine (id int)",
            "DELETE FROM bluegreen.heartbeat",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                conn.execute(statement)
