"""Asking a server."""

from __future__ import annotations

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


def column(conn: Connection, query: str, *values: Any) -> list[Any]:
    """Return a query's only column."""
    rows = conn.execute(query, values or None).fetchall()
    return [row[0] for row in rows]


def failure(error: psycopg.Error) -> str:
    """Return a server's or driver's error as one line, without its detail, which may quote rows."""
    said = " ".join((error.diag.message_primary or str(error).partition("\n")[0]).split())
    return f"PostgreSQL: {said}" + (f" (SQLSTATE {error.sqlstate})" if error.sqlstate else "")
