"""Subscriptions: what the standby applies from the writer, from exactly the position it is given.

One is made disabled on a slot that exists, its origin is set, then it is enabled; each step looks
first, so that an interrupted run goes on where it stopped. Slots are never made, dropped or even
asked for here: dropping a subscription works with the publisher gone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import conninfo, errors, sql
from psycopg.rows import class_row

from bluegreen import slot, versions
from bluegreen.errors import CloneAgain, Refused, Retry
from bluegreen.lsn import Lsn
from bluegreen.polling import looks
from bluegreen.server import Server
from bluegreen.versions import Feature

log = logging.getLogger(__name__)

Streaming = Literal["off", "on", "parallel"]

_STREAMING: dict[str, Streaming] = {
    "f": "off", "t": "on", "p": "parallel", "false": "off", "true": "on"
}  # fmt: skip

_SUBSCRIPTION = """
SELECT s.oid::int8 AS oid, s.subname::text AS name, s.subenabled AS enabled,
       s.subslotname::text AS slot_name, s.subpublications AS publications,
       s.substream::text AS stream, s.subsynccommit AS synchronous_commit,
       {origin} AS origin, {disable_on_error} AS disable_on_error, {run_as_owner} AS run_as_owner,
       (SELECT o.remote_lsn::text FROM pg_catalog.pg_replication_origin_status o
         WHERE o.external_id = 'pg_' || s.oid) AS applied,
       (SELECT w.pid FROM pg_catalog.pg_stat_subscription w
         WHERE w.subid = s.oid AND w.relid IS NULL AND w.pid IS NOT NULL LIMIT 1) AS worker_pid,
       {apply_errors} AS apply_errors, {sync_errors} AS sync_errors, {conflicts} AS conflicts,
       ARRAY(SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname)
               FROM pg_catalog.pg_subscription_rel r
               JOIN pg_catalog.pg_class c ON c.oid = r.srrelid
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE r.srsubid = s.oid) AS tables
  FROM pg_catalog.pg_subscription s
 WHERE s.subname = %s
   AND s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d
                     WHERE d.datname = pg_catalog.current_database())
"""
_COUNT = "(SELECT t.{} FROM pg_catalog.pg_stat_subscription_stats t WHERE t.subid = s.oid)"
# All counters whose names begin so: later majors have more of them.
_CONFLICTS = """(SELECT string_agg(pg_catalog.format('%%s %%s', substr(e.key, 7), e.value), ', ')
                   FROM pg_catalog.pg_stat_subscription_stats t,
                        pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(t)) e
                  WHERE t.subid = s.oid AND starts_with(e.key, 'confl_') AND e.value <> '0')"""

_PUBLISHER = """
SELECT pg_catalog.pg_is_in_recovery() AS in_recovery,
       EXISTS (SELECT FROM pg_catalog.pg_publication p WHERE p.pubname = %(publication)s)
         AS has_publication,
       ARRAY(SELECT pg_catalog.format('%%I.%%I', t.schemaname, t.tablename)
               FROM pg_catalog.pg_publication_tables t WHERE t.pubname = %(publication)s) AS tables
"""

_WORKERS = """
SELECT w.pid FROM pg_catalog.pg_stat_subscription w WHERE w.subid = %s AND w.pid IS NOT NULL
"""

_ORIGINS = """
SELECT o.roname::text FROM pg_catalog.pg_replication_origin o
 WHERE o.roname = 'pg_' || %(oid)s::text OR starts_with(o.roname, 'pg_' || %(oid)s::text || '_')
"""

# Left behind when a first copy of a table was under way: held by name only, on the publisher.
_SYNC_SLOTS = """
SELECT pg_catalog.format('pg_%%s_sync_%%s_%%s', r.srsubid, r.srrelid, c.system_identifier)
  FROM pg_catalog.pg_subscription_rel r, pg_catalog.pg_control_system() c
 WHERE r.srsubid = %s AND r.srsubstate NOT IN ('i', 'r')
