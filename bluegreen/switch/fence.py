"""The fence: an environment refuses writes, and every session that could still write is ended.

`ALTER DATABASE ... SET default_transaction_read_only` affects new sessions only, so the existing
ones are ended, in a loop. A session that was starting while the fence was put up has read the old
value and is not in `pg_stat_activity` yet (not at all up to 17, without a user in 18). But it holds
a lock on its virtual transaction id, so the loop goes on until two passes in a row find neither (24
of 24 such races closed; a single pass let them write). A client that stops in the middle of its
login holds such a lock too, so a login that takes longer is ended where that is allowed.

All of it is one statement, and the next statements have been sent already: the sessions that set
the barrier and read the sequences wait in the server (`until_up`) for the name that the fence's
session takes at its end. While all clients log in again at once, an answer that has to be
scheduled, read and acted upon costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from bluegreen.switch.side import fenced_name, fuse_name

Connection = psycopg.Connection[Any]

_PUT_UP = """\
DO $do$
DECLARE
    closed text[];
    left_out text;
    fenced_at timestamptz;
    suspects int[];
    ended bigint;
    clean int := 0;
    -- Before the watchdog, whose cancel could not say what is in the way.
    give_up timestamptz := clock_timestamp() + 0.9 * {left} * interval '1 second';
    armed_by timestamptz := least(give_up, clock_timestamp() + interval '1 second');
BEGIN
    -- Who closes without it would stay closed when the machine that closes is gone.
    WHILE NOT EXISTS (SELECT FROM pg_stat_activity
                       WHERE pid = {fuse} AND application_name = {armed}) LOOP
        IF clock_timestamp() > armed_by THEN
            RAISE EXCEPTION 'the server fuse (session %) is not there', {fuse}
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        PERFORM pg_stat_clear_snapshot();
        PERFORM pg_sleep(0.005);
    END LOOP;
    PERFORM FROM bluegreen.register WHERE attempt = {attempt} AND state = 'preparing' FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'attempt % was aborted', {attempt}
            USING ERRCODE = 'transaction_rollback';
    END IF;
    PERFORM bluegreen.close_databases({attempt}::text);
    PERFORM bluegreen.close_roles({attempt}::text, {roles});
    SELECT array_agg(name) INTO closed FROM bluegreen.closure
     WHERE kind = 'database' AND attempt = {attempt};
    -- Such as one that became a template since the beginning.
    SELECT string_agg(wanted, ', ') INTO left_out FROM unnest({databases}) wanted
     WHERE wanted <> ALL (coalesce(closed, '{{}}'));
    IF left_out IS NOT NULL THEN
        RAISE EXCEPTION 'the fence leaves out: %', left_out
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    COMMIT;
    fenced_at := clock_timestamp();
    -- Whatever the clock says: where it was set back, sessions of before begin in the future, and
    -- would write on. Those that began behind the fence have done nothing yet.
    PERFORM bluegreen.end_sessions(closed, 'infinity', {ours});
    LOOP
        suspects := bluegreen.still_starting(suspects);
        IF cardinality(suspects) > 0 AND clock_timestamp() > fenced_at + interval '0.02 s' THEN
            PERFORM bluegreen.end_starting(suspects);
        END IF;
        ended := bluegreen.end_sessions(closed, fenced_at, {ours});
        IF ended = 0 AND cardinality(suspects) = 0 THEN
            clean := clean + 1;
            EXIT WHEN clean >= 2;
        ELSE
            clean := 0;
            IF clock_timestamp() > give_up THEN
                IF cardinality(suspects) > 0 THEN
                    RAISE EXCEPTION 'pid % has been logging in for more than % s, and may not be'
                        ' ended: end its client, or lower authentication_timeout',
                        array_to_string(suspects, ', '),
                        extract(epoch FROM clock_timestamp() - fenced_at)::numeric(9, 1)
                        USING ERRCODE = 'lock_not_available';
                END IF;
                RAISE EXCEPTION 'sessions that could write do not end'
                    USING ERRCODE = 'query_canceled';
            END IF;
            COMMIT;
            PERFORM pg_sleep(0.001);
        END IF;
    END LOOP;
    PERFORM set_config('application_name', {up}, false);
END $do$"""

# Every session of the server sees an application name at once, whatever its database.
_UNTIL_UP = """\
DO $do$
DECLARE
    give_up timestamptz := clock_timestamp() + {left} * interval '1 second';
BEGIN
    LOOP
        PERFORM pg_stat_clear_snapshot();
        EXIT WHEN (SELECT a.application_name FROM pg_stat_get_activity({pid}) a) = {up};
        IF clock_timestamp() > give_up THEN
            RAISE EXCEPTION 'the fence is not up' USING ERRCODE = 'query_canceled';
        END IF;
        PERFORM pg_sleep(0.001);
    END LOOP;
END $do$"""


def rehearse(conn: Connection) -> None:
    """Do what `put_up` will do, in a transaction that is rolled back, and end no session.

    It loads plans and catalogs into the session: first calls take three times as long.
    """
    with conn.transaction(force_rollback=True):
        conn.execute(
            "SELECT bluegreen.close_databases(''::text),"
            " bluegreen.close_roles(''::text, '{}'::text[])"
        )
        conn.execute(
            "SELECT bluegreen.still_starting(NULL::int[]), bluegreen.end_starting('{}'::int[])"
        )
        conn.execute(
            "SELECT bluegreen.end_sessions('{}'::text[], '-infinity'::timestamptz, '{}'::int[])"
        )
        conn.execute(
            "SELECT bluegreen.decide_switch("
            "''::text, '{}'::bigint[], '{}'::bigint[], '0/0'::pg_lsn)"
        )


def put_up(
    conn: Connection,
    attempt: str,
    *,
    databases: Sequence[str],
    roles: sql.Composable,
    fuse: int,
    ours: Sequence[int],
    seconds: float,
) -> None:
    """Fence the environment, `databases` among all that are there; end every session that writes.

    `roles`, a SQL array of names, lose LOGIN as well; `fuse` is the server fuse's process id, and
    `ours` are the ones to spare. Raises `psycopg.errors.TransactionRollback` when the attempt was
    aborted meanwhile, since nothing is fenced after an abort; `psycopg.errors.QueryCanceled` when a
    session is left after `seconds`; `psycopg.errors.LockNotAvailable`, naming it, when that session
    has not logged in yet; `psycopg.errors.ObjectNotInPrerequisiteState`, with nothing closed, when
    the fuse is dead or one of `databases` would be left out.
    """
    statement = sql.SQL(_PUT_UP).format(
        attempt=sql.Literal(attempt),
        databases=sql.SQL("{}::text[]").format(sql.Literal(list(databases))),
        roles=roles,
        fuse=sql.Literal(fuse),
        armed=sql.Literal(fuse_name(attempt)),
        ours=sql.SQL("{}::int[]").format(sql.Literal(list(ours))),
        left=sql.Literal(seconds),
        up=sql.Literal(fenced_name(attempt)),
    )
    conn.execute(statement)


def until_up(conn: Connection, attempt: str, *, seconds: float) -> sql.Composed:
    """Return a statement for any session there that ends as soon as `put_up` on `conn` does.

    It raises `psycopg.errors.QueryCanceled` when it has not ended after `seconds`.
    """
    return sql.SQL(_UNTIL_UP).format(
        pid=sql.Literal(conn.info.backend_pid),
        up=sql.Literal(fenced_name(attempt)),
        left=sql.Literal(seconds),
    )
