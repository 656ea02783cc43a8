"""After the opening: the old direction is stopped, and what slipped in is counted."""

from __future__ import annotations

import time

import psycopg
from psycopg import sql

from bluegreen import names, register
from bluegreen.errors import Retry
from bluegreen.names import Direction
from bluegreen.side import Side

_POLL_SECONDS = 0.01

_WORKERS = """\
SELECT st.pid FROM pg_stat_subscription st JOIN pg_subscription s ON s.oid = st.subid
 WHERE s.subname = %s AND st.pid IS NOT NULL
   AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_SENDER = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"

# In pgoutput's messages a row that was written begins with one of these letters.
_SLIPPED = """\
SELECT count(*) FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL,
        'proto_version', '1', 'publication_names', %s) c
 WHERE c.lsn >= %s::pg_lsn AND substr(c.data, 1, 1) IN ('I', 'U', 'D', 'T')"""


def stop_direction(
    old: Side, new: Side, *, deployment: str, direction: Direction, seconds: float
) -> None:
    """Disable the old direction's subscriptions, and wait until workers and senders are gone.

    Raises `Retry` when they are not within `seconds`.
    """
    name = names.subscription(deployment, direction)
    deadline = time.monotonic() + seconds
    for database, conn in new.databases.items():
        there = conn.execute(
            "SELECT FROM pg_subscription WHERE subname = %s AND subdbid ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
            (name,),
        ).fetchone()
        if there is None:
            continue
        conn.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(sql.Identifier(name)))
        slot = names.slot(deployment, direction, database)
        while _busy(conn, old.databases[database], name, slot):
            if time.monotonic() > deadline:
                raise Retry(
                    f"subscription {name} in {database!r} on {new.server}: still at work after"
                    f" {seconds:g} s; run pulumi up again"
                )
            time.sleep(_POLL_SECONDS)


def _busy(
    new: psycopg.Connection[tuple[object, ...]],
    old: psycopg.Connection[tuple[object, ...]],
    subscription: str,
    slot: str,
) -> bool:
    workers = new.execute(_WORKERS, (subscription,)).fetchall()
    sender = old.execute(_SENDER, (slot,)).fetchone()
    return bool(workers) or sender == (True,)


def count_slipped(old: Side, attempt: str, *, deployment: str, direction: Direction) -> int:
    """Return how many rows were written to published tables after the barrier.

    The slot of the old direction still holds them: nobody reads it any more. Once it is gone, what
    was counted before stands.
    """
    barrier = register.barrier(old.tool, attempt)
    publication = names.publication(deployment, direction)
    total = 0
    for database, conn in old.databases.items():
        slot = names.slot(deployment, direction, database)
        if barrier is None or conn.execute(_SENDER, (slot,)).fetchone() is None:
            continue
        row = conn.execute(_SLIPPED, (slot, publication, str(barrier))).fetchone()
        total += int(row[0]) if row else 0
    return total
