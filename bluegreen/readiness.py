"""Readiness: may the writer be moved now? Everything is looked at first, then judged.

A blocker is what the fence can't hold (`leaks`), or what would make the switch lose rows or take
long.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from bluegreen import fence, leaks, names, sequences, side_findings
from bluegreen.fenced_roles import Wish
from bluegreen.finding import Finding, Level, enough, none
from bluegreen.leaks import Leaks
from bluegreen.names import Direction
from bluegreen.queries import Connection, column
from bluegreen.server import Server
from bluegreen.side_findings import Tolerance
from bluegreen.switch_plan import from_props

_LONG_SECONDS = 60
_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Question:
    """Which switch is asked about: the writer is to move from `old` to `new`."""

    deployment: str
    old: Server
    new: Server
    databases: tuple[str, ...]
    accept_stale: tuple[str, ...]
    role_wish: Wish = field(default_factory=Wish)
    accept_differences: tuple[str, ...] = ()

    @classmethod
    def from_props(cls, props: Mapping[str, Any]) -> Self:
        """Return the question that a Switchover's inputs ask."""
        plan = from_props(props)
        return cls(
            deployment=plan.deployment,
            old=plan.old,
            new=plan.new,
            databases=plan.databases,
            accept_stale=tuple(props.get("accept_stale") or ()),
            role_wish=plan.role_wish,
            accept_differences=tuple(props["switch"].get("accept_differences") or ()),
        )


@dataclass(frozen=True, slots=True)
class Cluster:
    """What was seen on the writer and on the standby as a whole."""

    leaks: Leaks
    long_transactions: list[str]
    foreign_subscriptions: list[str]
    free_slots: int
    free_workers: int
    needed: int


@dataclass(frozen=True, slots=True)
class Database:
    """What was seen of one database."""

    name: str
    without_identity: list[str]
    not_wholly: list[str]
    enabled: bool
    working: bool
    apply_errors: int
    bytes_behind: int | None
    unreadable_sequences: list[str]


_LONG = """\
SELECT format('pid %%s of %%s, %%s s', pid, usename, extract(epoch FROM now() - xact_start)::int)
  FROM pg_stat_activity
 WHERE backend_xid IS NOT NULL AND xact_start < now() - make_interval(secs => %s)
   AND backend_type = 'client backend'"""
_FOREIGN = """\
SELECT s.subname || ' in ' || d.datname
  FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
 WHERE s.subname <> ALL (%s)"""
_FREE_SLOTS = """\
SELECT current_setting('max_replication_slots')::int - count(*)::int FROM pg_replication_slots"""
_FREE_WORKERS = """\
SELECT current_setting('max_logical_replication_workers')::int
       - count(*) FILTER (WHERE pid IS NOT NULL)::int FROM pg_stat_subscription"""
_WITHOUT_IDENTITY = """\
SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence = 'p'
   AND n.nspname !~ '^(pg_|information_schema)' AND n.nspname <> 'bluegreen'
   AND (c.relreplident = 'n' OR (c.relreplident = 'd' AND NOT EXISTS (
        SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)))
 ORDER BY 1"""
_NOT_WHOLLY = """\
SELECT format('%%I.%%I', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence = 'p'
   AND n.nspname !~ '^(pg_|information_schema)'
   AND NOT EXISTS (SELECT FROM pg_publication_tables t
        WHERE t.pubname = %s AND t.schemaname = n.nspname AND t.tablename = c.relname
          AND t.rowfilter IS NULL)
 ORDER BY 1"""
_SUBSCRIPTION = """\
SELECT s.subenabled, EXISTS (SELECT FROM pg_stat_subscription t
        WHERE t.subid = s.oid AND t.pid IS NOT NULL),
       coalesce((SELECT e.apply_error_count FROM pg_stat_subscription_stats e
        WHERE e.subid = s.oid), 0)
  FROM pg_subscription s WHERE s.subname = %s
   AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_BEHIND = """\
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), r.replay_lsn)::bigint
  FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid
 WHERE s.slot_name = %s"""


def check(asked: Question) -> list[Finding]:
    """Look at both sides and judge; raises `Retry` when one can't be reached."""
    with ExitStack() as stack:
        old = {n: stack.enter_context(asked.old.connect(n)) for n in asked.databases}
        new = {n: stack.enter_context(asked.new.connect(n)) for n in asked.databases}
        first = min(asked.databases)
        if fence.is_closed(old[first], asked.databases):
            # Nothing is to be begun: replication may be stopped already, as it is after an opening.
            return [Finding(Level.OK, "an earlier switch", "was broken off; it is ended first")]
        cluster = _look_at_clusters(asked, old, new)
        databases = [_look_at_database(asked, n, old[n], new[n]) for n in asked.databases]
        tolerance = Tolerance(asked.accept_differences, asked.accept_stale)
        differences = side_findings.check((asked.old, old), (asked.new, new), tolerance)
    return decide(cluster, databases, accept_stale=asked.accept_stale) + differences


