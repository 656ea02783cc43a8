"""The workload on real servers: it runs, it survives, and its checker finds what is planted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from lab.postgres.clone import wait_until
from lab.postgres.server import LabServer
from lab.workload import checker, contents, schema, transactions
from lab.workload.__main__ import app
from lab.workload.address import Address
from lab.workload.checker import Databases, Side
from lab.workload.endpoint import open_session
from lab.workload.login import APP_DATABASE, BENCH_DATABASE, Login
from lab.workload.records import Outcome, read_all
from lab.workload.schema import Logins
from lab.workload.workload import Workload
from tests.fixtures.postgres import MASTER, PASSWORD, MakeServer

LOGINS = Logins()
DATABASES = (APP_DATABASE, BENCH_DATABASE)
ROLES = [LOGINS.app.user, LOGINS.bench.user]


def _side(server: LabServer) -> Side:
    return Side(server.host, server.port, Login(MASTER, PASSWORD))


def _one(conn: psycopg.Connection[Any], query: str, *values: object) -> Any:
    row = conn.execute(query.encode(), values or None).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture(scope="module")
def writer(shared_server: MakeServer) -> LabServer:
    """Return a seeded server."""
    server = shared_server(18, "workload")
    schema.seed(server.host, server.port, Login(MASTER, PASSWORD), LOGINS, bench_scale=1)
    return server


@pytest.fixture(scope="module")
def recorded(writer: LabServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a short run without any trouble."""
    folder = tmp_path_factory.mktemp("recorded")
    with Workload(folder) as workload:
        workload.start(writer.host, writer.port, clients=4, rate=800, hostile=1)
        workload.wait_for_commits(800)
    return folder


def test_a_hostile_client_does_all_that_a_fence_has_to_hold(
    writer: LabServer, tmp_path: Path
) -> None:
    """Its commits are records as any other's: the test of them all has one among its clients."""
    expected = {"workload", "workload pool", "workload idle in transaction", "workload queue"}
    with Workload(tmp_path) as workload, writer.connect(APP_DATABASE) as conn:
        workload.start(writer.host, writer.port, clients=1, rate=50, bench_rate=0, hostile=1)
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


def test_the_seed_is_a_million_rows_in_twenty_tables_and_more(writer: LabServer) -> None:
    with writer.connect(APP_DATABASE) as conn:
        names = contents.tables(conn)
        contained = [contents.fingerprint(conn, name) for name in names]
        longest = max(len(name.encode()) for _, name in names)
        owner_of = _one(conn, "SELECT datdba::regrole::text FROM pg_database WHERE datname='app'")
    assert sum(content.rows for content in contained if content is not None) >= 1_000_000
    assert len(names) >= 20
    assert longest == 63
    assert owner_of == MASTER


def test_the_replicator_may_replicate_with_its_password(writer: LabServer) -> None:
    login = LOGINS.replicator
    for name in DATABASES:
        with psycopg.connect(
            host=writer.host,
            port=writer.port,
            dbname=name,
            user=login.user,
            password=login.password,
            replication="database",
            autocommit=True,
        ) as conn:
            assert conn.execute("IDENTIFY_SYSTEM").fetchone() is not None


def test_a_wrong_password_is_refused(writer: LabServer) -> None:
    wrong = Login(LOGINS.app.user, "another one")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        open_session(Address(writer.host, writer.port), APP_DATABASE, wrong)


