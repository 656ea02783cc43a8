"""`postgres:ReplicationSlot` on real servers, through the real provider host: its whole life."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from bluegreen.polling import poll_until
from bluegreen.replication import slot
from dynamic_providers.replication_slot import ReplicationSlotProvider
from tests.fixtures.databases import Connection, Database, soon
from tests.fixtures.postgres import MASTER, OLD_AND_NEW, PASSWORD
from tests.fixtures.provider_host import Host, HostError, Made, ProviderHost
from tests.fixtures.rds import PlacedClusters
from tests.fixtures.slotted import PUBLICATION, allow_stamps, find_slot, published, wish


@pytest.fixture(params=OLD_AND_NEW)
def database(request: pytest.FixtureRequest, make_database: Callable[..., Database]) -> Database:
    """Return a database with one table that is published."""
    return published(make_database(request.param))


@pytest.fixture
def host(provider_host: Host) -> ProviderHost:
    """Return the provider in its host."""
    return provider_host.of(ReplicationSlotProvider())


@pytest.fixture
def props(database: Database, placed: PlacedClusters) -> dict[str, Any]:
    """Return the wish for a slot."""
    return wish(database, database.place(placed).to_props())


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """Return a superuser's connection to the database."""
    with database.connect() as made:
        yield made


def _drop(conn: Connection, name: str) -> None:
    conn.execute("SELECT pg_drop_replication_slot(%s)", (name,))


# Create ----------------------------------------------------------------------------------------


def test_create_makes_it(host: ProviderHost, props: dict[str, Any], conn: Connection) -> None:
    made = host.create(props)
    assert made.id == f"{props['database']}/{props['name']}"
    point = made.outs["consistent_point"]
    assert find_slot(conn, props["name"]) == ("pgoutput", props["database"], False, point)
    assert made.outs["status"] == made.outs["wal_status"] == "reserved"
    assert made.outs["active"] is False
    assert made.outs["inactive_reason"].startswith("nobody reads it")
    assert isinstance(made.outs["retained_bytes"], str)


@pytest.mark.parametrize(
    ("by_hand", "said"),
    [
        ("pg_create_physical_replication_slot({})", "is physical, expected logical"),
        ("pg_create_logical_replication_slot({}, 'pgoutput', true)", "is temporary, expected"),
    ],
    ids=["physical", "temporary"],
)
def test_refuses_what_differs_and_names_the_difference(
    host: ProviderHost, props: dict[str, Any], conn: Connection, by_hand: str, said: str
) -> None:
    call = sql.SQL(by_hand).format(sql.Literal(props["name"]))
    conn.execute(sql.SQL("SELECT {}").format(call))
    try:
        with pytest.raises(HostError, match=f"slot {props['name']} on orders-1: exists and {said}"):
            host.create(props)
    finally:
        _drop(conn, props["name"])


def test_refuses_a_slot_of_another_database(
    host: ProviderHost,
    props: dict[str, Any],
    database: Database,
    make_database: Callable[..., Database],
) -> None:
    other = make_database(database.lab.major)
    with other.connect() as conn:
        conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (props["name"],))
    with pytest.raises(HostError, match=f"belongs to database '{other.name}', expected"):
        host.create(props)


def test_waits_for_open_writers_naming_them(
    host: ProviderHost,
    props: dict[str, Any],
    database: Database,
    provider_host: Host,
) -> None:
    with database.connect() as writer, ThreadPoolExecutor() as pool:
        with writer.transaction():
            writer.execute("INSERT INTO orders VALUES (1)")
            creating = pool.submit(host.create, props)
            named = f"waiting for open transactions: pid {writer.info.backend_pid} of {MASTER}, "
            _wait_until_logged(provider_host.log, named)
            assert not creating.done()
        made = creating.result(timeout=30)
    assert made.outs["status"] == "reserved"


def test_gives_up_naming_who_held_it_up_and_leaves_no_slot(
    host: ProviderHost, props: dict[str, Any], database: Database, conn: Connection
) -> None:
    with database.connect() as writer, writer.transaction():
        writer.execute("INSERT INTO orders VALUES (1)")
        pid = writer.info.backend_pid
        with pytest.raises(HostError) as raised:
            host.create(props | {"wait_seconds": 1.0})
        assert find_slot(conn, props["name"]) is None
    assert (
        f"not made within 1 s, since it waits for open writing transactions: pid {pid} of"
        in str(raised.value)
    )


def _wait_until_logged(log: Path, text: str) -> None:
    for _ in poll_until(soon(), first=0.05, most=0.2):
        if text in log.read_text():
            return
    pytest.fail(f"never said: {text}")


# Change ----------------------------------------------------------------------------------------


