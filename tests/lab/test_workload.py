"""The workload on real servers: its seed, its processes, its command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from typer.testing import CliRunner

from lab.postgres.clone import wait_until
from lab.postgres.server import LabServer
from lab.workload import checker, contents, schema
from lab.workload.__main__ import app
from lab.workload.address import Address
from lab.workload.endpoint import open_session
from lab.workload.login import APP_DATABASE, BENCH_DATABASE, Login
from lab.workload.records import read_all
from lab.workload.workload import Workload
from tests.fixtures.postgres import MASTER, PASSWORD, MakeServer
from tests.fixtures.workload import LOGINS, side_of, value

DATABASES = (APP_DATABASE, BENCH_DATABASE)


def test_a_hostile_client_does_all_that_a_fence_has_to_hold(
    seeded: LabServer, tmp_path: Path
) -> None:
    """Its commits are records as any other's: the test of them all has one among its clients."""
    expected = {"workload", "workload pool", "workload idle in transaction", "workload queue"}
    with Workload(tmp_path) as workload, seeded.connect(APP_DATABASE) as conn:
        workload.start(seeded.host, seeded.port, clients=1, rate=50, bench_rate=0, hostile=1)
        workload.wait_for_commits(5)
        sessions = "SELECT application_name FROM pg_stat_activity WHERE usename = %s"
        wait_until(
            lambda: expected <= {name for (name,) in conn.execute(sessions, (LOGINS.app.user,))},
            "its sessions",
            20,
        )
        half_way = (
            "SELECT FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'virtualxid' AND a.usesysid IS NULL"
            " AND coalesce(a.backend_type, 'client backend') = 'client backend'"
        )
        wait_until(lambda: conn.execute(half_way).rowcount > 0, "a login that stops half-way", 20)


def test_the_seed_is_a_million_rows_in_twenty_tables_and_more(seeded: LabServer) -> None:
    with seeded.connect(APP_DATABASE) as conn:
        names = contents.tables(conn)
        contained = [contents.fingerprint(conn, name) for name in names]
        longest = max(len(name.encode()) for _, name in names)
        owner_of = value(conn, "SELECT datdba::regrole::text FROM pg_database WHERE datname='app'")
    assert sum(content.rows for content in contained if content is not None) >= 1_000_000
    assert len(names) >= 20
    assert longest == 63
    assert owner_of == MASTER


def test_the_replicator_may_replicate_with_its_password(seeded: LabServer) -> None:
    login = LOGINS.replicator
    for name in DATABASES:
        with psycopg.connect(
            host=seeded.host,
            port=seeded.port,
            dbname=name,
            user=login.user,
            password=login.password,
            replication="database",
            autocommit=True,
        ) as conn:
            assert conn.execute("IDENTIFY_SYSTEM").fetchone() is not None


def test_a_wrong_password_is_refused(seeded: LabServer) -> None:
    wrong = Login(LOGINS.app.user, "another one")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        open_session(Address(seeded.host, seeded.port), APP_DATABASE, wrong)


@pytest.mark.slow
def test_the_seed_runs_on_16_too(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(16)
    schema.seed(server.host, server.port, Login(MASTER, PASSWORD), LOGINS, bench_scale=1)
    with Workload(tmp_path) as workload:
        workload.start(server.host, server.port, clients=2, rate=200)
        workload.wait_for_commits(100)
    assert checker.check(tmp_path, side_of(server)).problems == []


@pytest.mark.slow
def test_a_client_that_died_is_reported_by_name(seeded: LabServer, tmp_path: Path) -> None:
    with Workload(tmp_path) as workload:
        workload.start(seeded.host, seeded.port, clients=2, rate=100, bench_rate=0)
        workload.wait_until_running()
        # Its own children only: the run's other processes, such as the provider host, are not ours.
        clients = [
            one for one in psutil.Process().children() if "lab.workload.child" in one.cmdline()
        ]
        victim = clients[-1]
        victim.kill()
        # Not waited for: that would take its exit status away from whoever started it.
        wait_until(lambda: victim.status() == psutil.STATUS_ZOMBIE, "the client to die", 10)
        with pytest.raises(RuntimeError, match=r"client 1 has exited with -9"):
            workload.live()
        with pytest.raises(RuntimeError, match="client 1"):
            workload.stop()
    assert checker.check(tmp_path, side_of(seeded)).problems == []


@pytest.mark.slow
def test_no_process_outlives_the_one_that_started_it(seeded: LabServer, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lab.workload.workload import Workload;"
        "w = Workload(Path(sys.argv[1])); w.start(sys.argv[2], int(sys.argv[3]));"
        "w.wait_until_running(); print('running', flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), seeded.host, str(seeded.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"running\n"
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) >= 9
    parent.kill()
    parent.communicate()
    assert psutil.wait_procs(family, timeout=20)[1] == []


@pytest.mark.slow
def test_passwords_are_in_no_process_list(seeded: LabServer, tmp_path: Path) -> None:
    with Workload(tmp_path) as workload:
        workload.start(seeded.host, seeded.port, clients=1, rate=50)
        workload.wait_for_commits(5)
        shown = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert any("lab.workload.child" in line for line in shown)
    assert not any(LOGINS.app.password in line for line in shown)


@pytest.mark.slow
def test_the_command_runs_and_checks(
    seeded: LabServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_MASTER_PASSWORD", PASSWORD)
    place = ["--folder", str(tmp_path), "--port", str(seeded.port)]
    run = ["run", "--host", seeded.host, *place, "--seconds", "1.5", "--rate", "400"]
    done = CliRunner().invoke(app, [*run, "--clients", "2", "--probe", seeded.host])
    assert done.exit_code == 0, done.output
    assert " committed, 0 refused, 0 ambiguous" in done.output
    check = ["check", *place, "--writer", seeded.host]
    assert CliRunner().invoke(app, check).output == "nothing lost or doubled\n"
    client = read_all(tmp_path)[0].client
    with seeded.connect(APP_DATABASE) as conn:
        conn.execute("INSERT INTO shop.audit_trail VALUES (%s, 1)", (client,))
        found = CliRunner().invoke(app, check)
        conn.execute(
            "DELETE FROM shop.audit_trail WHERE ctid = (SELECT max(ctid) FROM shop.audit_trail"
            " WHERE client = %s AND n = 1)",
            (client,),
        )
    assert found.exit_code == 1
    assert "audit trail" in found.output
