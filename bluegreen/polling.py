"""Waiting for a condition: check, pause, check again, until a deadline.

Written by hand, since retry libraries call a function until it stops raising. Here a check is a
step of a loop that keeps what it has seen, and the last one comes at the deadline.
"""

from __future__ import annotations

import time
from collections.abc import Iterator


def poll_until(deadline: float, *, first: float = 0.2, most: float = 5.0) -> Iterator[None]:
    """Yield once for every check that is due, the first at once and a last one at `deadline`.

    `deadline` is in seconds of `time.monotonic()`; `first` and `most` are pauses in seconds. They
    grow, so that a quick change is seen quickly and an hour's wait doesn't ask every second.
    """
    pause = first
    while True:
        yield
        left = deadline - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, most)
