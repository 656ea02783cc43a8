"""Ending a subscription: disabled, dropped, and rid of what its first copies have left."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors, sql

from bluegreen.errors import Retry
from bluegreen.polling import poll_until
from bluegreen.postgres import connection as postgres_connection
from bluegreen.postgres import owned, slots, subscriptions
from bluegreen.postgres.subscriptions import Subscription
from bluegreen.replication import slot
from bluegreen.replication.subscription import connection

log = logging.getLogger(__name__)

KIND = "SUBSCRIPTION"
"""The kind of object that carries the tool's mark."""


def drop_own(conn: psycopg.Connection[Any], name: str, *, deadline: float) -> list[str]:
    """Drop the subscription as `drop` does; raises `Refused` where somebody else made it."""
    owned.require_marked(conn, KIND, name)
    return drop(conn, name, deadline=deadline)


def drop(conn: psycopg.Connection[Any], name: str, *, deadline: float) -> list[str]:
    """Drop the subscription without contacting its publisher; a missing one is fine.

    Returns the names of slots that first copies of its tables may have left on the publisher:
    hand them to `drop_copy_slots`.
    """
    have = subscriptions.inspect(conn, name)
    if have is None:
        return []
    identifier = sql.Identifier(name)
    disable(conn, have, deadline=deadline)
    copy_slots = subscriptions.copy_slots(conn, have.oid)
    if copy_slots:
        # While a first copy is unfinished the drop would connect to the publisher to clean up
        # there.
        connection.lead_nowhere(conn, name)
    conn.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(identifier))
    conn.execute(sql.SQL("DROP SUBSCRIPTION IF EXISTS {}").format(identifier))
    for origin in subscriptions.origins(conn, have.oid):
        _drop_origin(conn, name, origin)
    log.info("subscription %s: dropped", name)
    return copy_slots


def _drop_origin(conn: psycopg.Connection[Any], name: str, origin: str) -> None:
    """Drop what a first copy has left; where this role may not, it is named, and takes a place."""
    try:
        conn.execute("SELECT pg_catalog.pg_replication_origin_drop(%s)", (origin,))
    except (errors.FeatureNotSupported, errors.InsufficientPrivilege) as error:
        log.warning(
            "subscription %s: dropped, but its replication origin %s stays: %s; nothing is written"
            " under it, and it takes one of the server's places for origins",
            name,
            origin,
            postgres_connection.said(error),
        )


def drop_copy_slots(publisher: psycopg.Connection[Any], names: Sequence[str], where: str) -> None:
    """Drop on the publisher the slots that `drop` named; missing ones are fine."""
    for name in names:
        if name.endswith("*"):
            # Other subscribers, clones of this one first of all, have slots of the same beginning.
            log.warning(
                "slots %s may be left on %s by a first copy that was not over, and keep WAL; this"
                " role may not run pg_control_system(), which tells whose they are: drop those"
                " that nobody needs",
                name,
                where,
            )
            continue
        have = slots.inspect(publisher, name)
        if have is not None and have.active_pid is None:
            slot.drop(publisher, name, where=where, deadline=0)


def disable(conn: psycopg.Connection[Any], have: Subscription, *, deadline: float) -> None:
    """Disable it and wait until none of its workers runs.

    The workers are ended: by itself a worker takes about a second to notice (measured).
    """
    conn.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(sql.Identifier(have.name)))
    for _ in poll_until(deadline, first=0.01, most=0.2):
        pids = subscriptions.workers(conn, have.oid)
        if not pids:
            log.info("subscription %s: disabled, its workers are gone", have.name)
            return
        for pid in pids:
            conn.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (pid,))
    raise Retry(
        f"subscription {have.name}: disabled, but worker {', '.join(map(str, pids))} still runs; "
        "see what it waits for in pg_stat_activity, and try again"
    )
