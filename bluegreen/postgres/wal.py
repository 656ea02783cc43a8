"""Where a server's WAL is: the one function that all positions of this program come from.

Aurora counts in two spaces: its storage's, and that of the logical WAL stream, which slots, origins
and `aurora_volume_logical_start_lsn()` belong to. `pg_current_wal_lsn()` belongs to the second one:
AWS's own procedure for an upgrade by logical replication subtracts `confirmed_flush_lsn` from it.
Of `pg_current_wal_insert_lsn()`, `pg_current_wal_flush_lsn()` and what `pg_logical_emit_message()`
returns nobody has said that. So nothing here uses them.

It is the position up to which WAL is *written*. What a session has committed synchronously lies
before it, and what a session is about to write lies behind it. What others have committed
asynchronously may lie behind it, too, until somebody commits synchronously.
"""

from __future__ import annotations

from typing import Any

import psycopg

from bluegreen.errors import Refused
from bluegreen.lsn import Lsn
from bluegreen.postgres import queries

# A transaction that any session may make, a read-only one as well, and whose commit is flushed.
_FLUSH = "SELECT pg_catalog.pg_logical_emit_message(true, 'bluegreen', 'flush')"
_POSITION = "SELECT pg_catalog.pg_current_wal_lsn()::text"


def position(conn: psycopg.Connection[Any]) -> Lsn:
    """Return where the server's WAL is; not before what this session has committed."""
    return Lsn.parse(queries.value(conn, _POSITION))


def flush(conn: psycopg.Connection[Any]) -> None:
    """Make durable whatever was committed before, by anybody; `position` lies behind it then."""
    conn.execute(_FLUSH)


def require_same_space(
    what: str, has: Lsn, *, behind: Lsn | None, conn: psycopg.Connection[Any]
) -> None:
    """Raise `Refused` unless the position `has` lies between `behind` and now.

    A server whose `pg_current_wal_lsn()` counts elsewhere than its slots can't be switched without
    loss: every bound and every start of a replication would be another place.
    """
    flush(conn)
    now = position(conn)
    if (behind is None or behind <= has) and has <= now:
        return
    since = "" if behind is None else f"between {behind} and "
    raise Refused(
        f"{what}: is at {has}, expected a position {since or 'up to '}{now}, which "
        "pg_current_wal_lsn() gives; this server counts slots in another way, and nothing can be "
        "replicated exactly from it: report it, with the server's version"
    )
