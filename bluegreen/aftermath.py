"""The old direction's end: it applies nothing any more, and what slipped in is counted."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import sql

from bluegreen import names, register
from bluegreen.errors import Retry
from bluegreen.names import Direction
from bluegreen.side import Side

_POLL_SECONDS = 0.01

# The launcher starts no worker for a subscription that is disabled, and one that it has just
# started sees that by itself before it applies anything.
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
_SENDER = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"

# In pgoutput's messages a row that was written begins with one of these letters.
_SLIPPED = """\
SELECT count(*) FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL,
        'proto_version', '1', 'publication_names', %s) c
 WHERE c.lsn >= %s::pg_lsn AND substr(c.data, 1, 1) IN ('I', 'U', 'D', 'T')"""


def stop_applying(new: Side, *, deployment: str, direction: Direction, seconds: float) -> None:
    """Disable the old direction's subscriptions, and end what applies for them.

    One statement a database, over when no worker is left: what one is in the midst of is rolled
    back, and stays in the old side's slot. Repeating it changes nothing. Raises `Retry` when a
    worker is left after `seconds`.
    """
    _each(new, sql.SQL(_STOP), deployment=deployment, direction=direction, seconds=seconds)


def resume_applying(new: Side, *, deployment: str, direction: Direction) -> None:
    """Enable the old direction's subscriptions again, where one was stopped and nothing opened.

    Whoever stopped them died before the opening, and a successor has to see the drain itself.
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
    with ThreadPoolExecutor(len(new.databases), "aftermath") as pool:
        for done in [pool.submit(one, database) for database in new.databases]:
            done.result()


def wait_until_unread(old: Side, *, deployment: str, direction: Direction, seconds: float) -> None:
    """Wait until nobody reads the old direction's slots any more; raises `Retry`."""
    deadline = time.monotonic() + seconds
    for database, conn in old.databases.items():
        slot = names.slot(deployment, direction, database)
        while conn.execute(_SENDER, (slot,)).fetchone() == (True,):
            if time.monotonic() > deadline:
                raise Retry(f"slot {slot} on {old.server}: still read after {seconds:g} s")
            time.sleep(_POLL_SECONDS)


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
