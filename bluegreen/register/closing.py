"""Closed: an environment refuses writes by default, and its earlier sessions are ended.

A standby is closed, and so is an old side after the switch. During a switch the fence closes the
writer, and stops every session that could still write.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from bluegreen.polling import poll_until
from bluegreen.postgres.queries import Connection, value
from bluegreen.register import register

_IS_CLOSED = """\
SELECT count(*) > 0 AND bool_and(EXISTS (
        SELECT FROM pg_db_role_setting s, unnest(s.setconfig) option
         WHERE s.setdatabase = d.oid AND s.setrole = 0
           AND CASE WHEN option LIKE 'default_transaction_read_only=%%'
                    THEN split_part(option, '=', 2)::boolean ELSE false END))
  FROM pg_database d WHERE d.datname = ANY (%s)"""

_END_SESSIONS = """\
SELECT bluegreen.end_sessions(%s::text[], coalesce(%s, 'infinity'::timestamptz), %s::int[])"""

_CLOSED = """\
SELECT coalesce(array_agg(name), '{}'), clock_timestamp() FROM bluegreen.closure
 WHERE kind = 'database'"""


def is_closed(conn: Connection, databases: Collection[str]) -> bool:
    """Return whether all of `databases` refuse writes by default: the mark of a standby."""
    return bool(value(conn, _IS_CLOSED, list(databases)))


def close_all(conn: Connection, roles: Collection[str] = ()) -> None:
    """Close a fresh clone; `conn` is to the tool's database. Repeating it changes nothing.

    `roles` lose LOGIN until its opening, as they do on an old side that is closed.
    """
    register.ensure_tables(conn)
    with conn.transaction():
        conn.execute("SELECT bluegreen.close_databases(NULL::text)")
        conn.execute("SELECT bluegreen.close_roles(NULL::text, %s::text[])", (list(roles),))


def end_earlier(conn: Connection, *, deadline: float) -> bool:
    """End every session in a closed database that began before now, unfinished logins included.

    Returns whether none was left by `deadline`, in seconds of `time.monotonic()`.
    """
    row = conn.execute(_CLOSED).fetchone()
    databases, at = row or ([], None)
    suspects: list[int] | None = None
    clean = 0
    ours = [conn.info.backend_pid]
    end_sessions(conn, databases, ours=ours)  # those too that began before the clock was set back
    for _ in poll_until(deadline, first=0.001, most=0.1):
        found = conn.execute("SELECT bluegreen.still_starting(%s::int[])", (suspects,)).fetchone()
        suspects = found[0] if found else []
        if suspects:
            conn.execute("SELECT bluegreen.end_starting(%s::int[])", (suspects,))
        ended = end_sessions(conn, databases, ours=ours, until=at)
        clean = 0 if ended or suspects else clean + 1
        if clean == 2:
            return True
    return False


def end_sessions(
    conn: Connection,
    databases: Sequence[str],
    *,
    ours: Sequence[int],
    until: datetime | None = None,
) -> int:
    """End all sessions, or those that began before `until`, but for `ours`; return how many.

    Without `until` whatever the clock says, which may have been set back since they began.
    Sessions that began under a fence keep its read-only default when it is gone. Call it only
    after the transaction that took it off has committed: before, new ones would be born the same.
    """
    return int(value(conn, _END_SESSIONS, list(databases), until, list(ours)) or 0)
