"""Switches made by hand between two real servers, right and wrong ones: what the checker says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from lab.postgres.clone import clone, wait_until
from lab.postgres.server import SUPERUSER, LabServer
from lab.workload import checker, schema
from lab.workload.address import Address
from lab.workload.checker import Side
from lab.workload.login import APP_DATABASE, BENCH_DATABASE, Login
from lab.workload.schema import Logins
from lab.workload.workload import Workload
from tests.fixtures.postgres import MASTER, PASSWORD, MakeServer

Connection = psycopg.Connection[tuple[Any, ...]]

LOGINS = Logins()
DATABASES = (APP_DATABASE, BENCH_DATABASE)
NAME = "writer.shop.example"

# Every Python process runs this first: names come from a file, as in the lab from its DNS.
RESOLVER = """
import json, os, socket
_real = socket.getaddrinfo
def getaddrinfo(host, *args, **kwargs):
    with open({names!r}) as file:
        return _real(json.load(file).get(host, host), *args, **kwargs)
socket.getaddrinfo = getaddrinfo
"""


class Names:
    """A name service that can be told to move a name."""

    def __init__(self, file: Path, environment: dict[str, str]) -> None:
        self._file, self.environment = file, environment

    def move(self, server: LabServer) -> None:
        """Let the writer's name mean `server`."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps({NAME: server.host}))
        fresh.rename(self._file)


@pytest.fixture
def names(tmp_path: Path) -> Names:
    """Return the name service of the workload's processes."""
    site = tmp_path / "site"
    site.mkdir()
    file = tmp_path / "names.json"
    (site / "sitecustomize.py").write_text(RESOLVER.format(names=str(file)))
    return Names(file, os.environ | {"PYTHONPATH": str(site)})


@dataclass
class Pair:
    """Two servers, each following the other when it is the standby."""

    blue: LabServer
    green: LabServer


@pytest.fixture
def pair(make_server: MakeServer, postgres_root: Path, block: str) -> Iterator[Pair]:
    """Return a seeded server and its clone, which follows it."""
    blue = make_server(18, "source")
    schema.seed(blue.host, blue.port, Login(MASTER, PASSWORD), LOGINS, bench_scale=1)
    green = LabServer("target", 18, postgres_root, f"{block}.60", blue.port)
    for name in DATABASES:
        with blue.connect(name) as conn:
            if name == BENCH_DATABASE:
                conn.execute("ALTER TABLE pgbench_history REPLICA IDENTITY FULL")
            conn.execute("CREATE PUBLICATION p FOR ALL TABLES")
            conn.execute(
                "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (f"f_{name}",)
            )
    try:
        lsn = clone(blue, green, blue.parameters)
        _close(green)
        for name in DATABASES:
            with green.connect(name) as conn:
                conn.execute("SELECT pg_drop_replication_slot(%s)", (f"f_{name}",))
            _subscribe(green, blue, name, f"f_{name}", str(lsn))
            with green.connect(name) as conn:
                conn.execute(
                    "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (f"r_{name}",)
                )
            _subscribe(blue, green, name, f"r_{name}", None)
        yield Pair(blue, green)
    finally:
        green.remove()
        green.log.unlink(missing_ok=True)


def _subscribe(to: LabServer, of: LabServer, database: str, slot: str, start: str | None) -> None:
    with to.as_superuser(database) as conn:  # who needs no password
        conn.execute(
            sql.SQL(
                "CREATE SUBSCRIPTION {slot} CONNECTION {conninfo} PUBLICATION p WITH ("
                "create_slot=false, slot_name={slot}, copy_data=false, enabled=false, origin=none)"
            ).format(
                slot=sql.Identifier(slot),
                conninfo=sql.Literal(
                    f"host={of.host} port={of.port} dbname={database} user={SUPERUSER}"
                ),
            )
        )
        if start is not None:
            conn.execute(
                "SELECT pg_replication_origin_advance('pg_' || oid, %s::pg_lsn)"
                " FROM pg_subscription WHERE subname = %s",
                (start, slot),
            )
        conn.execute(sql.SQL("ALTER SUBSCRIPTION {} ENABLE").format(sql.Identifier(slot)))


def _close(server: LabServer) -> None:
    with server.connect() as conn:
        for name in DATABASES:
            _set(conn, name, "SET default_transaction_read_only = on")


def _open(server: LabServer) -> None:
    with server.connect() as conn:
        for name in DATABASES:
            _set(conn, name, "RESET default_transaction_read_only")


def _set(conn: Connection, database: str, what: LiteralString) -> None:
    conn.execute(sql.SQL("ALTER DATABASE {} {}").format(sql.Identifier(database), sql.SQL(what)))


def _end_sessions(server: LabServer) -> None:
    """End the sessions of applications that began before now."""
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename IN ('app_user', 'pgbench_user') AND backend_start <= %s"
    )
    with server.connect() as conn:
        (now,) = conn.execute("SELECT clock_timestamp()").fetchone() or (None,)
        clean = 0
        while clean < 2:
            clean = 0 if conn.execute(query, (now,)).fetchall() else clean + 1


