"""Heartbeats: rows that show how far replication has come; and the canary.

Both are part of every publication. A heartbeat that is visible on the other side proves that all
commits before it have been applied there: one apply worker applies in commit order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from bluegreen.names import TOOL_SCHEMA

Connection = psycopg.Connection[Any]

_ANYBODY, _SWITCH = 1, 2  # rows: only the switch writes the second one

# The canary has no key on purpose: a row that comes twice must show instead of stopping the apply.
_SCHEMA = """\
CREATE SCHEMA IF NOT EXISTS bluegreen;
CREATE TABLE IF NOT EXISTS bluegreen.heartbeat (
    id int PRIMARY KEY,
    beat bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS bluegreen.canary (
    writer int NOT NULL,
    n bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

_BEAT = (
    "INSERT INTO bluegreen.heartbeat AS h (id, beat) VALUES (%s, 1)"
    " ON CONFLICT (id) DO UPDATE SET beat = h.beat + 1, at = clock_timestamp()"
    " RETURNING beat, at::text"
)
# Not the number alone: a side that was the writer before may hold a higher one of its own.
_SEEN = "SELECT beat >= %s AND at >= %s::timestamptz FROM bluegreen.heartbeat WHERE id = %s"
# One message, and so one transaction, of two statements: the snapshot of the second is taken when
# the first has the id. What is older and not in it has committed before the barrier does, prepared
# transactions included. Nothing from xmax on has ended (it is the last completed id + 1), and xip
# leaves that out.
_BARRIER = """\
INSERT INTO bluegreen.heartbeat AS h (id, beat) VALUES ({row}, {beat})
    ON CONFLICT (id) DO UPDATE SET beat = excluded.beat, at = clock_timestamp();
SELECT pg_current_xact_id()::text::bigint, array(
    SELECT x::text::bigint FROM pg_snapshot_xip(pg_current_snapshot()) x
     UNION
    SELECT generate_series(pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
                           pg_current_xact_id()::text::bigint - 1))"""

# Waits in the server: a round trip for each look would cost more than the wait. A transaction of
# its own for each look, or it would look at the same snapshot again and again.
_WAIT = """\
DO $do$
BEGIN
    WHILE NOT EXISTS (SELECT FROM bluegreen.heartbeat WHERE id = {row} AND beat = {beat}) LOOP
        COMMIT;
        PERFORM pg_sleep(0.0005);
    END LOOP;
END $do$"""


@dataclass(frozen=True, slots=True)
class Barrier:
    """What the switch's heartbeat knows of its own transaction."""

    id: int
    older: list[int]
    """Ids of transactions that began before it and had not ended."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat that was sent."""

    number: int
    at: str
    """The sender's clock."""


def ensure(conn: Connection) -> None:
    """Make the schema in a database that is to be published."""
    with conn.transaction():
        conn.execute(_SCHEMA)


def drop(conn: Connection) -> None:
    """Remove the schema; one that is gone already is fine."""
    conn.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(TOOL_SCHEMA)))


def beat(conn: Connection) -> Beat:
    """Write a heartbeat and return what `seen` looks for."""
    row = conn.execute(_BEAT, (_ANYBODY,)).fetchone()
    assert row is not None
    return Beat(*row)


def seen(conn: Connection, token: Beat) -> bool:
    """Return whether the heartbeat, or a later one, has arrived."""
    row = conn.execute(_SEEN, (token.number, token.at, _ANYBODY)).fetchone()
    return bool(row and row[0])


def barrier(conn: Connection, number: int) -> Barrier:
    """Write the switch's heartbeat."""
    statement = sql.SQL(_BARRIER).format(row=sql.Literal(_SWITCH), beat=sql.Literal(number))
    said = conn.execute(statement, prepare=False)
    said.nextset()
    row = said.fetchone()
    assert row is not None
    return Barrier(*row)


def wait_until_crossed(conn: Connection, number: int) -> None:
    """Wait until the switch's heartbeat has arrived, or the statement is cancelled."""
    conn.execute(sql.SQL(_WAIT).format(row=sql.Literal(_SWITCH), beat=sql.Literal(number)))
