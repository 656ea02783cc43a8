"""What all benches share: medians with their spread, goals, tables, and a JSON of each run."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing: the median and how far they lie apart."""

    p50: float
    p95: float
    min: float
    max: float
    n: int

    def __str__(self) -> str:
        return f"{self.p50:.1f} ({self.min:.1f} to {self.max:.1f})"


@dataclass(frozen=True, slots=True)
class Goal:
    """The greatest value that a figure may have, in the figure's own unit."""

    limit: float
    unit: str

    def verdict(self, value: float) -> str:
        """Return the goal beside a value, in words."""
        return f"<= {self.limit:g} {self.unit}: {'met' if value <= self.limit else 'MISSED'}"


def spread(values: Sequence[float], digits: int = 2) -> Spread:
    """Return the spread of at least one value."""
    ordered = sorted(values)
    return Spread(
        p50=round(statistics.median(ordered), digits),
        # The nearest rank: with few values it is the greatest.
        p95=round(ordered[min(len(ordered) - 1, -(-95 * len(ordered) // 100) - 1)], digits),
        min=round(ordered[0], digits),
        max=round(ordered[-1], digits),
        n=len(ordered),
    )


def growth(by_count: Mapping[int, Spread]) -> dict[int, str]:
    """Return how the median grows from each count to the next, beside how the count grows."""
    found, last = {}, None
    for count, value in sorted(by_count.items()):
        found[count] = (
            "" if last is None else f"x{value.p50 / by_count[last].p50:.1f} for x{count / last:g}"
        )
        last = count
    return found


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; the first column is text, the others are figures."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(str, row))
    # A file or a pipe has no width of its own.
    Console(width=None if os.isatty(1) else 120).print(table)


def show_growth(
    title: str, what: str, by_count: Mapping[int, Spread], goals: Mapping[int, Goal] | None = None
) -> None:
    """Print one figure by count in milliseconds: how it grows, what one costs, and the goals."""
    steps = growth(by_count)
    rows = [
        (
            f"{count:,}",
            value,
            value.n,
            f"{value.p50 / count * 1000:.0f}",
            steps[count],
            goals[count].verdict(value.p50) if goals and count in goals else "",
        )
        for count, value in sorted(by_count.items())
    ]
    show(title, (what, "ms: median (min to max)", "runs", "us each", "growth", "goal"), rows)


def machine() -> dict[str, object]:
    """Return what the figures were measured on."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        # Other work on the machine: far from 0 at the start, the figures say little.
        "load_1_min": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def write(name: str, result: Mapping[str, Any], *, started_on: Mapping[str, object]) -> Path:
    """Write `bench/results/{name}.json`: the result, and the machine as it was at the start."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    whole = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": dict(started_on),
        **{key: _plain(value) for key, value in result.items()},
    }
    path.write_text(json.dumps(whole, indent=2) + "\n")
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, Spread):
        return asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
