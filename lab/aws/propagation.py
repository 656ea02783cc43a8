"""How long Route 53 takes: a change is in its API at once, and with resolvers later."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any


class Propagation:
    """When a change reaches the resolvers: `seconds` after the API has taken it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = 0.0
        self._clock = clock
        self._views: dict[str, list[tuple[float, list[Any]]]] = {}
        self._changes: dict[str, float] = {}

    def changed(self, zone: Any) -> None:
        """Take what a zone holds now for what resolvers are to see of it."""
        now = self._clock()
        views = self._views.get(zone.id, [])
        seen = [view for view in views if view[0] <= now][-1:]
        coming = [view for view in views if view[0] > now]
        self._views[zone.id] = [*seen, *coming, (now + self.seconds, list(zone.rrsets))]

    def records(self, zone: Any) -> list[Any]:
        """Return a zone's records as resolvers see them: none before its first change."""
        now = self._clock()
        seen = [records for since, records in self._views.get(zone.id, []) if since <= now]
        return seen[-1] if seen else []

    def submit(self, change: str) -> None:
        """Know a change from now on; what it did is known already."""
        self._changes[change] = self._clock() + self.seconds

    def status(self, change: str) -> str | None:
        """Return the status of a change, None for one that is not known."""
        since = self._changes.get(change)
        if since is None:
            return None
        return "INSYNC" if since <= self._clock() else "PENDING"


PROPAGATION = Propagation()
"""That of the zones of this process."""


def seconds(text: str) -> float:
    """Return a time in seconds; raises `ArgumentTypeError` for what is none."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, 0 or more")
    return found
