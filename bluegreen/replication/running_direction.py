"""Does the replication that a deployment declares run? Both sides are inspected, then decided."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from bluegreen import names
from bluegreen.errors import CloneAgain, Refused
from bluegreen.names import Direction
from bluegreen.polling import poll_until
from bluegreen.postgres import slots, subscriptions
from bluegreen.postgres.server import Server
from bluegreen.postgres.slots import Slot
from bluegreen.postgres.subscriptions import Listed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunningDirection:
    """Both ends of one direction at one moment."""

    deployment: str
    direction: Direction
    publisher: str
    subscriber: str
    databases: frozenset[str]
    subscriptions: tuple[Listed, ...]
    slots: tuple[Slot, ...]


def inspect(
    publisher: Server,
    subscriber: Server,
    *,
    databases: Collection[str],
    deployment: str,
    direction: Direction,
) -> RunningDirection:
    """Return both ends as they are now; raises `Retry` when one can't be reached."""
    slot_names = [names.slot(deployment, direction, database) for database in sorted(databases)]
    name = names.subscription(deployment, direction)
    with subscriber.connect("postgres") as conn:
        applying = subscriptions.inspect_all(conn, [name])
    with publisher.connect("postgres") as conn:
        sending = slots.inspect_all(conn, slot_names)
    return RunningDirection(
        deployment=deployment,
        direction=direction,
        publisher=publisher.cluster,
        subscriber=subscriber.cluster,
        databases=frozenset(databases),
        subscriptions=applying,
        slots=sending,
    )


def slot_problem(found: RunningDirection) -> str | None:
    """Return which slot can no longer send what is missing; waiting won't fix that."""
    there = {slot.name: slot for slot in found.slots}
    for database in sorted(found.databases):
        name = names.slot(found.deployment, found.direction, database)
        status = slots.status(there.get(name))
        if not status.readable:
            return f"slot {name} on {found.publisher}: {status}, expected reserved or extended"
    return None


def subscription_problem(found: RunningDirection) -> str | None:
    """Return which subscription doesn't run, None when all do."""
    there = {one.database: one for one in found.subscriptions}
    name = names.subscription(found.deployment, found.direction)
    for database in sorted(found.databases):
        where = f"subscription {name} in {database} on {found.subscriber}"
        have = there.get(database)
        if have is None:
            return f"{where}: missing, expected enabled; run pulumi up without changes first"
        if not have.enabled:
            return (
                f"{where}: disabled, expected enabled; see the server's log for an apply error, "
                "then run pulumi up --refresh without changes"
            )
        if have.worker_pid is None:
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
    for _ in poll_until(deadline, first=0.1, most=1.0):
        found = inspect(
            publisher,
            subscriber,
            databases=databases,
            deployment=deployment,
            direction=direction,
        )
        gone = slot_problem(found)
        if gone is not None:
            if direction is Direction.FORWARD:
                raise CloneAgain(f"{gone}; destroy the stack and stand it up again")
            raise Refused(f"{gone}; there is no way back without loss: set rollback to false")
        reason = subscription_problem(found)
        if reason is None:
            return
        log.debug("%s", reason)
    raise Refused(str(reason))
