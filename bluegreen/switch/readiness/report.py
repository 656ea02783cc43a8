"""Readiness: may the writer be moved now? Everything is inspected first, then judged.

A blocker is what passes the fence (`leaks`), or what would make the switch lose rows or take long.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

from bluegreen import names
from bluegreen.aws.dns import Records
from bluegreen.finding import Finding, Level, expect_none
from bluegreen.names import Direction
from bluegreen.postgres import queries, slots, subscriptions
from bluegreen.postgres.queries import Connection, column
from bluegreen.postgres.server import Server
from bluegreen.postgres.subscriptions import Subscription
from bluegreen.register import closing
from bluegreen.register.fenced_roles import FenceSpec
from bluegreen.replication import coverage, database_code, sequences, session_timeouts
from bluegreen.replication.both_sides import BothSides
from bluegreen.switch.declared import DeclaredSwitch
from bluegreen.switch.readiness import (
    clusters,
    dns_names,
    leaks,
    left_behind,
    logins,
    outside_sources,
    side_findings,
    slot_limits,
    way_back,
)
from bluegreen.switch.readiness.side_findings import Tolerance

_LONG_SECONDS = 60
_LOCK_SECONDS = 10.0  # a report that waits for somebody's DDL would report nothing
_WIDTH = 96
_INDENT = " " * 8  # where a finding's words begin


@dataclass(frozen=True, slots=True)
class Question:
    """The switch in question: the writer is to move from `old` to `new`."""

    deployment: str
    old: Server
    new: Server
    databases: tuple[str, ...]
    accept_stale: tuple[str, ...]
    fence_spec: FenceSpec = field(default_factory=FenceSpec)
    accept_differences: tuple[str, ...] = ()
    login_checks: tuple[str, ...] = ()
    """Secrets that must open the new side."""
    direction: Direction | None = None
    """Of the replication that runs now; None finds it from the writer's slots."""
    rollback: bool = True
    """Whether there is to be a way back."""
    records: Records | None = None
    """The names that move with the writer."""

    @classmethod
    def of(cls, declared: DeclaredSwitch) -> Self:
        """Return the question for a declared switch."""
        plan = declared.plan()
        return cls(
            deployment=plan.deployment,
            old=plan.old,
            new=plan.new,
            databases=plan.databases,
            accept_stale=plan.accept_stale,
            fence_spec=plan.fence_spec,
            accept_differences=declared.switch.accept_differences,
            login_checks=declared.switch.login_checks,
            direction=plan.direction,
            rollback=plan.rollback,
            records=plan.records,
        )


Check = Callable[[Question, BothSides], list[Finding]]
"""One part of the report: it inspects both sides and judges what it found."""


@dataclass(frozen=True, slots=True)
class Database:
    """What was found about one database's replication."""

    name: str
    subscription: Subscription | None
    bytes_behind: int | None
    unreadable_sequences: list[str]


_LONG = """\
SELECT format('pid %%s of %%s, %%s s', pid, usename, extract(epoch FROM now() - xact_start)::int)
  FROM pg_stat_activity
 WHERE backend_xid IS NOT NULL AND xact_start < now() - make_interval(secs => %s)
   AND backend_type = 'client backend'"""


def check(asked: Question) -> list[Finding]:
    """Inspect both sides and judge; raises `Retry` when one can't be reached."""
    with ExitStack() as stack:
        old = {n: stack.enter_context(asked.old.connect(n)) for n in asked.databases}
        new = {n: stack.enter_context(asked.new.connect(n)) for n in asked.databases}
        queries.limit_lock_waits([*old.values(), *new.values()], _LOCK_SECONDS)
        first = min(asked.databases)
        if closing.is_closed(old[first], asked.databases):
            # No new switch begins here: replication may be stopped already, as it is after an
            # opening.
            return [Finding(Level.OK, "an earlier switch", "was broken off; it is ended first")]
        direction = asked.direction or _running(asked, first, old[first])
        sides = BothSides(asked.deployment, direction, asked.old, asked.new, old, new)
        return [finding for check in CHECKS for finding in check(asked, sides)]


def _running(asked: Question, name: str, old: Connection) -> Direction:
    """Return the direction whose slot is on the writer, away from which rows flow."""
    there = slots.inspect(old, names.slot(asked.deployment, Direction.FORWARD, name))
    return Direction.FORWARD if there is not None else Direction.REVERSE


def _leaks(asked: Question, sides: BothSides) -> list[Finding]:
    return leaks.judge(
        leaks.inspect((sides.old, sides.olds), (sides.new, sides.news), asked.fence_spec)
    )


def _clusters(_asked: Question, sides: BothSides) -> list[Finding]:
    old = sides.old_cluster
    return [
        expect_none(
            "long transactions",
            column(old, _LONG, _LONG_SECONDS),
            "the fence ends them and their work is lost; let them end first",
            Level.WARN,
        ),
        *outside_sources.findings(sides),
    ]


def _databases(_asked: Question, sides: BothSides) -> list[Finding]:
    seen = [_look_at_database(sides, name) for name in sides.databases]
    return [finding for one in seen for finding in _judge(one)]


