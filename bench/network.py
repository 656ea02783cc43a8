"""`make bench-network`: the same switches, with a network between everybody that takes its time.

A proxy of the lab stands before each server: orchestrator, clients and the other server all come
through it. `N` (default 5 each way) and `DELAYS` (default 1,5,20: milliseconds added to a round
trip) of the environment choose another run.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench import plot, report
from bench.switch import Run, sizes
from bench.switch_lab import SOURCE, TARGET, switch_lab
from bench.switch_load import CLIENTS, RATE, Batch, run

_SEQUENCES = 200


def measure(this: Run, delays: tuple[int, ...]) -> dict[int, Batch]:
    """Return a batch for each delay; one that fails says so, and the others go on."""
    batches: dict[int, Batch] = {}
    for delay in delays:
        this.say(f"{delay} ms added to a round trip: {this.each_way} each way")
        try:
            with (
                switch_lab(
                    f"bench-network-{delay}",
                    this.say,
                    databases=1,
                    sequences=_SEQUENCES,
                    delay_ms=delay / 2,
                ) as lab,
                tempfile.TemporaryDirectory(prefix="bluegreen-bench-") as folder,
            ):
                for stack in (SOURCE, TARGET):
                    this.versions[f"postgresql_{stack}"] = lab.version(stack)
                batches[delay] = run(
                    lab, Path(folder) / "n", lab.switch, each_way=this.each_way, say=this.say
                )
        except Exception as error:  # noqa: BLE001  # said, and the other delays go on
            this.say(f"FAILED: {type(error).__name__}: {error}")
            batches[delay] = Batch(failed=str(error)[-2000:])
        _write(this, batches)
    return batches


def _write(this: Run, batches: Mapping[int, Batch]) -> Path:
    found = {
        "added_round_trip_ms": {delay: batch.figures() for delay, batch in batches.items()},
        "versions": this.versions,
        "load": {"clients": CLIENTS, "transactions_per_second": RATE},
    }
    return report.write("network", found, started_on=this.started_on)


def show(batches: Mapping[int, Batch]) -> None:
    """Print outage and phases by delay."""
    rows = []
    for delay, batch in batches.items():
        if batch.outages:
            outage = report.spread(batch.outages, 1)
            zeros = f"{batch.lost}, {batch.duplicated}, {batch.both_writable}"
            rows.append((f"{delay} ms", outage.n, outage.p50, outage.p95, outage.max, zeros))
    head = ("added round trip", "n", "p50", "p95", "max", "lost, doubled, both open")
    report.show("Write outage by network, ms", head, rows)
    names = list(dict.fromkeys(phase for batch in batches.values() for phase in batch.phases))
    phases = [
        (f"{delay} ms", *(_middle(batch.phases.get(phase, [])) for phase in names))
        for delay, batch in batches.items()
    ]
    report.show("Phases, ms: p50", ("added round trip", *names), phases)


def _middle(values: list[float]) -> str:
    return str(report.spread(values, 1).p50) if values else ""


def main() -> int:
    """Measure, print, write; return 1 when something was lost, doubled or failed."""
    this = Run(each_way=sizes("N", (5,))[0], sequences=(_SEQUENCES,), databases=(1,))
    batches = measure(this, sizes("DELAYS", (1, 5, 20)))
    show(batches)
    plot.write(
        report.RESULTS / "network.svg",
        "Write outage of a switch by the network's round trip",
        {f"{delay} ms added": batch.outages for delay, batch in batches.items()},
    )
    this.say(f"written: {_write(this, batches)} and network.svg beside it")
    return 1 if any(batch.failed or batch.problems for batch in batches.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
