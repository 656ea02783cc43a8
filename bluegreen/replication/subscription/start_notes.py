"""Where a subscription is, where nobody may read its replication origin.

A service may keep both ways to a position for itself: the view of origins, and the function. What
is left are the slot's confirmed position, behind which nothing is that was not applied, and what
the tool itself has done: that it has set a start is noted, in the mark of the subscriber's schema.
Before that nothing can have been applied, since a subscription is enabled only then.
"""

from __future__ import annotations

from typing import Any

import psycopg

from bluegreen.errors import Refused
from bluegreen.lsn import Lsn
from bluegreen.postgres import owned, slots
from bluegreen.postgres.subscriptions import Subscription
from bluegreen.replication.subscription import notes
from bluegreen.replication.subscription.options import SubscriptionSpec


def position(
    subscriber: psycopg.Connection[Any],
    publisher: psycopg.Connection[Any],
    have: Subscription,
    desired: SubscriptionSpec,
    *,
    made: bool,
) -> Lsn:
    """Return how far it has applied at least; 0/0 only where it has applied nothing.

    `made`: just now, so that nothing can have been applied. Raises `Refused` where that can't be
    known: to set its start again would apply rows twice.
    """
    if have.position is not None:
        return have.position
    there = slots.inspect(publisher, desired.slot_name)
    confirmed = there.confirmed if there is not None else Lsn(0)
    return proven(have, desired, confirmed, noted(subscriber, have), made=made)


def proven(
    have: Subscription, desired: SubscriptionSpec, confirmed: Lsn, start: Lsn | None, *, made: bool
) -> Lsn:
    """Return the position that the slot's `confirmed` one and a noted `start` prove together."""
    if made:
        return Lsn(0)
    if start is not None:
        return max(start, confirmed)
    if not have.enabled:
        return Lsn(0)  # what follows refuses a slot that has passed the start all the same
    if confirmed >= desired.start:
        return confirmed  # by its reader, this subscription
    raise Refused(
        f"{desired}: is enabled, and nobody noted its start {desired.start}; its position can't be"
        " read, since this role may use neither pg_replication_origin_status nor"
        " pg_replication_origin_progress, and its slot has not passed the start; wait until it has,"
        " or clone again"
    )


def noted(conn: psycopg.Connection[Any], have: Subscription) -> Lsn | None:
    """Return the start that the tool has set for exactly this subscription, if it noted one."""
    start = notes.read(conn, "starts", have)
    return None if start is None else Lsn.parse(start)


def note(conn: psycopg.Connection[Any], have: Subscription, desired: SubscriptionSpec) -> None:
    """Remember that the start was set; `Refused` where the tool has no schema to keep that in."""
    if owned.find_schema(conn) is None:
        raise Refused(
            f"{desired}: its position can't be read, since this role may use neither"
            " pg_replication_origin_status nor pg_replication_origin_progress, and there is no"
            " schema bluegreen here to note it in; Publication makes that schema"
        )
    notes.write(conn, "starts", have, str(desired.start))
