"""Subscriptions, as a server has them at one moment. Nothing else reads pg_subscription.

That includes workers, counters, origins and tables. Decisions about them are made by the modules
that need them; `bluegreen.replication.subscription` makes, alters and drops subscriptions.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from psycopg.rows import class_row

from bluegreen.lsn import Lsn
from bluegreen.postgres import remedies, versions
from bluegreen.postgres.queries import column
from bluegreen.postgres.table_names import TableName
from bluegreen.postgres.versions import Feature

Streaming = Literal["off", "on", "parallel"]

_STREAMING: dict[str, Streaming] = {
    "f": "off", "t": "on", "p": "parallel", "false": "off", "true": "on"
}  # fmt: skip

# The leader only: workers of table copies and of parallel apply come and go.
_LISTED = """
SELECT s.oid::int8 AS oid, s.subname::text AS name, d.datname::text AS database,
       s.subenabled AS enabled, pg_catalog.pg_get_userbyid(s.subowner)::text AS owner,
       s.subslotname::text AS slot_name, s.subpublications AS publications,
       (SELECT w.pid FROM pg_catalog.pg_stat_subscription w
         WHERE w.subid = s.oid AND w.relid IS NULL AND w.pid IS NOT NULL LIMIT 1) AS worker_pid
       {more}
  FROM pg_catalog.pg_subscription s
  JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
"""
_ALL = (
    _LISTED.format(more="")
    + """
 WHERE %(names)s::text[] IS NULL OR s.subname = ANY (%(names)s)
 ORDER BY s.subname, d.datname
"""
)
_HERE = " WHERE s.subname = %s AND d.datname = pg_catalog.current_database()"
_MORE = """,
       s.substream::text AS stream, s.subsynccommit AS synchronous_commit, s.subbinary AS binary,
       {origin} AS origin, {disable_on_error} AS disable_on_error, {run_as_owner} AS run_as_owner,
       {two_phase} AS two_phase, {failover} AS failover, {skipped} AS skipped,
       {applied} AS applied, {readable} AS readable,
       {apply_errors} AS apply_errors, {sync_errors} AS sync_errors, {conflicts} AS conflicts
"""
# PostgreSQL keeps both for superusers, and AWS grants what its service's role owns, or doesn't:
# nobody else can. Each gives the same position.
_APPLIED = (
    """(SELECT o.remote_lsn::text FROM pg_catalog.pg_replication_origin_status o
         WHERE o.external_id = 'pg_' || s.oid)""",
    """(SELECT pg_catalog.pg_replication_origin_progress(o.roname, false)::text
          FROM pg_catalog.pg_replication_origin o WHERE o.roname = 'pg_' || s.oid)""",
)
# How many of these a session was denied: each try is an error in the server's log.
_denied: WeakKeyDictionary[psycopg.Connection[Any], int] = WeakKeyDictionary()
_DENIED = (errors.FeatureNotSupported, errors.InsufficientPrivilege, errors.UndefinedFunction)

_COUNT = """coalesce(
    (SELECT t.{} FROM pg_catalog.pg_stat_subscription_stats t WHERE t.subid = s.oid), 0)"""
# All counters whose names begin with this: later majors have more of them.
_CONFLICTS = """(SELECT string_agg(pg_catalog.format('%%s %%s', substr(e.key, 7), e.value), ', ')
                   FROM pg_catalog.pg_stat_subscription_stats t,
                        pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(t)) e
                  WHERE t.subid = s.oid AND starts_with(e.key, 'confl_') AND e.value <> '0')"""

_CONNINFO = """
SELECT s.subconninfo FROM pg_catalog.pg_subscription s
  JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
"""
_WORKERS = """
SELECT w.pid FROM pg_catalog.pg_stat_subscription w WHERE w.subid = %s AND w.pid IS NOT NULL
"""
_ORIGINS = """
SELECT o.roname::text FROM pg_catalog.pg_replication_origin o
 WHERE o.roname = 'pg_' || %(oid)s::text OR starts_with(o.roname, 'pg_' || %(oid)s::text || '_')
"""
# Origins of subscriptions are named by oid, with the table's while it is copied.
_FOREIGN_ORIGINS = """
SELECT o.roname::text FROM pg_catalog.pg_replication_origin o
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_subscription s
                    WHERE o.roname = 'pg_' || s.oid OR starts_with(o.roname, 'pg_' || s.oid || '_'))
 ORDER BY 1
