"""The register: which switch is under way or was made, kept on the servers themselves.

On each environment the tool has its own database with three tables. `register` is written on the
environment that is being fenced: one row for each attempt, at most one of them live. `opening` is
written on the other: whether it has been opened for that attempt. `closure` says what closing this
environment has changed, so that opening it restores exactly that.

Rules that involve several of them are SQL functions there, see `schema`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import psycopg
from psycopg import sql

from bluegreen.errors import Refused, StayFenced
from bluegreen.lsn import Lsn
from bluegreen.names import TOOL_DATABASE
from bluegreen.postgres.queries import Connection, column, value
from bluegreen.postgres.server import Server
from bluegreen.register import tool_database
from bluegreen.register.schema import SCHEMA

_BEGIN = "SELECT bluegreen.begin_switch(%s::text, %s::text, %s::float8, %s::text[])"
_DECIDE = "SELECT bluegreen.decide_switch(%s::text, %s::bigint[], %s::bigint[], %s::pg_lsn)"
_EXPECT = "SELECT bluegreen.expect_opening(%s::text, %s::text, %s::text[])"
_CLOSE_OLD = "SELECT bluegreen.close_old(%s::text, %s::text[])"
_OPENING = "SELECT state FROM bluegreen.opening WHERE attempt = %s"
_IS_DONE = "SELECT state = 'done' FROM bluegreen.register WHERE attempt = %s"
_LOCK_DECIDED = """\
SELECT state IN ('decided', 'done') FROM bluegreen.register WHERE attempt = %s FOR UPDATE"""


class AttemptState(StrEnum):
    """States of an attempt. Only `preparing` may become `decided` or `aborted`."""

    PREPARING = "preparing"
    DECIDED = "decided"
    ABORTED = "aborted"
    DONE = "done"


class Opening(StrEnum):
    """States of an attempt on the environment that is to be opened."""

    CLOSED = "closed"
    OPENED = "opened"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One switch, as the fenced environment knows it."""

    name: str
    state: AttemptState
    new_writer: str
    overdue: bool
    """Whether the server fuse's deadline is past: then its owner has no claim any more."""


def ensure_database(server: Server) -> None:
    """Make the tool's database on an environment, and bring its tables to this version.

    Raises `Refused` where somebody else owns one of that name, or has put something into ours.
    """
    tool_database.ensure(server)
    with server.connect(TOOL_DATABASE) as conn:
        ensure_tables(conn)
        tool_database.close_schemas(conn)


def ensure_tables(conn: Connection) -> None:
    """Make the tables and functions; `conn` is to the tool's database."""
    with conn.transaction():
        # Two deployments of one source may do this at once; DDL of the same name collides.
        conn.execute("SELECT pg_advisory_xact_lock(4782, 1)")
        conn.execute(SCHEMA)


def drop_database(server: Server) -> None:
    """Drop the tool's database; a missing one, or somebody else's, is left as it is."""
    tool_database.drop(server)


def clear(server: Server) -> None:
    """Forget what a clone has inherited of its source's switches, and of who is to replace that.

    What closing the clone has changed is kept: opening it needs that.
    """
    with server.connect(TOOL_DATABASE) as conn, conn.transaction():
        conn.execute("DELETE FROM bluegreen.register")
        conn.execute("DELETE FROM bluegreen.opening")
        conn.execute("DELETE FROM bluegreen.claim")


def live_attempt(server: Server) -> str | None:
    """Return the switch under way, in words; None when there is none."""
    with server.connect(TOOL_DATABASE) as conn:
        found = find_live(conn)
    return f"attempt {found.name}, {found.state}" if found else None


def find_live(conn: Connection) -> Attempt | None:
    """Return the live attempt of the environment that `conn` is to; None when there is none."""
    row = conn.execute(
        "SELECT attempt, state, new_writer, clock_timestamp() > deadline FROM bluegreen.register"
        " WHERE state IN ('preparing', 'decided')"
    ).fetchone()
    return Attempt(row[0], AttemptState(row[1]), row[2], row[3]) if row else None


def begin(
    conn: Connection,
    attempt: str,
    new_writer: str,
    *,
    seconds: float,
    databases: Sequence[str] = (),
) -> None:
    """Register an attempt that its server fuse will abort after `seconds`.

    Raises `Refused`, and changes nothing, unless this environment with each of `databases` is
    open and no other attempt is live; both are checked in the same transaction.
    """
    reason = value(conn, _BEGIN, attempt, new_writer, seconds, list(databases))
    if reason:
        raise Refused(reason)


