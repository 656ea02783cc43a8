"""Subscriptions: what the standby applies from the writer, from exactly the position it is given.

One is made disabled on a slot that exists, its origin is set, then it is enabled; each step looks
first, so that an interrupted run goes on where it stopped. Slots are never made, dropped or even
asked for here: dropping a subscription works with the publisher gone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors, sql

from bluegreen.errors import CloneAgain, Refused, Retry
from bluegreen.lsn import Lsn
from bluegreen.polling import poll_until
from bluegreen.postgres import (
    capacity,
    owned,
    publications,
    remedies,
    slots,
    subscriptions,
    versions,
)
from bluegreen.postgres.queries import require_writer
from bluegreen.postgres.server import Server
from bluegreen.postgres.subscriptions import Subscription
from bluegreen.postgres.versions import Feature
from bluegreen.register import closing
from bluegreen.replication import counterparts, heartbeat, slot
from bluegreen.replication.subscription import connection, owner_rights
from bluegreen.replication.subscription import options as subscription_options
from bluegreen.replication.subscription.options import Wanted
from bluegreen.replication.subscription.tables import refresh, require_none_put_back

log = logging.getLogger(__name__)

_KIND = "SUBSCRIPTION"


def ensure(
    subscriber: psycopg.Connection[Any],
    publisher: psycopg.Connection[Any],
    source: Server,
    wanted: Wanted,
    *,
    alter: bool,
    deadline: float,
) -> Subscription:
    """Make the subscription in `subscriber`'s database equal to `wanted` and return it.

    `publisher` is a connection to the database of `source` that it subscribes to. What exists and
    differs is altered if `alter`, else refused by name: it may be somebody else's. Enablement and
    password always follow: an interrupted run of ours leaves it disabled. Raises `CloneAgain` when
    what lies after the start can't be sent any more, `Refused` when the wish can't be granted,
    `Retry` for what passes; `deadline` is in seconds of `time.monotonic()`.
    """
    major = versions.major(subscriber)
    subscription_options.require_features(major, wanted)
    require_writer(subscriber, f"{wanted}: its own server")
    require_writer(publisher, f"{wanted}: {source}")
    _require_published(publisher, source, wanted)
    tables = publications.sent_tables(publisher, wanted.publications)
    text = connection.text(source, publisher.info.dbname, wanted.name)
    have = subscriptions.inspect(subscriber, wanted.name)
    if not alter:
        owned.require_marked(subscriber, _KIND, wanted.name)
    if have is not None and have.slot_name is None:
        # A drop of ours was interrupted after it had let go of the slot.
        drop(subscriber, wanted.name, deadline=deadline)
        have = None
    owner = wanted.owner or (have.owner if have else subscriber.info.user)
    owner_rights.require_appliable(
        subscriber, str(wanted), owner, tables, run_as_owner=wanted.run_as_owner
    )
    made = have is None
    if have is None:
        # It takes all that is published now as whole from its start on.
        require_none_put_back(wanted, owned.added(publisher, wanted.publications) & set(tables))
        require_slot(publisher, source, wanted)
        connection.try_login(source, publisher.info.dbname)
        _require_worker(subscriber, wanted)
        _create(subscriber, text, wanted)
        have = _get(subscriber, wanted.name)
    else:
        _require_same(subscriber, have, wanted, text, alter=alter)
        if not owned.is_marked(subscriber, _KIND, wanted.name):
            with remedies.explained(subscriber, str(wanted)):
                owned.mark(subscriber, _KIND, wanted.name)  # the state knows it
        require_none_skipped(publisher, subscriber, source, have, since=wanted.start)
        if not alter and not have.enabled and have.position == wanted.start:
            require_slot(publisher, source, wanted)
    if have.position < wanted.start:
        have = _set_start(subscriber, publisher, source, have, wanted, deadline=deadline)
    _alter(subscriber, source, have, wanted, text)
    if _set_enabled(subscriber, wanted, deadline=deadline) or (made and not wanted.enabled):
        _seal(publisher)
    enabled = _get(subscriber, wanted.name).enabled
    refresh(subscriber, publisher, source, wanted, enabled=enabled)
    counterparts.note(subscriber, publisher, wanted.publications, wanted.name, anew=made)
    return _get(subscriber, wanted.name)


def _get(conn: psycopg.Connection[Any], name: str) -> Subscription:
    have = subscriptions.inspect(conn, name)
    if have is None:
        raise Refused(f"subscription {name}: dropped by somebody else meanwhile; try again")
    return have


def _require_published(publisher: psycopg.Connection[Any], source: Server, wanted: Wanted) -> None:
    missing = publications.missing(publisher, wanted.publications)
    if missing:
        raise Refused(
            f"{wanted}: {source} has no publication {', '.join(map(repr, missing))} in this "
            "database; create it first"
        )


def _require_worker(conn: psycopg.Connection[Any], wanted: Wanted) -> None:
    lacking = capacity.enabling_problem(capacity.inspect(conn)) if wanted.enabled else None
    if lacking is not None:
        raise Refused(f"{wanted}: {lacking}")


def _require_same(
    conn: psycopg.Connection[Any], have: Subscription, wanted: Wanted, text: str, *, alter: bool
) -> None:
    """Raise `Refused`, naming the differences, unless what exists is or may be made the wish."""
    found = subscription_options.fixed(have, wanted)
    if not alter:
        found += subscription_options.alterable(versions.major(conn), have, wanted)
        elsewhere = connection.other_address(conn, wanted.name, text)
        found += [elsewhere] if elsewhere else []
    if found:
        raise Refused(
            f"{wanted}: exists and {'; '.join(found)}; drop it if it is unused, or choose another "
            "name"
        )


def require_slot(publisher: psycopg.Connection[Any], source: Server, wanted: Wanted) -> None:
    """Raise `CloneAgain` unless the slot still has everything from the start on.

    A slot that is past the start is not refused by the server: it sends from where it is, silently
    (measured on 16.14 and 18.4). Later on slot and origin can't be compared so: the confirmed
    position also moves over what isn't published, and back in a crash. `require_none_skipped` tells
    what can still be told then.
    """
    have = slot.require_readable(publisher, wanted.slot_name, str(source))
    if have.active_pid is not None and have.reader != wanted.name:
        raise Refused(
            f"slot {have.name} on {source}: read by pid {have.active_pid} ({have.reader!r}); end "
            "that subscription first"
        )
    if have.confirmed > wanted.start:
        raise CloneAgain(
            f"slot {have.name} on {source}: confirmed up to {have.confirmed}, past the start "
            f"{wanted.start}; the rows between would be missing: clone again"
        )


def require_none_skipped(
    publisher: psycopg.Connection[Any],
    subscriber: psycopg.Connection[Any],
    source: Server,
    have: Subscription,
    *,
    since: Lsn | None,
) -> None:
    """Raise `CloneAgain` when its slot can't be read, or was moved over what it had not applied.

    A slot that is past the origin may be right: it moves over what isn't published. But when it is
    past a heartbeat that has not arrived, it was advanced or recreated by hand (or the origin was),
    and the rows around that heartbeat are missing. `since` is where the subscription starts.
    """
    name = str(have.slot_name)
    there = slot.require_readable(publisher, name, str(source))
    passed = max(have.position, there.confirmed)
    why = heartbeat.skipped(publisher, subscriber, passed, since=since)
    if why is not None:
        raise CloneAgain(
            f"slot {name} on {source}: {why}; slot or subscription was moved, or made anew, by "
            "hand, and rows are missing: clone again"
        )


def _seal(publisher: psycopg.Connection[Any]) -> None:
    """Mark where a subscription stops, so that a slot moved while it does can be told.

    Not on a standby: its heartbeats are its writer's.
    """
    if not closing.is_closed(publisher, [publisher.info.dbname]):
        heartbeat.seal(publisher)


def _create(conn: psycopg.Connection[Any], text: str, wanted: Wanted) -> None:
    options = {
        # connect=true: otherwise it would know no tables and drop their rows silently.
        "connect": "true",
        "create_slot": "false",
        "slot_name": wanted.slot_name,
        "copy_data": "false",
        "enabled": "false",
        **subscription_options.options(versions.major(conn), wanted),
    }
    statement = sql.SQL("CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {} WITH ({})").format(
        sql.Identifier(wanted.name),
        sql.Literal(text),
        _publications(wanted),
        _assignments(options),
    )
    # One message, and so one transaction.
    both = sql.SQL("; ").join([statement, owned.marking(_KIND, wanted.name)])
    connection.execute_secret(conn, both, wanted.name)
    log.info("%s: made, disabled", wanted)


def _publications(wanted: Wanted) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, wanted.publications))


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
    wanted: Wanted,
    *,
    deadline: float,
) -> Subscription:
    """Set where a subscription that has applied nothing yet starts."""
    if have.enabled:
        # Enabled without a start, by hand: its worker may be applying this very moment.
        _disable(subscriber, have, deadline=deadline)
        have = _get(subscriber, wanted.name)
    if have.position >= wanted.start:
        return have
    if have.position != 0:
        raise Refused(
            f"{wanted}: has applied up to {have.position}, before its start {wanted.start}; it "
            "belongs to another clone or switch: drop it and try again"
        )
    require_slot(publisher, source, wanted)
    try:
        with remedies.explained(subscriber, str(wanted)):
            subscriber.execute(
                "SELECT pg_catalog.pg_replication_origin_advance('pg_' || %s::int8, %s::pg_lsn)",
                (have.oid, str(wanted.start)),
            )
    except errors.ConfigurationLimitExceeded as error:
        limit = (
            "max_active_replication_origins"
            if versions.supports(subscriber, Feature.ORIGIN_LIMIT)
            else "max_replication_slots"
        )
        raise Refused(
            f"{wanted}: {error.diag.message_primary}; raise {limit} on the subscriber"
        ) from None
    log.info("%s: starts at %s", wanted, wanted.start)
    return _get(subscriber, wanted.name)


def _alter(
    conn: psycopg.Connection[Any], source: Server, have: Subscription, wanted: Wanted, text: str
) -> None:
    """Bring owner, options, publications and connection to the wish, each only if it differs."""
    name = sql.Identifier(wanted.name)
    changes: dict[str, sql.Composed] = {}
    if wanted.owner is not None and have.owner != wanted.owner:
        owner = sql.SQL("ALTER SUBSCRIPTION {} OWNER TO {}")
        changes[f"owned by {wanted.owner}"] = owner.format(name, sql.Identifier(wanted.owner))
    options = subscription_options.altered_options(versions.major(conn), have, wanted)
    if options:
        changed = sql.SQL("ALTER SUBSCRIPTION {} SET ({})").format(name, _assignments(options))
        changes[f"{', '.join(options)} set"] = changed
    if set(have.publications) != set(wanted.publications):
        reads = sql.SQL("ALTER SUBSCRIPTION {} SET PUBLICATION {} WITH (refresh = false)")
        changes[f"reads {', '.join(wanted.publications)}"] = reads.format(
            name, _publications(wanted)
        )
    for words, statement in changes.items():
        with remedies.explained(conn, str(wanted)):
            conn.execute(statement)
        log.info("%s: %s", wanted, words)
    if connection.agrees(conn, wanted.name, text) is not True:
        # The server would take any password, and its worker fail afterwards.
        connection.try_login(source, conn.info.dbname)
        connection.set_text(conn, wanted.name, text)


def _set_enabled(conn: psycopg.Connection[Any], wanted: Wanted, *, deadline: float) -> bool:
    """Enable or disable it; tell whether it was stopped now."""
    have = _get(conn, wanted.name)
    if wanted.enabled and not have.enabled:
        _require_worker(conn, wanted)
        conn.execute(sql.SQL("ALTER SUBSCRIPTION {} ENABLE").format(sql.Identifier(wanted.name)))
        log.info("%s: enabled", wanted)
    elif have.enabled and not wanted.enabled:
        _disable(conn, have, deadline=deadline)
        return True
    return False


def _disable(conn: psycopg.Connection[Any], have: Subscription, *, deadline: float) -> None:
    """Disable it and wait until none of its workers runs.

    They are ended: of itself a worker takes about a second to notice (measured).
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


