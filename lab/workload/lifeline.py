"""How a child process learns that it is to end: its standard input is closed.

That also happens when the parent dies, however it dies; no child is left behind.
"""

from __future__ import annotations

import select
import time


class Lifeline:
    """Ends when `descriptor` becomes readable or ends, or at `deadline` of `time.monotonic`."""

    def __init__(self, descriptor: int | None = 0, deadline: float | None = None) -> None:
        self._descriptor, self._deadline = descriptor, deadline
        self._ended = False

    def ended(self) -> bool:
        """Return whether it is time to end."""
        self.wait(0)
        return self._ended

    def wait(self, seconds: float, also: int | None = None) -> bool:
        """Wait at most `seconds`; return True early when the end came or `also` is readable."""
        if self._ended:
            return True
        if self._deadline is not None:
            seconds = min(seconds, self._deadline - time.monotonic())
        poll = select.poll()
        for descriptor in (self._descriptor, also):
            if descriptor is not None:
                poll.register(descriptor, select.POLLIN | select.POLLHUP)
        ready = [descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1000)]
        self._ended = self._descriptor in ready or self._overdue()
        return self._ended or bool(ready)

    def wait_until(self, monotonic_ns: int) -> bool:
        """Wait for a point of `time.monotonic_ns`; return True when the end came before it."""
        return self.wait((monotonic_ns - time.monotonic_ns()) / 1e9)

    def _overdue(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline
