"""Tells a server that is gone from one that is out of reach: only AWS can say that it is gone."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg

from bluegreen import cluster
from bluegreen.errors import Refused, Retry
from bluegreen.polling import looks
from bluegreen.server import Row, Server

_BETWEEN_SECONDS = 0.2


def connect_unless_gone(server: Server, database: str) -> psycopg.Connection[Row] | None:
    """Return an admin connection, or None when the cluster or the database is no more.

    AWS is asked first, since another server may answer at a deleted cluster's address. Raises
    `Retry` when the server is out of reach although its cluster exists.
    """
    if cluster.find(server.region, server.cluster) is None:
        return None
    try:
        return server.connect(database)
    except Refused:
        if database_gone(server, database):
            return None
        raise


def database_gone(server: Server, database: str) -> bool:
    """Tell whether `server` answers and has no such database."""
    with server.connect("postgres") as conn:
        found = conn.execute(
            "SELECT FROM pg_catalog.pg_database WHERE datname = %s", (database,)
        ).fetchone()
    return found is None


def while_it_exists(
    server: Server,
    database: str,
    act: Callable[[psycopg.Connection[Row]], None],
    *,
    deadline: float,
) -> None:
    """Do `act` with an admin connection, unless the cluster or the database is no more.

    A server that restarts is out of reach for a while and breaks connections, so both are tried
    again until `deadline`, in seconds of `time.monotonic()`; then `Retry`. `act` is idempotent.
    """
    for _ in looks(deadline, first=_BETWEEN_SECONDS, most=2.0):
        last = time.monotonic() >= deadline
        try:
            conn = connect_unless_gone(server, database)
        except Retry:
            if last:
                raise
            continue
        if conn is None:
            return
        try:
            with conn:
                act(conn)
        except psycopg.OperationalError as error:
            if not conn.broken:
                raise
            if last:
                said = error.diag.message_primary or "the connection broke"
                raise Retry(f"{server}: {said}; try again") from None
            continue
        return
