"""What a real upgrade finds in its way, and what it leaves to be done."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bluegreen.errors import Refused
from bluegreen.postgres import owned
from bluegreen.postgres.server import Server
from bluegreen.register import register
from bluegreen.replication import heartbeat
from bluegreen.upgrade import aftercare, obstacles
from bluegreen.upgrade.aftercare import BareTable
from lab.postgres import clone
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MASTER, MakeServer
from tests.fixtures.rds import PlacedClusters

TABLES = """
CREATE TABLE orders (id int, note text);
INSERT INTO orders SELECT n, 'x' FROM generate_series(1, 1000) n;
CREATE TABLE "odd ""name" AS SELECT 1 AS a;
CREATE TABLE empty (a int);
CREATE TABLE parts (a int) PARTITION BY RANGE (a);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
INSERT INTO parts SELECT generate_series(0, 99);
CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM orders;
"""
FULL = {
    BareTable("public", "orders"),
    BareTable("public", 'odd "name'),
    BareTable("public", "parts"),
    BareTable("public", "summary"),
}


@pytest.fixture
def lab(make_server: MakeServer) -> LabServer:
    # Autovacuum would gather statistics while the test looks for their absence.
    server = make_server(16, autovacuum="off", max_prepared_transactions="5")
    with server.connect() as conn:
        conn.execute("CREATE DATABASE app")
    with server.connect("app") as conn:
        conn.execute(TABLES)
    return server


@pytest.fixture
def server(lab: LabServer, placed: PlacedClusters) -> Server:
    return placed.place(lab, "orders-2")


def test_a_clean_server_has_nothing_in_the_way(server: Server) -> None:
    obstacles.require_none(server, ["app"], to_major=18)


def test_every_obstacle_is_seen(server: Server, lab: LabServer) -> None:
    with lab.connect("app") as conn:
        conn.execute("CREATE TABLE handlers (name text, call regproc)")
        conn.execute("SELECT pg_create_logical_replication_slot('debezium', 'pgoutput')")
        conn.execute(
            "CREATE SUBSCRIPTION feed CONNECTION 'dbname=elsewhere password=x' PUBLICATION p "
            "WITH (connect=false, slot_name=NONE)"
        )
        conn.execute("CREATE DATABASE half")
        with lab.as_superuser() as admin:
            admin.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'")
        conn.execute("BEGIN")
        conn.execute("INSERT INTO empty VALUES (1)")
        conn.execute("PREPARE TRANSACTION 'tx1'")
        conn.execute("CREATE ROLE shop LOGIN PASSWORD 'shop'")
    with lab.connect("app", user="shop", password="shop"):
        found = obstacles.inspect(server, ["app"], to_major=18)
    assert found == obstacles.Obstacles(
        cluster="orders-2",
        open_to_writers=True,
        prepared=("tx1 in app",),
        invalid_databases=("half",),
        slots=("debezium",),
        subscriptions=("feed in app",),
        sessions=("shop in app",),
        unstorable_columns=("public.handlers.call (regproc) in app",),
    )
    with (
        pytest.raises(Refused, match=r"serves clients \(shop in app\)"),
        lab.connect("app", user="shop", password="shop"),
    ):
        obstacles.require_none(server, ["app"], to_major=18)


def test_statistics_are_gathered_where_they_are_missing(server: Server, lab: LabServer) -> None:
    with lab.connect("app") as conn:
        assert set(aftercare.without_statistics(conn)) == FULL
        aftercare.finish(server, ["app"])
        assert aftercare.without_statistics(conn) == []
        counted = conn.execute("SELECT reltuples FROM pg_class WHERE relname = 'orders'").fetchone()
        assert counted == (1000,)
        before = conn.execute("SELECT sum(analyze_count) FROM pg_stat_user_tables").fetchone()
        aftercare.finish(server, ["app"])
        assert (
            conn.execute("SELECT sum(analyze_count) FROM pg_stat_user_tables").fetchone() == before
        )


def test_an_index_finds_its_functions_where_its_owner_would(lab: LabServer, server: Server) -> None:
    with lab.connect("app") as conn:
        conn.execute("CREATE SCHEMA app; CREATE ROLE keeper; GRANT ALL ON SCHEMA app TO keeper")
        conn.execute(f"GRANT keeper TO {MASTER}")  # who gives it a table
        conn.execute(
            """
            CREATE FUNCTION app.fold(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
            CREATE FUNCTION app.bad(text) RETURNS text LANGUAGE plpgsql IMMUTABLE
                AS 'BEGIN RETURN fold($1); END';
            CREATE FUNCTION app.reads(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
                AS 'BEGIN RETURN (SELECT max(id) FROM gone WHERE id < 0); END';
            CREATE TABLE app.words AS SELECT 'x' AS word, 1 AS id;
            CREATE TABLE app.gone (id int); GRANT SELECT ON app.gone TO keeper;
            SET search_path = app;
            CREATE INDEX ON words (bad(word));
            ALTER TABLE words OWNER TO keeper;
            CREATE INDEX ON words (reads(id));
            """
        )
        with lab.as_superuser("app") as admin:
            admin.execute("UPDATE pg_class SET reltuples = -1 WHERE relname = 'words'")
        with pytest.raises(Refused, match=r"app\.words: function fold.*in PL/pgSQL function .*bad"):
            aftercare.finish(server, ["app"])
        # The others are done all the same.
        assert aftercare.without_statistics(conn) == [BareTable("app", "words")]
        conn.execute("ALTER ROLE keeper IN DATABASE app SET search_path = app")
        conn.execute("ALTER DATABASE app SET search_path = public")
        aftercare.finish(server, ["app"])
        assert aftercare.without_statistics(conn) == []


def _tools_own(lab: LabServer) -> list[tuple[object, ...]]:
    """Return whose the tool's database and schemas are: marks, owners, and who may come in."""
    with lab.connect("bluegreen") as conn:
        own = conn.execute(
            "SELECT shobj_description(oid, 'pg_database'), pg_get_userbyid(datdba), datacl::text"
            "  FROM pg_database WHERE datname = 'bluegreen' UNION ALL "
            "SELECT obj_description(oid), pg_get_userbyid(nspowner), nspacl::text"
            "  FROM pg_namespace WHERE nspname = 'bluegreen'"
        ).fetchall()
    with lab.connect("postgres") as conn:
        heartbeats = conn.execute(
            "SELECT obj_description(oid), pg_get_userbyid(nspowner), nspacl::text"
            "  FROM pg_namespace WHERE nspname = 'bluegreen'"
        ).fetchall()
    return own + heartbeats


def test_a_real_major_upgrade_is_finished(lab: LabServer, placed: PlacedClusters) -> None:
    before = placed.place(lab, "orders-2")
    register.ensure_database(before)
    with before.connect("postgres") as conn:
        heartbeat.ensure(conn)
    own = _tools_own(lab)
    mark = json.dumps(owned.MARK)
    assert [comment for comment, *_ in own] == [mark, None, mark]
    upgraded = clone.upgrade(lab, 18, {"autovacuum": "off", "wal_level": "logical"})
    try:
        server = replace(before, host=upgraded.host, port=upgraded.port)
        with upgraded.connect("app") as conn:
            assert set(aftercare.without_statistics(conn)) == FULL
            aftercare.finish(server, ["app"])
            assert aftercare.without_statistics(conn) == []
        assert _tools_own(upgraded) == own
        register.ensure_database(server)
        with server.connect("postgres") as conn:
            heartbeat.ensure(conn)
    finally:
        upgraded.remove()


def test_a_table_that_may_not_be_analyzed_is_named(lab: LabServer, placed: PlacedClusters) -> None:
    server = placed.place(lab, "orders-2")
    with lab.as_superuser("app") as conn:
        conn.execute(f"ALTER ROLE {MASTER} NOSUPERUSER")
        conn.execute("ALTER TABLE orders OWNER TO rdsadmin")
        conn.execute("ALTER DATABASE app OWNER TO rdsadmin")  # whose owner may analyze all
    with pytest.raises(Refused, match=r"without statistics \(.*public\.orders"):
        aftercare.finish(server, ["app"])


@pytest.mark.usefixtures("placed")
@pytest.mark.parametrize(
    ("installed", "after", "failures"),
    [
        pytest.param("0.8.4", "0.8.5", 0, id="older"),
        pytest.param("0.8.5", "0.8.5", 0, id="current"),
        # No script leads from there: reported, and the old version stays.
        pytest.param("0.0.1", "0.0.1", 1, id="no-way"),
    ],
)
def test_extensions_are_brought_to_the_version_on_offer(
    lab: LabServer, installed: str, after: str, failures: int
) -> None:
    with lab.as_superuser("app") as conn:
        conn.execute("CREATE EXTENSION vector VERSION '0.8.5'")
        # The build offers one version only; what a script changes doesn't matter here.
        conn.execute(
            "UPDATE pg_extension SET extversion = %s WHERE extname = 'vector'", (installed,)
        )
        failed = aftercare.update_extensions(conn)
        assert len(failed) == failures
        assert all(text.startswith("vector 0.0.1 to 0.8.5: ") for text in failed)
        row = conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        assert row.fetchone() == (after,)
