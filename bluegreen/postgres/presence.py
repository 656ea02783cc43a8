"""Is a server gone, or out of reach? Only AWS can say that it is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import psycopg

from bluegreen.errors import Refused, Retry, Unreachable
from bluegreen.polling import poll_until
from bluegreen.postgres.server import Row, Server

log = logging.getLogger(__name__)

T = TypeVar("T")

# What a session gets when its server restarts; a connection that just breaks has no SQLSTATE.
_RESTARTING = frozenset({None, "57P01", "57P02", "57P03", "08000", "08003", "08006"})


def connect_unless_gone(server: Server, database: str) -> psycopg.Connection[Row] | None:
    """Return an admin connection, or None when the cluster or the database no longer exists.

    AWS is asked first, since another server may answer at a deleted cluster's address. Raises
    `Unreachable` when the server is out of reach although its cluster exists.
    """
    if server.find_cluster() is None:
        return None
    try:
        return server.connect(database)
    except Refused:
        if database_gone(server, database):
            return None
        raise


def database_gone(server: Server, database: str) -> bool:
    """Return whether `server` answers and has no such database."""
    with server.connect("postgres") as conn:
        found = conn.execute(
            "SELECT FROM pg_catalog.pg_database WHERE datname = %s", (database,)
        ).fetchone()
    return found is None


def while_it_exists(
    server: Server,
    database: str,
    act: Callable[[psycopg.Connection[Row]], T],
    *,
    deadline: float,
) -> T | None:
    """Return what `act` does with an admin connection; None when cluster or database is gone.

    A server that restarts is out of reach for a while and breaks connections, so both are tried
    again until `deadline`, in seconds of `time.monotonic()`; then `Retry`. `act` is idempotent. For
    deletions: the engine's error hooks, which repeat other operations, don't run on a destroy.
    """
    last: Retry | None = None
    for _ in poll_until(deadline, first=0.2, most=1.0):
        try:
            conn = connect_unless_gone(server, database)
            if conn is None:
                return None
            with conn:
                return act(conn)
        except Retry as error:
            found = error
        except psycopg.OperationalError as error:
            if not is_transient(error):
                raise
            said = error.diag.message_primary or "the connection broke"
            found = Retry(f"{server}: {said}; try again")
        if last is None:
            log.info("trying again: %s", found)
        last = found
    assert last is not None  # at least one attempt
    raise last


def is_transient(error: BaseException) -> bool:
    """Return whether `error` is what clients see of a restart or failover of a server."""
    if isinstance(error, Unreachable):
        return True
    return isinstance(error, psycopg.OperationalError) and error.sqlstate in _RESTARTING
