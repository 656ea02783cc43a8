"""The phases of a switch and how long each took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from bluegreen.switch.step import OUTAGE, Step


class Timeline:
    """A lap clock: each step takes from the end of the one before to its own end."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.phases_ms: dict[str, float] = {}
        self.opened_at: datetime | None = None
        """When `open` was passed, by this machine's clock."""

    def passed(self, step: Step) -> None:
        """Note that a step is done; a repeated step adds up. Every step calls this."""
        now = time.perf_counter()
        took = 1000 * (now - self._last)
        self.phases_ms[step.value] = round(self.phases_ms.get(step.value, 0.0) + took, 2)
        self._last = now
        if step is Step.OPEN:
            self.opened_at = datetime.now(UTC)


def outage_ms(phases_ms: Mapping[str, float]) -> float:
    """Return the time in which neither side took writes."""
    return round(sum(phases_ms.get(step, 0.0) for step in OUTAGE), 1)


def render(phases_ms: Mapping[str, float]) -> str:
    """Return the phases as one line of at most 96 columns, in the order of the steps."""
    shown = ", ".join(f"{step} {phases_ms[step]:.0f}" for step in OUTAGE if step in phases_ms)
    return f"closed to writers for {outage_ms(phases_ms):.0f} ms: {shown}"