def _look_at_clusters(
    asked: Question, olds: Mapping[str, Connection], news: Mapping[str, Connection]
) -> Cluster:
    first = min(asked.databases)
    old, new = olds[first], news[first]
    ours = [names.subscription(asked.deployment, direction) for direction in Direction]
    return Cluster(
        leaks=leaks.look((asked.old, olds), (asked.new, news), asked.role_wish),
        long_transactions=column(old, _LONG, _LONG_SECONDS),
        foreign_subscriptions=column(old, _FOREIGN, ours),
        free_slots=int(column(new, _FREE_SLOTS)[0]),
        free_workers=int(column(old, _FREE_WORKERS)[0]),
        needed=len(asked.databases),
    )


def _look_at_database(asked: Question, name: str, old: Connection, new: Connection) -> Database:
    running = _running(asked, name, old)
    row = new.execute(_SUBSCRIPTION, (names.subscription(asked.deployment, running),)).fetchone()
    behind = old.execute(_BEHIND, (names.slot(asked.deployment, running, name),)).fetchone()
    return Database(
        name=name,
        without_identity=column(new, _WITHOUT_IDENTITY),
        not_wholly=column(old, _NOT_WHOLLY, names.publication(asked.deployment, running)),
        enabled=bool(row and row[0]),
        working=bool(row and row[1]),
        apply_errors=int(row[2]) if row else 0,
        bytes_behind=int(behind[0]) if behind and behind[0] is not None else None,
        unreadable_sequences=column(old, sequences.UNREADABLE),
    )


def _running(asked: Question, name: str, old: Connection) -> Direction:
    """Return the direction whose slot is on the writer: rows flow away from it."""
    slot = names.slot(asked.deployment, Direction.FORWARD, name)
    there = old.execute("SELECT FROM pg_replication_slots WHERE slot_name = %s", (slot,)).fetchone()
    return Direction.FORWARD if there is not None else Direction.REVERSE


def decide(
    cluster: Cluster, databases: list[Database], *, accept_stale: tuple[str, ...]
) -> list[Finding]:
    """Judge what was seen."""
    found = [
        *leaks.judge(cluster.leaks),
        none(
            "long transactions",
            cluster.long_transactions,
            "the fence ends them and their work is lost; let them end first",
            Level.WARN,
        ),
        none(
            "subscriptions of others on the writer",
            cluster.foreign_subscriptions,
            "their apply workers write through the fence, and their rows go no further: drop them",
        ),
        enough("free slots on the new writer", cluster.free_slots, cluster.needed),
        enough("free workers on the old writer", cluster.free_workers, cluster.needed),
    ]
    for database in databases:
        found += _judge(database, accept_stale)
    return found


def _judge(database: Database, accept_stale: tuple[str, ...]) -> list[Finding]:
    stale = [name for name in database.not_wholly if name not in accept_stale]
    return [
        _subscription(database),
        none(
            f"{database.name}: tables without replica identity",
            database.without_identity,
            "the way back publishes them: add a key, or set replication.replica_identity",
        ),
        none(
            f"{database.name}: tables not wholly replicated",
            stale,
            "publish them, or name them in replication.accept_stale",
        ),
        none(
            f"{database.name}: sequences without privilege",
            database.unreadable_sequences,
            "GRANT SELECT, UPDATE ON them to the admin user",
        ),
    ]


def _subscription(database: Database) -> Finding:
    subject = f"{database.name}: replication"
    if not database.enabled:
        return Finding(Level.BLOCK, subject, "is disabled", "see the standby's log, run pulumi up")
    if not database.working:
        return Finding(Level.BLOCK, subject, "has no apply worker", "see the standby's log")
    behind = database.bytes_behind
    lag = "lag unknown" if behind is None else f"{behind:,} bytes behind"
    if database.apply_errors:
        return Finding(Level.WARN, subject, f"runs, {lag}, {database.apply_errors} errors so far")
    return Finding(Level.OK, subject, f"runs, {lag}")


def render(findings: list[Finding]) -> list[str]:
    """Return the report as lines of at most 96 columns."""
    blocked = sum(finding.level is Level.BLOCK for finding in findings)
    verdict = f"{blocked} blocker(s)" if blocked else "ready"
    lines = [f"readiness: {verdict}, {len(findings)} checks"]
    for finding in findings:
        lines.append(f"  {finding.level:<5} {finding.line()}"[:_WIDTH])
    return lines