"""


# Port 1 of the subscriber's own loopback: refused at once.
_NOWHERE = "host=localhost port=1 dbname=none user=none password=none connect_timeout=1"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A subscription as it shall be; it is the same name that its connection announces."""

    name: str
    publication: str
    slot_name: str
    start: Lsn
    enabled: bool
    streaming: Streaming | None
    """None is the best that the subscriber's major has; so for `disable_on_error`."""
    disable_on_error: bool | None
    run_as_owner: bool = False


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as the server has it at one moment, without its connection string."""

    oid: int
    name: str
    enabled: bool
    slot_name: str | None
    publications: list[str]
    stream: str
    synchronous_commit: str
    origin: str | None
    disable_on_error: bool
    run_as_owner: bool
    applied: str | None
    """Where the next transaction is asked for; None or 0/0 before the first one and the start."""
    worker_pid: int | None
    apply_errors: int
    sync_errors: int
    conflicts: str | None
    """Counts of conflicts by kind, for people; 18 and later."""
    tables: list[str]

    @property
    def streaming(self) -> Streaming:
        """Return how large transactions in progress are treated."""
        return _STREAMING[self.stream]

    @property
    def position(self) -> Lsn:
        """Return how far it has applied, 0/0 when it has no position yet."""
        return Lsn.parse(self.applied or "0/0")


@dataclass(frozen=True, slots=True)
class PublisherSide:
    """What the publisher's database has for this subscription."""

    in_recovery: bool
    has_publication: bool
    tables: list[str]


def find(conn: psycopg.Connection[Any], name: str) -> Subscription | None:
    """Return the subscription of `conn`'s database."""
    major = versions.major(conn)
    with conn.cursor(row_factory=class_row(Subscription)) as cursor:
        return cursor.execute(sql.SQL(_query(major)), (name,)).fetchone()


def _query(major: int) -> Any:
    def gated(feature: Feature, text: str, otherwise: str) -> str:
        return text if versions.has(major, feature) else otherwise

    stats = Feature.SUBSCRIPTION_STATS
    return _SUBSCRIPTION.format(
        origin=gated(Feature.ORIGIN_NONE, "s.suborigin", "NULL::text"),
        disable_on_error=gated(Feature.DISABLE_ON_ERROR, "s.subdisableonerr", "false"),
        run_as_owner=gated(Feature.RUN_AS_OWNER, "s.subrunasowner", "false"),
        apply_errors=gated(stats, f"coalesce({_COUNT.format('apply_error_count')}, 0)", "0::int8"),
        sync_errors=gated(stats, f"coalesce({_COUNT.format('sync_error_count')}, 0)", "0::int8"),
        conflicts=gated(Feature.CONFLICT_STATS, _CONFLICTS, "NULL::text"),
    )


def look_at_publisher(conn: psycopg.Connection[Any], publication: str) -> PublisherSide:
    """Return what the publisher's database has."""
    with conn.cursor(row_factory=class_row(PublisherSide)) as cursor:
        found = cursor.execute(_PUBLISHER, {"publication": publication}).fetchone()
    assert found is not None
    return found


def ensure(
    subscriber: psycopg.Connection[Any],
    publisher: psycopg.Connection[Any],
    source: Server,
    wanted: Wanted,
    *,
    deadline: float,
) -> Subscription:
    """Make the subscription in `subscriber`'s database equal to `wanted` and return it.

    `publisher` is a connection to the database of `source` that it subscribes to. Raises
    `CloneAgain` when what lies after the start can't be sent any more, `Refused` when the wish
    can't be granted, `Retry` for what passes; `deadline` is in seconds of `time.monotonic()`.
    """
    _require_features(subscriber, wanted)
    text = source.conninfo(publisher.info.dbname, "replication", application_name=wanted.name)
    _refuse_publisher(look_at_publisher(publisher, wanted.publication), source, wanted)
    have = find(subscriber, wanted.name)
    if have is not None and have.slot_name is None:
        # A drop of ours was interrupted after it had let go of the slot.
        drop(subscriber, wanted.name, deadline=deadline)
        have = None
    if have is None:
        check_slot(publisher, source, wanted)
        _create(subscriber, text, wanted)
        have = _get(subscriber, wanted.name)
    elif have.slot_name != wanted.slot_name:
        raise Refused(
            f"subscription {wanted.name}: reads slot {have.slot_name!r}, expected "
            f"{wanted.slot_name!r}; drop it and try again"
        )
    else:
        slot.get_readable(publisher, wanted.slot_name, str(source))
    if have.position < wanted.start:
        have = _set_start(subscriber, publisher, source, have, wanted, deadline=deadline)
    _alter(subscriber, have, wanted, text)
    _switch(subscriber, wanted, deadline=deadline)
    _refresh(subscriber, publisher, wanted)
    return _get(subscriber, wanted.name)


