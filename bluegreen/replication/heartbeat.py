"""Heartbeats: rows that show how far replication has come, and whether any were left out.

Their table is part of every publication. A heartbeat that is visible on the other side proves that
all commits before it have been applied there: one apply worker applies in commit order. A heartbeat
that is missing there, although the slot or the subscription counts everything up to a later
position as applied, proves that rows were left out: `skipped`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from bluegreen.errors import Refused
from bluegreen.lsn import Lsn
from bluegreen.names import TOOL_SCHEMA
from bluegreen.postgres import owned, remedies
from bluegreen.postgres.queries import value

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]

_ANYBODY, _SWITCH = 1, 2  # rows: only the switch writes the second one

_COLUMNS = (
    "id integer",
    "beat bigint",
    "at timestamp with time zone",
    "lsn pg_lsn",
    "previous_lsn pg_lsn",
)

_TABLE = """\
CREATE TABLE IF NOT EXISTS bluegreen.heartbeat (
    id int PRIMARY KEY,
    beat bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lsn pg_lsn,
    previous_lsn pg_lsn
);
"""

# Positions of the sender's WAL, as in `bluegreen.postgres.wal`: the beat before this one was
# committed synchronously, so it lies before `lsn`, and this beat lies behind. So the beat before
# this one lies between `previous_lsn` and `lsn`.
_BEAT = (
    "INSERT INTO bluegreen.heartbeat AS h (id, beat, lsn)"
    " VALUES (%s, 1, pg_current_wal_lsn())"
    " ON CONFLICT (id) DO UPDATE SET beat = h.beat + 1, at = clock_timestamp(),"
    " lsn = pg_current_wal_lsn(), previous_lsn = h.lsn"
    " RETURNING beat, at::text"
)
# The number alone won't do: a side that was the writer before may hold a higher one of its own.
_SEEN = "SELECT beat >= %s AND at >= %s::timestamptz FROM bluegreen.heartbeat WHERE id = %s"
_SENT = (
    "SELECT beat, previous_lsn::text, lsn::text FROM bluegreen.heartbeat"
    " WHERE id = %s AND previous_lsn IS NOT NULL"
)
_ARRIVED = "SELECT beat FROM bluegreen.heartbeat WHERE id = %s"
# One message, and so one transaction, of two statements: the snapshot of the second is taken when
# the first has the id. A transaction that is older and not in it has committed before the barrier
# does, prepared ones included. Nothing from xmax on has ended (it is the last completed id + 1),
# and xip leaves that out.
_BARRIER = """\
INSERT INTO bluegreen.heartbeat AS h (id, beat) VALUES ({row}, {beat})
    ON CONFLICT (id) DO UPDATE SET beat = excluded.beat, at = clock_timestamp();
SELECT pg_current_xact_id()::text::bigint, array(
    SELECT x::text::bigint FROM pg_snapshot_xip(pg_current_snapshot()) x
     UNION
    SELECT generate_series(pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
                           pg_current_xact_id()::text::bigint - 1))"""

# It waits in the server: a round trip for each check would cost more than the wait. Each check has
# a transaction of its own, or it would read the same snapshot again and again.
_WAIT = """\
DO $do$
DECLARE
    give_up timestamptz := clock_timestamp() + {left} * interval '1 second';
BEGIN
    WHILE NOT EXISTS (SELECT FROM bluegreen.heartbeat WHERE id = {row} AND beat = {beat}) LOOP
        IF clock_timestamp() > give_up THEN
            RAISE EXCEPTION 'not crossed' USING ERRCODE = 'query_canceled';
        END IF;
        COMMIT;
        PERFORM pg_sleep(0.0005);
    END LOOP;
END $do$"""


@dataclass(frozen=True, slots=True)
class Barrier:
    """What the switch's heartbeat knows of its own transaction."""

    id: int
    older: list[int]
    """Ids of transactions that had begun before it and had not ended."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat that was sent."""

    number: int
    at: str
    """The sender's clock."""


# Default privileges of the database may have granted others something at once.
_TO_NOBODY_ELSE = """\
DO $do$
DECLARE
    grantee text;
BEGIN
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
          FROM pg_namespace n, aclexplode(n.nspacl) a
         WHERE n.nspname = 'bluegreen' AND a.grantee <> n.nspowner
    LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA bluegreen FROM %s', grantee);
    END LOOP;
END $do$"""


def ensure(conn: Connection) -> None:
    """Make the schema in a database that is to be published.

    Raises `Refused` where somebody else owns one of that name, or has put something into ours.
    """
    try:
        with conn.transaction():
            _ensure(conn)
    except (errors.DuplicateSchema, errors.UniqueViolation):
        # Another deployment of the same source made it meanwhile.
        with conn.transaction():
            _ensure(conn)