def drop_own(conn: psycopg.Connection[Any], name: str, *, deadline: float) -> list[str]:
    """Drop the subscription as `drop` does; raises `Refused` where somebody else made it."""
    owned.require_marked(conn, _KIND, name)
    return drop(conn, name, deadline=deadline)


def drop(conn: psycopg.Connection[Any], name: str, *, deadline: float) -> list[str]:
    """Drop the subscription without a word to its publisher; none there is fine.

    Returns the names of slots that first copies of its tables may have left on the publisher:
    hand them to `drop_copy_slots`.
    """
    have = subscriptions.inspect(conn, name)
    if have is None:
        return []
    identifier = sql.Identifier(name)
    _disable(conn, have, deadline=deadline)
    copy_slots = subscriptions.copy_slots(conn, have.oid)
    if copy_slots:
        # While a first copy is unfinished the drop would call the publisher to clean up there.
        connection.lead_nowhere(conn, name)
    conn.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(identifier))
    conn.execute(sql.SQL("DROP SUBSCRIPTION IF EXISTS {}").format(identifier))
    for origin in subscriptions.origins(conn, have.oid):
        conn.execute("SELECT pg_catalog.pg_replication_origin_drop(%s)", (origin,))
    log.info("subscription %s: dropped", name)
    return copy_slots


def drop_copy_slots(publisher: psycopg.Connection[Any], names: Sequence[str], where: str) -> None:
    """Drop on the publisher what `drop` named; those that are not there are fine."""
    for name in names:
        have = slots.inspect(publisher, name)
        if have is not None and have.active_pid is None:
            slot.drop(publisher, name, where=where, deadline=0)