def _get(conn: psycopg.Connection[Any], name: str) -> Subscription:
    have = find(conn, name)
    if have is None:
        raise Refused(f"subscription {name}: dropped by somebody else meanwhile; try again")
    return have


def _require_features(conn: psycopg.Connection[Any], wanted: Wanted) -> None:
    what, major = f"subscription {wanted.name}", versions.major(conn)
    if wanted.streaming == "parallel":
        versions.require(major, Feature.STREAMING_PARALLEL, what)
    if wanted.disable_on_error:
        versions.require(major, Feature.DISABLE_ON_ERROR, what)
    if wanted.run_as_owner:
        versions.require(major, Feature.RUN_AS_OWNER, what)


def _refuse_publisher(side: PublisherSide, source: Server, wanted: Wanted) -> None:
    if side.in_recovery:
        raise Refused(
            f"subscription {wanted.name}: {source} at {source.host} is in recovery, a reader; "
            "expected the cluster's writer endpoint"
        )
    if not side.has_publication:
        raise Refused(
            f"subscription {wanted.name}: {source} has no publication {wanted.publication!r} in "
            "this database; create it first"
        )


def check_slot(publisher: psycopg.Connection[Any], source: Server, wanted: Wanted) -> None:
    """Raise `CloneAgain` unless the slot still has everything from the start on.

    A slot that is past the start is not refused by the server: it sends from where it is, silently
    (measured on 16.14 and 18.4).
    """
    have = slot.get_readable(publisher, wanted.slot_name, str(source))
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


def _create(conn: psycopg.Connection[Any], text: str, wanted: Wanted) -> None:
    options = {
        # connect=true: otherwise it would know no tables and drop their rows silently.
        "connect": "true",
        "create_slot": "false",
        "slot_name": wanted.slot_name,
        "copy_data": "false",
        "enabled": "false",
        **_options(versions.major(conn), wanted),
    }
    statement = sql.SQL("CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {} WITH ({})").format(
        sql.Identifier(wanted.name),
        sql.Literal(text),
        sql.Identifier(wanted.publication),
        _assignments(options),
    )
    _execute_secret(conn, statement, wanted.name)
    log.info("subscription %s: made, disabled", wanted.name)


def _options(major: int, wanted: Wanted) -> dict[str, str]:
    """Return the options that may be altered later."""
    best: Streaming = "parallel" if versions.has(major, Feature.STREAMING_PARALLEL) else "on"
    options: dict[str, str] = {
        "streaming": wanted.streaming or best,
        # A synchronous apply would wait for the storage once for every transaction: some 100 to
        # 400 a second (measured). The switch makes durable what was applied before it opens.
        "synchronous_commit": "off",
    }
    if versions.has(major, Feature.ORIGIN_NONE):
        options["origin"] = "none"
    if versions.has(major, Feature.DISABLE_ON_ERROR):
        options["disable_on_error"] = str(wanted.disable_on_error is not False).lower()
    if versions.has(major, Feature.RUN_AS_OWNER):
        options["run_as_owner"] = str(wanted.run_as_owner).lower()
    return options


def _assignments(options: dict[str, str]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in options.items()
    )


def _execute_secret(conn: psycopg.Connection[Any], statement: sql.Composed, name: str) -> None:
    """Run a statement that holds the password; neither log nor error of ours shows its text."""
    _keep_out_of_server_log(conn)
    try:
        conn.execute(statement)
    except errors.ConnectionException as error:
        raise Retry(
            f"subscription {name}: the server can't reach its publisher: "
            f"{' '.join((error.diag.message_primary or 'no reason given').split())}; check that "
            "the clusters' security groups let each other in, and the replication secret"
        ) from None
    except errors.UndefinedTable as error:
        raise Refused(
            f"subscription {name}: {error.diag.message_primary}; create that table on the "
            "subscriber first"
        ) from None
    finally:
        # Until its next statement a session shows the last one in pg_stat_activity.
        conn.execute("SELECT 1")


