"""The proof at the end: what clients were told is what the final writer holds, and nothing else.

Writes must have stopped. Everything is only read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from lab.workload import contents, effects, keys, sequences, timeline
from lab.workload.contents import Difference
from lab.workload.keys import KeyReport
from lab.workload.login import APP_DATABASE, BENCH_DATABASE, Login
from lab.workload.probe import Look, read_looks
from lab.workload.records import ClientLog, Outcome, read_all
from lab.workload.sequences import SequenceReport
from lab.workload.timeline import Commit, Overlap, Switch

Connection = psycopg.Connection[tuple[Any, ...]]

_SETTLE_SECONDS = 30.0
_SHOWN = 5  # examples of a kind of problem in one line
_OPTIONS = (
    "-c default_transaction_read_only=on -c TimeZone=UTC -c extra_float_digits=1"
    " -c statement_timeout=0"
    # An error instead of fewer rows, for a role that row security applies to.
    " -c row_security=off"
)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two environments, opened as a role that may read everything."""

    host: str
    port: int
    login: Login

    def connect(self, database: str) -> Connection:
        """Return a read-only autocommit session."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            dbname=database,
            user=self.login.user,
            password=self.login.password,
            sslmode="disable",
            autocommit=True,
            application_name="workload check",
            options=_OPTIONS,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `problems` says it in words, one line each; empty means proved.

    `errors` counts transactions by SQLSTATE; `wall_offset_ns` added to any time here makes it one
    of the wall clock.
    """

    keys: KeyReport
    violations: dict[str, int]
    sequences: SequenceReport
    differences: tuple[Difference, ...]
    switches: tuple[Switch, ...]
    commit_overlaps: tuple[Overlap, ...]
    open_overlaps: tuple[Overlap, ...]
    probed: int
    sides_compared: bool
    longest_gap_ms: float
    errors: dict[str, int]
    wall_offset_ns: int

    @property
    def sequences_checked(self) -> int:
        """Return how many sequences were judged, of both databases."""
        return self.sequences.checked

    @property
    def sequences_wrong(self) -> int:
        """Return how many of them could hand out a used value again."""
        return len(self.sequences.behind)

    @property
    def problems(self) -> list[str]:
        """Return every violation in words."""
        said = [
            _say("acknowledged transactions lost", self.keys.lost),
            _say("refused or absent transactions present", self.keys.risen),
            _say("transactions present that nobody recorded", self.keys.strange),
            _say("keys of another kind of transaction", self.keys.changed),
            _say("sequences behind a used value", self.sequences.behind),
            _say("sequence values issued twice", self.sequences.issued_twice),
            _say("tables that differ between the sides", self.differences),
            _say("commits on both sides at once", self.commit_overlaps),
            _say("both sides open at once", self.open_overlaps),
        ]
        said += [f"{count} {name}" for name, count in self.violations.items()]
        return [line for line in said if line is not None]

    @property
    def ok(self) -> bool:
        """Return whether nothing at all was wrong."""
        return not self.problems

    def to_json(self) -> str:
        """Return the report for machines."""
        summary = {"ok": self.ok, "problems": self.problems}
        summary |= {"sequences_checked": self.sequences_checked}
        summary |= {"sequences_wrong": self.sequences_wrong}
        return json.dumps(summary | asdict(self), indent=2)


@dataclass(frozen=True, slots=True)
class Databases:
    """Sessions on one side's databases."""

    app: Connection
    bench: Connection


def check(folder: Path, writer: Side, standby: Side | None = None) -> Report:
    """Check everything recorded in `folder` against the writer, and both sides' tables.

    With `standby` None (replication has ended, or never began) the sides are not compared. Raises
    `FileNotFoundError` when nothing was recorded.
    """
    with ExitStack() as open_sessions:

        def opened(side: Side) -> Databases:
            app, bench = side.connect(APP_DATABASE), side.connect(BENCH_DATABASE)
            return Databases(open_sessions.enter_context(app), open_sessions.enter_context(bench))

        return prove(folder, opened(writer), None if standby is None else opened(standby))


def switches_so_far(folder: Path) -> list[Switch]:
    """Return the moves of the writer that clients have seen, also while they run."""
    return timeline.switches(timeline.reigns(_commits(read_all(folder))))


def prove(
    folder: Path,
    writer: Databases,
    standby: Databases | None,
    settle_seconds: float = _SETTLE_SECONDS,
) -> Report:
    """Do what `check` does, on sessions that are open; the last rows have `settle_seconds`."""
    logs = read_all(folder)
    differences: list[Difference] = []
    if standby is not None:
        for ours, theirs in ((writer.app, standby.app), (writer.bench, standby.bench)):
            differences += contents.settled_differences(ours, theirs, settle_seconds)
    violations = effects.violations(writer.app, effects.SHOP)
    violations |= effects.violations(writer.bench, effects.BENCH)
    other = None if standby is None else standby.app
    return Report(
        keys=keys.judge(logs, _present(writer.app, logs)),
        violations=violations,
        sequences=sequences.report(writer.app, other, keys.drawn_values(logs)),
        differences=tuple(differences),
        sides_compared=standby is not None,
        **_history(logs, read_looks(folder)),
    )


def _present(app: Connection, logs: list[ClientLog]) -> dict[int, dict[int, int]]:
    present: dict[int, dict[int, int]] = defaultdict(dict)
    clients = [log.client for log in logs]
    rows = app.execute(
        "SELECT client, n, kind FROM shop.request WHERE client = ANY (%s)", (clients,)
    )
    for client, n, kind in rows:
        present[client][n] = kind
    return present


def _history(logs: list[ClientLog], looks: dict[Any, list[Look]]) -> dict[str, Any]:
    commits = _commits(logs)
    errors: dict[str, int] = defaultdict(int)
    for log in logs:
        for record in log.records:
            if record.sqlstate:
                errors[record.sqlstate] += 1
    reigns = timeline.reigns(commits)
    return {
        "switches": tuple(timeline.switches(reigns)),
        "commit_overlaps": tuple(timeline.overlaps(reigns)),
        "open_overlaps": tuple(timeline.open_overlaps(looks)),
        "probed": sum(map(len, looks.values())),
        "longest_gap_ms": timeline.longest_gap_ms(commits),
        "errors": dict(errors),
        "wall_offset_ns": logs[0].wall_offset_ns,
    }


def _commits(logs: list[ClientLog]) -> list[Commit]:
    return [
        Commit(log.client, record.server, record.sent_ns, record.done_ns)
        for log in logs
        for record in log.records
        if record.outcome is Outcome.COMMITTED
    ]


def _say(what: str, found: tuple[Any, ...]) -> str | None:
    if not found:
        return None
    shown = ", ".join(map(str, found[:_SHOWN]))
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{len(found)} {what}: {shown}{more}"
