"""Asking a server."""

from __future__ import annotations

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


def column(conn: Connection, query: str, *values: Any) -> list[Any]:
    """Return a query's only column."""
    rows = conn.execute(query, values or None).fetchall()
    return [row[0] for row in rows]
