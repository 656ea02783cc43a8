"""A connection that does not wait for an answer that can't come.

TCP notices a host that is gone, but not a firewall, proxy or load balancer that has forgotten a
connection and goes on acknowledging. So after a moment's wait the connection asks the server, over
another connection, what it is doing for this one. A backend that waits for its client has answered
already or was never asked, and either way nothing more will come. That backend is ended, since it
may hold locks, and the wait ends with `ConnectionLost`. A statement that runs, or waits for a lock,
is waited for as long as it takes. While no other connection can be made nothing is known, and the
wait goes on.
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import psycopg
from psycopg import pq
from psycopg.waiting import Ready, Wait

from bluegreen.errors import BlueGreenError

Row = tuple[Any, ...]
Result = TypeVar("Result")

# An answer takes some milliseconds, or as long as the statement does. So this costs a switch
# nothing, and a connection lost between decision and opening costs well under a second.
_FIRST_LOOK_SECONDS = 0.4
_SECOND_LOOK_SECONDS = 0.2
_LOOKS_FROM, _LOOKS_UP_TO = 0.5, 10.0

_STATE = """\
SELECT wait_event FROM pg_catalog.pg_stat_activity
 WHERE pid = %s AND usename = session_user AND datname = current_database()"""
_END = """\
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
 WHERE pid = %s AND usename = session_user AND datname = current_database()
   AND wait_event IN ('ClientRead', 'ClientWrite')"""
_WITH_ITS_CLIENT = ("ClientRead", "ClientWrite")


class ConnectionLost(psycopg.OperationalError):
    """No answer will come on this connection; what was sent may or may not have been done."""


class Connection(psycopg.Connection[Row]):
    """A psycopg connection whose waits end when the connection is dead."""

    another: Callable[[], Connection] | None = None
    """Opens another connection to the same server and database; without one nothing is asked."""
    limit_seconds: float | None = None
    """How long the server may be silent at all; None is without limit."""
    where = ""
    """Database and server, in words."""
    _abandon_at: float | None = None

    def wait(self, gen: Generator[Wait, Ready | int, Result], *args: Any, **kwargs: Any) -> Result:
        """Wait for the server; raises `ConnectionLost` when no answer will come."""
        self._abandon_at = None
        try:
            return super().wait(self._watched(gen), *args, **kwargs)
        except psycopg.Error as error:
            _note_where(error, self.where)
            raise

    def abandon(self, *, after: float = 0.0) -> None:
        """End the current wait, if any, in `after` seconds; any thread may call this."""
        self._abandon_at = time.monotonic() + after

    def _watched(
        self, gen: Generator[Wait, Ready | int, Result]
    ) -> Generator[Wait, Ready | int, Result]:
        began = heard = time.monotonic()
        look_at = began + _FIRST_LOOK_SECONDS
        try:
            awaited = next(gen)
            while True:
                ready = yield awaited
                now = time.monotonic()
                if ready:
                    heard = now
                    look_at = now + _FIRST_LOOK_SECONDS
                elif self._is_overdue(now, heard) or (now >= look_at and self._is_dead()):
                    raise self._lost(time.monotonic() - heard)
                elif now >= look_at:
                    pause = min(max(_LOOKS_FROM, (now - began) / 4), _LOOKS_UP_TO)
                    look_at = time.monotonic() + pause
                awaited = gen.send(ready)
        except StopIteration as done:
            result: Result = done.value
            return result

    def _is_overdue(self, now: float, heard: float) -> bool:
        return (self._abandon_at is not None and now >= self._abandon_at) or (
            self.limit_seconds is not None and now - heard >= self.limit_seconds
        )

    def _is_dead(self) -> bool:
        """Return whether the server is doing nothing for this connection, which waits for it."""
        if self.another is None:
            return False
        pid = self.pgconn.backend_pid
        try:
            with contextlib.closing(self.another()) as other:
                seen = other.execute(_STATE, (pid,)).fetchone()
                if seen is not None and seen[0] not in _WITH_ITS_CLIENT:
                    return False
                # An answer sent meanwhile has arrived by now, if the connection lives.
                if self._has_come_within(_SECOND_LOOK_SECONDS):
                    return False
                return seen is None or other.execute(_END, (pid,)).fetchone() is not None
        except (BlueGreenError, psycopg.Error):
            return False

    def _has_come_within(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(seconds * 1000))

    def _lost(self, seconds: float) -> ConnectionLost:
        if self.pgconn.status == pq.ConnStatus.OK:
            self.pgconn.finish()  # never waits: its socket does not block
        return ConnectionLost(
            f"the connection to {self.where} is dead: no answer within {seconds:.1f} s"
        )


def _note_where(error: psycopg.Error, where: str) -> None:
    if where and not hasattr(error, "bluegreen_where"):
        error.bluegreen_where = where  # type: ignore[attr-defined]


def where(error: psycopg.Error) -> str | None:
    """Return which database of which server has raised `error`; None when that isn't known."""
    return getattr(error, "bluegreen_where", None)


def said(error: psycopg.Error) -> str:
    """Return the server's or libpq's message as one line, without its detail, which quotes rows."""
    text = error.diag.message_primary or str(error).partition("\n")[0]
    return " ".join(text.split()) or type(error).__name__
