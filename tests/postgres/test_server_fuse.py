"""The server fuse alone: it needs nobody, goes on after an error, and burns at the deadline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from bluegreen.names import TOOL_DATABASE
from bluegreen.postgres.server import Server
from bluegreen.register import closing, register
from bluegreen.switch import fence
from bluegreen.switch.server_fuse import ServerFuse
from lab.postgres.server import LabServer
from tests.fixtures.postgres import PASSWORD, MakeServer
from tests.fixtures.rds import PlacedClusters
from tests.fixtures.switchable import wait_until

APP = "app_user"


@dataclass(slots=True)
class Fenced:
    """A server that was fenced for an attempt whose orchestrator is gone; its fuse is on."""

    lab: LabServer
    server: Server
    tool: psycopg.Connection[tuple[object, ...]]

    def fence(self, seconds: float, attempt: str = "green-1") -> ServerFuse:
        """Begin the attempt, arm its fuse, and fence."""
        register.begin(self.tool, attempt, "orders-2", seconds=seconds)
        fuse = ServerFuse(self.server, attempt)
        fence.put_up(
            self.tool,
            attempt,
            databases=["app"],
            roles=sql.SQL("'{}'::text[]"),
            fuse=fuse.pid,
            ours=[fuse.pid, self.tool.info.backend_pid],
            seconds=10,
        )
        return fuse

    def is_closed(self) -> bool:
        """Return whether the fence is up."""
        return closing.is_closed(self.tool, ["app"])

    def waits(self, pid: int) -> bool:
        """Return whether a session waits for somebody's transaction."""
        query = "SELECT FROM pg_locks WHERE pid = %s AND NOT granted"
        return self.tool.execute(query, (pid,)).fetchone() is not None

    def application(self) -> psycopg.Connection[tuple[object, ...]]:
        """Return a session of an application."""
        return self.lab.connect("app", user=APP, password=PASSWORD)

    def first_commit(self) -> object:
        """Log in and write again and again until it works; return the server's time then."""
        while True:
            with contextlib.suppress(psycopg.Error), self.application() as conn:
                row = conn.execute("INSERT INTO probe VALUES (1) RETURNING clock_timestamp()")
                (at,) = row.fetchone() or ()
                return at


@pytest.fixture
def fenced(make_server: MakeServer, placed: PlacedClusters) -> Iterator[Fenced]:
    """Return a server with a register."""
    lab = make_server(18)
    with lab.connect() as conn:
        conn.execute("CREATE DATABASE app")
        role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        conn.execute(role.format(sql.Identifier(APP), sql.Literal(PASSWORD)))
    with lab.connect("app") as conn:
        conn.execute(f"CREATE TABLE probe (n int); GRANT INSERT ON probe TO {APP}")
    server = placed.place(lab, "orders-1")
    register.ensure_database(server)
    with server.connect(TOOL_DATABASE) as tool:
        yield Fenced(lab, server, tool)


_REFUSE = """\
CREATE SEQUENCE public.tries;
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('public.tries');
    RAISE lock_not_available;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON bluegreen.register
    FOR EACH ROW EXECUTE FUNCTION public.refuse()"""


def test_what_fails_is_tried_again_until_the_fence_is_off(fenced: Fenced) -> None:
    fuse = fenced.fence(0.2)
    fenced.tool.execute(_REFUSE)
    with fenced.application() as born_read_only:
        wait_until(
            lambda: (
                fenced.tool.execute("SELECT last_value > 1 FROM public.tries").fetchone() == (True,)
            ),
            "a second try",
        )
        assert fenced.is_closed()
        fenced.tool.execute("DROP TRIGGER refuse ON bluegreen.register")
        wait_until(lambda: not fenced.is_closed(), "the fuse")
        with pytest.raises(psycopg.OperationalError, match="terminating"):
            wait_until(lambda: not born_read_only.execute("SELECT"), "the session's end")
    assert register.find_live(fenced.tool) is None
    fuse.disarm()


def test_somebody_who_alters_the_database_meanwhile_is_waited_for(fenced: Fenced) -> None:
    """His commit makes the first try fail: tuple concurrently updated."""
    fuse = fenced.fence(1.5)  # the statement below comes before that
    with fenced.lab.connect() as conn:
        conn.execute("BEGIN; ALTER DATABASE app SET work_mem = '5MB'")
        wait_until(lambda: fenced.waits(fuse.pid), "the fuse at the lock")
        conn.execute("COMMIT")
        wait_until(lambda: not fenced.is_closed(), "the fuse")
        found = conn.execute("SELECT setconfig FROM pg_db_role_setting").fetchall()
    assert found == [(["work_mem=5MB"],)]
    fuse.disarm()


def test_one_that_ends_before_its_switch_is_told(
    fenced: Fenced, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as by somebody who ends sessions: the switch goes on, with one fuse less."""
    fuse = fenced.fence(60)
    fenced.tool.execute("SELECT pg_terminate_backend(%s)", (fuse.pid,))
    wait_until(lambda: "orders-1: the server fuse has ended before" in caplog.text, "a warning")
    assert register.abort(fenced.tool, "green-1")
    assert not fenced.is_closed()
    fuse.disarm()


@pytest.mark.slow
@pytest.mark.alone
def test_it_has_taken_the_fence_off_right_behind_the_deadline(
    fenced: Fenced, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the deadline to the first commit of an application that logs in again and again."""
    late_ms = []
    for n in range(5):
        attempt = f"green-{n}"
        fuse = fenced.fence(0.5, attempt)
        first = fenced.first_commit()
        row = fenced.tool.execute(
            "SELECT 1000 * extract(epoch FROM %s - deadline)::float8 FROM bluegreen.register"
            " WHERE attempt = %s",
            (first, attempt),
        ).fetchone()
        assert row is not None
        late_ms.append(float(str(row[0])))
        fuse.disarm()
    with capsys.disabled():
        print("\nfrom the fuse's deadline to a commit, ms:", [f"{ms:.1f}" for ms in late_ms])  # noqa: T201
    assert 0 < max(late_ms) < 200