def turn(conn: Connection, attempt: str) -> int:
    """Return the attempt's place in the order in which attempts were registered."""
    found = value(conn, "SELECT turn FROM bluegreen.register WHERE attempt = %s", attempt)
    assert found is not None, "it was registered"
    return int(found)


def claim_opening(conn: Connection, attempt: str, turn: int) -> bool:
    """Claim the opening for the attempt that was registered by `turn`; False when given up.

    Once it is claimed, no attempt that was registered earlier can claim it.
    """
    return bool(value(conn, "SELECT bluegreen.claim_opening(%s::text, %s::bigint)", attempt, turn))


def left_closed(conn: Connection, attempt: str) -> list[str]:
    """Return the earlier attempts for which this environment is closed."""
    return column(
        conn,
        "SELECT earlier.attempt FROM bluegreen.opening mine JOIN bluegreen.opening earlier"
        " ON earlier.leaves = mine.leaves AND earlier.claimed < mine.claimed"
        " WHERE mine.attempt = %s AND earlier.state = 'closed'",
        attempt,
    )


def expect_opening(
    conn: Connection, attempt: str, old_writer: str = "", databases: Sequence[str] = ()
) -> None:
    """Note on the environment to be opened that it is closed for this attempt.

    Raises `Refused`, and notes nothing, while an attempt away from here is live, or unless all of
    `databases` are closed.
    """
    reason = value(
        conn,
        _EXPECT,
        attempt,
        old_writer,
        list(databases),
    )
    if reason:
        raise Refused(reason)


def abort(conn: Connection, attempt: str) -> bool:
    """Abort an attempt and take its fence off, in one transaction; False when it is too late.

    Afterwards the sessions that began under the fence are ended, in every database that it had
    closed. `conn` is in no transaction.
    """
    return _open_again(conn, attempt, AttemptState.PREPARING)


def _open_again(conn: Connection, attempt: str, state: AttemptState) -> bool:
    return bool(value(conn, "CALL bluegreen.open_again(%s::text, %s::text, NULL)", attempt, state))


def decide(
    conn: Connection, attempt: str, heartbeats: list[int], older: list[int], mark: Lsn
) -> bool:
    """Decide an attempt, the one commit point; False when somebody has aborted it.

    `heartbeats` are the ids of the barrier's transactions, `older` those of others that were open
    then. Raises `psycopg.errors.ObjectNotInPrerequisiteState` when something else has written
    since, or still may: then set the barrier again.
    """
    return bool(value(conn, _DECIDE, attempt, heartbeats, older, str(mark)))


def lock_decided(conn: Connection, attempt: str) -> bool:
    """Lock a decided attempt's row, within a transaction; False when it is not decided.

    An attempt that is done counts as decided: what comes after it may be repeated.
    """
    return bool(value(conn, _LOCK_DECIDED, attempt))


def lock_opening(conn: Connection, attempt: str) -> Opening | None:
    """Lock the attempt's row on the environment to be opened; return its state.

    `conn` is in a transaction. A finisher holds the row from the last check of the drain to the
    opening: a second one would set used sequence values back, and take a mark past the first new
    writes.
    """
    state = value(conn, _OPENING + " FOR UPDATE", attempt)
    return None if state is None else Opening(state)


def find_opening(conn: Connection, attempt: str) -> Opening | None:
    """Return the attempt's state on the environment to be opened; None when it is not known."""
    state = value(conn, _OPENING, attempt)
    return None if state is None else Opening(state)


def give_up_opening(conn: Connection, attempt: str) -> bool:
    """Forbid opening this environment for the attempt; False when it has been opened.

    This competes with the opening for the same row, so that only one of them can happen.
    """
    row = conn.execute(
        "UPDATE bluegreen.opening SET state = 'given up', changed_at = clock_timestamp()"
        " WHERE attempt = %s AND state <> 'opened' RETURNING attempt",
        (attempt,),
    ).fetchone()
    return row is not None


def go_back(conn: Connection, attempt: str) -> None:
    """Abort a decided attempt whose new writer never opened and never will; its fence comes off.

    Call it only with proof of that: it is the one way back from a decision. It does nothing when
    the attempt has ended, and otherwise what `abort` does.
    """
    _open_again(conn, attempt, AttemptState.DECIDED)


