"""Readiness: may the writer be moved now? Everything is looked at first, then judged.

A blocker is what the fence can't hold, or what would make the switch lose rows or take long.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import psycopg

from bluegreen import fence, fenced_roles, names, sequences
from bluegreen.errors import Refused
from bluegreen.fenced_roles import Wish
from bluegreen.names import Direction
from bluegreen.server import Server
from bluegreen.side import Side
from bluegreen.switch_plan import from_props

Connection = psycopg.Connection[Any]

_LONG_SECONDS = 60
_WIDTH = 96


class Level(StrEnum):
    """What a finding means for the switch."""

    OK = "ok"
    WARN = "warn"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer; `remedy` says what to do where it is not `ok`."""

    level: Level
    subject: str
    found: str
    remedy: str = ""

    def line(self) -> str:
        """Return the finding as one line."""
        return f"{self.subject}: {self.found}" + (f"; {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, slots=True)
class Question:
    """Which switch is asked about: the writer is to move from `old` to `new`."""

    deployment: str
    old: Server
    new: Server
    databases: tuple[str, ...]
    accept_stale: tuple[str, ...]
    role_wish: Wish = field(default_factory=Wish)

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
        )


@dataclass(frozen=True, slots=True)
class Leaks:
    """What the fence can't hold, or the administrator can't put up."""

    prepared: list[str]
    own_read_only: list[str]
    not_ours: list[str]
    """Databases whose owner's privileges the administrator lacks, on either side."""
    superusers: list[str]
    """Sessions that only a superuser may end, when the administrator is none."""
    roles: dict[str, fenced_roles.Seen]
    """By cluster, the old writer's first."""


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


_PREPARED = "SELECT gid FROM pg_prepared_xacts ORDER BY 1"
_LONG = """\
SELECT format('pid %%s of %%s, %%s s', pid, usename, extract(epoch FROM now() - xact_start)::int)
  FROM pg_stat_activity
 WHERE backend_xid IS NOT NULL AND xact_start < now() - make_interval(secs => %s)
   AND backend_type = 'client backend'"""
# AWS's own may have one, and are nobody's to fence.
_OWN_READ_ONLY = """\
SELECT r.rolname || coalesce(' in ' || d.datname, '')
  FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
  LEFT JOIN pg_database d ON d.oid = s.setdatabase
 WHERE r.rolname !~ '^(rds|pg_)'
   AND EXISTS (SELECT FROM unnest(s.setconfig) c WHERE c LIKE 'default_transaction_read_only=%'
        AND NOT split_part(c, '=', 2)::boolean)
 ORDER BY 1"""
_NOT_OURS = """\
SELECT format('%%s of %%s', d.datname, pg_get_userbyid(d.datdba))
  FROM pg_database d
 WHERE d.datallowconn AND NOT d.datistemplate AND d.datname <> ALL (%s)
   AND NOT pg_has_role(d.datdba, 'USAGE')
 ORDER BY 1"""
_SUPERUSERS = """\
SELECT DISTINCT format('%s in %s', a.usename, a.datname)
  FROM pg_stat_activity a JOIN pg_roles r ON r.rolname = a.usename
 WHERE a.backend_type = 'client backend' AND r.rolsuper AND a.usename <> 'rdsadmin'
   AND current_setting('is_superuser') = 'off'
 ORDER BY 1"""
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
    return decide(cluster, databases, accept_stale=asked.accept_stale)


def _not_ours(conn: Connection) -> list[str]:
    return _column(conn, _NOT_OURS, [names.TOOL_DATABASE, "rdsadmin"])


def refuse_leaks(old: Side, new: Side, wish: Wish) -> None:
    """Raise `Refused` for what could write through the fence: a switch's own last look.

    The report may be old by then, and who calls the switch as a library has not read any.
    """
    leaks = _look_for_leaks((old.server, old.databases), (new.server, new.databases), wish)
    for finding in _judge_leaks(leaks):
        if finding.level is Level.BLOCK:
            raise Refused(f"{old.server}: {finding.line()}")


def _look_for_leaks(
    old: tuple[Server, Mapping[str, Connection]],
    new: tuple[Server, Mapping[str, Connection]],
    wish: Wish,
) -> Leaks:
    first, other = next(iter(old[1].values())), next(iter(new[1].values()))
    return Leaks(
        prepared=_column(first, _PREPARED),
        own_read_only=_column(first, _OWN_READ_ONLY),
        not_ours=_not_ours(first) + [f"{one} on {new[0]}" for one in _not_ours(other)],
        superusers=_column(first, _SUPERUSERS),
        roles={str(server): fenced_roles.look(conns, server, wish) for server, conns in (old, new)},
    )


def _look_at_clusters(
    asked: Question, olds: Mapping[str, Connection], news: Mapping[str, Connection]
) -> Cluster:
    first = min(asked.databases)
    old, new = olds[first], news[first]
    ours = [names.subscription(asked.deployment, direction) for direction in Direction]
    return Cluster(
        leaks=_look_for_leaks((asked.old, olds), (asked.new, news), asked.role_wish),
        long_transactions=_column(old, _LONG, _LONG_SECONDS),
        foreign_subscriptions=_column(old, _FOREIGN, ours),
        free_slots=int(_column(new, _FREE_SLOTS)[0]),
        free_workers=int(_column(old, _FREE_WORKERS)[0]),
        needed=len(asked.databases),
    )


