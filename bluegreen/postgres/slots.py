"""Replication slots, as a server has them at one moment. Nothing else reads pg_replication_slots.

Decisions about them are made by the modules that need them; `bluegreen.replication.slot` makes and
drops slots.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg
from psycopg.rows import class_row

from bluegreen.errors import Refused
from bluegreen.lsn import Lsn
from bluegreen.postgres import versions
from bluegreen.postgres.versions import Feature

PLUGIN = "pgoutput"

# A server in recovery has no position where it writes; Aurora tells it with wal_level logical only.
_SLOTS = """
SELECT s.slot_name::text AS name, s.slot_type AS type, s.plugin::text, s.database::text,
       s.temporary, s.active_pid, a.application_name AS reader,
       s.wal_status, {reason} AS invalidated, {since} AS inactive_since,
       (w.lsn - s.restart_lsn)::text AS retained_bytes, w.lsn::text AS written,
       s.confirmed_flush_lsn::text AS confirmed_flush, r.replay_lsn::text AS replayed
  FROM pg_catalog.pg_replication_slots s
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid
  LEFT JOIN pg_catalog.pg_stat_replication r ON r.pid = s.active_pid
 CROSS JOIN (SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery()
                          AND pg_catalog.current_setting('wal_level') = 'logical'
                         THEN pg_catalog.pg_current_wal_lsn() END) w(lsn)
 WHERE %(names)s::text[] IS NULL OR s.slot_name = ANY (%(names)s)
 ORDER BY s.slot_name
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
        """Return whether all WAL since its last confirmed position still exists."""
        return self in (Status.RESERVED, Status.EXTENDED, Status.UNRESERVED)


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot as the server has it at one moment; positions are text, as the state keeps them."""

    name: str
    type: str
    plugin: str | None
    database: str | None
    temporary: bool
    active_pid: int | None
    reader: str | None
    """The application name of its current reader: a subscription's name."""
    wal_status: str | None
    invalidated: str | None
    """Why it was invalidated, as far as the server says."""
    inactive_since: str | None
    """When its last reader left, from 17 on."""
    retained_bytes: str | None
    """WAL that the server keeps for it; text, as all 64-bit values in the state."""
    written: str | None
    """Where the server writes; None in recovery."""
    confirmed_flush: str | None
    replayed: str | None
    """What its reader has applied, durably or not; None without a reader, or before its report."""

    @property
    def logical(self) -> bool:
        """Return whether it is a logical one."""
        return self.type == "logical"

    @property
    def unfinished(self) -> bool:
        """Return whether it is still being made; physical slots never have a position."""
        return self.logical and self.confirmed_flush is None

    @property
    def inactive_reason(self) -> str | None:
        """Return why nobody can read it, or that nobody does; None while it is read."""
        if self.invalidated is not None:
            return f"invalidated: {self.invalidated}"
        if self.active_pid is not None:
            return None
        since = f" since {self.inactive_since}" if self.inactive_since else ""
        return f"nobody reads it{since}"

    @property
    def in_words(self) -> str:
        """Return the slot for people who must find out whose it is."""
        what = f"{self.plugin} in {self.database}" if self.logical else self.type
        read = "read now" if self.active_pid is not None else "nobody reads it"
        kept = int(self.retained_bytes or 0) / 2**20
        return f"{self.name} ({what}, {read}, keeps {kept:.1f} MB)"

    @property
    def confirmed(self) -> Lsn:
        """Return the position before which the subscriber has everything.

        Right after creation it is the consistent point. It may go back when the server crashes;
        the subscriber's origin makes that harmless.
        """
        if self.confirmed_flush is None:
            raise Refused(f"slot {self.name}: has no position yet; it is still being made")
        return Lsn.parse(self.confirmed_flush)

    @property
    def bytes_behind(self) -> int | None:
        """Return how many bytes its reader has not applied yet; None while unknown.

        The confirmed position says less: it is late by design while a reader commits
        asynchronously.
        """
        if self.written is None or self.replayed is None:
            return None
        return max(0, Lsn.parse(self.written) - Lsn.parse(self.replayed))


def inspect(conn: psycopg.Connection[Any], name: str) -> Slot | None:
    """Return the slot of this name, in whatever database; None when there is none."""
    return next(iter(inspect_all(conn, [name])), None)


def inspect_all(
    conn: psycopg.Connection[Any], names: Collection[str] | None = None
) -> tuple[Slot, ...]:
    """Return the server's slots in all databases, or those of `names`, by name."""
    major = versions.major(conn)
    reason = versions.has(major, Feature.INVALIDATION_REASON)
    since = versions.has(major, Feature.INACTIVE_SINCE)
    query = _SLOTS.format(
        reason="s.invalidation_reason" if reason else "NULL::text",
        since="s.inactive_since::text" if since else "NULL::text",
    )
    chosen = None if names is None else list(names)
    with conn.cursor(row_factory=class_row(Slot)) as cursor:
        return tuple(cursor.execute(query, {"names": chosen}).fetchall())


def logical(conn: psycopg.Connection[Any]) -> tuple[Slot, ...]:
    """Return the server's logical slots in all databases: others read rows from it."""
    return tuple(slot for slot in inspect_all(conn) if slot.logical)


def status(have: Slot | None) -> Status:
    """Return what a slot is good for; `missing` for None."""
    if have is None:
        return Status.MISSING
    if have.invalidated not in (None, "wal_removed"):
        return Status.INVALIDATED
    # A status that this code doesn't know must not count as readable.
    return Status(have.wal_status) if have.wal_status in set(Status) else Status.INVALIDATED
