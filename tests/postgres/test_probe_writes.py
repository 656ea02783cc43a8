"""What `bluegreen probe --write` makes is removed again, or named, however the run ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from lab.postgres.server import LabServer
from tests.fixtures.postgres import MakeServer
from tests.fixtures.probed import DATABASE, ROLE, catalogs, dsn, named_in, plant, run
from tests.fixtures.switchable import wait_until

ROOT = Path(__file__).resolve().parents[2]

_MAKING = (
    "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_create_logical_replication_slot%'"
    " AND application_name = 'bluegreen probe' AND state = 'active'"
)
_PUBLICATION = "SELECT pubname FROM pg_publication WHERE pubname ~ '^bluegreen_probe_'"


@pytest.fixture
def server(make_server: MakeServer) -> LabServer:
    """Return a server with an application's database."""
    made = make_server(18)
    plant(made)
    return made


@contextmanager
def _writing(server: LabServer) -> Iterator[None]:
    """Hold a transaction open that a slot's making waits for."""
    with server.as_superuser(DATABASE) as conn, conn.transaction(force_rollback=True):
        conn.execute("SELECT pg_current_xact_id()")
        yield


@contextmanager
def _amid_the_slot(server: LabServer) -> Iterator[subprocess.Popen[str]]:
    """Run the command in a process of its own until it waits for its slot."""
    command = [sys.executable, "-m", "bluegreen_cli.app", "probe", "--dsn", dsn(server), "--write"]
    with (
        _writing(server),
        subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # What runs in the background of a shell ignores it, and so do its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process,
    ):
        try:
            with server.as_superuser(DATABASE) as conn:
                wait_until(
                    lambda: conn.execute(_MAKING).fetchone() is not None, "the slot's making"
                )
            yield process
        finally:
            process.kill()


def _publication(server: LabServer) -> str:
    with server.as_superuser(DATABASE) as conn:
        row = conn.execute(_PUBLICATION).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_is_interrupted_leaves_nothing(server: LabServer, number: signal.Signals) -> None:
    before = catalogs(server)
    with _amid_the_slot(server) as process:
        assert _publication(server)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Left behind" not in out
    assert "| works | make a publication" in out  # what was found until then is shown
    assert catalogs(server) == before


def test_a_failure_on_the_way_leaves_nothing(server: LabServer) -> None:
    before = catalogs(server)
    with _amid_the_slot(server) as process:
        with server.as_superuser(DATABASE) as conn:
            for (pid,) in conn.execute(_MAKING).fetchall():
                conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(r"^\| refused \| make a slot \| 57P01: terminating", out, re.MULTILINE)
    assert "Left behind" not in out
    assert catalogs(server) == before


def test_what_cant_be_removed_is_named(make_server: MakeServer) -> None:
    server = make_server(18)
    plant(server, demoted=True)
    with _amid_the_slot(server) as process:
        name = _publication(server)
        with server.as_superuser(DATABASE) as conn:
            conn.execute(f'GRANT CREATE ON DATABASE {DATABASE} TO "{ROLE}"')
            conn.execute(f'ALTER PUBLICATION {name} OWNER TO "{ROLE}"')
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"* publication {name}: must be owner of publication {name}" in out
    assert named_in(out + err, server) == []


def test_what_a_killed_run_has_left_is_named_by_the_next_one(server: LabServer) -> None:
    with _amid_the_slot(server) as process:
        name = _publication(server)
        process.kill()
        process.wait(60)
        # The server notices, and makes no slot for nobody.
        with server.as_superuser(DATABASE) as conn:
            wait_until(lambda: conn.execute(_MAKING).fetchone() is None, "the end of its session")
    done = run("--dsn", dsn(server), "--json")
    assert done.found["left"] == [f"publication {name}: of an earlier run"]
    assert done.code == 1
    assert _publication(server) == name


def test_a_slot_is_not_waited_for_without_end(server: LabServer) -> None:
    before = catalogs(server)
    with _writing(server):
        done = run("--dsn", dsn(server), "--write", "--json")
    assert done.what("refused")["make a slot"].startswith("57014 ")
    assert done.what("not tried")["drop the slot"] == "the replication slot was not made"
    assert "drop the subscription" in done.what("works")
    assert catalogs(server) == before


def test_each_object_carries_the_tools_mark(server: LabServer) -> None:
    with _amid_the_slot(server), server.as_superuser(DATABASE) as conn:
        (comment,) = conn.execute(
            "SELECT obj_description(oid, 'pg_publication') FROM pg_publication"
            " WHERE pubname ~ '^bluegreen_probe_'"
        ).fetchone() or (None,)
        name = _publication(server)
    assert comment == f'{{"made_by": "bluegreen", "slots": ["{name}"]}}'


def test_the_password_of_the_probes_role_is_nowhere(server: LabServer) -> None:
    with server.as_superuser() as conn:
        conn.execute("ALTER SYSTEM SET log_statement = 'ddl'")
        conn.execute("SELECT pg_reload_conf()")
    done = run("--dsn", dsn(server), "--write")
    (made,) = re.findall(r"CREATE ROLE .* PASSWORD '([^']*)'", server.log.read_text())
    assert made
    assert made not in done.out + done.err
    with pytest.raises(psycopg.OperationalError):
        server.connect(DATABASE, user="bluegreen_probe", password=made)
