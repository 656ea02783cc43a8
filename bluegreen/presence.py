"""Tells a server that is gone from one that is out of reach: only AWS can say that it is gone."""

from __future__ import annotations

import psycopg

from bluegreen import cluster
from bluegreen.errors import Refused
from bluegreen.server import Row, Server


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