@pytest.mark.slow
def test_the_seed_runs_on_16_too(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(16)
    schema.seed(server.host, server.port, Login(MASTER, PASSWORD), LOGINS, bench_scale=1)
    with Workload(tmp_path) as workload:
        workload.start(server.host, server.port, clients=2, rate=200)
        workload.wait_for_commits(100)
    assert checker.check(tmp_path, _side(server)).problems == []


def test_a_run_without_trouble_is_proved(writer: LabServer, recorded: Path) -> None:
    report = checker.check(recorded, _side(writer))
    assert report.problems == []
    assert report.keys.acknowledged >= 800
    assert report.keys.ambiguous == report.keys.refused == 0
    assert report.sequences_checked >= 15
    assert {record.kind for log in read_all(recorded) for record in log.records} == set(
        transactions.DRAWN
    )
    with writer.connect(BENCH_DATABASE) as conn:
        assert _one(conn, "SELECT count(*) FROM pgbench_history") > 0


# What is done to the server behind everybody's back, and what the checker must say to it.
PLANTED = {
    "a lost transaction": (
        "DELETE FROM shop.request WHERE (client, n) = (%(client)s, 1)",
        "acknowledged transactions lost",
    ),
    "a transaction that nobody sent": (
        "INSERT INTO shop.request VALUES (%(client)s, 99999, 1)",
        "that nobody recorded",
    ),
    "a transaction applied twice": (
        "INSERT INTO shop.audit_trail VALUES (%(client)s, 1)",
        "not exactly once in the audit trail",
    ),
    "a lost order line": (
        "DELETE FROM shop.order_line WHERE line_id = (SELECT max(line_id) FROM shop.order_line)",
        "without exactly two lines",
    ),
    "a lost half of a transfer": (
        "DELETE FROM shop.entry WHERE ctid = (SELECT max(ctid) FROM shop.entry)",
        "add up to zero",
    ),
    "an update of a balance applied twice": (
        "UPDATE shop.account SET balance = balance + 1 WHERE account_id = 7",
        "opening balance",
    ),
    "a lost update of a document": (
        "UPDATE shop.document SET body = body || '{\"hits\": -1}' WHERE document_id = 7",
        "document updates lost or doubled",
    ),
    "a client's updates out of order": (
        "UPDATE shop.client_state SET body = '{\"n\": 1}' WHERE client = %(client)s",
        "not of their last document transaction",
    ),
    "a lost delete": (
        "INSERT INTO shop.basket VALUES (%(client)s, 0)",
        "not their client's last one",
    ),
    "an event twice": (
        "INSERT INTO shop.event (client, n, payload) SELECT client, n, '{}' FROM shop.event"
        " WHERE client <> 0 LIMIT 1",
        "events without their key",
    ),
    "an invoice number twice": (
        "UPDATE shop.orders SET invoice = 500001 WHERE order_id = 77",
        "issued twice",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(writer: LabServer, recorded: Path, name: str) -> None:
    statement, expected = PLANTED[name]
    client = read_all(recorded)[0].client
    with (
        writer.connect(APP_DATABASE) as app,
        writer.connect(BENCH_DATABASE) as bench,
        app.transaction(force_rollback=True),
    ):
        app.execute(statement.encode(), {"client": client})
        found = checker.prove(recorded, Databases(app, bench), None).problems
    assert any(expected in line for line in found), found


@pytest.mark.slow
def test_a_pgbench_transaction_applied_twice_is_found(writer: LabServer, recorded: Path) -> None:
    with (
        writer.connect(APP_DATABASE) as app,
        writer.connect(BENCH_DATABASE) as bench,
        bench.transaction(force_rollback=True),
    ):
        bench.execute("INSERT INTO pgbench_history SELECT 1, 1, 1, 12345, now(), ''")
        (found,) = checker.prove(recorded, Databases(app, bench), None).problems
    assert "pgbench" in found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shop.orders_order_id_seq", """shop."Invoice Number's\""""])
def test_a_sequence_set_back_is_found(writer: LabServer, recorded: Path, name: str) -> None:
    """As far as the clients of this record have seen it: other tests go on with the sequence."""
    with writer.connect(APP_DATABASE) as conn:
        last = _one(conn, "SELECT pg_sequence_last_value(%s::regclass)", name)

        def checked_at(value: int) -> checker.Report:
            conn.execute("SELECT setval(%s::regclass, %s)", (name, value))
            return checker.check(recorded, _side(writer))

        try:
            (behind,) = checked_at(1).sequences.behind
            assert behind.name == name
            assert checked_at(behind.used - 1).sequences_wrong == 1
            assert checked_at(behind.used).sequences_wrong == 0
        finally:
            conn.execute("SELECT setval(%s::regclass, %s)", (name, last))


def test_the_report_is_json_with_the_verdict(writer: LabServer, recorded: Path) -> None:
    summary = json.loads(checker.check(recorded, _side(writer)).to_json())
    assert summary["ok"] is True
    assert summary["sequences_wrong"] == 0


@pytest.mark.slow
def test_tables_that_differ_are_found_whatever_their_types(writer: LabServer) -> None:
    changes = (
        "DELETE FROM shop.sampler WHERE sample_id = (SELECT min(sample_id::text)::uuid"
        " FROM shop.sampler)",
        'UPDATE "Odd Names"."Reading" SET value = -1 WHERE sensor = 5',
        "INSERT INTO shop.audit_trail VALUES (1, 1), (1, 1)",
    )
    with writer.connect(APP_DATABASE) as one, writer.connect(APP_DATABASE) as other:
        assert contents.differences(one, other) == []
        with one.transaction(force_rollback=True):
            for change in changes:
                one.execute(change.encode())
            found = {difference.table for difference in contents.differences(one, other)}
    assert {("shop", "sampler"), ("shop", "audit_trail")} <= found
    assert any(name.startswith("Reading") for _, name in found)


def test_a_table_missing_on_one_side_differs(writer: LabServer) -> None:
    with (
        writer.connect(APP_DATABASE) as one,
        writer.connect(APP_DATABASE) as other,
        one.transaction(force_rollback=True),
    ):
        one.execute("CREATE TABLE shop.extra (id int)")
        (found,) = contents.differences(one, other)
    assert (found.table, found.standby) == (("shop", "extra"), None)


@pytest.mark.slow
def test_broken_connections_are_settled_truthfully(writer: LabServer, tmp_path: Path) -> None:
    """Sessions are ended all the time, at any moment of a transaction."""
    with Workload(tmp_path) as workload, writer.connect() as conn:
        workload.start(writer.host, writer.port, clients=4, rate=800, bench_rate=0)
        workload.wait_until_running()
        while workload.live().lost_connections < 60:
            _terminate(conn, ROLES)
        workload.wait_for_commits(50)
    report = checker.check(tmp_path, _side(writer))
    assert report.problems == []
    assert report.keys.ambiguous >= 60
    outcomes = {record.outcome for log in read_all(tmp_path) for record in log.records}
    assert Outcome.UNSETTLED not in outcomes


@pytest.mark.slow
@pytest.mark.parametrize("deferred", [False, True], ids=["at once", "at the commit"])
def test_what_the_server_refuses_is_recorded_as_refused(
    writer: LabServer, tmp_path: Path, deferred: bool
) -> None:
    when = "DEFERRABLE INITIALLY DEFERRED" if deferred else "NOT DEFERRABLE"
    with writer.connect(APP_DATABASE) as conn, Workload(tmp_path) as workload:
        conn.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'no' USING ERRCODE = 'QQ001'; END $$"
        )
        conn.execute(
            f"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON shop.audit_trail {when}"
            " FOR EACH ROW WHEN (new.n % 5 = 0) EXECUTE FUNCTION refuse()".encode()
        )
        try:
            workload.start(writer.host, writer.port, clients=2, rate=400, bench_rate=0)
            workload.wait_for_commits(100)
            last = workload.stop()
        finally:
            conn.execute("DROP FUNCTION refuse CASCADE")
    report = checker.check(tmp_path, _side(writer))
    assert report.problems == []
    assert report.errors == last.errors == {"QQ001": last.failed}
    assert report.keys.refused == last.failed >= 20
    assert last.connects == 2  # a refusal is no reason to connect again


