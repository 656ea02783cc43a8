"""One batch of switches under load, and what its clients saw of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import report
from bench.switch_lab import SOURCE, TARGET, SwitchLab
from lab import seed as seeds
from lab.workload import checker
from lab.workload.workload import Workload

CLIENTS, RATE = 8, 1000.0
_SETTLE_COMMITS = 1500  # about 1.5 seconds of load after each switch

Report = Callable[[str], None]
Switch = Callable[[bool], Mapping[str, float]]
"""Moves the writer to the target when given True, back when False; returns its phases."""


@dataclass(slots=True)
class Batch:
    """Figures of one batch in milliseconds, and counts that must be zero."""

    cutovers: list[float] = field(default_factory=list)
    rollbacks: list[float] = field(default_factory=list)
    worst_client: list[float] = field(default_factory=list)
    phases: dict[str, list[float]] = field(default_factory=dict)
    wall_seconds: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    committed: int = 0
    rate: float = 0.0
    lost: int = 0
    duplicated: int = 0
    both_writable: int = 0
    problems: list[str] = field(default_factory=list)
    failed: str = ""
    """Why the batch ended early; what was measured until then stands."""

    @property
    def outages(self) -> list[float]:
        """Return the outages of both directions."""
        return self.cutovers + self.rollbacks

    def figures(self) -> dict[str, Any]:
        """Return the batch for the JSON."""
        return {
            "runs": len(self.outages),
            "cutover_outage_ms": summary(self.cutovers),
            "rollback_outage_ms": summary(self.rollbacks),
            "outage_ms": summary(self.outages),
            "worst_client_ms": summary(self.worst_client),
            "phases_ms": {name: summary(ms) for name, ms in self.phases.items()},
            "up_seconds": summary(self.wall_seconds),
            "errors": self.errors,
            "committed": self.committed,
            "rate": round(self.rate),
            "lost": self.lost,
            "duplicated": self.duplicated,
            "both_writable": self.both_writable,
            "problems": self.problems,
            "failed": self.failed,
            "each_ms": {"cutover": self.cutovers, "rollback": self.rollbacks},
        }


def summary(values: Sequence[float]) -> report.Spread | None:
    """Return the spread, None when nothing was measured."""
    return report.spread(values) if values else None


def run(
    lab: SwitchLab,
    folder: Path,
    switch: Switch,
    *,
    each_way: int,
    say: Report,
    multihost: bool = False,
) -> Batch:
    """Switch to the target and back `each_way` times under load; begins and ends at the source.

    A switch that fails ends the batch; what its clients have recorded is judged all the same.
    """
    batch = Batch()
    port = int(lab.outputs[SOURCE]["port"])
    both = [lab.outputs[stack]["endpoint"] for stack in (SOURCE, TARGET)]
    workload = Workload(folder, environment=lab.world.environment)
    cutover = False
    with workload:
        name = ",".join(both) if multihost else seeds.WRITER
        workload.start(name, port, clients=CLIENTS, rate=RATE, bench_rate=0)
        for endpoint in both:
            workload.probe(endpoint, port)
        workload.wait_until_running()
        first = workload.wait_for_commits(_SETTLE_COMMITS)
        try:
            for number in range(2 * each_way):
                cutover = not number % 2
                began = time.monotonic()
                phases = switch(cutover)
                batch.wall_seconds.append(round(time.monotonic() - began, 1))
                workload.wait_for_commits(_SETTLE_COMMITS)
                for phase, ms in phases.items():
                    batch.phases.setdefault(phase, []).append(ms)
                if number % 5 == 0 or number == 2 * each_way - 1:
                    shown = ", ".join(f"{phase} {ms:.1f}" for phase, ms in phases.items())
                    say(f"  switch {number + 1} of {2 * each_way}: {shown or 'done'}")
        except Exception as error:  # noqa: BLE001  # the other batches go on
            # What the engine says of errors stands before the outputs, which are long.
            said = str(error).partition("Diagnostics:")[2].partition("Outputs:")[0] or str(error)
            batch.failed = f"{type(error).__name__}: {said.strip()[-2000:]}"
            say(f"  FAILED: {batch.failed}")
        last = workload.stop()
    batch.errors, batch.committed, batch.rate = last.errors, last.committed, last.rate(first)
    _judge(lab, folder, batch, writer=TARGET if cutover else SOURCE)
    return batch


def _judge(lab: SwitchLab, folder: Path, batch: Batch, *, writer: str) -> None:
    """Take the outages from the clients' records, and compare both sides."""
    standby = SOURCE if writer == TARGET else TARGET
    found = checker.check(folder, lab.side(writer), None if batch.failed else lab.side(standby))
    source = lab.address(SOURCE)
    for switch in found.switches:
        times = batch.cutovers if switch.old == source else batch.rollbacks
        times.append(round(switch.outage_ms, 2))
        batch.worst_client.append(round(switch.worst_client_ms, 2))
    batch.lost = len(found.keys.lost)
    twice = len(found.keys.risen) + len(found.keys.strange) + len(found.keys.changed)
    batch.duplicated = twice + len(found.sequences.issued_twice)
    batch.both_writable = len(found.commit_overlaps) + len(found.open_overlaps)
    batch.problems = found.problems
