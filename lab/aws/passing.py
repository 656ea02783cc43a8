"""States that pass by themselves: shown for a while, and never gone before somebody has looked.

By the clock alone, a machine that is busy would now and then show nobody a state at all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

_LOOKS = 2  # the answer to the call that began it is one


@dataclass(slots=True)
class Passing:
    """States that follow each other; plain values only, since moto copies its models."""

    _coming: list[tuple[str, float]] = field(default_factory=list)
    _since: float = 0.0
    _looks: int = 0

    def show(self, *states: tuple[str, float]) -> None:
        """Begin with `states`, each with its seconds, in place of what was shown until now."""
        self._coming = list(states)
        self._begin()

    def look(self) -> str | None:
        """Return the state of now, None when all have passed."""
        while self._coming:
            state, seconds = self._coming[0]
            if self._looks < _LOOKS or time.monotonic() < self._since + seconds:
                self._looks += 1
                return state
            del self._coming[0]
            self._begin()
        return None

    def _begin(self) -> None:
        self._since, self._looks = time.monotonic(), 0
