"""One of the two environments during a switch: its connections, opened before the outage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus

from bluegreen.errors import Retry
from bluegreen.names import TOOL_DATABASE
from bluegreen.polling import poll_until
from bluegreen.postgres.connection import Connection as Connection
from bluegreen.postgres.queries import require_writer, set_seconds
from bluegreen.postgres.server import Server

_END_OTHERS = """\
SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a
 WHERE a.application_name = ANY (%s) AND a.usename = session_user AND a.pid <> ALL (%s)"""
_END_SECONDS = 10.0


def application_name(attempt: str, *, finishing: bool = False) -> str:
    """Return the application name of an attempt's sessions, so that its successor can end them.

    A finisher's sessions have another: taking over from the orchestrator must not end a finisher.
    """
    return f"bluegreen finish {attempt}"[:63] if finishing else f"bluegreen {attempt}"[:63]


def fenced_name(attempt: str) -> str:
    """Return the name that the session that put the fence up takes once the fence holds."""
    return f"bluegreen fenced {attempt}"[:63]


def fuse_name(attempt: str) -> str:
    """Return the name that the server fuse's session takes once it watches."""
    return f"bluegreen fuse {attempt}"[:63]


@dataclass(frozen=True, slots=True)
class Side:
    """Connections to the tool's database and to every database that moves."""

    server: Server
    tool: Connection
    databases: dict[str, Connection]

    @classmethod
    def connect(
        cls,
        server: Server,
        databases: Sequence[str],
        stack: ExitStack,
        attempt: str,
        *,
        finishing: bool = False,
    ) -> Self:
        """Connect; `stack` closes the connections. Raises `Refused` for a reader's endpoint."""
        name = application_name(attempt, finishing=finishing)
        tool = stack.enter_context(server.connect(TOOL_DATABASE, application_name=name))
        require_writer(tool, str(server))
        connected = cls(
            server,
            tool,
            {
                database: stack.enter_context(server.connect(database, application_name=name))
                for database in databases
            },
        )
        for conn in connected.connections:
            # What was executed once is never planned again; by default the server plans five more
            # times.
            conn.execute("SET plan_cache_mode = force_generic_plan")
        return connected

    @property
    def connections(self) -> list[Connection]:
        """Return all of them."""
        return [self.tool, *self.databases.values()]

    def pids(self) -> list[int]:
        """Return the process ids of these connections, which the fence must spare."""
        return [conn.info.backend_pid for conn in self.connections]

    def limit(self, seconds: float) -> None:
        """Let every statement take at most `seconds`; 0 lifts the limit.

        This holds when the orchestrator, and its watchdog with it, is gone or cut off.
        """
        for conn in self.connections:
            set_seconds(conn, "statement_timeout", seconds)


@contextmanager
def unless_committed(conn: Connection) -> Iterator[None]:
    """Begin a transaction, and roll it back unless the block has committed it."""
    conn.execute("BEGIN")
    try:
        yield
    finally:
        if not conn.closed and conn.info.transaction_status is not TransactionStatus.IDLE:
            conn.execute("ROLLBACK")


def end_others(
    conn: psycopg.Connection[Any], attempt: str, *, finishers: bool, spare: Sequence[int] = ()
) -> None:
    """End the sessions of `attempt` on a server, except `spare` and this one; wait until gone.

    `finishers` ends theirs too: only when none can be at work.

    A session whose client is dead goes on with what it was sent: it may hold the opening's row, or
    set sequences back after the next attempt has opened. Call this only after taking the attempt
    over, or when it has ended. Raises `Retry` when sessions remain.
    """
    names = [application_name(attempt), fenced_name(attempt)]
    if finishers:
        names.append(application_name(attempt, finishing=True))
    mine = [*spare, conn.info.backend_pid]
    deadline = time.monotonic() + _END_SECONDS
    for _ in poll_until(deadline, first=0.01, most=0.2):
        row = conn.execute(_END_OTHERS, (names, mine)).fetchone()
        if row == (0,):
            return
        # Within a transaction it would see the same sessions again and again.
        conn.execute("SELECT pg_stat_clear_snapshot()")
    raise Retry(f"attempt {attempt}: sessions of it on {conn.info.host} don't end; try again")
