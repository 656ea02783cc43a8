"""Subscriptions: what the standby applies from the writer, from exactly the position it is given.

A subscription is made disabled on an existing slot, its origin is set, then it is enabled. Each
step checks first, so that an interrupted run continues where it stopped. Slots are never made or
dropped here: dropping a subscription works with the publisher gone.
"""

from __future__ import annotations

import logging
from typing import Any

import psycopg
from psycopg import errors, sql

from bluegreen.errors import CloneAgain, Refused
from bluegreen.lsn import Lsn
from bluegreen.postgres import (
    capacity,
    owned,
    publications,
    remedies,
    subscriptions,
    versions,
)
from bluegreen.postgres.queries import require_writer
from bluegreen.postgres.server import Server
from bluegreen.postgres.subscriptions import Subscription
from bluegreen.postgres.versions import Feature
from bluegreen.register import closing
from bluegreen.replication import counterparts, heartbeat, slot
from bluegreen.replication.subscription import (
    connection,
    connection_note,
    dropping,
    owner_rights,
    start_notes,
)
from bluegreen.replication.subscription import options as subscription_options
from bluegreen.replication.subscription.options import SubscriptionSpec
from bluegreen.replication.subscription.tables import refresh, require_none_put_back

log = logging.getLogger(__name__)


def ensure(
    subscriber: psycopg.Connection[Any],
    publisher: psycopg.Connection[Any],
    source: Server,
    desired: SubscriptionSpec,
    *,
    alter: bool,
    deadline: float,
) -> Subscription:
    """Make the subscription in `subscriber`'s database equal to `desired` and return it.

    `publisher` is a connection to the database of `source` that it subscribes to. An existing one
    that differs is altered if `alter`, else refused by name: it may be somebody else's. Enablement
    and password are always set: an interrupted run of ours leaves it disabled. Raises `CloneAgain`
    when rows after the start can't be sent any more, `Refused` when the server can't have it so,
    `Retry` for what is temporary; `deadline` is in seconds of `time.monotonic()`.
    """
    major = versions.major(subscriber)
    subscription_options.require_features(major, desired)
    require_writer(subscriber, f"{desired}: its own server")
    require_writer(publisher, f"{desired}: {source}")
    _require_published(publisher, source, desired)
    tables = publications.sent_tables(publisher, desired.publications)
    text = connection.text(subscriber, source, desired.name)
    have = subscriptions.inspect(subscriber, desired.name)
    if not alter:
        owned.require_marked(subscriber, dropping.KIND, desired.name)
    if have is not None and have.slot_name is None:
        # A drop of ours was interrupted after it had released the slot.
        dropping.drop(subscriber, desired.name, deadline=deadline)
        have = None
    owner = desired.owner or (have.owner if have else subscriber.info.user)
    owner_rights.require_appliable(
        subscriber, str(desired), owner, tables, run_as_owner=desired.run_as_owner
    )
    made = have is None
    if have is None:
        # It takes all that is published now as whole from its start on.
        require_none_put_back(desired, owned.added(publisher, desired.publications) & set(tables))
        require_slot(publisher, source, desired)
        connection.try_login(source, publisher.info.dbname)
        connection.try_from_subscriber(subscriber, text, desired.name)
        _require_worker(subscriber, desired)
        _create(subscriber, text, desired)
        have = _get(subscriber, desired.name)
        if connection.agrees(subscriber, desired.name, text) is None:
            connection_note.note(subscriber, have, text, source)
    else:
        _require_same(subscriber, have, desired, text, alter=alter)
        if not owned.is_marked(subscriber, dropping.KIND, desired.name):
            with remedies.explained(subscriber, str(desired)):
                owned.mark(subscriber, dropping.KIND, desired.name)  # the state knows it
        require_none_skipped(publisher, subscriber, source, have, since=desired.start)
        if not alter and not have.enabled and have.position == desired.start:
            require_slot(publisher, source, desired)
    at = start_notes.position(subscriber, publisher, have, desired, made=made)
    if at < desired.start:
        have = _set_start(subscriber, publisher, source, have, at, desired, deadline=deadline)
    _alter(subscriber, source, have, desired, text)
    if _set_enabled(subscriber, desired, deadline=deadline) or (made and not desired.enabled):
        _leave_marker(publisher)
    enabled = _get(subscriber, desired.name).enabled
    refresh(subscriber, publisher, source, desired, enabled=enabled)
    counterparts.note(subscriber, publisher, desired.publications, desired.name, anew=made)
    return _get(subscriber, desired.name)