def rehearse_opening(conn: Connection, databases: Sequence[str]) -> None:
    """Do what `open_environment` will do, in a transaction that is rolled back.

    Raises `Refused` when not all of `databases` would be open then.
    """
    try:
        with conn.transaction(force_rollback=True):
            conn.execute("SELECT bluegreen.open_environment(''::text, '0/0'::pg_lsn, '{}'::text[])")
            conn.execute("SELECT bluegreen.reopen(NULL::text)")
            conn.execute("SELECT bluegreen.require_open(%s::text[])", (list(databases),))
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise Refused(f"{_stays_closed(error)}; nothing was touched") from None


def _stays_closed(error: psycopg.Error) -> str:
    """Return which databases opening leaves closed, and how to make the register know them."""
    names = error.diag.message_primary or ""
    return (
        f"opening leaves read-only: {names}; its register does not know what they were before"
        " (lost, or recreated?). Add each to bluegreen.closure in its database"
        f" {TOOL_DATABASE}, as ('database', name) with previous NULL, and likewise as"
        " ('role', name) each role that has lost LOGIN; see docs/runbook.md"
    )


def open_environment(
    conn: Connection, attempt: str, mark: Lsn, databases: Sequence[str]
) -> datetime:
    """Open an environment for writers, and commit: one message, since clients are waiting.

    `conn` is in the transaction in which `lock_opening` has returned that it is closed. Returns
    the server's time after the commit: sessions that began later may write. Raises `StayFenced`,
    with nothing opened, when not all of `databases` would be open.
    """
    statement = sql.SQL(
        "SELECT bluegreen.open_environment({}::text, {}::pg_lsn, {}::text[]);"
        " COMMIT; SELECT clock_timestamp()"
    ).format(sql.Literal(attempt), sql.Literal(str(mark)), sql.Literal(list(databases)))
    try:
        said = conn.execute(statement, prepare=False)
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise StayFenced(f"attempt {attempt}: {_stays_closed(error)}") from None
    assert said.fetchone() == (True,), "the row was locked"
    while said.nextset():
        pass
    row = said.fetchone()
    assert row is not None
    at: datetime = row[0]
    return at


def close_old(conn: Connection, attempt: str, roles: Sequence[str]) -> bool:
    """Take LOGIN from `roles` on the environment that `attempt` has left, and remember that.

    This happens only while the attempt is decided: once it is done, a later one may have opened
    the environment again. Returns whether it happened.
    """
    return bool(value(conn, _CLOSE_OLD, attempt, list(roles)))


def restore_logins(conn: Connection, attempt: str) -> None:
    """Give the roles their LOGIN back on the environment that a decided `attempt` has left."""
    conn.execute("SELECT bluegreen.let_roles_in(%s::text)", (attempt,))


def is_done(conn: Connection, attempt: str) -> bool:
    """Return whether nothing of an attempt is left to do."""
    return bool(value(conn, _IS_DONE, attempt))


def finish(conn: Connection, attempt: str, slipped: int) -> None:
    """Note that a decided attempt is done, and how many writes came after its barrier."""
    conn.execute(
        "UPDATE bluegreen.register SET state = 'done', ended_at = clock_timestamp(), slipped = %s"
        " WHERE attempt = %s AND state = 'decided'",
        (slipped, attempt),
    )


def last_opening(conn: Connection) -> tuple[str, Lsn] | None:
    """Return the attempt that opened this environment last, and its mark; None without one.

    The order is by turn: clocks may go back, as in a failover to a host whose clock is behind.
    """
    row = conn.execute(
        "SELECT attempt, mark::text FROM bluegreen.opening WHERE state = 'opened'"
        " ORDER BY turn DESC NULLS LAST, changed_at DESC LIMIT 1"
    ).fetchone()
    return (row[0], Lsn.parse(row[1])) if row else None


def opened_at(conn: Connection, attempt: str) -> datetime | None:
    """Return the server's time after the opening's commit, or a little later; None before it.

    The row holds the time from before the commit, which waits for the disk. Sessions that began
    in between stay read-only for ever.
    """
    found: datetime | None = value(
        conn,
        "SELECT changed_at + interval '1 second' FROM bluegreen.opening"
        " WHERE attempt = %s AND state = 'opened'",
        attempt,
    )
    return found


def barrier(conn: Connection, attempt: str) -> Lsn | None:
    """Return where the fenced environment's WAL was at the decision; None before it."""
    found = value(conn, "SELECT barrier::text FROM bluegreen.register WHERE attempt = %s", attempt)
    return None if found is None else Lsn.parse(found)


def slipped(conn: Connection) -> int:
    """Return how many writes, still unresolved, came to this environment after it had been left."""
    return int(value(conn, "SELECT coalesce(sum(slipped), 0)::bigint FROM bluegreen.register") or 0)
