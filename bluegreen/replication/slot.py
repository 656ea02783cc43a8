"""Replication slots: the publisher's memory of what a subscriber still needs.

A slot is made once, before the clone, and never recreated: what is written between a slot's loss
and its successor would be missing on the other side without any error (measured on 16.14 and 18.4).
So each gets a stamp that a successor of its name lacks: the time, set by us, from which its
statistics count.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import errors

from bluegreen.errors import CloneAgain, Refused, Retry
from bluegreen.lsn import Lsn
from bluegreen.polling import poll_until
from bluegreen.postgres import capacity, open_transactions, owned, remedies, slots, wal
from bluegreen.postgres.slots import Slot

log = logging.getLogger(__name__)

# One attempt; a cancelled one leaves no slot. The first is short, to report soon who is waited for.
_FIRST_ATTEMPT_MS = 1000
_ATTEMPT_MS = 5000
_DROP_POLL_SECONDS = 0.02
_UNDO_SECONDS = 5.0
_UNFINISHED_POLL_SECONDS = 0.2

RETAINED_BYTES = 10 * 2**30
"""WAL that a slot keeps, of which an update warns: nothing else ends it."""

# A crash or failover ends all statistics. Those of the background writer show that it has happened:
# their time is another one then. (Those of the WAL would, too: Aurora raises 0A000 for them.)
_STAMP = """
SELECT extract(epoch FROM r.stats_reset)::text, extract(epoch FROM b.stats_reset)::text
  FROM pg_catalog.pg_stat_replication_slots r, pg_catalog.pg_stat_bgwriter b
 WHERE r.slot_name = %s
