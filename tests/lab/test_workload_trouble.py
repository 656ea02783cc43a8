"""The workload under trouble on a real server: it goes on, and settles what became of each key."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from lab.postgres.clone import wait_until
from lab.postgres.server import LabServer
from lab.workload import checker, transactions
from lab.workload.address import Address
from lab.workload.endpoint import open_session
from lab.workload.login import APP_DATABASE, BENCH_DATABASE
from lab.workload.records import Outcome, read_all
from lab.workload.workload import Workload
from tests.fixtures.workload import LOGINS, side_of, value

DATABASES = (APP_DATABASE, BENCH_DATABASE)
ROLES = [LOGINS.app.user, LOGINS.bench.user]


@pytest.mark.slow
def test_broken_connections_are_settled_truthfully(seeded: LabServer, tmp_path: Path) -> None:
    """Sessions are ended all the time, at any moment of a transaction."""
    with Workload(tmp_path) as workload, seeded.connect() as conn:
        workload.start(seeded.host, seeded.port, clients=4, rate=800, bench_rate=0)
        workload.wait_until_running()
        while workload.live().lost_connections < 60:
            _terminate(conn, ROLES)
        workload.wait_for_commits(50)
    report = checker.check(tmp_path, side_of(seeded))
    assert report.problems == []
    assert report.keys.ambiguous >= 60
    outcomes = {record.outcome for log in read_all(tmp_path) for record in log.records}
    assert Outcome.UNSETTLED not in outcomes


@pytest.mark.slow
@pytest.mark.parametrize("deferred", [False, True], ids=["at once", "at the commit"])
def test_what_the_server_refuses_is_recorded_as_refused(
    seeded: LabServer, tmp_path: Path, deferred: bool
) -> None:
    when = "DEFERRABLE INITIALLY DEFERRED" if deferred else "NOT DEFERRABLE"
    with seeded.connect(APP_DATABASE) as conn, Workload(tmp_path) as workload:
        conn.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'no' USING ERRCODE = 'QQ001'; END $$"
        )
        conn.execute(
            f"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON shop.audit_trail {when}"
            " FOR EACH ROW WHEN (new.n % 5 = 0) EXECUTE FUNCTION refuse()".encode()
        )
        try:
            workload.start(seeded.host, seeded.port, clients=2, rate=400, bench_rate=0)
            workload.wait_for_commits(100)
            last = workload.stop()
        finally:
            conn.execute("DROP FUNCTION refuse CASCADE")
    report = checker.check(tmp_path, side_of(seeded))
    assert report.problems == []
    assert report.errors == last.errors == {"QQ001": last.failed}
    assert report.keys.refused == last.failed >= 20
    assert last.connects == 2  # a refusal is no reason to connect again


@pytest.mark.slow
def test_a_crash_of_the_server_is_survived_and_settled(seeded: LabServer, tmp_path: Path) -> None:
    with Workload(tmp_path) as workload:
        workload.start(seeded.host, seeded.port, clients=4, rate=800)
        workload.wait_for_commits(200)
        seeded.kill()
        seeded.start()
        workload.wait_for_commits(200)
    report = checker.check(tmp_path, side_of(seeded))
    assert report.problems == []
    assert report.keys.ambiguous >= 1


def _terminate(conn: psycopg.Connection[Any], roles: list[str]) -> None:
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY (%s)", (roles,)
    )


@pytest.mark.slow
def test_settling_waits_for_a_transaction_that_is_still_under_way(seeded: LabServer) -> None:
    where = Address(seeded.host, seeded.port)
    key = (time.time_ns() // 1_000_000 * 1000 + 999, 1)
    with open_session(where, APP_DATABASE, LOGINS.app) as lost, seeded.connect() as watch:
        lost.execute("BEGIN")
        lost.execute("INSERT INTO shop.request (client, n, kind) VALUES (%s, %s, 3)", key)
        with (
            open_session(where, APP_DATABASE, LOGINS.app) as again,
            ThreadPoolExecutor(1) as thread,
        ):
            settled = thread.submit(transactions.settle, again, *key)
            wait_until(lambda: _waits(watch, again.info.backend_pid), "settle to wait", 20)
            assert not settled.done()
            lost.execute("COMMIT")
            assert settled.result(20) is True
    with seeded.connect(APP_DATABASE) as conn:
        conn.execute("DELETE FROM shop.request WHERE client = %s", (key[0],))


def _waits(conn: psycopg.Connection[Any], pid: int) -> bool:
    return bool(
        value(conn, "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", pid)
    )


@pytest.mark.slow
def test_a_settled_key_can_never_be_used_again(seeded: LabServer) -> None:
    key = (time.time_ns() // 1_000_000 * 1000 + 998, 1)
    with open_session(Address(seeded.host, seeded.port), APP_DATABASE, LOGINS.app) as conn:
        assert transactions.settle(conn, *key) is False
        assert transactions.settle(conn, *key) is False
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("INSERT INTO shop.request (client, n, kind) VALUES (%s, %s, 3)", key)
        conn.execute("DELETE FROM shop.request WHERE client = %s", (key[0],))


@pytest.mark.slow
def test_clients_wait_out_a_fence_and_go_on(seeded: LabServer, tmp_path: Path) -> None:
    with Workload(tmp_path) as workload, seeded.connect() as conn:
        workload.start(seeded.host, seeded.port, clients=4, rate=400, bench_rate=50)
        workload.probe(seeded.host, seeded.port)
        workload.wait_until_running()
        _fence(conn)
        closed = workload.live()
        wait_until(lambda: workload.live().errors.get("25006", 0) >= 4, "clients to be refused", 20)
        assert workload.live().committed <= closed.committed + 4
        _unfence(conn)
        _terminate(conn, ROLES)
        after = workload.wait_for_commits(200)
        assert after.longest_gap_ms > 0
    report = checker.check(tmp_path, side_of(seeded))
    assert report.problems == []
    assert report.switches == ()
    assert report.probed > 0


def _fence(conn: psycopg.Connection[Any]) -> None:
    for name in DATABASES:
        conn.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(
                sql.Identifier(name)
            )
        )
    fenced_at = value(conn, "SELECT clock_timestamp()")
    clean = 0
    while clean < 2:
        rows = conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = ANY (%s) AND backend_start <= %s",
            (ROLES, fenced_at),
        ).fetchall()
        clean = 0 if rows else clean + 1


def _unfence(conn: psycopg.Connection[Any]) -> None:
    for name in DATABASES:
        conn.execute(
            sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(
                sql.Identifier(name)
            )
        )
