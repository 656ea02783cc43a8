"""The orchestrator's deadline: statements still executing then are cancelled on both sides.

The server's own limits count from the start of a statement, so one that begins late would outlast
the deadline. A connection that doesn't react to the cancel either is dead, and is closed: no thread
waits for it for ever. Nothing is sent for this within the outage.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Self

import psycopg
from psycopg.pq import TransactionStatus

from bluegreen.postgres.connection import Connection
from bluegreen.switch.side import Side

_CANCEL_SECONDS = 1.0
_ANSWER_SECONDS = 1.0  # for the answer to a cancel
_GRACE_SECONDS = 0.005  # for statements that check the clock themselves


class Watchdog:
    """Cancels whatever `sides` execute after `seconds`, unless it is stopped before."""

    def __init__(self, sides: Sequence[Side], *, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        """In seconds of `time.monotonic()`."""
        self.seconds = seconds
        self._connections = [conn for side in sides for conn in side.connections]
        self._timer = threading.Timer(seconds + _GRACE_SECONDS, self.cancel)
        self._timer.daemon = True
        self._cancelling = threading.Lock()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.call_off()

    def left(self) -> float:
        """Return how many seconds are left."""
        return max(0.0, self.deadline - time.monotonic())

    def call_off(self) -> None:
        """Stop cancelling; when this returns, no cancellation is under way either."""
        self._timer.cancel()
        self._timer.join()
        with self._cancelling:
            pass

    def cancel(self) -> None:
        """Cancel whatever is executing now, all at once; any thread may call this."""
        with self._cancelling:
            threads = [
                threading.Thread(target=_cancel, args=(conn,), daemon=True)
                for conn in self._connections
                if conn.info.transaction_status is TransactionStatus.ACTIVE
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def _cancel(conn: Connection) -> None:
    conn.abandon(after=_CANCEL_SECONDS + _ANSWER_SECONDS)
    with contextlib.suppress(psycopg.Error):  # the statement's own error says more
        conn.cancel_safe(timeout=_CANCEL_SECONDS)
