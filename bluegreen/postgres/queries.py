"""Queries: one column, one value, timeouts, and unexpected errors in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import scalar_row

from bluegreen.errors import Refused
from bluegreen.postgres import connection

Connection = psycopg.Connection[Any]

# What to do, by the SQLSTATE or its class: PostgreSQL's appendix A lists them.
_NEXT = {
    "08": "try again once the server can be reached",
    "22": "see which name or value there is malformed, or can't be written in UTF-8",
    "25": "see which setting or standby makes it so",
    "40": "try again",
    "42": "see that the role may use it, and that nobody has changed or dropped it",
    "53": "see the server's memory, disk and connections, then try again",
    "55": "try again once nothing uses it any more",
    "55000": "see which setting or state it names, and try again once the server has it",
    "57": "try again once the server is up; its log says who ended or cancelled it",
}
_ELSE = "see the server's log, and try again once the cause is fixed"


def column(conn: Connection, query: str | sql.Composed, *values: Any) -> list[Any]:
    """Return a query's only column; `values` are its parameters, or one mapping of named ones."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query, _parameters(values)).fetchall()


def value(conn: Connection, query: str | sql.Composed, *values: Any) -> Any:
    """Return the only value of a query's first row, None without one; `values` as in `column`."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query, _parameters(values)).fetchone()


def _parameters(values: Sequence[Any]) -> Mapping[str, Any] | Sequence[Any] | None:
    if len(values) == 1 and isinstance(values[0], Mapping):
        return values[0]
    return values or None


def require_writer(conn: Connection, what: str) -> None:
    """Raise `Refused` where `conn`, a connection to `what`, leads to a reader."""
    if column(conn, "SELECT pg_catalog.pg_is_in_recovery()") == [True]:
        raise Refused(
            f"{what} at {conn.info.host} is in recovery, a reader; expected the cluster's writer "
            "endpoint"
        )


def limit_lock_waits(conns: Iterable[Connection], seconds: float) -> None:
    """Let no statement wait for a lock for longer than `seconds`; 0 lifts the limit.

    Reading what a publication sends locks its tables, so it would wait for somebody's DDL without
    limit.
    """
    for conn in conns:
        set_seconds(conn, "lock_timeout", seconds)


def set_seconds(conn: Connection, setting: str, seconds: float) -> None:
    """Set a timeout of the session; 0 lifts it."""
    conn.execute("SELECT set_config(%s, %s, false)", (setting, f"{1000 * seconds:.0f}ms"))


def failure(error: psycopg.Error) -> str:
    """Return an unexpected error as one line: where, what, and what to do next.

    The detail is left out, since it may quote rows.
    """
    # libpq's own errors have no state: the connection is gone.
    state = error.sqlstate or ("08" if isinstance(error, psycopg.OperationalError) else "")
    place = connection.where(error)
    said = f"{place}: " if place else ""
    said += f"PostgreSQL: {connection.said(error)}"
    said += f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
    return f"{said}; {_NEXT.get(state) or _NEXT.get(state[:2], _ELSE)}"