def _keep_out_of_server_log(conn: psycopg.Connection[Any]) -> None:
    """Stop this session's statements from being logged, where the role may do so."""
    for parameter, value in (
        ("log_statement", "none"),
        ("log_min_error_statement", "panic"),
        ("log_min_duration_statement", "-1"),
        ("log_min_duration_sample", "-1"),
    ):
        try:
            conn.execute("SELECT set_config(%s, %s, false)", (parameter, value))
        except errors.InsufficientPrivilege:
            log.debug("the server's setting of %s stays in force", parameter)


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
            f"subscription {wanted.name}: has applied up to {have.position}, before its start "
            f"{wanted.start}; it belongs to another clone or switch: drop it and try again"
        )
    check_slot(publisher, source, wanted)
    subscriber.execute(
        "SELECT pg_catalog.pg_replication_origin_advance('pg_' || %s::int8, %s::pg_lsn)",
        (have.oid, str(wanted.start)),
    )
    log.info("subscription %s: starts at %s", wanted.name, wanted.start)
    return _get(subscriber, wanted.name)


def _alter(conn: psycopg.Connection[Any], have: Subscription, wanted: Wanted, text: str) -> None:
    """Bring options, publication and connection to what is wanted, each only if it differs."""
    name = sql.Identifier(wanted.name)
    options = {
        option: value
        for option, value in _options(versions.major(conn), wanted).items()
        if live_options(have)[option] != value
    }
    if options:
        conn.execute(sql.SQL("ALTER SUBSCRIPTION {} SET ({})").format(name, _assignments(options)))
        log.info("subscription %s: %s set", wanted.name, ", ".join(options))
    if have.publications != [wanted.publication]:
        conn.execute(
            sql.SQL("ALTER SUBSCRIPTION {} SET PUBLICATION {} WITH (refresh = false)").format(
                name, sql.Identifier(wanted.publication)
            )
        )
        log.info("subscription %s: reads publication %s", wanted.name, wanted.publication)
    if connects_as(conn, wanted.name, text) is not True:
        statement = sql.SQL("ALTER SUBSCRIPTION {} CONNECTION {}").format(name, sql.Literal(text))
        _execute_secret(conn, statement, wanted.name)
        log.info("subscription %s: connection set", wanted.name)


def live_options(have: Subscription) -> dict[str, str]:
    """Return the alterable options in the words of `CREATE SUBSCRIPTION`."""
    return {
        "streaming": have.streaming,
        "synchronous_commit": have.synchronous_commit,
        "origin": have.origin or "any",
        "disable_on_error": str(have.disable_on_error).lower(),
        "run_as_owner": str(have.run_as_owner).lower(),
    }


def drifted_options(conn: psycopg.Connection[Any], have: Subscription, wanted: Wanted) -> list[str]:
    """Return the alterable options that are not as wanted, in words."""
    live = live_options(have)
    return [
        f"{option} is {live[option]}"
        for option, value in _options(versions.major(conn), wanted).items()
        if live[option] != value
    ]


def connects_as(conn: psycopg.Connection[Any], name: str, text: str) -> bool | None:
    """Tell whether the subscription's connection string says what `text` says.

    None when this role may not read it, as without superuser rights.
    """
    try:
        row = conn.execute(
            "SELECT s.subconninfo FROM pg_catalog.pg_subscription s"
            " JOIN pg_catalog.pg_database d ON d.oid = s.subdbid"
            " WHERE s.subname = %s AND d.datname = pg_catalog.current_database()",
            (name,),
        ).fetchone()
    except errors.InsufficientPrivilege:
        return None
    if row is None:
        return False
    return conninfo.conninfo_to_dict(row[0]) == conninfo.conninfo_to_dict(text)


def unsubscribed(have: Subscription, side: PublisherSide) -> list[str]:
    """Return the published tables whose rows the subscription throws away unseen."""
    return sorted(set(side.tables) - set(have.tables))


def _refresh(
    subscriber: psycopg.Connection[Any], publisher: psycopg.Connection[Any], wanted: Wanted
) -> None:
    """Take in tables that were published since: they must exist and be empty, and are copied."""
    side = look_at_publisher(publisher, wanted.publication)
    new = unsubscribed(_get(subscriber, wanted.name), side)
    if not new:
        return
    for table in new:
        _refuse_filled(subscriber, table, wanted.name)
    if not wanted.enabled:
        log.info("subscription %s: disabled, so %d new table(s) wait", wanted.name, len(new))
        return
    subscriber.execute(
        sql.SQL("ALTER SUBSCRIPTION {} REFRESH PUBLICATION WITH (copy_data = true)").format(
            sql.Identifier(wanted.name)
        )
    )
    log.info("subscription %s: %s taken in", wanted.name, ", ".join(new))