def _ensure(conn: Connection) -> None:
    found = owned.find_schema(conn)
    if found is None:
        conn.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(TOOL_SCHEMA)))
        conn.execute(_TO_NOBODY_ELSE)
    elif (why := owned.unfit_schema(found, _COLUMNS)) is not None:
        raise Refused(f"{_schema_in(conn)}: {why}")
    if found is None or not found.marked:
        owned.remember(conn)
    if found is None or not found.columns:
        conn.execute(_TABLE)


def drop(conn: Connection) -> None:
    """Remove the schema; a missing one, or somebody else's, is left as it is.

    Raises `Refused` where something that the tool did not make is in it, or depends on it.
    """
    found = owned.find_schema(conn)
    if found is None:
        return
    why = owned.unfit_schema(found, _COLUMNS)
    if why is not None and not found.marked:
        log.warning("%s: left as it is: %s", _schema_in(conn), why)
        return
    if why is not None:
        raise Refused(f"{_schema_in(conn)}: {why}")
    try:
        with conn.transaction():
            conn.execute("DROP TABLE IF EXISTS bluegreen.heartbeat")
            conn.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(TOOL_SCHEMA)))
    except errors.DependentObjectsStillExist as error:
        who = "; ".join((error.diag.message_detail or "").splitlines())
        raise Refused(
            f"{_schema_in(conn)}: others depend on it ({who}); drop what depends on it, then try "
            "again"
        ) from None


def _schema_in(conn: Connection) -> str:
    return f"schema {TOOL_SCHEMA} in database {conn.info.dbname!r} on {conn.info.host}"


def beat(conn: Connection) -> Beat:
    """Write a heartbeat and return what `seen` checks for."""
    with remedies.explained(conn, _in(conn)):
        row = conn.execute(_BEAT, (_ANYBODY,)).fetchone()
    assert row is not None
    return Beat(*row)


def seen(conn: Connection, token: Beat) -> bool:
    """Return whether the heartbeat, or a later one, has arrived."""
    with remedies.explained(conn, _in(conn)):
        return bool(value(conn, _SEEN, token.number, token.at, _ANYBODY))


def _in(conn: Connection) -> str:
    return f"heartbeat in {conn.info.dbname!r} on {conn.info.host}"


def leave_marker(conn: Connection) -> None:
    """Leave a heartbeat between what has been read and what comes later, for `skipped`.

    Two are sent: the second one records where the first one ends. Without the table nothing is
    done: then somebody else's publication is read.
    """
    row = conn.execute("SELECT to_regclass('bluegreen.heartbeat') IS NOT NULL").fetchone()
    if row and row[0]:
        beat(conn)
        beat(conn)


def skipped(
    publisher: Connection, subscriber: Connection, passed: Lsn, *, since: Lsn | None
) -> str | None:
    """Return which heartbeat was left out on its way, in words, or None.

    `passed` is the position up to which everything counts as applied, read before this is called.
    `since` is where the subscriber starts: what was sent later must arrive. With None, when that
    isn't known, nothing is reported until a first heartbeat has arrived.
    """
    try:
        with remedies.explained(publisher, _in(publisher)):
            sent = publisher.execute(_SENT, (_ANYBODY,)).fetchone()
        with remedies.explained(subscriber, _in(subscriber)):
            arrived = subscriber.execute(_ARRIVED, (_ANYBODY,)).fetchone()
    except errors.UndefinedTable:
        return None
    if sent is None or (arrived is None and since is None):
        return None
    before_last, begins, ends = sent[0] - 1, Lsn.parse(sent[1]), Lsn.parse(sent[2])
    if since is not None and begins < since:
        return None
    if ends > passed or (arrived is not None and arrived[0] >= before_last):
        return None
    return (
        f"everything before {passed} counts as applied, but heartbeat {before_last}, written before"
        f" {ends}, has not arrived"
    )


def barrier(conn: Connection, number: int, *, behind: sql.Composed | None = None) -> Barrier:
    """Write the switch's heartbeat, as soon as the statement `behind` is over."""
    statement = sql.SQL(_BARRIER).format(row=sql.Literal(_SWITCH), beat=sql.Literal(number))
    if behind is not None:
        statement = sql.SQL("; ").join([behind, statement])
    said = conn.execute(statement, prepare=False)
    while said.nextset():
        pass  # the last statement's answer is the one that counts
    row = said.fetchone()
    assert row is not None
    return Barrier(*row)


def wait_until_crossed(conn: Connection, number: int, *, seconds: float) -> None:
    """Wait until the switch's heartbeat has arrived.

    Raises `psycopg.errors.QueryCanceled` when it has not within `seconds`.
    """
    values = {"row": _SWITCH, "beat": number, "left": seconds}
    literals = {name: sql.Literal(value) for name, value in values.items()}
    conn.execute(sql.SQL(_WAIT).format(**literals))
