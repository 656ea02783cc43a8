"""`postgres:Publication` on real servers, through the real provider host: its whole life."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from psycopg import sql

from bluegreen.postgres import owned
from dynamic_providers.publication import PublicationProvider
from tests.fixtures.databases import Connection, Database
from tests.fixtures.postgres import OLD_AND_NEW, PASSWORD
from tests.fixtures.provider_host import Host, HostError, ProviderHost
from tests.fixtures.rds import PlacedClusters

NAME = "bg_green_forward"
TABLES = {
    "kind": "tables",
    "tables": [
        {"schema": "public", "name": "orders", "columns": ["id", "note"], "where": "id > 0"},
        {"schema": "public", "name": "customers"},
    ],
}


@pytest.fixture(params=OLD_AND_NEW)
def database(request: pytest.FixtureRequest, make_database: Callable[..., Database]) -> Database:
    """Return a database with two tables and a schema that has one more."""
    made = make_database(request.param)
    with made.connect() as conn:
        conn.execute("""
            CREATE TABLE orders (id int PRIMARY KEY, note text, internal text);
            CREATE TABLE customers (id int PRIMARY KEY, name text);
            CREATE SCHEMA sales;
            CREATE TABLE sales.invoices (id int PRIMARY KEY);
        """)
    return made


@pytest.fixture
def host(provider_host: Host) -> ProviderHost:
    """Return the provider in its host."""
    return provider_host.of(PublicationProvider())


@pytest.fixture
def props(database: Database, placed: PlacedClusters) -> dict[str, Any]:
    """Return the wish for all tables."""
    return {
        "server": database.place(placed).to_props(),
        "database": database.name,
        "name": NAME,
        "scope": {"kind": "all"},
        "replica_identity": {},
    }


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """Return a superuser's connection to the database."""
    with database.connect() as made:
        yield made


def _published(conn: Connection) -> set[str]:
    rows = conn.execute(
        "SELECT format('%%s.%%s', schemaname, tablename) FROM pg_publication_tables"
        " WHERE pubname = %s AND schemaname <> 'bluegreen'",
        (NAME,),
    ).fetchall()
    return {name for (name,) in rows}


def _exists(conn: Connection) -> bool:
    return (
        conn.execute("SELECT FROM pg_publication WHERE pubname = %s", (NAME,)).fetchone()
        is not None
    )


def _slot(conn: Connection, name: str = f"{NAME}_app") -> None:
    conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))


# Create ----------------------------------------------------------------------------------------


def test_create_makes_it(host: ProviderHost, props: dict[str, Any], conn: Connection) -> None:
    made = host.create(props)
    assert made.id == f"{props['database']}/{NAME}"
    assert _published(conn) == {"public.orders", "public.customers", "sales.invoices"}
    assert made.outs["published"] == ["ALL TABLES", "publish delete, insert, truncate, update"]


def test_create_of_schemas(host: ProviderHost, props: dict[str, Any], conn: Connection) -> None:
    scope = {
        "kind": "schemas",
        "schemas": ["sales"],
        "tables": [{"schema": "public", "name": "orders"}],
    }
    host.create(props | {"scope": scope})
    conn.execute("CREATE TABLE sales.later (id int PRIMARY KEY)")
    assert _published(conn) == {"sales.invoices", "sales.later", "public.orders"}


def test_create_of_a_list_with_columns_and_a_filter(
    host: ProviderHost, props: dict[str, Any], conn: Connection
) -> None:
    made = host.create(props | {"scope": TABLES})
    assert _published(conn) == {"public.orders", "public.customers"}
    assert '"public"."orders" ("id", "note") WHERE ((id > 0))' in made.outs["published"]


def test_create_with_operations_and_partition_roots(
    host: ProviderHost, props: dict[str, Any], conn: Connection
) -> None:
    conn.execute("""
        CREATE TABLE events (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE events_all PARTITION OF events DEFAULT;
    """)
    scope = {
        "kind": "tables",
        "tables": [{"schema": "public", "name": "events", "where": "id > 0"}],
        "operations": ["insert", "update", "delete"],
        "publish_via_partition_root": True,
    }
    host.create(props | {"scope": scope})
    assert _published(conn) == {"public.events"}
    row = conn.execute("SELECT pubviaroot, pubtruncate, pubdelete FROM pg_publication").fetchone()
    assert row == (True, False, True)


