"""The phases of a switch and how long each took."""

from __future__ import annotations

import time

OUTAGE = ("fence", "drain", "sequences", "mark", "decide", "open")
"""The phases in which nobody can write."""


class Timeline:
    """Laps of a clock: each phase takes from the end of the one before to its own end."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.phases_ms: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """End a phase; a repeated one adds up."""
        now = time.perf_counter()
        took = 1000 * (now - self._last)
        self.phases_ms[phase] = round(self.phases_ms.get(phase, 0.0) + took, 2)
        self._last = now


def outage_ms(phases_ms: dict[str, float]) -> float:
    """Return the time in which neither side took writes."""
    return round(sum(phases_ms.get(phase, 0.0) for phase in OUTAGE), 1)


def render(phases_ms: dict[str, float]) -> str:
    """Return the phases as one line of at most 100 columns."""
    shown = ", ".join(f"{phase} {ms:.1f}" for phase, ms in phases_ms.items() if phase in OUTAGE)
    return f"closed to writers for {outage_ms(phases_ms):.1f} ms: {shown}"
