"""The fence: an environment refuses writes, and every session that could still write is ended.

`ALTER DATABASE ... SET default_transaction_read_only` reaches new sessions only, so those that are
there are ended, in a loop: a session that was starting while the fence was put up has read the old
value and is not in `pg_stat_activity` yet (not at all up to 17, without a user in 18). It holds a
lock on its virtual transaction id, though, so the loop goes on until two passes in a row find
neither (24 of 24 such races closed; a single pass let them write).

The fence is put up with a first pass, and the loop is a statement of its own: the barrier is set
and drained meanwhile, since most sessions are gone after that pass. What a slower one writes after
the barrier is seen by the decision, which comes after the loop and then has the barrier set again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import psycopg
from psycopg import sql

from bluegreen import register

Connection = psycopg.Connection[Any]

_IS_CLOSED = """\
SELECT count(*) > 0 AND bool_and(EXISTS (
        SELECT FROM pg_db_role_setting s
         WHERE s.setdatabase = d.oid AND s.setrole = 0
           AND 'default_transaction_read_only=on' = ANY (s.setconfig)))
  FROM pg_database d WHERE d.datname = ANY (%s)"""

# Sessions that count: any client's in a closed database, but the tool's own and AWS's. Ending a
# superuser's takes a superuser, and one refusal would fail the statement as a whole.
_WRITERS = """\
SELECT count(pg_terminate_backend(a.pid))
  FROM pg_stat_activity a JOIN pg_roles r ON r.rolname = a.usename
 WHERE a.backend_type = 'client backend'
   AND a.backend_start <= current_setting('bluegreen.fenced_at')::timestamptz
   AND a.pid <> ALL ({ours})
   AND a.datname IN (SELECT name FROM public.closure WHERE kind = 'database')
   AND a.usename <> 'rdsadmin'
   AND (NOT r.rolsuper OR current_setting('is_superuser') = 'on')"""

_PUT_UP = """\
DO $do$
BEGIN
    PERFORM FROM public.register WHERE attempt = {attempt} AND state = 'preparing' FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'attempt % was aborted', {attempt}
            USING ERRCODE = 'transaction_rollback';
    END IF;
    PERFORM public.close_databases();
    PERFORM public.close_roles({roles});
    COMMIT;
    PERFORM set_config('bluegreen.fenced_at', clock_timestamp()::text, false);
    PERFORM pg_stat_clear_snapshot();
    PERFORM ({writers});
END $do$"""

_UNTIL_CLEAN = """\
DO $do$
DECLARE
    starting int[];
    suspects int[];
    ended int;
    clean int := 0;
    give_up timestamptz := clock_timestamp() + {left} * interval '1 second';
BEGIN
    LOOP
        -- Locks first, sessions second: who gives the one up is among the other by then.
        SELECT coalesce(array_agg(l.pid), '{{}}') INTO starting
          FROM pg_locks l
         WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid();
        PERFORM pg_stat_clear_snapshot();
        SELECT coalesce(array_agg(p), '{{}}') INTO starting
          FROM unnest(starting) p
         WHERE (suspects IS NULL OR p = ANY (suspects))
           AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = p
                AND (a.usename IS NOT NULL OR a.backend_type <> 'client backend'));
        suspects := starting;
        ended := ({writers});
        IF ended = 0 AND cardinality(suspects) = 0 THEN
            clean := clean + 1;
            EXIT WHEN clean >= 2;
        ELSE
            clean := 0;
            IF clock_timestamp() > give_up THEN
                RAISE EXCEPTION 'sessions that could write do not end'
                    USING ERRCODE = 'query_canceled';
            END IF;
            COMMIT;
            PERFORM pg_sleep(0.001);
        END IF;
    END LOOP;
END $do$"""

_END = """\
SELECT count(pg_terminate_backend(a.pid))
  FROM pg_stat_activity a JOIN pg_roles r ON r.rolname = a.usename
 WHERE a.backend_type = 'client backend' AND a.pid <> ALL (%s)
   AND a.datname = ANY (%s) AND a.usename <> 'rdsadmin'
   AND (NOT r.rolsuper OR current_setting('is_superuser') = 'on')"""


def is_closed(conn: Connection, databases: Collection[str]) -> bool:
    """Return whether all of `databases` refuse writes by default: the mark of a standby."""
    row = conn.execute(_IS_CLOSED, (list(databases),)).fetchone()
    return bool(row and row[0])


def close_all(conn: Connection) -> None:
    """Close a fresh clone; `conn` is to the tool's database. Repeating it changes nothing."""
    register.ensure_tables(conn)
    conn.execute("SELECT public.close_databases()")


def rehearse(conn: Connection) -> None:
    """Do what `put_up` will do, ending nobody, in a transaction that is rolled back.

    It loads plans and catalogs into the session: first calls take three times as long.
    """
    with conn.transaction(force_rollback=True):
        conn.execute("SELECT public.close_databases(), public.close_roles('{}')")
        conn.execute("SELECT set_config('bluegreen.fenced_at', '-infinity', true)")
        conn.execute(_writers([]))
        conn.execute("SELECT count(*) FROM pg_locks")
        conn.execute("SELECT public.decide_switch('', '{}', '{}', '0/0')")


def put_up(
    conn: Connection,
    attempt: str,
    *,
    roles: Sequence[str],
    ours: Sequence[int],
) -> None:
    """Fence the environment, and tell every session that could still write to end.

    `roles` lose LOGIN as well (fence mode `no-login`); `ours` are the process ids to spare. Raises
    `psycopg.errors.TransactionRollback` when the attempt was aborted meanwhile: nobody fences
    after an abort. The fence holds once `wait_until_clean` is back.
    """
    statement = sql.SQL(_PUT_UP).format(
        attempt=sql.Literal(attempt),
        roles=sql.SQL("{}::text[]").format(sql.Literal(list(roles))),
        writers=_writers(ours),
    )
    conn.execute(statement)


def wait_until_clean(conn: Connection, *, ours: Sequence[int], seconds: float) -> None:
    """Wait until no session is left that could write; `conn` is the one that put the fence up.

    Raises `psycopg.errors.QueryCanceled` when one is after `seconds`.
    """
    left = sql.Literal(seconds)
    conn.execute(sql.SQL(_UNTIL_CLEAN).format(writers=_writers(ours), left=left))


def _writers(ours: Sequence[int]) -> sql.Composed:
    return sql.SQL(_WRITERS).format(ours=sql.SQL("{}::int[]").format(sql.Literal(list(ours))))


def end_sessions(conn: Connection, databases: Sequence[str], *, ours: Sequence[int]) -> int:
    """End the sessions of now, but for `ours`; return how many.

    Sessions that began under a fence keep its read-only default when it is gone. Call it only
    after the transaction that took it off has committed: before, new ones would be born the same.
    """
    row = conn.execute(_END, (list(ours), list(databases))).fetchone()
    return int(row[0]) if row else 0
