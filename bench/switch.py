"""`make bench-switch`: what clients see of a switch, in every way to make one.

The first batch is the one that counts: `N` switches each way (default 30) through the real `pulumi
up`, under load, with one database. In the same run: the clients with a multi-host connection
string, the library without the engine, the published procedure, 10,000 sequences, 5 databases,
and names that resolvers see only after some seconds, as Route 53's are.
`N`, `SEQUENCES` and `DATABASES` of the environment choose another run; each of the latter two then
takes the place of all sizes. The JSON is written after every batch, so a part that fails later
loses nothing.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import plot, report
from bench.by_hand import ByHand
from bench.phases_table import fill_document
from bench.report import Goal
from bench.switch_lab import SOURCE, TARGET, SwitchLab, switch_lab
from bench.switch_load import CLIENTS, RATE, Batch, run
from lab.engine.version import ENGINE_VERSION

MAIN = "pulumi up"
MULTIHOST = "pulumi up, multi-host clients"
LIBRARY = "library without the engine"
RUNBOOK = "published procedure"
LATE_SECONDS = 5.0
LATE = f"{MAIN}, names seen after {LATE_SECONDS:g} s"
_OUTAGE_P50, _OUTAGE_P95 = Goal(50, "ms"), Goal(100, "ms")
_SEQUENCES = Goal(100, "ms")
_ENOUGH_FOR_THE_DOCUMENT = 10  # switches each way: a try of the bench is no measurement


@dataclass(slots=True)
class Run:
    """A run of the bench: its size and what it has measured so far."""

    each_way: int
    sequences: tuple[int, ...]
    databases: tuple[int, ...]
    started_on: Mapping[str, object] = field(default_factory=report.machine)
    began: float = field(default_factory=time.monotonic)
    batches: dict[str, Batch] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: {"engine": ENGINE_VERSION})

    @property
    def few(self) -> int:
        """Return how often each way the comparisons switch."""
        return max(1, min(self.each_way, round(self.each_way / 6)))

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"[{time.monotonic() - self.began:5.0f} s] {text}", flush=True)

    def keep(self, name: str, batch: Batch) -> None:
        """Keep a batch, and write all there is."""
        self.batches[name] = batch
        found = report.write("switch", result(self), started_on=self.started_on)
        outage = batch.figures()["outage_ms"]
        self.say(f"{name}: outage ms {outage}; errors {batch.errors}; written to {found}")
        for problem in batch.problems:
            self.say(f"  WRONG: {problem}")


def size_name(databases: int, sequences: int) -> str:
    """Return what a batch of another size is called."""
    plural = "" if databases == 1 else "s"
    return f"{MAIN}, {databases} database{plural}, {sequences:,} sequences"


def measure(this: Run) -> None:
    """Run every batch; a part that fails is said, and the others go on."""
    first = True
    for databases in this.databases:
        try:
            with switch_lab(
                f"bench-{databases}",
                this.say,
                databases=databases,
                sequences=this.sequences[0],
            ) as lab:
                _sizes(this, lab, databases, first=first)
        except Exception as error:  # noqa: BLE001  # said, and the other sizes go on
            this.say(f"FAILED with {databases} database(s): {type(error).__name__}: {error}")
            this.batches[f"{databases} database(s)"] = Batch(failed=str(error)[-2000:])
        first = False
    _by_hand(this)


def measure_late_names(this: Run) -> None:
    """Run the batch whose clients follow a name as in the world, in a lab of its own."""
    try:
        with (
            switch_lab(
                "bench-late",
                this.say,
                databases=1,
                sequences=this.sequences[0],
                dns_delay=LATE_SECONDS,
            ) as lab,
            tempfile.TemporaryDirectory(prefix="bluegreen-bench-") as folder,
        ):
            this.say(f"{LATE}: {this.few} each way")
            batch = run(lab, Path(folder) / "late", lab.switch, each_way=this.few, say=this.say)
            this.keep(LATE, batch)
    except Exception as error:  # noqa: BLE001  # said, and what was measured stands
        this.say(f"FAILED: {LATE}: {type(error).__name__}: {error}")
        this.batches[LATE] = Batch(failed=str(error)[-2000:])


def _sizes(this: Run, lab: SwitchLab, databases: int, *, first: bool) -> None:
    for stack in (SOURCE, TARGET):
        this.versions[f"postgresql_{'source' if stack == SOURCE else 'target'}"] = lab.version(
            stack
        )
    with tempfile.TemporaryDirectory(prefix="bluegreen-bench-") as folder:
        records = Path(folder)
        for number, sequences in enumerate(this.sequences):
            main = first and number == 0
            if number:
                this.say(f"making {sequences:,} sequences on both sides")
                lab.grow_sequences(sequences)
            name = MAIN if main else size_name(databases, sequences)
            times = this.each_way if main else this.few
            this.say(f"{name}: {times} each way")
            this.keep(
                name, run(lab, records / f"n{number}", lab.switch, each_way=times, say=this.say)
            )
            if main:
                this.say(f"{MULTIHOST}: {this.few} each way")
                batch = run(
                    lab,
                    records / "multihost",
                    lab.switch,
                    each_way=this.few,
                    say=this.say,
                    multihost=True,
                )
                this.keep(MULTIHOST, batch)


def _by_hand(this: Run) -> None:
    """Switch without the engine in a lab of its own: no update is to meet what was made by hand."""
    try:
        with (
            switch_lab(
                "bench-hand",
                this.say,
                databases=this.databases[0],
                sequences=this.sequences[0],
            ) as lab,
            tempfile.TemporaryDirectory(prefix="bluegreen-bench-") as folder,
        ):
            hand = ByHand(lab)
            for name, switch in ((LIBRARY, hand.library), (RUNBOOK, hand.runbook)):
                this.say(f"{name}: {this.few} each way")
                records = Path(folder) / name[:7]
                this.keep(name, run(lab, records, switch, each_way=this.few, say=this.say))
    except Exception as error:  # noqa: BLE001  # said, and what was measured stays
        this.say(f"FAILED without the engine: {type(error).__name__}: {error}")
        this.batches[LIBRARY] = Batch(failed=str(error)[-2000:])


def result(this: Run) -> dict[str, Any]:
    """Return what goes into the JSON: the first batch's figures at the top, all batches below."""
    figures = {name: batch.figures() for name, batch in this.batches.items()}
    main = dict(figures.get(MAIN, {}))

    def outage(name: str) -> object:
        return figures.get(name, {}).get("outage_ms")

    # The published procedure is not ours: what it loses is told in its own batch.
    ours = [batch for name, batch in this.batches.items() if name != RUNBOOK]
    return {
        **main,
        "lost": sum(batch.lost for batch in ours),
        "duplicated": sum(batch.duplicated for batch in ours),
        "both_writable": sum(batch.both_writable for batch in ours),
        "runbook_outage_ms": outage(RUNBOOK),
        "library_outage_ms": outage(LIBRARY),
        "multihost_outage_ms": outage(MULTIHOST),
        "late_names_outage_ms": outage(LATE),
        "versions": this.versions,
        "load": {"clients": CLIENTS, "transactions_per_second": RATE},
        "batches": figures,
    }


