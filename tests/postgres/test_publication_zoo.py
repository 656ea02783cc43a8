"""The schema zoo: published whole, and each of its tables changed while it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from bluegreen.errors import Refused
from bluegreen.polling import poll_until
from bluegreen.postgres import publications, versions
from bluegreen.postgres.publications import Publication
from bluegreen.postgres.table_names import shown
from bluegreen.postgres.versions import Feature
from bluegreen.replication import heartbeat
from bluegreen.replication.publication import publishing, replica_identity
from tests.fixtures.databases import Connection, Database, soon
from tests.fixtures.postgres import EVERY_MAJOR, MASTER, PASSWORD
from tests.fixtures.zoo import (
    DECLARED,
    IDENTITIES,
    make_zoo,
    stored_tables,
    write_zoo,
    zoo_contents,
)

ALL = Publication("bg_zoo", all_tables=True)


@pytest.fixture(params=EVERY_MAJOR)
def database(request: pytest.FixtureRequest, make_database: Callable[..., Database]) -> Database:
    """Return an empty database on each server that there is."""
    return make_database(request.param)


def test_a_round_changes_every_table(database: Database) -> None:
    with database.connect() as conn:
        make_zoo(conn)
        before = zoo_contents(conn)
        write_zoo(conn, 1, keyless=True)
        after = zoo_contents(conn)
        assert before.keys() == after.keys()
        assert [name for name in before if before[name] == after[name]] == []
        write_zoo(conn, 2, keyless=True, truncate=True)
        assert [name for name, digest in zoo_contents(conn).items() if digest == after[name]] == []


def test_two_zoos_are_equal_when_the_same_was_written(
    database: Database, make_database: Callable[..., Database]
) -> None:
    other = make_database(database.lab.major)
    with database.connect() as conn, other.connect() as parted:
        make_zoo(conn)
        make_zoo(parted, parted=True)
        for number in (1, 2):
            for one in (conn, parted):
                write_zoo(one, number, keyless=True)
        assert zoo_contents(conn) == zoo_contents(parted)
        conn.execute("UPDATE zoo.one_column SET id = id + 5 WHERE id = 3")
        assert zoo_contents(conn) != zoo_contents(parted)


def test_what_would_break_is_exactly_what_the_server_breaks(database: Database) -> None:
    """The server is asked: everything is published, and each table is updated."""
    with database.connect() as conn:
        make_zoo(conn)
        conn.execute("CREATE PUBLICATION everything FOR ALL TABLES")
        broken = {table for table in stored_tables(conn) if not _can_be_written(conn, table)}
        found = {
            table.key: why
            for table in replica_identity.published(conn, "everything")
            if (why := replica_identity.problem(table, table.identity)) is not None
        }
    # Before 18 it can be written there, but the other side never finds the row.
    unfindable = {("zoo", "generated_key")} if database.lab.major < 18 else set()
    assert set(found) == broken | unfindable
    assert set(found) == set(IDENTITIES)
    assert found["zoo", "generated_key"] == (
        "its identity has the generated key, which can't be sent"
    )


def test_publishing_it_all_names_every_table_without_identity(database: Database) -> None:
    with database.connect() as conn:
        make_zoo(conn)
        with pytest.raises(Refused) as raised:
            publishing.ensure(conn, ALL, {}, alter=False, deadline=soon())
        named = str(raised.value)
        assert all(shown(table) in named for table in IDENTITIES)
        assert "zoo.composite_key" not in named
        assert "give each a primary key, or declare it in replica_identity" in named
        assert publications.inspect(conn, ALL.name) is None
        write_zoo(conn, 1, keyless=True)  # production writes on


def test_declared_identities_make_the_whole_zoo_publishable_and_are_undone(
    database: Database,
) -> None:
    with database.connect() as conn:
        make_zoo(conn)
        before = _identities(conn)
        publishing.ensure(conn, ALL, DECLARED, alter=False, deadline=soon())
        assert all(_can_be_written(conn, table) for table in stored_tables(conn))
        write_zoo(conn, 1, keyless=True)
        assert _identities(conn) != before
        publishing.drop(conn, ALL.name, deadline=soon())
        assert _identities(conn) == before


@pytest.mark.parametrize("streaming", ["off", "parallel"])
def test_every_change_to_the_zoo_arrives(
    database: Database, make_database: Callable[..., Database], streaming: str
) -> None:
    """To another database of the same server, where a table is partitioned that is flat here."""
    target = make_database(database.lab.major)
    with database.connect() as conn, target.connect() as other:
        for one, parted in ((conn, False), (other, True)):
            make_zoo(one, parted=parted)
            publishing.ensure(one, ALL, DECLARED, alter=False, deadline=soon())
        slot_name = f"zoo_{database.name}"
        conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot_name,))
        if streaming == "parallel" and not versions.has(
            database.lab.major, Feature.STREAMING_PARALLEL
        ):
            streaming = "on"
        _subscribe(other, database, slot_name, streaming)
        for number in (1, 2):
            write_zoo(conn, number, keyless=True)
        _wait_until_applied(conn, other)
        assert zoo_contents(other) == zoo_contents(conn)
        write_zoo(conn, 3, keyless=True, truncate=True)
        _wait_until_applied(conn, other)
        assert zoo_contents(other) == zoo_contents(conn)
        other.execute("ALTER SUBSCRIPTION zoo DISABLE")
        other.execute("ALTER SUBSCRIPTION zoo SET (slot_name = NONE)")
        other.execute("DROP SUBSCRIPTION zoo")


def _subscribe(conn: Connection, publisher: Database, slot_name: str, streaming: str) -> None:
    conn.execute(
        sql.SQL(
            "CREATE SUBSCRIPTION zoo CONNECTION {} PUBLICATION {} WITH (create_slot = false,"
            " slot_name = {}, copy_data = false, streaming = {})"
        ).format(
            sql.Literal(
                make_conninfo(
                    publisher.lab.replication_conninfo(),
                    dbname=publisher.name,
                    user=MASTER,
                    password=PASSWORD,
                )
            ),
            sql.Identifier(ALL.name),
            sql.Literal(slot_name),
            sql.Literal(streaming),
        )
    )


def _wait_until_applied(conn: Connection, other: Connection) -> None:
    token = heartbeat.beat(conn)
    for _ in poll_until(soon(), first=0.02, most=0.2):
        if heartbeat.seen(other, token):
            return
        enabled = other.execute("SELECT subenabled FROM pg_subscription").fetchone()
        assert enabled == (True,), "the subscription was disabled by an error"
    pytest.fail("the heartbeat did not arrive")


def _can_be_written(conn: Connection, table: tuple[str, str]) -> bool:
    """Return whether the server lets a DELETE through; it checks even when there is no row."""
    delete = sql.SQL("DELETE FROM ONLY {} WHERE false").format(sql.Identifier(*table))
    try:
        conn.execute(delete)
    except (errors.ObjectNotInPrerequisiteState, errors.InvalidColumnReference):
        return False
    return True


def _identities(conn: Connection) -> list[tuple[Any, ...]]:
    return conn.execute(
        "SELECT c.oid::regclass::text, relreplident, array(SELECT indexrelid::regclass::text"
        " FROM pg_index WHERE indrelid = c.oid AND indisreplident) FROM pg_class c"
        " WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname ~ '(?i)^(zoo|schema)')"
        " AND relkind IN ('r', 'p') ORDER BY 1"
    ).fetchall()


def test_an_identity_with_a_generated_column_stops_the_other_side_before_18(
    make_database: Callable[..., Database],
) -> None:
    """Why it is refused although the server lets it through: the subscription ends in an error."""
    source, target = make_database(16), make_database(16)
    with source.connect() as conn, target.connect() as other:
        for one in (conn, other):
            make_zoo(one, rows=False)
        conn.execute(f"CREATE PUBLICATION {ALL.name} FOR TABLE zoo.generated_key")
        slot_name = f"zoo_{source.name}"
        conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot_name,))
        _subscribe(other, source, slot_name, "off")
        other.execute("ALTER SUBSCRIPTION zoo SET (disable_on_error = true)")
        conn.execute("INSERT INTO zoo.generated_key (a) VALUES (1)")
        conn.execute("UPDATE zoo.generated_key SET a = 2")
        for _ in poll_until(soon(), first=0.05, most=0.2):
            enabled = other.execute("SELECT subenabled FROM pg_subscription").fetchone()
            if enabled == (False,):
                break
        assert enabled == (False,)
        other.execute("ALTER SUBSCRIPTION zoo SET (slot_name = NONE)")
        other.execute("DROP SUBSCRIPTION zoo")