def _coverage(asked: Question, sides: BothSides) -> list[Finding]:
    return coverage.findings(sides, left_behind.accepted(asked.accept_stale))


def _left_behind(asked: Question, sides: BothSides) -> list[Finding]:
    return list(left_behind.findings(sides, asked.accept_stale, way_back=asked.rollback))


def _way_back(asked: Question, sides: BothSides) -> list[Finding]:
    if not asked.rollback:
        return []
    return [*way_back.findings(sides, made=False), way_back.login(sides)]


def _slot_limits(_asked: Question, sides: BothSides) -> list[Finding]:
    return list(slot_limits.findings(sides))


def _differences(asked: Question, sides: BothSides) -> list[Finding]:
    tolerance = Tolerance(asked.accept_differences, asked.accept_stale)
    return side_findings.check((sides.old, sides.olds), (sides.new, sides.news), tolerance)


def _code(_asked: Question, sides: BothSides) -> list[Finding]:
    return list(database_code.check(sides.olds, sides.news, sides.publication()))


def _timeouts(_asked: Question, sides: BothSides) -> list[Finding]:
    return session_timeouts.check(
        (sides.old, sides.olds), (sides.new, sides.news), sides.subscription()
    )


def _logins(asked: Question, sides: BothSides) -> list[Finding]:
    return logins.findings(sides.new, sides.databases[0], asked.login_checks)


def _in_aws(_asked: Question, sides: BothSides) -> list[Finding]:
    return clusters.findings(sides.old, sides.new)


def _names(asked: Question, _sides: BothSides) -> list[Finding]:
    return [] if asked.records is None else dns_names.findings(asked.records, asked.old.region)


CHECKS: tuple[Check, ...] = (
    _leaks,
    _clusters,
    _databases,
    _coverage,
    _left_behind,
    _way_back,
    _slot_limits,
    _differences,
    _code,
    _timeouts,
    _logins,
    _in_aws,
    _names,
)
"""The parts of the report, in order; a new check is a function here."""


def _look_at_database(sides: BothSides, name: str) -> Database:
    have = slots.inspect(sides.olds[name], sides.slot(name))
    return Database(
        name=name,
        subscription=subscriptions.inspect(sides.news[name], sides.subscription()),
        bytes_behind=have.bytes_behind if have is not None else None,
        unreadable_sequences=column(sides.olds[name], sequences.UNREADABLE),
    )


def _judge(database: Database) -> list[Finding]:
    found = [
        _subscription(database),
        expect_none(
            f"{database.name}: sequences without privilege",
            database.unreadable_sequences,
            "GRANT SELECT, UPDATE ON them to the admin user",
        ),
    ]
    conflicts = database.subscription.conflicts if database.subscription else None
    if conflicts is not None:
        found.append(_conflicts(database.name, conflicts))
    return found


# An UPDATE or DELETE that found no row: the sides differ. Other conflicts stop the apply, or the
# row is applied anyway.
_DIVERGED = ("update_missing", "delete_missing")


def _conflicts(database: str, counts: str) -> Finding:
    diverged = any(kind in counts for kind in _DIVERGED)
    return Finding(
        Level.BLOCK if diverged else Level.WARN,
        f"{database}: replication conflicts",
        counts,
        "compare the tables and fix the rows, then pg_stat_reset_subscription_stats on the"
        " standby; or clone again",
    )


def _subscription(database: Database) -> Finding:
    subject = f"{database.name}: replication"
    have = database.subscription
    if have is None:
        return Finding(Level.BLOCK, subject, "has no subscription", "run pulumi up --refresh first")
    if not have.enabled:
        return Finding(Level.BLOCK, subject, "is disabled", "see the standby's log, run pulumi up")
    if have.worker_pid is None:
        return Finding(Level.BLOCK, subject, "has no apply worker", "see the standby's log")
    behind = database.bytes_behind
    lag = "lag unknown" if behind is None else f"{behind:,} bytes behind"
    if have.skipped:
        return Finding(Level.BLOCK, subject, f"runs, {lag}, but skips a transaction", "clone again")
    errors = have.apply_errors + have.sync_errors
    if errors:
        return Finding(
            Level.WARN,
            subject,
            f"runs, {lag}, {errors} errors so far",
            "what ALTER SUBSCRIPTION ... SKIP has left out since is missing, and can't be told:"
            " then clone again",
        )
    return Finding(Level.OK, subject, f"runs, {lag}")


def render(findings: list[Finding]) -> list[str]:
    """Return the report as lines of at most 96 columns, unless a word is longer."""
    blocked = sum(finding.level is Level.BLOCK for finding in findings)
    verdict = f"{blocked} blocker(s)" if blocked else "ready"
    lines = [f"readiness: {verdict}, {len(findings)} checks"]
    for finding in findings:
        lines.extend(
            textwrap.wrap(
                f"  {finding.level:<5} {finding.line()}",
                _WIDTH,
                subsequent_indent=_INDENT,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return lines
