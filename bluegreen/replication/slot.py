"""Replication slots: the publisher's memory of what a subscriber still needs.

Made once, before the clone, and never made anew: what is written between a slot's loss and its
successor would be missing on the other side without any error (measured on 16.14 and 18.4). So each
gets a stamp that a successor of its name has not: its statistics count from a time that we set.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import errors
from psycopg.rows import class_row

from bluegreen.errors import CloneAgain, Refused, Retry
from bluegreen.lsn import Lsn
from bluegreen.polling import looks
from bluegreen.postgres import blockers, capacity, grants, owned, versions
from bluegreen.postgres.versions import Feature

log = logging.getLogger(__name__)

PLUGIN = "pgoutput"

# One attempt; cancelled, it leaves no slot. The first is short, to say soon who is waited for.
_FIRST_ATTEMPT_MS = 1000
_ATTEMPT_MS = 5000
_DROP_POLL_SECONDS = 0.02
_UNFINISHED_POLL_SECONDS = 0.2

_SLOT = """
SELECT s.slot_name::text AS name, s.slot_type AS type, s.plugin::text, s.database::text,
       s.temporary, s.active_pid, a.application_name AS reader,
       s.wal_status, {reason} AS invalidated, {since} AS inactive_since,
       (pg_catalog.pg_current_wal_lsn() - s.restart_lsn)::text AS retained_bytes,
       s.confirmed_flush_lsn::text AS confirmed_flush
  FROM pg_catalog.pg_replication_slots s
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid
 WHERE s.slot_name = %s
"""

# A crash or failover ends all statistics. Those of the WAL tell that one has happened: their time
# is another one then.
_STAMP = """
SELECT extract(epoch FROM r.stats_reset)::text, extract(epoch FROM w.stats_reset)::text
  FROM pg_catalog.pg_stat_replication_slots r, pg_catalog.pg_stat_wal w
 WHERE r.slot_name = %s
"""


class Status(StrEnum):
    """What a slot is good for; the first three can still be read."""

    RESERVED = "reserved"
    EXTENDED = "extended"
    UNRESERVED = "unreserved"
    LOST = "lost"
    INVALIDATED = "invalidated"
    REPLACED = "replaced"
    MISSING = "missing"

    @property
    def readable(self) -> bool:
        """Tell whether everything since its last confirmed position is still there."""
        return self in (Status.RESERVED, Status.EXTENDED, Status.UNRESERVED)


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot as the server has it at one moment."""

    name: str
    type: str
    plugin: str | None
    database: str | None
    temporary: bool
    active_pid: int | None
    reader: str | None
    """The application name of whoever reads it now: a subscription's name."""
    wal_status: str | None
    invalidated: str | None
    """Why it was invalidated, as far as the server says."""
    inactive_since: str | None
    """When its last reader left, from 17 on."""
    retained_bytes: str | None
    """WAL that the server keeps for it; text, as all 64-bit values in the state."""
    confirmed_flush: str | None

    @property
    def unfinished(self) -> bool:
        """Tell whether it is being made just now; physical slots never have a position."""
        return self.type == "logical" and self.confirmed_flush is None

    @property
    def inactive_reason(self) -> str | None:
        """Return why nobody can read it, or that nobody does; None while somebody does."""
        if self.invalidated is not None:
            return f"invalidated: {self.invalidated}"
        if self.active_pid is not None:
            return None
        since = f" since {self.inactive_since}" if self.inactive_since else ""
        return f"nobody reads it{since}"

    @property
    def confirmed(self) -> Lsn:
        """Return the position before which the subscriber has everything.

        Straight after creation it is the consistent point. It may go back when the server
        crashes, which the subscriber's origin makes harmless.
        """
        if self.confirmed_flush is None:
            raise Refused(f"slot {self.name}: has no position yet; it is still being made")
        return Lsn.parse(self.confirmed_flush)


def find(conn: psycopg.Connection[Any], name: str) -> Slot | None:
    """Return the slot of this name, in whatever database."""
    major = versions.major(conn)
    reason = versions.has(major, Feature.INVALIDATION_REASON)
    since = versions.has(major, Feature.INACTIVE_SINCE)
    query = _SLOT.format(
        reason="s.invalidation_reason" if reason else "NULL::text",
        since="s.inactive_since::text" if since else "NULL::text",
    )
    with conn.cursor(row_factory=class_row(Slot)) as cursor:
        return cursor.execute(query, (name,)).fetchone()


def status(have: Slot | None) -> Status:
    """Return what is left of a slot."""
    if have is None:
        return Status.MISSING
    if have.invalidated not in (None, "wal_removed"):
        return Status.INVALIDATED
    # A status that this code doesn't know is not one to go on with.
    return Status(have.wal_status) if have.wal_status in set(Status) else Status.INVALIDATED


def stamp(conn: psycopg.Connection[Any], name: str) -> str | None:
    """Return what tells this slot from another one of its name, None where nothing does."""
    own, server = _stamp(conn, name)
    return f"{own}/{server}" if own and server else None


def made_anew(conn: psycopg.Connection[Any], name: str, known: str | None) -> bool:
    """Tell whether the slot is another than the one whose stamp was `known`.

    False also where that can't be told: without a stamp, or when the statistics have ended since.
    """
    own, server = _stamp(conn, name)
    return known is not None and own is None and server == known.partition("/")[2]


def _stamp(conn: psycopg.Connection[Any], name: str) -> tuple[str | None, str | None]:
    found = conn.execute(_STAMP, (name,)).fetchone()
    return (None, None) if found is None else (found[0], found[1])


