"""Open transactions that others wait for, by process, user and age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

# A transaction has an id as soon as it writes. Prepared ones belong to no process.
_OPEN = """
SELECT a.pid, coalesce(a.usename, a.backend_type)::text AS "user",
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_seconds,
       a.backend_xid IS NOT NULL AS writes
  FROM pg_catalog.pg_stat_activity a
 WHERE a.xact_start IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
   AND a.backend_type IN ('client backend', 'logical replication worker',
                          'logical replication apply worker',
                          'logical replication parallel worker', 'background worker')
UNION ALL
SELECT NULL, format('%%s (prepared as %%L)', p.owner, p.gid),
       extract(epoch FROM clock_timestamp() - p.prepared)::float8, true
  FROM pg_catalog.pg_prepared_xacts p
 ORDER BY age_seconds DESC
"""

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """An open transaction; `pid` is None for a prepared one."""

    pid: int | None
    user: str
    age_seconds: float
    writes: bool


def inspect(conn: psycopg.Connection[Any], *, writing: bool) -> tuple[OpenTransaction, ...]:
    """Return the cluster's open transactions, oldest first; `writing`: only those with an id."""
    with conn.cursor(row_factory=class_row(OpenTransaction)) as cursor:
        found = cursor.execute(_OPEN, ()).fetchall()
    return tuple(one for one in found if one.writes or not writing)


def words(found: tuple[OpenTransaction, ...]) -> str:
    """Return the oldest of `found` as text, without its query, which may hold data."""
    if not found:
        return "no open transaction is visible now"
    named = [
        f"{'prepared' if one.pid is None else f'pid {one.pid}'} of {one.user},"
        f" {one.age_seconds:.0f} s old"
        for one in found[:_MOST_NAMED]
    ]
    more = len(found) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")
