"""The lab's clones are exact, and its upgrades keep the data."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from lab.postgres import clone as copies
from lab.postgres.fleet import Fleet
from lab.postgres.server import LabServer
from tests.fixtures.postgres import OLD_AND_NEW, MakeServer


def _copy_of(source: LabServer, number: int) -> LabServer:
    block = source.host.rpartition(".")[0]
    return dataclasses.replace(
        source, name=f"copy-{number}", host=f"{block}.{number}", parameters={}
    )


@pytest.mark.parametrize("major", OLD_AND_NEW)
def test_a_clone_holds_exactly_the_commits_before_its_lsn(
    make_server: MakeServer, major: int
) -> None:
    source = make_server(major, "source")
    copy = _copy_of(source, 60)
    with source.connect() as conn:
        conn.execute("CREATE TABLE ledger (n int PRIMARY KEY, lsn pg_lsn)")
        conn.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    stop = threading.Event()

    def write() -> None:
        with source.connect() as conn:
            n = 0
            while not stop.is_set():
                conn.execute("INSERT INTO ledger VALUES (%s, pg_current_wal_lsn())", (n,))
                n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        lsn = copies.clone(source, copy, {"wal_level": "logical", "shared_buffers": "32MB"})
        with copy.connect() as conn:
            held = [n for (n,) in conn.execute("SELECT n FROM ledger ORDER BY n")]
            told = conn.execute("SELECT aurora_volume_logical_start_lsn()::text").fetchone()
            slots = conn.execute("SELECT slot_name FROM pg_replication_slots").fetchall()
    finally:
        stop.set()
        writer.join()
        copy.remove()
    assert held == list(range(len(held)))
    with source.connect() as conn:
        after = conn.execute(
            "SELECT count(*) FILTER (WHERE lsn < %s AND n > %s) FROM ledger", (str(lsn), held[-1])
        ).fetchone()
    # The row's own LSN is read before its commit record, so one may straddle; no more.
    assert after is not None
    assert after[0] <= 1
    assert told == (str(lsn),)
    assert slots == [("s",)]


@pytest.mark.slow
def test_the_fleet_upgrades_and_frees_addresses(postgres_root, block) -> None:  # type: ignore[no-untyped-def]
    fleet = Fleet(postgres_root, block, 5434)
    try:
        first = fleet.create(
            "arn:cluster:first",
            major=16,
            parameters={"rds.logical_replication": "1"},
            master_username="m",
            master_password="p",
            database="app",
        )
        with fleet.server("arn:cluster:first").connect("app") as conn:
            conn.execute("CREATE TABLE t AS SELECT 42 AS n")
        fleet.standby("arn:cluster:west", "arn:cluster:first")
        fleet.clone("arn:cluster:second", "arn:cluster:first", parameters={})
        fleet.upgrade("arn:cluster:second", 18, {"rds.logical_replication": "1"})
        with fleet.server("arn:cluster:second").connect("app") as conn:
            row = conn.execute("SELECT n, current_setting('server_version_num') FROM t").fetchone()
            level = conn.execute("SHOW wal_level").fetchone()
        fleet.delete("arn:cluster:first")
        third = fleet.clone("arn:cluster:third", "arn:cluster:second", parameters={})
    finally:
        fleet.close()
    assert row is not None
    assert row[0] == 42
    assert row[1].startswith("18")
    assert level == ("logical",)
    assert third == first