def get_readable(conn: psycopg.Connection[Any], name: str, where: str) -> Slot:
    """Return the slot; raises `CloneAgain` when rows after its position are gone."""
    have = find(conn, name)
    found = status(have)
    if have is None or not found.readable:
        reason = f" ({have.invalidated})" if have is not None and have.invalidated else ""
        raise CloneAgain(
            f"slot {name} on {where}: {found}{reason}, expected reserved or extended; made anew it "
            "would skip rows without an error: clone again"
        )
    return have


def unfit(have: Slot, *, database: str, reader: str) -> str | None:
    """Return why a slot that exists already can't be taken over, or None.

    `reader` is the subscription that may be reading it.
    """
    if have.type != "logical":
        return f"is {have.type}, expected logical"
    if have.plugin != PLUGIN:
        return f"uses plugin {have.plugin}, expected {PLUGIN}"
    if have.database != database:
        return f"belongs to database {have.database!r}, expected {database!r}"
    if have.temporary:
        return "is temporary, expected permanent"
    if have.active_pid is not None and have.reader != reader:
        return f"is read by pid {have.active_pid} ({have.reader!r}), expected {reader!r} or nobody"
    if not status(have).readable:
        return f"is {status(have)}, expected reserved or extended"
    return None


def ensure(
    conn: psycopg.Connection[Any], name: str, *, reader: str, where: str, wait_seconds: float
) -> Slot:
    """Return the slot of `conn`'s database, made now or taken over when it fits.

    The server waits for every transaction that has written; so each attempt is short, and when
    `wait_seconds` are over `Retry` names who holds it up. `Refused` when another slot has the name.
    """
    with grants.explained(conn, f"slot {name} on {where}"):
        return _ensure(conn, name, reader=reader, where=where, wait_seconds=wait_seconds)


def _ensure(
    conn: psycopg.Connection[Any], name: str, *, reader: str, where: str, wait_seconds: float
) -> Slot:
    deadline = time.monotonic() + wait_seconds
    database = conn.info.dbname
    attempt_ms = _FIRST_ATTEMPT_MS
    while True:
        have = find(conn, name)
        if have is not None and have.unfinished and time.monotonic() < deadline:
            # An interrupted attempt of ours goes on in the server until its statement timeout.
            time.sleep(_UNFINISHED_POLL_SECONDS)
            continue
        if have is not None:
            why = unfit(have, database=database, reader=reader)
            if why is None and not owned.knows_slot(conn, name):
                why = "somebody else made it: this tool has no note of it in its schema"
            if why is None:
                log.info("slot %s on %s: taken over at %s", name, where, have.confirmed)
                return have
            raise Refused(f"slot {name} on {where}: exists and {why}; drop it by hand if unused")
        lacking = capacity.lacking_to_publish(capacity.look(conn), slots=1, senders=1)
        if lacking is not None:
            raise Refused(f"slot {name} on {where}: {lacking}, or drop a slot that nobody reads")
        left_ms = max(1, min(attempt_ms, int((deadline - time.monotonic()) * 1000)))
        try:
            owned.note_slot(conn, name)
            _create(conn, name, timeout_ms=left_ms)
        except errors.QueryCanceled:
            who = blockers.words(blockers.open_transactions(conn, writing=True))
            if time.monotonic() >= deadline:
                raise Retry(
                    f"slot {name} on {where}: not made within {wait_seconds:g} s, since it waits "
                    f"for open writing transactions: {who}; end them and try again"
                ) from None
            attempt_ms = _ATTEMPT_MS
            log.info("slot %s on %s: waiting for open transactions: %s", name, where, who)
        except errors.DuplicateObject:
            continue  # somebody was quicker: look at theirs
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
            _set_stamp(conn, name)
            made = get_readable(conn, name, where)
            log.info("slot %s on %s: made, consistent at %s", name, where, made.confirmed)
            return made


def _create(conn: psycopg.Connection[Any], name: str, *, timeout_ms: int) -> None:
    """Make the slot, or nothing within `timeout_ms`.

    When we are killed meanwhile the server notices and stops waiting: a slot that is made
    afterwards would keep WAL for nobody.
    """
    with conn.transaction():
        conn.execute("SELECT set_config('client_connection_check_interval', '200ms', true)")
        conn.execute("SELECT set_config('statement_timeout', %s, true)", (str(timeout_ms),))
        conn.execute("SELECT pg_catalog.pg_create_logical_replication_slot(%s, %s)", (name, PLUGIN))


def _set_stamp(conn: psycopg.Connection[Any], name: str) -> None:
    try:
        conn.execute("SELECT pg_catalog.pg_stat_reset_replication_slot(%s)", (name,))
    except errors.InsufficientPrivilege:
        log.debug("slot %s: this role may not set a stamp", name)


def drop(conn: psycopg.Connection[Any], name: str, *, where: str, deadline: float) -> None:
    """Drop the slot, ending whoever reads it; none there is fine.

    A subscriber reconnects, so ending and dropping go on until `deadline`, in seconds of
    `time.monotonic()`; then `Retry`.
    """
    ended: int | None = None
    for _ in looks(deadline, first=_DROP_POLL_SECONDS, most=0.2):
        have = find(conn, name)
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
            continue  # taken again between the look and the drop
        log.info("slot %s on %s: dropped", name, where)
        return
    raise Retry(
        f"slot {name} on {where}: still read by pid {ended}; disable its subscription, then "
        "try again"
    )
