"""`postgres:ReplicationSlot` in trouble: a server that stops, crashes, or has no room for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bluegreen.polling import poll_until
from dynamic_providers.replication_slot import ReplicationSlotProvider
from lab.postgres.server import LabServer
from tests.fixtures import provider_host as hosts
from tests.fixtures.databases import Connection, Database, soon
from tests.fixtures.postgres import OLD_AND_NEW, MakeServer
from tests.fixtures.provider_host import Host, HostError, ProviderHost
from tests.fixtures.rds import PlacedClusters
from tests.fixtures.slotted import PUBLICATION, allow_stamps, find_slot, published, wish


@pytest.fixture
def host(provider_host: Host) -> ProviderHost:
    """Return the provider in its host."""
    return provider_host.of(ReplicationSlotProvider())


@pytest.fixture(params=OLD_AND_NEW)
def own(request: pytest.FixtureRequest, make_server: MakeServer) -> Database:
    """Return a database on a server of the test's own, which may be stopped and killed."""
    lab: LabServer = make_server(request.param, "own", max_slot_wal_keep_size="1MB")
    with lab.connect() as conn:
        conn.execute("CREATE DATABASE app")
    return published(Database(lab, "app"))


@pytest.fixture
def props(own: Database, placed: PlacedClusters) -> dict[str, Any]:
    """Return the wish for a slot on it."""
    return wish(own, placed.place(own.lab, "orders-1").to_props())


@pytest.mark.parametrize("end", [LabServer.stop, LabServer.kill])
def test_neither_readers_nor_restart_nor_crash_make_it_another_one(
    host: ProviderHost, own: Database, props: dict[str, Any], end: Callable[[LabServer], None]
) -> None:
    allow_stamps(own)
    made = host.create(props)
    for _ in range(2):
        with own.connect() as conn:
            conn.execute("INSERT INTO orders SELECT coalesce(max(id), 0) + 1 FROM orders")
            conn.execute(
                "SELECT FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL,"
                " 'proto_version', '1', 'publication_names', %s)",
                (props["name"], PUBLICATION),
            )
        live = host.read(made)
        assert live is not None
        assert live.outs["status"] == "reserved"
    end(own.lab)
    own.lab.start()
    live = host.read(made)
    assert live is not None
    assert live.outs["status"] == "reserved"
    assert host.update(live, props).outs["stamp"] == made.outs["stamp"] is not None


def test_a_lost_slot_means_clone_again(
    host: ProviderHost, own: Database, props: dict[str, Any]
) -> None:
    made = host.create(props)
    with own.lab.as_superuser(own.name) as conn:
        for _ in range(3):
            conn.execute("SELECT pg_switch_wal()")
            conn.execute("INSERT INTO orders SELECT coalesce(max(id), 0) + 1 FROM orders")
        conn.execute("CHECKPOINT")
    live = host.read(made)
    assert live is not None
    assert live.outs["status"] == live.outs["wal_status"] == "lost"
    if own.lab.major >= 17:
        assert live.outs["inactive_reason"] == "invalidated: wal_removed"
    assert host.diff(live, props).changes
    with pytest.raises(HostError, match=r"slot .* on orders-1: lost.*clone again"):
        host.update(live, props)
    with pytest.raises(HostError, match="exists and is lost"):
        host.create(props)
    host.delete(live)


def test_a_position_that_moved_back_in_a_crash_is_fine(
    host: ProviderHost, own: Database, props: dict[str, Any]
) -> None:
    made = host.create(props)
    with own.connect() as conn:
        conn.execute("CHECKPOINT")
        conn.execute("INSERT INTO orders VALUES (1)")
        conn.execute(
            "SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())",
            (props["name"],),
        )
        advanced = find_slot(conn, props["name"])
    own.lab.kill()
    own.lab.start()
    with own.connect() as conn:
        after = find_slot(conn, props["name"])
    assert advanced is not None
    assert after is not None
    live = host.read(made)
    assert live is not None
    assert live.outs["status"] == "reserved"
    assert not host.diff(live, props).changes
    host.update(live, props)


def test_a_host_killed_while_it_waits_leaves_no_slot(
    own: Database, props: dict[str, Any], moto_url: str, tmp_path: Path
) -> None:
    with own.connect() as writer, own.connect() as conn, ThreadPoolExecutor() as pool:
        with writer.transaction():
            writer.execute("INSERT INTO orders VALUES (1)")
            with hosts.running(moto_url, tmp_path / "stderr") as killed:
                creating = pool.submit(killed.of(ReplicationSlotProvider()).create, props)
                _wait_for_half_slot(conn, props["name"])
                os.kill(killed.pid, signal.SIGKILL)
                with pytest.raises(HostError):
                    creating.result(timeout=30)
            # The server notices by itself, while the writer is still open.
            for _ in poll_until(soon(), first=0.05, most=0.2):
                if find_slot(conn, props["name"]) is None:
                    break
        assert find_slot(conn, props["name"]) is None
    with hosts.running(moto_url, tmp_path / "again") as again:
        assert again.of(ReplicationSlotProvider()).create(props).outs["status"] == "reserved"


def test_a_server_killed_while_it_waits_leaves_no_slot(
    host: ProviderHost, own: Database, props: dict[str, Any]
) -> None:
    with ThreadPoolExecutor() as pool:
        writer = own.connect()
        writer.execute("BEGIN")
        writer.execute("INSERT INTO orders VALUES (1)")
        creating = pool.submit(host.create, props)
        with own.connect() as conn:
            _wait_for_half_slot(conn, props["name"])
        own.lab.kill()
        writer.close()
        with pytest.raises(HostError) as raised:
            creating.result(timeout=30)
        assert "\n" not in str(raised.value)
    own.lab.start()
    with own.connect() as conn:
        assert find_slot(conn, props["name"]) is None
    assert host.create(props).outs["status"] == "reserved"


def _wait_for_half_slot(conn: Connection, name: str) -> None:
    for _ in poll_until(soon(), first=0.02, most=0.1):
        found = find_slot(conn, name)
        if found is not None:
            assert found[3] is None, "it was made at once"
            return
    pytest.fail("nobody began to make the slot")


@pytest.mark.parametrize(
    ("parameter", "what"),
    [("max_replication_slots", "replication slots"), ("max_wal_senders", "WAL senders")],
)
def test_no_free_place_is_refused_before_anything_is_made(
    host: ProviderHost, make_server: MakeServer, placed: PlacedClusters, parameter: str, what: str
) -> None:
    lab = make_server(18, "small", **{parameter: "1"})
    with lab.connect() as conn:
        conn.execute("CREATE DATABASE app")
    small = published(Database(lab, "app"))
    props = wish(small, placed.place(lab, "orders-1").to_props())
    with small.connect() as conn, small.connect(replication="database") as sender:
        conn.execute("SELECT pg_create_physical_replication_slot('somebody')")
        if parameter == "max_replication_slots":
            sender.close()
        with pytest.raises(HostError) as raised:
            host.create(props)
        assert find_slot(conn, props["name"]) is None
    assert f"1 of 1 {what} are in use, 1 more needed; raise {parameter}" in str(raised.value)


def test_a_server_without_logical_replication_is_named(
    host: ProviderHost, make_server: MakeServer, placed: PlacedClusters
) -> None:
    lab = make_server(16, "plain", wal_level="replica")
    with lab.connect() as conn:
        conn.execute("CREATE DATABASE app")
    props = wish(Database(lab, "app"), placed.place(lab, "orders-1").to_props())
    with pytest.raises(HostError, match=r"set rds\.logical_replication to 1 and reboot"):
        host.create(props)