def _refuse_filled(conn: psycopg.Connection[Any], table: str, name: str) -> None:
    row = conn.execute(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid = pg_catalog.to_regclass(%s)",
        (table,),
    ).fetchone()
    if row is None:
        raise Refused(
            f"subscription {name}: table {table} is published but not here; create it on the "
            "subscriber, then try again"
        )
    query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(row[0], row[1]))
    filled = conn.execute(query).fetchone()
    if filled is not None and filled[0]:
        raise Refused(
            f"subscription {name}: table {table} was published later and has rows here, so it "
            "can't be copied; truncate it on the subscriber, or clone again"
        )


def _switch(conn: psycopg.Connection[Any], wanted: Wanted, *, deadline: float) -> None:
    have = _get(conn, wanted.name)
    if wanted.enabled and not have.enabled:
        conn.execute(sql.SQL("ALTER SUBSCRIPTION {} ENABLE").format(sql.Identifier(wanted.name)))
        log.info("subscription %s: enabled", wanted.name)
    elif have.enabled and not wanted.enabled:
        _disable(conn, have, deadline=deadline)


def _disable(conn: psycopg.Connection[Any], have: Subscription, *, deadline: float) -> None:
    """Disable it and wait until none of its workers runs.

    They are ended: of itself a worker takes about a second to notice (measured).
    """
    conn.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(sql.Identifier(have.name)))
    for _ in looks(deadline, first=0.01, most=0.2):
        pids = [pid for (pid,) in conn.execute(_WORKERS, (have.oid,)).fetchall()]
        if not pids:
            log.info("subscription %s: disabled, its workers are gone", have.name)
            return
        for pid in pids:
            conn.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (pid,))
    raise Retry(
        f"subscription {have.name}: disabled, but worker {', '.join(map(str, pids))} still runs; "
        "see what it waits for in pg_stat_activity, and try again"
    )


def drop(conn: psycopg.Connection[Any], name: str, *, deadline: float) -> list[str]:
    """Drop the subscription without a word to its publisher; none there is fine.

    Returns the names of slots that first copies of its tables may have left on the publisher:
    hand them to `drop_sync_slots`.
    """
    have = find(conn, name)
    if have is None:
        return []
    identifier = sql.Identifier(name)
    _disable(conn, have, deadline=deadline)
    sync_slots = [one for (one,) in conn.execute(_SYNC_SLOTS, (have.oid,)).fetchall()]
    if sync_slots:
        # While a first copy is unfinished the drop would call the publisher to clean up there.
        statement = sql.SQL("ALTER SUBSCRIPTION {} CONNECTION {}").format(
            identifier, sql.Literal(_NOWHERE)
        )
        conn.execute(statement)
    conn.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(identifier))
    conn.execute(sql.SQL("DROP SUBSCRIPTION IF EXISTS {}").format(identifier))
    for (origin,) in conn.execute(_ORIGINS, {"oid": have.oid}).fetchall():
        conn.execute("SELECT pg_catalog.pg_replication_origin_drop(%s)", (origin,))
    log.info("subscription %s: dropped", name)
    return sync_slots


def drop_sync_slots(publisher: psycopg.Connection[Any], names: Sequence[str], where: str) -> None:
    """Drop on the publisher what `drop` named; those that are not there are fine."""
    for name in names:
        have = slot.find(publisher, name)
        if have is not None and have.active_pid is None:
            slot.drop(publisher, name, where=where, deadline=0)


def trouble(have: Subscription) -> list[str]:
    """Return what is wrong with a subscription that shall run, in words; empty when nothing is."""
    found = []
    if have.apply_errors:
        found.append(f"{have.apply_errors} apply error(s)")
    if have.sync_errors:
        found.append(f"{have.sync_errors} error(s) while copying tables")
    if have.conflicts:
        found.append(f"conflicts: {have.conflicts}")
    if not have.enabled:
        found.append("disabled")
    elif have.worker_pid is None:
        found.append("no worker runs")
    return found