def _look_at_database(asked: Question, name: str, old: Connection, new: Connection) -> Database:
    running = _running(asked, name, old)
    row = new.execute(_SUBSCRIPTION, (names.subscription(asked.deployment, running),)).fetchone()
    behind = old.execute(_BEHIND, (names.slot(asked.deployment, running, name),)).fetchone()
    return Database(
        name=name,
        without_identity=_column(new, _WITHOUT_IDENTITY),
        not_wholly=_column(old, _NOT_WHOLLY, names.publication(asked.deployment, running)),
        enabled=bool(row and row[0]),
        working=bool(row and row[1]),
        apply_errors=int(row[2]) if row else 0,
        bytes_behind=int(behind[0]) if behind and behind[0] is not None else None,
        unreadable_sequences=_column(old, sequences.UNREADABLE),
    )


def _running(asked: Question, name: str, old: Connection) -> Direction:
    """Return the direction whose slot is on the writer: rows flow away from it."""
    slot = names.slot(asked.deployment, Direction.FORWARD, name)
    there = old.execute("SELECT FROM pg_replication_slots WHERE slot_name = %s", (slot,)).fetchone()
    return Direction.FORWARD if there is not None else Direction.REVERSE


def _column(conn: Connection, query: str, *values: Any) -> list[Any]:
    rows = conn.execute(query, values or None).fetchall()
    return [row[0] for row in rows]


def decide(
    cluster: Cluster, databases: list[Database], *, accept_stale: tuple[str, ...]
) -> list[Finding]:
    """Judge what was seen."""
    found = [
        *_judge_leaks(cluster.leaks),
        _none(
            "long transactions",
            cluster.long_transactions,
            "the fence ends them and their work is lost; let them end first",
            Level.WARN,
        ),
        _none(
            "subscriptions of others on the writer",
            cluster.foreign_subscriptions,
            "their apply workers write through the fence, and their rows go no further: drop them",
        ),
        _enough("free slots on the new writer", cluster.free_slots, cluster.needed),
        _enough("free workers on the old writer", cluster.free_workers, cluster.needed),
    ]
    for database in databases:
        found += _judge(database, accept_stale)
    return found


def _judge_leaks(leaks: Leaks) -> list[Finding]:
    old = next(iter(leaks.roles.values()))
    found = [
        _none(
            "prepared transactions",
            leaks.prepared,
            "COMMIT PREPARED passes any fence: commit or roll them back",
        ),
        _none(
            "roles with a read-write default of their own",
            leaks.own_read_only,
            "it would beat the fence: ALTER ROLE ... RESET default_transaction_read_only",
        ),
        _none(
            "databases of others",
            leaks.not_ours,
            "the fence needs their owners' privileges: GRANT owner TO admin, or ALTER DATABASE"
            " ... OWNER TO admin",
        ),
        _none(
            "sessions of superusers",
            leaks.superusers,
            "only a superuser may end them, and they can write through the fence: end them",
        ),
        _none(
            "switch.roles and switch.spare_roles",
            old.problems,
            "leave it out, or mend its name",
        ),
        _none(
            "roles that keep LOGIN and may write",
            old.keepers,
            "BEGIN READ WRITE would pass the fence, and write on the old side: take them off"
            " switch.spare_roles, name them in switch.roles, or REVOKE",
        ),
    ]
    for cluster, roles in leaks.roles.items():
        found += [
            _none(
                f"roles that the administrator can't alter on {cluster}",
                roles.unalterable,
                "LOGIN is taken from them on the old side: CREATEROLE, and from 16 on GRANT role"
                " TO admin WITH ADMIN OPTION",
            ),
            _none(
                f"what the administrator lacks on {cluster}",
                roles.lacking,
                "to end sessions, to see them, and to read the slot: GRANT pg_signal_backend,"
                " pg_monitor TO admin, ALTER ROLE admin REPLICATION (Aurora: GRANT rds_superuser)",
            ),
        ]
    return found


def _judge(database: Database, accept_stale: tuple[str, ...]) -> list[Finding]:
    stale = [name for name in database.not_wholly if name not in accept_stale]
    return [
        _subscription(database),
        _none(
            f"{database.name}: tables without replica identity",
            database.without_identity,
            "the way back publishes them: add a key, or set replication.replica_identity",
        ),
        _none(
            f"{database.name}: tables not wholly replicated",
            stale,
            "publish them, or name them in replication.accept_stale",
        ),
        _none(
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


def _none(subject: str, items: list[str], remedy: str, level: Level = Level.BLOCK) -> Finding:
    if not items:
        return Finding(Level.OK, subject, "none")
    shown = ", ".join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")
    return Finding(level, subject, shown, remedy)


def _enough(subject: str, have: int, needed: int) -> Finding:
    if have >= needed:
        return Finding(Level.OK, subject, f"{have}, {needed} needed")
    return Finding(Level.BLOCK, subject, f"{have}, {needed} needed", "raise the parameter, reboot")


def render(findings: list[Finding]) -> list[str]:
    """Return the report as lines of at most 96 columns."""
    blocked = sum(finding.level is Level.BLOCK for finding in findings)
    verdict = f"{blocked} blocker(s)" if blocked else "ready"
    lines = [f"readiness: {verdict}, {len(findings)} checks"]
    for finding in findings:
        lines.append(f"  {finding.level:<5} {finding.line()}"[:_WIDTH])
    return lines