"""
_TABLES = """
SELECT n.nspname::text AS schema, c.relname::text AS name, c.oid::int8 AS oid,
       r.srsubstate::text AS state
  FROM pg_catalog.pg_subscription_rel r
  JOIN pg_catalog.pg_subscription s ON s.oid = r.srsubid
  JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
  JOIN pg_catalog.pg_class c ON c.oid = r.srrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""
# On the publisher the slot of a first copy is known by this name only.
_COPY_SLOTS = """
SELECT pg_catalog.format('pg_%%s_sync_%%s_', r.srsubid, r.srrelid)
  FROM pg_catalog.pg_subscription_rel r
 WHERE r.srsubid = %s AND r.srsubstate NOT IN ('i', 'r')
"""
_SYSTEM = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"

# The number changes when a table is added or removed, when a first copy makes progress, and when
# an origin is made or dropped.
MARKER = """(SELECT coalesce(sum(pg_catalog.hash_record_extended(ROW(
                   r.srsubid, r.srrelid, r.srsubstate), 0)), 0)
          FROM pg_catalog.pg_subscription_rel r)
       + (SELECT coalesce(sum(pg_catalog.hash_record_extended(ROW(o.roident, o.roname), 0)), 0)
          FROM pg_catalog.pg_replication_origin o)"""

ORIGINS_REMEDY = (
    "what is written under one (by pglogical, or a session that has set it up) is not sent on, and"
    " nobody says so: end what uses it, then SELECT pg_replication_origin_drop('its name')"
)

# srsubstate, from pg_subscription_rel in the manual; only `r` is ready.
_STATES = {"i": "to be copied", "d": "being copied", "f": "copied", "s": "synchronized"}
_READY = "r"


@dataclass(frozen=True, slots=True)
class Listed:
    """What every role may read of a subscription of any database."""

    oid: int
    name: str
    database: str
    enabled: bool
    owner: str
    slot_name: str | None
    publications: list[str]
    worker_pid: int | None
    """Its leading worker; after an error or a restart there is none for some seconds."""

    def __str__(self) -> str:
        return f"{self.name} in {self.database}"


@dataclass(frozen=True, slots=True)
class Subscription(Listed):
    """A subscription in its own database, without its connection string."""

    stream: str
    synchronous_commit: str
    binary: bool
    origin: str | None
    disable_on_error: bool
    run_as_owner: bool
    two_phase: bool
    failover: bool
    skipped: str | None
    """The end of a transaction that it was made to skip (`SKIP`); its rows are lost."""
    applied: str | None
    """Where the next transaction starts; None or 0/0 before the first one and the start."""
    readable: bool
    """Whether this role may read that; where it may not, `applied` is None."""
    apply_errors: int
    sync_errors: int
    conflicts: str | None
    """Counts of conflicts by kind, for people; 18 and later."""

    @property
    def streaming(self) -> Streaming:
        """Return how large transactions in progress are treated."""
        return _STREAMING[self.stream]

    @property
    def position(self) -> Lsn | None:
        """Return how far it has applied, 0/0 before the start; None where nobody may read that."""
        return Lsn.parse(self.applied or "0/0") if self.readable else None


@dataclass(frozen=True, slots=True)
class SubscribedTable:
    """A table that a subscription takes rows for."""

    schema: str
    name: str
    oid: int
    state: str
    """As in pg_subscription_rel."""

    @property
    def key(self) -> TableName:
        """Return schema and name."""
        return self.schema, self.name

    @property
    def ready(self) -> bool:
        """Return whether its first copy is over, if there was one."""
        return self.state == _READY

    @property
    def state_in_words(self) -> str:
        """Return the state of its first copy, in words."""
        return _STATES.get(self.state, f"in state {self.state}")


def inspect(conn: psycopg.Connection[Any], name: str) -> Subscription | None:
    """Return the subscription of `conn`'s database; `Refused` names a privilege that is missing."""
    major = versions.major(conn)
    for at in range(_denied.get(conn, 0), len(_APPLIED)):
        try:
            with _harmless(conn):
                return _inspect(conn, name, _query(major, _APPLIED[at]))
        except _DENIED:
            _denied[conn] = at + 1  # without its position whatever else is denied is named below
    with remedies.explained(conn, f"subscription {name}"):
        return _inspect(conn, name, _query(major, None))


def _inspect(conn: psycopg.Connection[Any], name: str, query: Any) -> Subscription | None:
    with conn.cursor(row_factory=class_row(Subscription)) as cursor:
        return cursor.execute(query, (name,)).fetchone()


