"""The end of the old direction: it applies nothing any more, and late writes are counted."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import sql

from bluegreen import names
from bluegreen.errors import Retry
from bluegreen.lsn import Lsn
from bluegreen.names import Direction
from bluegreen.postgres import slots, subscriptions, wal
from bluegreen.register import register
from bluegreen.switch.side import Connection, Side

_POLL_SECONDS = 0.01

# The launcher starts no worker for a disabled subscription, and a worker that it has just started
# notices that itself before it applies anything.
_STOP = """\
DO $do$
DECLARE
    give_up timestamptz := clock_timestamp() + {left} * interval '1 second';
    workers int[];
BEGIN
    IF EXISTS (SELECT FROM pg_subscription WHERE subname = {name} AND subenabled
            AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())) THEN
        ALTER SUBSCRIPTION {subscription} DISABLE;
        COMMIT;
    END IF;
    LOOP
        SELECT array_agg(st.pid) INTO workers
          FROM pg_stat_get_subscription(NULL) st JOIN pg_subscription s ON s.oid = st.subid
         WHERE s.subname = {name} AND st.pid IS NOT NULL
           AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
        EXIT WHEN workers IS NULL;
        IF clock_timestamp() > give_up THEN
            RAISE EXCEPTION 'still at work' USING ERRCODE = 'query_canceled';
        END IF;
        BEGIN
            PERFORM pg_terminate_backend(pid) FROM unnest(workers) pid;
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;  -- another owner's: it ends by itself, with the transaction that it applies
        END;
        COMMIT;
        PERFORM pg_sleep(0.001);
    END LOOP;
END $do$"""
_RESUME = """\
DO $do$
BEGIN
    IF EXISTS (SELECT FROM pg_subscription WHERE subname = {name} AND NOT subenabled
            AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())) THEN
        ALTER SUBSCRIPTION {subscription} ENABLE;
    END IF;
END $do$"""

# pgoutput's messages begin with a letter. A row's message continues with its table's oid; a
# commit's message lies at the commit's end, which is the position that an origin stores.
_SLIPPED = """\
WITH sent AS MATERIALIZED (
    SELECT lsn, xid, substr(data, 1, 1) AS kind, substr(data, 2, 4) AS relation
      FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL,
        'proto_version', '1', 'publication_names', %s))
SELECT count(*) FROM sent
 WHERE kind IN ('I', 'U', 'D', 'T')
   AND relation IS DISTINCT FROM int4send(to_regclass('bluegreen.heartbeat')::oid::int4)
   AND xid IN (SELECT xid FROM sent WHERE kind = 'C' AND lsn > %s::pg_lsn)"""


def stop_applying(new: Side, *, deployment: str, direction: Direction, seconds: float) -> None:
    """Disable the old direction's subscriptions, and end what applies for them.

    One statement for each database, over when no worker is left: a worker's unfinished transaction
    is rolled back, and stays in the old side's slot. Repeating it changes nothing. Raises `Retry`
    when a worker is left after `seconds`.
    """
    _each(new, sql.SQL(_STOP), deployment=deployment, direction=direction, seconds=seconds)


def resume_applying(new: Side, *, deployment: str, direction: Direction) -> None:
    """Enable the old direction's subscriptions again, where they were stopped and nothing opened.

    The process that stopped them died before the opening; its successor must see the drain itself.
    """
    _each(new, sql.SQL(_RESUME), deployment=deployment, direction=direction)


def _each(
    new: Side, text: sql.SQL, *, deployment: str, direction: Direction, seconds: float = 0
) -> None:
    """Execute a statement on each database of `new` at once."""
    name = names.subscription(deployment, direction)
    statement = text.format(
        name=sql.Literal(name), subscription=sql.Identifier(name), left=sql.Literal(seconds)
    )

    def one(database: str) -> None:
        try:
            new.databases[database].execute(statement)
        except psycopg.errors.QueryCanceled:
            raise Retry(
                f"subscription {name} in {database!r} on {new.server}: still at work after"
                f" {seconds:g} s"
            ) from None

    if len(new.databases) == 1:
        one(*new.databases)
        return
    with ThreadPoolExecutor(len(new.databases), "old direction") as pool:
        for done in [pool.submit(one, database) for database in new.databases]:
            done.result()


def wait_until_unread(old: Side, *, deployment: str, direction: Direction, seconds: float) -> None:
    """Wait until nobody reads the old direction's slots any more; raises `Retry`."""
    deadline = time.monotonic() + seconds
    for database, conn in old.databases.items():
        slot = names.slot(deployment, direction, database)
        while (have := slots.inspect(conn, slot)) is not None and have.active_pid is not None:
            if time.monotonic() > deadline:
                raise Retry(f"slot {slot} on {old.server}: still read after {seconds:g} s")
            time.sleep(_POLL_SECONDS)


def count_slipped(
    old: Side, new: Side, attempt: str, *, deployment: str, direction: Direction
) -> int:
    """Return how many rows were written to published tables and are on the old side only.

    The slot of the old direction, which nobody reads any more, still holds them. It also holds rows
    that were applied and not confirmed when the worker ended; the new side's origin distinguishes
    them. Once the slot is gone, the earlier count stands; once the subscription is gone, the
    barrier decides. Heartbeats don't count: a finisher sends its own.
    """
    barrier = register.barrier(old.tool, attempt)
    publication = names.publication(deployment, direction)
    total = 0
    for database, conn in old.databases.items():
        slot = names.slot(deployment, direction, database)
        if slots.inspect(conn, slot) is None:
            continue
        subscription = names.subscription(deployment, direction)
        applied = _applied(new.databases[database], subscription) or barrier
        if applied is None:
            continue
        row = conn.execute(_SLIPPED, (slot, publication, str(applied))).fetchone()
        total += int(row[0]) if row else 0
    return total


def _applied(conn: Connection, name: str) -> Lsn | None:
    """Return how far a stopped subscription has applied, durably; None when it is gone."""
    found = subscriptions.inspect(conn, name)
    if found is None or not found.position:
        return None
    wal.flush(conn)
    return found.position