def test_change_in_place(host: ProviderHost, props: dict[str, Any]) -> None:
    made = host.create(props)
    longer = props | {"wait_seconds": 20.0}
    assert host.check(props, longer) == {}
    change = host.diff(made, longer)
    assert (change.changes, change.replaces) == (True, [])
    after = host.update(made, longer)
    assert after.outs["consistent_point"] == made.outs["consistent_point"]
    assert after.outs["wait_seconds"] == 20


def test_a_refresh_warns_of_what_it_keeps(
    host: ProviderHost,
    props: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = host.create(props)
    provider = ReplicationSlotProvider()
    provider.read(made.id, made.outs)
    assert "GiB of WAL" not in caplog.text
    monkeypatch.setattr(slot, "RETAINED_BYTES", 0)
    provider.read(made.id, made.outs)
    assert f"slot {props['name']} on {props['server']['cluster']}: keeps 0.0 GiB" in caplog.text


def _is_told(
    host: ProviderHost, made: Made, props: dict[str, Any], status: str, words: str
) -> None:
    """Refresh shows the status as a drift, and the next update refuses in these words."""
    live = host.read(made)
    assert live is not None
    assert live.outs["status"] == status
    assert host.diff(live, props).changes
    with pytest.raises(HostError, match=words):
        host.update(live, props)


def test_one_that_was_made_anew_by_hand_is_told(
    host: ProviderHost, props: dict[str, Any], database: Database, conn: Connection
) -> None:
    """It is readable, and lacks what was written before it."""
    allow_stamps(database)
    made = host.create(props)
    _drop(conn, props["name"])
    conn.execute("INSERT INTO orders VALUES (1)")
    conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (props["name"],))
    _is_told(host, made, props, "replaced", r"recreated by somebody else; .*clone again")
    peeked = conn.execute(
        "SELECT FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL, 'proto_version', '1',"
        " 'publication_names', %s)",
        (props["name"], PUBLICATION),
    )
    assert peeked.fetchall() == []  # the row is lost


@pytest.mark.parametrize("key", ["name", "database"])
def test_a_change_that_must_replace_is_refused_at_preview(
    host: ProviderHost, props: dict[str, Any], key: str
) -> None:
    failures = host.check(props, props | {key: "other"})
    assert list(failures) == [key]
    assert "can't become 'other' in place" in failures[key]


def test_no_change_gives_no_diff_although_its_figures_move(
    host: ProviderHost, props: dict[str, Any], conn: Connection
) -> None:
    made = host.create(props)
    assert not host.diff(made, props).changes
    conn.execute("INSERT INTO orders SELECT generate_series(1, 1000)")
    live = host.read(made)
    assert live is not None
    assert int(live.outs["retained_bytes"]) > int(made.outs["retained_bytes"])
    assert not host.diff(live, props).changes


def test_refresh_shows_who_reads_it(
    host: ProviderHost, props: dict[str, Any], database: Database
) -> None:
    made = host.create(props)
    with database.connect(replication="database", prepare_threshold=None) as reader:
        reader.pgconn.send_query(
            f"START_REPLICATION SLOT {props['name']} LOGICAL 0/0"
            f" (proto_version '1', publication_names '{PUBLICATION}')".encode()
        )
        for _ in poll_until(soon(), first=0.02, most=0.2):
            live = host.read(made)
            if live is not None and live.outs["active"]:
                break
        assert live is not None
        assert live.outs["active"] is True
        assert "inactive_reason" not in live.outs
        reader.pgconn.finish()


# Delete ----------------------------------------------------------------------------------------


def test_delete_ends_whoever_reads_it(
    host: ProviderHost, props: dict[str, Any], database: Database, conn: Connection
) -> None:
    made = host.create(props)
    with database.connect(replication="database", prepare_threshold=None) as reader:
        reader.pgconn.send_query(
            f"START_REPLICATION SLOT {props['name']} LOGICAL 0/0"
            f" (proto_version '1', publication_names '{PUBLICATION}')".encode()
        )
        host.delete(made)
        reader.pgconn.finish()
    assert find_slot(conn, props["name"]) is None


def test_a_missing_privilege_is_named_with_its_grant(
    host: ProviderHost, props: dict[str, Any], conn: Connection, placed: PlacedClusters
) -> None:
    role = f"weak_{props['database']}"
    names = sql.Identifier(role), sql.Literal(PASSWORD)
    conn.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(*names))
    props["server"]["credentials"]["admin_secret_arn"] = placed.secret("weak", role, PASSWORD)
    try:
        with pytest.raises(HostError) as raised:
            host.create(props)
    finally:
        conn.execute(sql.SQL("DROP ROLE {}").format(names[0]))
    assert f'; GRANT rds_replication TO "{role}" (' in str(raised.value)
    assert "\n" not in str(raised.value)
    assert find_slot(conn, props["name"]) is None