def test_a_partition_root_is_refused_for_the_partition_that_has_no_identity(
    host: ProviderHost, props: dict[str, Any], conn: Connection
) -> None:
    conn.execute("""
        CREATE TABLE events (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
        CREATE TABLE events_new PARTITION OF events DEFAULT;
        ALTER TABLE events_old REPLICA IDENTITY NOTHING;
    """)
    scope = {
        "kind": "tables",
        "tables": [{"schema": "public", "name": "events"}],
        "publish_via_partition_root": True,
    }
    with pytest.raises(
        HostError, match=r"public\.events_old \(has no replica identity\)"
    ) as raised:
        host.create(props | {"scope": scope})
    assert "events_new" not in str(raised.value)
    assert not _exists(conn)


def test_the_heartbeat_is_always_part_of_it(
    host: ProviderHost, props: dict[str, Any], conn: Connection
) -> None:
    host.create(props | {"scope": TABLES})
    rows = conn.execute(
        "SELECT tablename FROM pg_publication_tables WHERE schemaname = 'bluegreen' ORDER BY 1"
    ).fetchall()
    assert rows == [("heartbeat",)]


@pytest.mark.parametrize(
    ("by_hand", "said"),
    [
        ("FOR ALL TABLES", "has ALL TABLES, expected "),
        ("FOR TABLE sales.invoices", 'has "sales"."invoices", expected "bluegreen"."heartbeat"; '),
        ("FOR TABLE orders", '"public"."orders" ("id", "note") WHERE ((id > 0))'),
    ],
)
def test_refuses_what_differs_and_names_the_difference(
    host: ProviderHost, props: dict[str, Any], conn: Connection, by_hand: str, said: str
) -> None:
    conn.execute(f"CREATE PUBLICATION {NAME} {by_hand}".encode())
    owned.mark(conn, "PUBLICATION", NAME)
    before = _published(conn)
    with pytest.raises(HostError) as raised:
        host.create(props | {"scope": TABLES})
    assert f"publication '{NAME}': exists and differs: " in str(raised.value)
    assert said in str(raised.value)
    assert _published(conn) == before


# Change ----------------------------------------------------------------------------------------


def test_change_in_place_adds_and_drops_tables_columns_and_filters(
    host: ProviderHost, props: dict[str, Any], conn: Connection
) -> None:
    made = host.create(props | {"scope": TABLES})
    _slot(conn)
    (oid,) = conn.execute("SELECT oid FROM pg_publication").fetchone() or (None,)
    for tables, published in [
        ([{"schema": "sales", "name": "invoices"}], ['"sales"."invoices"']),
        ([{"schema": "public", "name": "orders"}], ['"public"."orders"']),
        (
            [{"schema": "public", "name": "orders", "columns": ["id"]}],
            ['"public"."orders" ("id")'],
        ),
        (
            [{"schema": "public", "name": "orders", "columns": ["id"], "where": "id < 9"}],
            ['"public"."orders" ("id") WHERE ((id < 9))'],
        ),
    ]:
        wish = props | {"scope": {"kind": "tables", "tables": tables}}
        assert host.check(made.inputs, wish) == {}
        change = host.diff(made, wish)
        assert (change.changes, change.replaces) == (True, [])
        made = host.update(made, wish)
        lines = [line for line in made.outs["published"] if "bluegreen" not in line]
        assert lines == [*published, "publish delete, insert, truncate, update"]
    assert conn.execute("SELECT oid FROM pg_publication").fetchone() == (oid,)