@pytest.mark.slow
def test_a_crash_of_the_server_is_survived_and_settled(writer: LabServer, tmp_path: Path) -> None:
    with Workload(tmp_path) as workload:
        workload.start(writer.host, writer.port, clients=4, rate=800)
        workload.wait_for_commits(200)
        writer.kill()
        writer.start()
        workload.wait_for_commits(200)
    report = checker.check(tmp_path, _side(writer))
    assert report.problems == []
    assert report.keys.ambiguous >= 1


def _terminate(conn: psycopg.Connection[Any], roles: list[str]) -> None:
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY (%s)", (roles,)
    )


@pytest.mark.slow
def test_settling_waits_for_a_transaction_that_is_still_under_way(writer: LabServer) -> None:
    where = Address(writer.host, writer.port)
    key = (time.time_ns() // 1_000_000 * 1000 + 999, 1)
    with open_session(where, APP_DATABASE, LOGINS.app) as lost, writer.connect() as watch:
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
    with writer.connect(APP_DATABASE) as conn:
        conn.execute("DELETE FROM shop.request WHERE client = %s", (key[0],))


def _waits(conn: psycopg.Connection[Any], pid: int) -> bool:
    return bool(
        _one(conn, "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", pid)
    )


@pytest.mark.slow
def test_a_settled_key_can_never_be_used_again(writer: LabServer) -> None:
    key = (time.time_ns() // 1_000_000 * 1000 + 998, 1)
    with open_session(Address(writer.host, writer.port), APP_DATABASE, LOGINS.app) as conn:
        assert transactions.settle(conn, *key) is False
        assert transactions.settle(conn, *key) is False
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("INSERT INTO shop.request (client, n, kind) VALUES (%s, %s, 3)", key)
        conn.execute("DELETE FROM shop.request WHERE client = %s", (key[0],))


@pytest.mark.slow
def test_clients_wait_out_a_fence_and_go_on(writer: LabServer, tmp_path: Path) -> None:
    with Workload(tmp_path) as workload, writer.connect() as conn:
        workload.start(writer.host, writer.port, clients=4, rate=400, bench_rate=50)
        workload.probe(writer.host, writer.port)
        workload.wait_until_running()
        _fence(conn)
        closed = workload.live()
        wait_until(lambda: workload.live().errors.get("25006", 0) >= 4, "clients to be refused", 20)
        assert workload.live().committed <= closed.committed + 4
        _unfence(conn)
        _terminate(conn, ROLES)
        after = workload.wait_for_commits(200)
        assert after.longest_gap_ms > 0
    report = checker.check(tmp_path, _side(writer))
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
    fenced_at = _one(conn, "SELECT clock_timestamp()")
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


@pytest.mark.slow
def test_a_client_that_died_is_reported_by_name(writer: LabServer, tmp_path: Path) -> None:
    with Workload(tmp_path) as workload:
        workload.start(writer.host, writer.port, clients=2, rate=100, bench_rate=0)
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
    assert checker.check(tmp_path, _side(writer)).problems == []


@pytest.mark.slow
def test_no_process_outlives_the_one_that_started_it(writer: LabServer, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lab.workload.workload import Workload;"
        "w = Workload(Path(sys.argv[1])); w.start(sys.argv[2], int(sys.argv[3]));"
        "w.wait_until_running(); print('running', flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), writer.host, str(writer.port)],
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
def test_passwords_are_in_no_process_list(writer: LabServer, tmp_path: Path) -> None:
    with Workload(tmp_path) as workload:
        workload.start(writer.host, writer.port, clients=1, rate=50)
        workload.wait_for_commits(5)
        shown = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert any("lab.workload.child" in line for line in shown)
    assert not any(LOGINS.app.password in line for line in shown)


@pytest.mark.slow
def test_the_command_runs_and_checks(
    writer: LabServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_MASTER_PASSWORD", PASSWORD)
    place = ["--folder", str(tmp_path), "--port", str(writer.port)]
    run = ["run", "--host", writer.host, *place, "--seconds", "1.5", "--rate", "400"]
    done = CliRunner().invoke(app, [*run, "--clients", "2", "--probe", writer.host])
    assert done.exit_code == 0, done.output
    assert " committed, 0 refused, 0 ambiguous" in done.output
    check = ["check", *place, "--writer", writer.host]
    assert CliRunner().invoke(app, check).output == "nothing lost or doubled\n"
    client = read_all(tmp_path)[0].client
    with writer.connect(APP_DATABASE) as conn:
        conn.execute("INSERT INTO shop.audit_trail VALUES (%s, 1)", (client,))
        found = CliRunner().invoke(app, check)
        conn.execute(
            "DELETE FROM shop.audit_trail WHERE ctid = (SELECT max(ctid) FROM shop.audit_trail"
            " WHERE client = %s AND n = 1)",
            (client,),
        )
    assert found.exit_code == 1
    assert "audit trail" in found.output