def _drain(server: LabServer) -> None:
    """Wait until both subscribers have applied everything."""
    with server.connect() as conn:
        (lsn,) = conn.execute("SELECT pg_current_wal_lsn()").fetchone() or (None,)

        def applied() -> bool:
            rows = conn.execute(
                "SELECT replay_lsn >= %s FROM pg_stat_replication", (lsn,)
            ).fetchall()
            return len(rows) == len(DATABASES) and all(done for (done,) in rows)

        wait_until(applied, "the other side to apply everything", 30)


def _copy_sequences(old: LabServer, new: LabServer) -> None:
    with old.connect(APP_DATABASE) as source, new.connect(APP_DATABASE) as target:
        rows = source.execute(
            "SELECT format('%I.%I', schemaname, sequencename), last_value FROM pg_sequences"
            " WHERE last_value IS NOT NULL"
        ).fetchall()
        for row in rows:
            target.execute("SELECT setval(%s::regclass, %s)", row)


def _switch(old: LabServer, new: LabServer, names: Names) -> None:
    _close(old)
    _end_sessions(old)
    _drain(old)
    _copy_sequences(old, new)
    _open(new)
    names.move(new)


def _side(server: LabServer) -> Side:
    return Side(server.host, server.port, Login(MASTER, PASSWORD))


def _where(server: LabServer) -> Address:
    return Address(server.host, server.port)


def _started(pair: Pair, names: Names, folder: Path) -> Workload:
    names.move(pair.blue)
    workload = Workload(folder, LOGINS, names.environment)
    workload.start(NAME, pair.blue.port, clients=8, rate=1000)
    workload.probe(pair.blue.host, pair.blue.port)
    workload.probe(pair.green.host, pair.green.port)
    return workload


@pytest.mark.slow
def test_a_switch_and_its_way_back_are_measured_and_proved(
    pair: Pair, names: Names, tmp_path: Path
) -> None:
    folder = tmp_path / "records"
    with _started(pair, names, folder) as workload:
        workload.wait_for_commits(1000)
        _switch(pair.blue, pair.green, names)
        after = workload.wait_for_commits(2000)
        assert after.servers == (_where(pair.green),)
        (seen,) = checker.switches_so_far(folder)
        assert (seen.old, seen.new) == (_where(pair.blue), _where(pair.green))
        _switch(pair.green, pair.blue, names)
        workload.wait_for_commits(1000)
    report = checker.check(folder, _side(pair.blue), _side(pair.green))
    assert report.problems == []
    assert report.sides_compared
    assert [(move.old, move.new) for move in report.switches] == [
        (_where(pair.blue), _where(pair.green)),
        (_where(pair.green), _where(pair.blue)),
    ]
    for move in report.switches:
        assert 0 < move.outage_ms <= move.worst_client_ms <= report.longest_gap_ms + 1000
        assert move.silent_clients == 0
    assert report.probed > 50


@pytest.mark.slow
def test_a_switch_without_sequences_is_found(pair: Pair, names: Names, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    with _started(pair, names, folder) as workload:
        workload.wait_for_commits(500)
    _close(pair.blue)
    _drain(pair.blue)
    report = checker.check(folder, _side(pair.green), _side(pair.blue))
    assert report.sequences_wrong >= 5
    assert report.keys.lost == ()
    assert report.differences == ()


@pytest.mark.slow
def test_a_writer_opened_without_a_fence_is_found_by_clients_and_by_probes(
    pair: Pair, names: Names, tmp_path: Path
) -> None:
    folder = tmp_path / "records"
    with _started(pair, names, folder) as workload:
        workload.wait_for_commits(500)
        with pair.blue.connect(APP_DATABASE) as conn:
            _copy_far_ahead(conn, pair.green)
        _open(pair.green)
        names.move(pair.green)
        _end_half_of_the_sessions(pair.blue)
        wait_until(lambda: len(workload.live().servers) == 2, "clients on both sides", 20)
        workload.wait_for_commits(500)
    report = checker.check(folder, _side(pair.green))
    assert report.commit_overlaps
    assert report.open_overlaps


def _copy_far_ahead(conn: Connection, new: LabServer) -> None:
    """Set the other side's sequences so far ahead that two writers do not collide."""
    rows = conn.execute(
        "SELECT format('%I.%I', schemaname, sequencename), last_value + 1000000 FROM pg_sequences"
        " WHERE last_value IS NOT NULL AND increment_by > 0 AND data_type = 'bigint'::regtype"
    ).fetchall()
    with new.connect(APP_DATABASE) as target:
        for row in rows:
            target.execute("SELECT setval(%s::regclass, %s)", row)


def _end_half_of_the_sessions(server: LabServer) -> None:
    with server.connect() as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
            " WHERE application_name = 'workload' AND usename = 'app_user' LIMIT 4) AS half"
        )


@pytest.mark.slow
def test_a_switch_that_does_not_drain_loses_and_is_found(
    pair: Pair, names: Names, tmp_path: Path
) -> None:
    folder = tmp_path / "records"
    with _started(pair, names, folder) as workload:
        workload.wait_for_commits(300)
        with pair.green.as_superuser(APP_DATABASE) as conn:
            conn.execute("ALTER SUBSCRIPTION f_app DISABLE")
        workload.wait_for_commits(300)
        _close(pair.blue)
        _end_sessions(pair.blue)
        _copy_sequences(pair.blue, pair.green)
        _open(pair.green)
        names.move(pair.green)
        workload.wait_for_commits(300)
    report = checker.check(folder, _side(pair.green))
    assert len(report.keys.lost) >= 200
    assert not report.ok