def test_change_in_place_of_operations(
    host: ProviderHost, props: dict[str, Any], conn: Connection
) -> None:
    made = host.create(props)
    wish = props | {"scope": {"kind": "all", "operations": ["insert", "update"]}}
    assert host.diff(made, wish).changes
    host.update(made, wish)
    row = conn.execute("SELECT pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication")
    assert row.fetchone() == (True, True, False, False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "bg_other"}, f"name is '{NAME}' and can't become 'bg_other' in place"),
        ({"database": "other"}, "and can't become 'other' in place"),
        ({"scope": TABLES}, "can't change between all tables and a choice of them"),
        (
            {"scope": {"kind": "all", "publish_via_partition_root": True}},
            "can't change publish_via_partition_root",
        ),
    ],
    ids=["name", "database", "kind", "root"],
)
def test_a_change_that_must_replace_is_refused_at_preview(
    host: ProviderHost, props: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    failures = host.check(props, props | change)
    assert list(failures) == list(change)
    assert said in next(iter(failures.values()))


@pytest.mark.parametrize("scope", [{"kind": "all"}, TABLES], ids=["all", "tables"])
def test_no_change_gives_no_diff(
    host: ProviderHost, props: dict[str, Any], scope: dict[str, Any]
) -> None:
    wish = props | {"scope": scope}
    made = host.create(wish)
    assert not host.diff(made, wish).changes
    live = host.read(made)
    assert live is not None
    assert not host.diff(live, wish).changes


@pytest.mark.parametrize(
    ("by_hand", "key", "found"),
    [
        ("ALTER PUBLICATION {} DROP TABLE customers", "tables", None),
        ("ALTER PUBLICATION {} ADD TABLE sales.invoices", "tables", None),
        ("ALTER PUBLICATION {} SET (publish = 'insert')", "operations", ["insert"]),
        ("ALTER PUBLICATION {} DROP TABLE bluegreen.heartbeat", "missing", ["bluegreen.heartbeat"]),
    ],
    ids=["table-dropped", "table-added", "operations", "heartbeat-dropped"],
)
def test_drift_is_shown_by_refresh_and_repaired_by_the_next_up(
    host: ProviderHost,
    props: dict[str, Any],
    conn: Connection,
    by_hand: str,
    key: str,
    found: list[str] | None,
) -> None:
    wish = props | {"scope": TABLES}
    made = host.create(wish)
    conn.execute(sql.SQL(by_hand).format(sql.Identifier(NAME)))
    live = host.read(made)
    assert live is not None
    assert live.inputs["scope"][key] != TABLES.get(key)
    assert found is None or live.inputs["scope"][key] == found
    assert host.check(live.inputs, wish) == {}
    assert host.diff(live, wish).changes
    assert host.update(live, wish).outs["published"] == made.outs["published"]


def test_a_replica_identity_changed_by_hand_is_drift_too(
    host: ProviderHost, props: dict[str, Any], conn: Connection
) -> None:
    conn.execute("CREATE TABLE keyless (n int)")
    wish = props | {"replica_identity": {"public.keyless": "full"}}
    made = host.create(wish)
    conn.execute("ALTER TABLE keyless REPLICA IDENTITY DEFAULT")
    live = host.read(made)
    assert live is not None
    assert live.inputs["replica_identity"] == {"public.keyless": "default"}
    assert host.diff(live, wish).changes
    host.update(live, wish)
    conn.execute("DELETE FROM keyless")


def test_removed_by_hand_under_a_slot_it_is_not_made_again(
    host: ProviderHost, props: dict[str, Any], conn: Connection
) -> None:
    made = host.create(props)
    _slot(conn)
    conn.execute(sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(NAME)))
    assert host.read(made) is None
    with pytest.raises(HostError, match=f"gone while slot {NAME}_app reads it.*clone again"):
        host.create(props)
    assert not _exists(conn)


# Delete ----------------------------------------------------------------------------------------


def test_delete_leaves_nothing(host: ProviderHost, props: dict[str, Any], conn: Connection) -> None:
    host.delete(host.create(props))
    assert not _exists(conn)
    assert conn.execute("SELECT FROM pg_namespace WHERE nspname = 'bluegreen'").fetchone() is None


def test_delete_is_refused_while_a_slot_reads_it(
    host: ProviderHost, props: dict[str, Any], conn: Connection
) -> None:
    made = host.create(props)
    _slot(conn)
    with pytest.raises(HostError, match=f"slot {NAME}_app still reads it; drop the slot first"):
        host.delete(made)
    assert _exists(conn)


def test_delete_when_the_database_is_gone(
    host: ProviderHost, props: dict[str, Any], database: Database
) -> None:
    made = host.create(props)
    with database.lab.connect() as conn:
        name = sql.Identifier(database.name)
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    assert host.read(made) is None
    host.delete(made)


# Trouble ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "grant", "said"),
    [
        ({"kind": "all"}, "GRANT CREATE ON DATABASE {} TO {}", "GRANT rds_superuser TO "),
        (
            {"kind": "tables", "tables": [{"schema": "public", "name": "orders"}]},
            "GRANT CREATE ON DATABASE {} TO {}",
            "must be owner of table orders; use the master user, or grant its owner's role to ",
        ),
    ],
    ids=["all-tables", "owner"],
)
def test_a_missing_privilege_is_named_with_its_grant(
    host: ProviderHost,
    props: dict[str, Any],
    conn: Connection,
    database: Database,
    placed: PlacedClusters,
    scope: dict[str, Any],
    grant: str,
    said: str,
) -> None:
    role = f"weak_{props['database']}"
    conn.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(role), sql.Literal(PASSWORD)
        )
    )
    names = sql.Identifier(props["database"]), sql.Identifier(role)
    if grant:
        conn.execute(sql.SQL(grant).format(*names))
    props["server"]["credentials"]["admin_secret_arn"] = placed.secret("weak", role, PASSWORD)
    try:
        with pytest.raises(HostError, match=said) as raised:
            host.create(props | {"scope": scope})
    finally:
        with database.lab.as_superuser(database.name) as admin:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(names[1]))
            admin.execute(sql.SQL("DROP ROLE {}").format(names[1]))
    assert f"publication '{NAME}': " in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not _exists(conn)