"""


# A server that is not PostgreSQL's own may lack any of this, or keep it for itself.
_NO_STAMP = (
    errors.FeatureNotSupported,
    errors.InsufficientPrivilege,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.UndefinedTable,
)


def retained_problem(found: Slot | None, where: str) -> str | None:
    """Return what a slot costs that its reader leaves behind; None while that is little."""
    retained = int(found.retained_bytes or 0) if found is not None else 0
    if found is None or retained < RETAINED_BYTES:
        return None
    return (
        f"slot {found.name} on {where}: keeps {retained / 2**30:.1f} GiB of WAL, and dead rows "
        f"that vacuum may not remove; {found.inactive_reason or 'its reader is behind'}: let it "
        "catch up, or destroy the deployment"
    )


def stamp(conn: psycopg.Connection[Any], name: str) -> str | None:
    """Return what distinguishes this slot from another one of its name; None where nothing does."""
    own, server = _stamp(conn, name)
    return f"{own}/{server}" if own and server else None


def was_recreated(conn: psycopg.Connection[Any], name: str, known: str | None) -> bool:
    """Return whether this is another slot than the one whose stamp was `known`.

    False also where that can't be determined: without a stamp, or when statistics were reset since.
    """
    own, server = _stamp(conn, name)
    return known is not None and own is None and server == known.partition("/")[2]


def _stamp(conn: psycopg.Connection[Any], name: str) -> tuple[str | None, str | None]:
    try:
        found = conn.execute(_STAMP, (name,)).fetchone()
    except _NO_STAMP as error:
        log.debug("slot %s: this server gives it no stamp: %s", name, error.diag.message_primary)
        return None, None
    return (None, None) if found is None else (found[0], found[1])


def require_readable(conn: psycopg.Connection[Any], name: str, where: str) -> Slot:
    """Return the slot; raises `CloneAgain` when rows after its position are gone."""
    have = slots.inspect(conn, name)
    found = slots.status(have)
    if have is None or not found.readable:
        reason = f" ({have.invalidated})" if have is not None and have.invalidated else ""
        raise CloneAgain(
            f"slot {name} on {where}: {found}{reason}, expected reserved or extended; recreated, "
            "it would skip rows without an error: clone again"
        )
    return have


def takeover_problem(have: Slot, *, database: str, reader: str) -> str | None:
    """Return why an existing slot can't be taken over, or None.

    `reader` is the subscription that may be reading it.
    """
    if have.type != "logical":
        return f"is {have.type}, expected logical"
    if have.plugin != slots.PLUGIN:
        return f"uses plugin {have.plugin}, expected {slots.PLUGIN}"
    if have.database != database:
        return f"belongs to database {have.database!r}, expected {database!r}"
    if have.temporary:
        return "is temporary, expected permanent"
    if have.active_pid is not None and have.reader != reader:
        return f"is read by pid {have.active_pid} ({have.reader!r}), expected {reader!r} or nobody"
    if not slots.status(have).readable:
        return f"is {slots.status(have)}, expected reserved or extended"
    return None


def ensure(
    conn: psycopg.Connection[Any], name: str, *, reader: str, where: str, wait_seconds: float
) -> Slot:
    """Return the slot of `conn`'s database, made now or taken over when it fits.

    The server waits for every transaction that has written. So each attempt is short, and when
    `wait_seconds` are over `Retry` names what holds it up. `Refused` when another slot has the
    name.
    """
    with remedies.explained(conn, f"slot {name} on {where}"):
        return _ensure(conn, name, reader=reader, where=where, wait_seconds=wait_seconds)


def _ensure(
    conn: psycopg.Connection[Any], name: str, *, reader: str, where: str, wait_seconds: float
) -> Slot:
    deadline = time.monotonic() + wait_seconds
    database = conn.info.dbname
    attempt_ms = _FIRST_ATTEMPT_MS
    while True:
        have = slots.inspect(conn, name)
        if have is not None and have.unfinished and time.monotonic() < deadline:
            # An interrupted attempt of ours continues in the server until its statement timeout.
            time.sleep(_UNFINISHED_POLL_SECONDS)
            continue
        if have is not None:
            why = takeover_problem(have, database=database, reader=reader)
            if why is None and not owned.knows_slot(conn, name):
                why = "somebody else made it: this tool has no note of it in its schema"
            if why is None:
                _require_same_space(conn, have, where, behind=None)
                log.info("slot %s on %s: taken over at %s", name, where, have.confirmed)
                return have
            raise Refused(f"slot {name} on {where}: exists and {why}; drop it by hand if unused")
        lacking = capacity.publishing_problem(capacity.inspect(conn), slots=1, senders=1)
        if lacking is not None:
            raise Refused(f"slot {name} on {where}: {lacking}, or drop a slot that nobody reads")
        left_ms = max(1, min(attempt_ms, int((deadline - time.monotonic()) * 1000)))
        try:
            owned.note_slot(conn, name, publication=reader)
            behind = wal.position(conn)
            _create(conn, name, timeout_ms=left_ms)
        except errors.QueryCanceled:
            who = open_transactions.words(open_transactions.inspect(conn, writing=True))
            if time.monotonic() >= deadline:
                raise Retry(
                    f"slot {name} on {where}: not made within {wait_seconds:g} s, since it waits "
                    f"for open writing transactions: {who}; end them and try again"
                ) from None
            attempt_ms = _ATTEMPT_MS
            log.info("slot %s on %s: waiting for open transactions: %s", name, where, who)
        except errors.DuplicateObject:
            continue  # somebody was quicker: inspect that slot
        except errors.ConfigurationLimitExceeded as error:
            raise Refused(
                f"slot {name} on {where}: {error.diag.message_primary}; raise "
                "max_replication_slots, or drop a slot that nobody reads"
            ) from None
        except errors.ObjectNotInPrerequisiteState as error:
            raise Refused(
                f"slot {name} on {where}: {error.diag.message_primary}; set "
                "rds.logical_replication to 1 and reboot"
            ) from None
        else:
            with _unmade_by_failure(conn, name, where):
                _set_stamp(conn, name)
                made = require_readable(conn, name, where)
                _require_same_space(conn, made, where, behind=behind)
            log.info("slot %s on %s: made, consistent at %s", name, where, made.confirmed)
            return made


@contextmanager
def _unmade_by_failure(conn: psycopg.Connection[Any], name: str, where: str) -> Iterator[None]:
    """Drop the slot that was just made when what follows fails: else it keeps WAL for nobody."""
    try:
        yield
    except BaseException:
        with suppress(psycopg.Error, Retry):  # what has failed is said, whatever this says
            drop(conn, name, where=where, deadline=time.monotonic() + _UNDO_SECONDS)
            owned.forget_slot(conn, name)
        raise


def _require_same_space(
    conn: psycopg.Connection[Any], have: Slot, where: str, *, behind: Lsn | None
) -> None:
    wal.require_same_space(f"slot {have.name} on {where}", have.confirmed, behind=behind, conn=conn)


def _create(conn: psycopg.Connection[Any], name: str, *, timeout_ms: int) -> None:
    """Make the slot, or nothing within `timeout_ms`.

    When this process is killed meanwhile the server notices and stops waiting: a slot that is made
    afterwards would keep WAL for nobody.
    """
    with conn.transaction():
        conn.execute("SELECT set_config('client_connection_check_interval', '200ms', true)")
        conn.execute("SELECT set_config('statement_timeout', %s, true)", (str(timeout_ms),))
        conn.execute(
            "SELECT pg_catalog.pg_create_logical_replication_slot(%s, %s)", (name, slots.PLUGIN)
        )


def _set_stamp(conn: psycopg.Connection[Any], name: str) -> None:
    try:
        conn.execute("SELECT pg_catalog.pg_stat_reset_replication_slot(%s)", (name,))
    except _NO_STAMP as error:
        log.debug("slot %s: it can't be stamped: %s", name, error.diag.message_primary)


def drop(conn: psycopg.Connection[Any], name: str, *, where: str, deadline: float) -> None:
    """Drop the slot and end its reader; a missing slot is fine.

    A subscriber reconnects, so both are repeated until `deadline`, in seconds of
    `time.monotonic()`; then `Retry`.
    """
    ended: int | None = None
    for _ in poll_until(deadline, first=_DROP_POLL_SECONDS, most=0.2):
        have = slots.inspect(conn, name)
        if have is None:
            return
        if have.active_pid is not None:
            if have.active_pid != ended:
                conn.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (have.active_pid,))
                ended = have.active_pid
            continue
        try:
            conn.execute("SELECT pg_catalog.pg_drop_replication_slot(%s)", (name,))
        except errors.UndefinedObject:
            return
        except errors.ObjectInUse:
            continue  # a reader took it between the check and the drop
        log.info("slot %s on %s: dropped", name, where)
        return
    raise Retry(
        f"slot {name} on {where}: still read by pid {ended}; disable its subscription, then "
        "try again"
    )