def _get(conn: psycopg.Connection[Any], name: str) -> Subscription:
    have = subscriptions.inspect(conn, name)
    if have is None:
        raise Refused(f"subscription {name}: dropped by somebody else meanwhile; try again")
    return have


def _require_published(
    publisher: psycopg.Connection[Any], source: Server, desired: SubscriptionSpec
) -> None:
    missing = publications.missing(publisher, desired.publications)
    if missing:
        raise Refused(
            f"{desired}: {source} has no publication {', '.join(map(repr, missing))} in this "
            "database; create it first"
        )


def _require_worker(conn: psycopg.Connection[Any], desired: SubscriptionSpec) -> None:
    lacking = capacity.enabling_problem(capacity.inspect(conn)) if desired.enabled else None
    if lacking is not None:
        raise Refused(f"{desired}: {lacking}")


def _require_same(
    conn: psycopg.Connection[Any],
    have: Subscription,
    desired: SubscriptionSpec,
    text: str,
    *,
    alter: bool,
) -> None:
    """Raise `Refused`, naming the differences, unless what exists is or may be made as desired."""
    found = subscription_options.fixed(have, desired)
    if not alter:
        found += subscription_options.alterable(versions.major(conn), have, desired)
        elsewhere = connection.other_address(conn, desired.name, text)
        found += [elsewhere] if elsewhere else []
    if found:
        raise Refused(
            f"{desired}: exists and {'; '.join(found)}; drop it if it is unused, or choose another "
            "name"
        )


def require_slot(
    publisher: psycopg.Connection[Any], source: Server, desired: SubscriptionSpec
) -> None:
    """Raise `CloneAgain` unless the slot still has everything from the start on.

    The server does not refuse a slot that is past the start: it silently sends from where the slot
    is (measured on 16.14 and 18.4). Later slot and origin can't be compared like this: the
    confirmed position also moves over what isn't published, and back in a crash. Then
    `require_none_skipped` finds what can still be found.
    """
    have = slot.require_readable(publisher, desired.slot_name, str(source))
    if have.active_pid is not None and have.reader != desired.name:
        raise Refused(
            f"slot {have.name} on {source}: read by pid {have.active_pid} ({have.reader!r}); end "
            "that subscription first"
        )
    if have.confirmed > desired.start:
        raise CloneAgain(
            f"slot {have.name} on {source}: confirmed up to {have.confirmed}, past the start "
            f"{desired.start}; the rows between would be missing: clone again"
        )


def require_none_skipped(
    publisher: psycopg.Connection[Any],
    subscriber: psycopg.Connection[Any],
    source: Server,
    have: Subscription,
    *,
    since: Lsn | None,
) -> None:
    """Raise `CloneAgain` when its slot can't be read, or was moved past what it had not applied.

    A slot that is past the origin may be fine: it moves over what isn't published. But when it is
    past a heartbeat that has not arrived, it was advanced or recreated by hand (or the origin was),
    and the rows around that heartbeat are missing. `since` is where the subscription starts.
    """
    name = str(have.slot_name)
    there = slot.require_readable(publisher, name, str(source))
    passed = max(have.position or Lsn(0), there.confirmed)
    why = heartbeat.skipped(publisher, subscriber, passed, since=since)
    if why is not None:
        raise CloneAgain(
            f"slot {name} on {source}: {why}; slot or subscription was moved, or recreated, "
            "by hand, and rows are missing: clone again"
        )


def _leave_marker(publisher: psycopg.Connection[Any]) -> None:
    """Mark where a subscription stops, so that moving its slot meanwhile is noticed.

    Not on a standby: its heartbeats are its writer's.
    """
    if not closing.is_closed(publisher, [publisher.info.dbname]):
        heartbeat.leave_marker(publisher)


def _create(conn: psycopg.Connection[Any], text: str, desired: SubscriptionSpec) -> None:
    options = {
        # With connect=false it would know no tables and drop their rows silently.
        "connect": "true",
        "create_slot": "false",
        "slot_name": desired.slot_name,
        "copy_data": "false",
        "enabled": "false",
        **subscription_options.options(versions.major(conn), desired),
    }
    statement = sql.SQL("CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {} WITH ({})").format(
        sql.Identifier(desired.name),
        sql.Literal(text),
        _publications(desired),
        _assignments(options),
    )
    # One message, and so one transaction.
    both = sql.SQL("; ").join([statement, owned.marking(dropping.KIND, desired.name)])
    connection.execute_secret(conn, both, desired.name)
    log.info("%s: made, disabled", desired)


