"""What the servers say about a subscription: its own side, and its publisher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from bluegreen.lsn import Lsn
from bluegreen.postgres import grants, versions
from bluegreen.postgres.versions import Feature

Streaming = Literal["off", "on", "parallel"]

_STREAMING: dict[str, Streaming] = {
    "f": "off", "t": "on", "p": "parallel", "false": "off", "true": "on"
}  # fmt: skip

_SUBSCRIPTION = """
SELECT s.oid::int8 AS oid, s.subname::text AS name, s.subenabled AS enabled,
       pg_catalog.pg_get_userbyid(s.subowner)::text AS owner,
       s.subslotname::text AS slot_name, s.subpublications AS publications,
       s.substream::text AS stream, s.subsynccommit AS synchronous_commit, s.subbinary AS binary,
       {origin} AS origin, {disable_on_error} AS disable_on_error, {run_as_owner} AS run_as_owner,
       {two_phase} AS two_phase, {failover} AS failover, {skipped} AS skipped,
       (SELECT o.remote_lsn::text FROM pg_catalog.pg_replication_origin_status o
         WHERE o.external_id = 'pg_' || s.oid) AS applied,
       (SELECT w.pid FROM pg_catalog.pg_stat_subscription w
         WHERE w.subid = s.oid AND w.relid IS NULL AND w.pid IS NOT NULL LIMIT 1) AS worker_pid,
       {apply_errors} AS apply_errors, {sync_errors} AS sync_errors, {conflicts} AS conflicts
  FROM pg_catalog.pg_subscription s
 WHERE s.subname = %s
   AND s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d
                     WHERE d.datname = pg_catalog.current_database())
"""
_COUNT = """coalesce(
    (SELECT t.{} FROM pg_catalog.pg_stat_subscription_stats t WHERE t.subid = s.oid), 0)"""
# All counters whose names begin so: later majors have more of them.
_CONFLICTS = """(SELECT string_agg(pg_catalog.format('%%s %%s', substr(e.key, 7), e.value), ', ')
                   FROM pg_catalog.pg_stat_subscription_stats t,
                        pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(t)) e
                  WHERE t.subid = s.oid AND starts_with(e.key, 'confl_') AND e.value <> '0')"""

_PUBLISHER = """
SELECT pg_catalog.pg_is_in_recovery() AS in_recovery,
       ARRAY(SELECT n.name FROM pg_catalog.unnest(%(names)s::text[]) AS n(name)
              WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_publication p WHERE p.pubname = n.name))
         AS missing,
       ARRAY(SELECT DISTINCT pg_catalog.format('%%I.%%I', t.schemaname, t.tablename)
               FROM pg_catalog.pg_publication_tables t WHERE t.pubname = ANY (%(names)s))
         AS tables
"""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as the server has it at one moment, without its connection string."""

    oid: int
    name: str
    enabled: bool
    owner: str
    slot_name: str | None
    publications: list[str]
    stream: str
    synchronous_commit: str
    binary: bool
    origin: str | None
    disable_on_error: bool
    run_as_owner: bool
    two_phase: bool
    failover: bool
    skipped: str | None
    """The end of a transaction that somebody told it to leave out (`SKIP`); its rows are lost."""
    applied: str | None
    """Where the next transaction is asked for; None or 0/0 before the first one and the start."""
    worker_pid: int | None
    apply_errors: int
    sync_errors: int
    conflicts: str | None
    """Counts of conflicts by kind, for people; 18 and later."""

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
    missing: list[str]
    """Publications that are not there."""
    tables: list[str]


def find(conn: psycopg.Connection[Any], name: str) -> Subscription | None:
    """Return the subscription of `conn`'s database; `Refused` names a privilege that is missing."""
    query = sql.SQL(_query(versions.major(conn)))
    with (
        grants.explained(conn, f"subscription {name}"),
        conn.cursor(row_factory=class_row(Subscription)) as cursor,
    ):
        return cursor.execute(query, (name,)).fetchone()


def _query(major: int) -> Any:
    def gated(feature: Feature, text: str, otherwise: str) -> str:
        return text if versions.has(major, feature) else otherwise

    stats = Feature.SUBSCRIPTION_STATS
    return _SUBSCRIPTION.format(
        origin=gated(Feature.ORIGIN_NONE, "s.suborigin", "NULL::text"),
        disable_on_error=gated(Feature.DISABLE_ON_ERROR, "s.subdisableonerr", "false"),
        run_as_owner=gated(Feature.RUN_AS_OWNER, "s.subrunasowner", "false"),
        two_phase=gated(Feature.TWO_PHASE, "s.subtwophasestate <> 'd'", "false"),
        failover=gated(Feature.FAILOVER_SLOT, "s.subfailover", "false"),
        skipped=gated(Feature.SKIP, "nullif(s.subskiplsn, '0/0')::text", "NULL::text"),
        apply_errors=gated(stats, _COUNT.format("apply_error_count"), "0::int8"),
        sync_errors=gated(stats, _COUNT.format("sync_error_count"), "0::int8"),
        conflicts=gated(Feature.CONFLICT_STATS, _CONFLICTS, "NULL::text"),
    )


def look_at_publisher(conn: psycopg.Connection[Any], publications: Sequence[str]) -> PublisherSide:
    """Return what the publisher's database has."""
    with conn.cursor(row_factory=class_row(PublisherSide)) as cursor:
        found = cursor.execute(_PUBLISHER, {"names": list(publications)}).fetchone()
    assert found is not None
    return found


def trouble(have: Subscription) -> list[str]:
    """Return what is wrong with a subscription that shall run, in words; empty when nothing is."""
    found = []
    if have.apply_errors:
        found.append(f"{have.apply_errors} apply error(s)")
    if have.sync_errors:
        found.append(f"{have.sync_errors} error(s) while copying tables")
    if have.conflicts:
        found.append(f"conflicts: {have.conflicts}")
    if have.skipped:
        found.append(f"leaves out the transaction that finishes at {have.skipped}: its rows lack")
    if not have.enabled and have.apply_errors + have.sync_errors and have.disable_on_error:
        found.append("disabled by disable_on_error")
    elif not have.enabled:
        found.append("disabled")
    elif have.worker_pid is None:
        found.append("no worker runs")
    return found
