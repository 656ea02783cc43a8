"""Is the replication that a deployment declares alive? One look at both sides, one decision."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from psycopg.rows import class_row

from bluegreen import names
from bluegreen.errors import CloneAgain, Refused
from bluegreen.names import Direction
from bluegreen.polling import looks
from bluegreen.postgres.server import Server

log = logging.getLogger(__name__)

# The leader only: table synchronisation and parallel workers come and go.
_SUBSCRIPTIONS = """
SELECT d.datname::text AS database,
       s.subenabled AS enabled,
       EXISTS (SELECT FROM pg_catalog.pg_stat_subscription w
                WHERE w.subid = s.oid AND w.relid IS NULL AND w.pid IS NOT NULL) AS working
  FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
 WHERE s.subname = %s
"""

_SLOTS = """
SELECT slot_name::text AS name, coalesce(wal_status, 'unknown') AS wal_status
  FROM pg_catalog.pg_replication_slots WHERE slot_name = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """A subscription on the standby."""

    database: str
    enabled: bool
    working: bool
    """A worker runs at this moment; after an error or a restart there is none for some seconds."""


@dataclass(frozen=True, slots=True)
class SlotState:
    """A slot on the writer."""

    name: str
    wal_status: str


@dataclass(frozen=True, slots=True)
class RunningDirection:
    """Both ends of one direction, at one moment."""

    deployment: str
    direction: Direction
    publisher: str
    subscriber: str
    databases: frozenset[str]
    subscriptions: tuple[SubscriptionState, ...]
    slots: tuple[SlotState, ...]


def look(
    publisher: Server,
    subscriber: Server,
    *,
    databases: Collection[str],
    deployment: str,
    direction: Direction,
) -> RunningDirection:
    """Return both ends as they are now; raises `Retry` when one can't be reached."""
    slot_names = [names.slot(deployment, direction, database) for database in sorted(databases)]
    with (
        subscriber.connect("postgres") as conn,
        conn.cursor(row_factory=class_row(SubscriptionState)) as cursor,
    ):
        name = names.subscription(deployment, direction)
        subscriptions = tuple(cursor.execute(_SUBSCRIPTIONS, (name,)).fetchall())
    with (
        publisher.connect("postgres") as conn,
        conn.cursor(row_factory=class_row(SlotState)) as slot_cursor,
    ):
        slots = tuple(slot_cursor.execute(_SLOTS, (slot_names,)).fetchall())
    return RunningDirection(
        deployment=deployment,
        direction=direction,
        publisher=publisher.cluster,
        subscriber=subscriber.cluster,
        databases=frozenset(databases),
        subscriptions=subscriptions,
        slots=slots,
    )


def lost(found: RunningDirection) -> str | None:
    """Return which slot can't send what is missing any more; no waiting mends that."""
    statuses = {slot.name: slot.wal_status for slot in found.slots}
    for database in sorted(found.databases):
        name = names.slot(found.deployment, found.direction, database)
        status = statuses.get(name, "missing")
        if status in ("missing", "lost"):
            return f"slot {name} on {found.publisher}: {status}, expected reserved or extended"
    return None


def idle(found: RunningDirection) -> str | None:
    """Return which subscription doesn't run, None when all do."""
    states = {state.database: state for state in found.subscriptions}
    name = names.subscription(found.deployment, found.direction)
    for database in sorted(found.databases):
        where = f"subscription {name} in {database} on {found.subscriber}"
        state = states.get(database)
        if state is None:
            return f"{where}: missing, expected enabled; run pulumi up without changes first"
        if not state.enabled:
            return (
                f"{where}: disabled, expected enabled; see the server's log for an apply error, "
                "then run pulumi up --refresh without changes"
            )
        if not state.working:
            return f"{where}: no worker runs, expected one; see the server's log for its error"
    return None


def require_healthy(
    publisher: Server,
    subscriber: Server,
    *,
    databases: Collection[str],
    deployment: str,
    direction: Direction,
    deadline: float,
) -> None:
    """Return when the direction runs in every database.

    Raises `CloneAgain` when a slot of the forward direction is lost, `Refused` when a subscription
    doesn't run by `deadline` (seconds of `time.monotonic()`).
    """
    reason: str | None = None
    for _ in looks(deadline, first=0.1, most=1.0):
        found = look(
            publisher,
            subscriber,
            databases=databases,
            deployment=deployment,
            direction=direction,
        )
        gone = lost(found)
        if gone is not None:
            if direction is Direction.FORWARD:
                raise CloneAgain(f"{gone}; destroy the stack and stand it up again")
            raise Refused(f"{gone}; there is no way back without loss: set rollback to false")
        reason = idle(found)
        if reason is None:
            return
        log.debug("%s", reason)
    raise Refused(str(reason))