def show(this: Run) -> None:
    """Print outages beside the goals, phases, and errors by SQLSTATE."""
    rows = []
    for name, batch in this.batches.items():
        figures = batch.figures()
        for kind in ("cutover", "rollback"):
            spread = figures[f"{kind}_outage_ms"]
            if spread is None:
                continue
            ours = name == MAIN
            goals = f"{_OUTAGE_P50.verdict(spread.p50)}; p95 {_OUTAGE_P95.verdict(spread.p95)}"
            rows.append(
                (name, kind, spread.n, spread.p50, spread.p95, spread.max, goals if ours else "")
            )
    report.show("Write outage, ms", ("", "", "n", "p50", "p95", "max", "goal"), rows)
    clients = [
        (
            name,
            batch.figures()["worst_client_ms"],
            batch.lost,
            batch.duplicated,
            batch.both_writable,
            round(batch.rate),
            _errors(batch.errors),
        )
        for name, batch in this.batches.items()
    ]
    head = ("", "worst client ms", "lost", "doubled", "both open", "tx/s", "errors by SQLSTATE")
    report.show("Clients", head, clients)
    phases = [
        (name, ", ".join(f"{phase} {_two(ms)}" for phase, ms in batch.phases.items()))
        for name, batch in this.batches.items()
        if batch.phases
    ]
    report.show("Phases, ms: p50/p95", ("", "in their order"), phases)
    for name, batch in this.batches.items():
        many = batch.phases.get("sequences")
        if many and "10,000" in name:
            print(f"{name}: inside the outage {_SEQUENCES.verdict(report.spread(many).p50)}")


def _two(values: list[float]) -> str:
    if not values:
        return ""
    spread = report.spread(values, 1)
    return f"{spread.p50:g}/{spread.p95:g}"


def _errors(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{state} {count}" for state, count in sorted(errors.items())) or "none"


def sizes(name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sizes in the variable `name`, such as `200,10000`; raises `SystemExit`."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise SystemExit(f"{name}={text}: expected positive numbers, separated by commas")
    return found


def main() -> int:
    """Measure, print, write; return 1 when something was lost, doubled or failed."""
    this = Run(
        each_way=sizes("N", (30,))[0],
        sequences=sizes("SEQUENCES", (200, 10_000)),
        databases=sizes("DATABASES", (1, 5)),
    )
    measure(this)
    measure_late_names(this)
    path = report.write("switch", result(this), started_on=this.started_on)
    show(this)
    plot.write(
        report.RESULTS / "switch.svg",
        "Write outage of a switch: every one, and the median",
        # Seconds beside milliseconds would show neither.
        {name: batch.outages for name, batch in this.batches.items() if name != LATE},
    )
    if this.each_way >= _ENOUGH_FOR_THE_DOCUMENT:
        fill_document(this.batches)
    this.say(f"written: {path} and switch.svg beside it")
    bad = [
        name
        for name, batch in this.batches.items()
        if batch.failed or (name != RUNBOOK and batch.problems)
    ]
    for name in bad:
        this.say(f"NOT WELL: {name}: {_said(this.batches[name])}")
    return 1 if bad else 0


def _said(batch: Batch) -> str:
    """Return what is wrong with a batch in one line."""
    return batch.failed.splitlines()[0] if batch.failed else "; ".join(batch.problems)


if __name__ == "__main__":
    sys.exit(main())