def _publications(desired: SubscriptionSpec) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, desired.publications))


def _assignments(options: dict[str, str]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in options.items()
    )


def _set_start(
    subscriber: psycopg.Connection[Any],
    publisher: psycopg.Connection[Any],
    source: Server,
    have: Subscription,
    at: Lsn,
    desired: SubscriptionSpec,
    *,
    deadline: float,
) -> Subscription:
    """Set where a subscription that has applied nothing yet, and is `at` 0/0, starts."""
    if have.enabled:
        # Somebody enabled it without a start: its worker may be applying at this moment.
        dropping.disable(subscriber, have, deadline=deadline)
        have = _get(subscriber, desired.name)
        at = at if have.position is None else have.position
    if at >= desired.start:
        return have
    if at != 0:
        raise Refused(
            f"{desired}: has applied up to {at}, before its start {desired.start}; it "
            "belongs to another clone or switch: drop it and try again"
        )
    require_slot(publisher, source, desired)
    try:
        with remedies.explained(subscriber, str(desired)):
            subscriber.execute(
                "SELECT pg_catalog.pg_replication_origin_advance('pg_' || %s::int8, %s::pg_lsn)",
                (have.oid, str(desired.start)),
            )
    except errors.ConfigurationLimitExceeded as error:
        limit = (
            "max_active_replication_origins"
            if versions.supports(subscriber, Feature.ORIGIN_LIMIT)
            else "max_replication_slots"
        )
        raise Refused(
            f"{desired}: {error.diag.message_primary}; raise {limit} on the subscriber"
        ) from None
    if have.position is None:
        start_notes.note(subscriber, have, desired)
    log.info("%s: starts at %s", desired, desired.start)
    return _get(subscriber, desired.name)


def _alter(
    conn: psycopg.Connection[Any],
    source: Server,
    have: Subscription,
    desired: SubscriptionSpec,
    text: str,
) -> None:
    """Alter owner, options, publications and connection, each only where it differs."""
    name = sql.Identifier(desired.name)
    changes: dict[str, sql.Composed] = {}
    if desired.owner is not None and have.owner != desired.owner:
        owner = sql.SQL("ALTER SUBSCRIPTION {} OWNER TO {}")
        changes[f"owned by {desired.owner}"] = owner.format(name, sql.Identifier(desired.owner))
    options = subscription_options.altered_options(versions.major(conn), have, desired)
    if options:
        changed = sql.SQL("ALTER SUBSCRIPTION {} SET ({})").format(name, _assignments(options))
        changes[f"{', '.join(options)} set"] = changed
    if set(have.publications) != set(desired.publications):
        reads = sql.SQL("ALTER SUBSCRIPTION {} SET PUBLICATION {} WITH (refresh = false)")
        changes[f"reads {', '.join(desired.publications)}"] = reads.format(
            name, _publications(desired)
        )
    for words, statement in changes.items():
        with remedies.explained(conn, str(desired)):
            conn.execute(statement)
        log.info("%s: %s", desired, words)
    agrees = connection.agrees(conn, desired.name, text)
    unreadable = agrees is None
    if unreadable:
        agrees = connection_note.is_noted(conn, have, text, source)
    if not agrees:
        # The server would accept any password, and the worker would fail later.
        connection.try_login(source, conn.info.dbname)
        connection.try_from_subscriber(conn, text, desired.name)
        connection.set_text(conn, desired.name, text)
        if unreadable:
            connection_note.note(conn, have, text, source)


def _set_enabled(
    conn: psycopg.Connection[Any], desired: SubscriptionSpec, *, deadline: float
) -> bool:
    """Enable or disable it; return whether it was stopped now."""
    have = _get(conn, desired.name)
    if desired.enabled and not have.enabled:
        _require_worker(conn, desired)
        conn.execute(sql.SQL("ALTER SUBSCRIPTION {} ENABLE").format(sql.Identifier(desired.name)))
        log.info("%s: enabled", desired)
    elif have.enabled and not desired.enabled:
        dropping.disable(conn, have, deadline=deadline)
        return True
    return False