def _harmless(conn: psycopg.Connection[Any]) -> AbstractContextManager[Any]:
    """Let an error inside leave a transaction that is open as it is."""
    idle = conn.info.transaction_status is TransactionStatus.IDLE
    return nullcontext() if idle else conn.transaction()


def inspect_all(
    conn: psycopg.Connection[Any], names: Collection[str] | None = None
) -> tuple[Listed, ...]:
    """Return the subscriptions of every database, or those of `names`, by name and database."""
    chosen = None if names is None else list(names)
    with conn.cursor(row_factory=class_row(Listed)) as cursor:
        return tuple(cursor.execute(_ALL, {"names": chosen}).fetchall())


def tables(conn: psycopg.Connection[Any], name: str) -> tuple[SubscribedTable, ...]:
    """Return what the subscription of `conn`'s database takes rows for."""
    with conn.cursor(row_factory=class_row(SubscribedTable)) as cursor:
        return tuple(cursor.execute(_TABLES + _HERE, (name,)).fetchall())


def workers(conn: psycopg.Connection[Any], oid: int) -> list[int]:
    """Return the pids of all workers of a subscription."""
    return column(conn, _WORKERS, oid)


def origins(conn: psycopg.Connection[Any], oid: int) -> list[str]:
    """Return the names of a subscription's replication origins, and of its tables' copies."""
    return column(conn, _ORIGINS, {"oid": oid})


def foreign_origins(conn: psycopg.Connection[Any]) -> list[str]:
    """Return the replication origins of the server that belong to no subscription."""
    return column(conn, _FOREIGN_ORIGINS)


def copy_slots(conn: psycopg.Connection[Any], oid: int) -> list[str]:
    """Return the slots that unfinished first copies may have on the publisher.

    Their names end with the system's identifier; where this role may not read it, in `*`.
    """
    names = column(conn, _COPY_SLOTS, oid)
    if not names:
        return []
    try:
        with _harmless(conn):
            (system,) = column(conn, _SYSTEM)
    except _DENIED:
        system = "*"
    return [name + system for name in names]


def conninfo(conn: psycopg.Connection[Any], name: str) -> str | None:
    """Return the connection string of a subscription of `conn`'s database: it holds a password.

    None when there is no such subscription; psycopg's `InsufficientPrivilege` where this role may
    not read it, as without superuser rights.
    """
    row = conn.execute(_CONNINFO + _HERE, (name,)).fetchone()
    return None if row is None else str(row[0])


def _query(major: int, applied: str | None) -> Any:
    def gated(feature: Feature, text: str, otherwise: str) -> str:
        return text if versions.has(major, feature) else otherwise

    stats = Feature.SUBSCRIPTION_STATS
    more = _MORE.format(
        origin=gated(Feature.ORIGIN_NONE, "s.suborigin", "NULL::text"),
        disable_on_error=gated(Feature.DISABLE_ON_ERROR, "s.subdisableonerr", "false"),
        run_as_owner=gated(Feature.RUN_AS_OWNER, "s.subrunasowner", "false"),
        two_phase=gated(Feature.TWO_PHASE, "s.subtwophasestate <> 'd'", "false"),
        failover=gated(Feature.FAILOVER_SLOT, "s.subfailover", "false"),
        applied=applied or "NULL::text",
        readable="false" if applied is None else "true",
        skipped=gated(Feature.SKIP, "nullif(s.subskiplsn, '0/0')::text", "NULL::text"),
        apply_errors=gated(stats, _COUNT.format("apply_error_count"), "0::int8"),
        sync_errors=gated(stats, _COUNT.format("sync_error_count"), "0::int8"),
        conflicts=gated(Feature.CONFLICT_STATS, _CONFLICTS, "NULL::text"),
    )
    return _LISTED.format(more=more) + _HERE


def problems(have: Subscription) -> list[str]:
    """Return what is wrong with a subscription that is to run, in words; empty if nothing is."""
    found = []
    if have.apply_errors:
        found.append(f"{have.apply_errors} apply error(s)")
    if have.sync_errors:
        found.append(f"{have.sync_errors} error(s) while copying tables")
    if have.conflicts:
        found.append(f"conflicts: {have.conflicts}")
    if have.skipped:
        found.append(f"skips the transaction that finishes at {have.skipped}: its rows are missing")
    if not have.enabled and have.apply_errors + have.sync_errors and have.disable_on_error:
        found.append("disabled by disable_on_error")
    elif not have.enabled:
        found.append("disabled")
    elif have.worker_pid is None:
        found.append("no worker runs")
    return found
