"""Replica identities that a publication declares: set, remembered, undone, on real servers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bluegreen.errors import Refused, Retry
from bluegreen.postgres.publications import Publication
from bluegreen.replication.publication import publishing, replica_identity
from tests.fixtures.databases import Connection, Database, soon
from tests.fixtures.postgres import EVERY_MAJOR

ALL = Publication("bg_identities", all_tables=True)


@pytest.fixture(params=EVERY_MAJOR)
def database(request: pytest.FixtureRequest, make_database: Callable[..., Database]) -> Database:
    """Return an empty database."""
    return make_database(request.param)


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """Return a superuser's connection to it."""
    with database.connect() as made:
        yield made


def _publish(conn: Connection, identities: dict[str, str], *, alter: bool = True) -> None:
    publishing.ensure(conn, ALL, identities, alter=alter, deadline=soon())


def _letters(conn: Connection) -> dict[str, str]:
    rows = conn.execute(
        "SELECT relname, relreplident FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p')"
    ).fetchall()
    return dict(rows)


def test_a_partitioned_table_is_declared_once_and_set_one_by_one(conn: Connection) -> None:
    conn.execute("""
        CREATE TABLE events (id int NOT NULL, v text) PARTITION BY RANGE (id);
        CREATE UNIQUE INDEX events_id ON events (id);
        CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (9);
        CREATE TABLE events_2 PARTITION OF events DEFAULT;
    """)
    with pytest.raises(Refused, match=r"events_1 \(has no .*\), public\.events_2 \(has no"):
        _publish(conn, {})
    _publish(conn, {"public.events": "index events_id"})
    assert _letters(conn) == {"events": "i", "events_1": "i", "events_2": "i"}
    conn.execute("UPDATE events SET v = 'x'")
    publishing.drop(conn, ALL.name, deadline=soon())
    assert _letters(conn) == {"events": "d", "events_1": "d", "events_2": "d"}


def test_an_identity_that_is_no_longer_declared_is_undone(conn: Connection) -> None:
    conn.execute("CREATE TABLE a (n int); CREATE TABLE b (n int PRIMARY KEY)")
    conn.execute("ALTER TABLE a REPLICA IDENTITY NOTHING")
    _publish(conn, {"public.a": "full", "public.b": "full"})
    assert _letters(conn) == {"a": "f", "b": "f"}
    _publish(conn, {"public.a": "full"})
    assert _letters(conn) == {"a": "f", "b": "d"}
    with pytest.raises(Refused, match=r"public\.a \(has no replica identity\)"):
        _publish(conn, {})  # undone it would have none: refused before that
    assert _letters(conn) == {"a": "f", "b": "d"}
    publishing.drop(conn, ALL.name, deadline=soon())
    assert _letters(conn) == {"a": "n", "b": "d"}


def test_what_an_interrupted_update_had_set_is_undone_by_the_next(conn: Connection) -> None:
    """It ends after the identity and before the publication."""
    conn.execute("CREATE TABLE a (n int)")
    wanted = {"public.a": "full"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "_apply", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _publish(conn, wanted, alter=False)
    assert _letters(conn) == {"a": "f"}
    _publish(conn, wanted, alter=False)
    publishing.drop(conn, ALL.name, deadline=soon())
    assert _letters(conn) == {"a": "d"}


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ("index gone", "it has no index 'gone'; create it first, unique"),
        ("index partial", "index 'partial' is partial; expected unique"),
        ("index nullable", "index 'nullable' is on a nullable column; expected"),
        ("index plain", "index 'plain' is not unique; expected"),
        ("index expression", "index 'expression' is on an expression; expected"),
        ("default", "got 'default', expected full or index NAME"),
    ],
)
def test_an_index_that_identifies_nothing_is_refused_saying_why(
    conn: Connection, wish: str, said: str
) -> None:
    conn.execute("""
        CREATE TABLE a (n int NOT NULL, m int);
        CREATE UNIQUE INDEX partial ON a (n) WHERE n > 0;
        CREATE UNIQUE INDEX nullable ON a (m);
        CREATE INDEX plain ON a (n);
        CREATE UNIQUE INDEX expression ON a ((n + 0));
    """)
    with pytest.raises(Refused) as raised:
        _publish(conn, {"public.a": wish})
    assert f"replica identity of public.a: {said}" in str(raised.value)
    assert _letters(conn) == {"a": "d"}


def test_a_table_that_does_not_exist_is_named(conn: Connection) -> None:
    with pytest.raises(Refused, match=r"replica identity of public\.gone: no such table"):
        _publish(conn, {"public.gone": "full"})


def test_included_columns_are_no_part_of_the_identity(conn: Connection) -> None:
    conn.execute("""
        CREATE TABLE a (n int NOT NULL, extra int);
        CREATE UNIQUE INDEX with_extra ON a (n) INCLUDE (extra);
    """)
    _publish(conn, {"public.a": "index with_extra"})
    conn.execute("UPDATE a SET extra = 1")
    (found,) = [one for one in replica_identity.published(conn, ALL.name) if one.name == "a"]
    assert found.indexes[0]["columns"] == ["n"]


def test_a_lock_is_waited_for_and_whoever_holds_it_is_named(
    conn: Connection, database: Database
) -> None:
    conn.execute("CREATE TABLE a (n int)")
    with database.connect() as reader:
        wanted, now = {"public.a": "full"}, time.monotonic()
        with reader.transaction():
            reader.execute("SELECT FROM a")
            with pytest.raises(Retry) as raised:
                publishing.ensure(conn, ALL, wanted, alter=False, deadline=now)
        pid = reader.info.backend_pid
        assert f"table public.a: no lock to set its replica identity: pid {pid} of" in str(
            raised.value
        )
        with ThreadPoolExecutor() as pool:
            with reader.transaction():
                reader.execute("SELECT FROM a")
                waiting = pool.submit(_publish, conn, {"public.a": "full"})
                with pytest.raises(TimeoutError):
                    waiting.result(timeout=0.2)
            waiting.result(timeout=30)
    assert _letters(conn) == {"a": "f"}
