"""Waits until the standby has caught up with the writer, and stays so.

Lag is measured by heartbeats that cross, in every database: what the subscriber reports is only
what it received, and its confirmed position is late by design while it commits asynchronously.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg

from bluegreen import heartbeat, names, slot, subscription
from bluegreen.errors import BlueGreenError, CloneAgain, Refused, Retry
from bluegreen.names import Direction
from bluegreen.server import Server
from bluegreen.slot import Status
from bluegreen.subscription import Subscription

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.01
_BEAT_SECONDS = 0.25
_LOOK_SECONDS = 0.5
_REPORT_SECONDS = 1.0

# A worker that ended is started again after wal_retrieve_retry_interval, 5 s unless set.
_WORKER_PATIENCE_SECONDS = 30.0

_BYTES_BEHIND = """
SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), r.replay_lsn)::int8
  FROM pg_catalog.pg_replication_slots s JOIN pg_catalog.pg_stat_replication r
    ON r.pid = s.active_pid
 WHERE s.slot_name = %s
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """When it counts as caught up: every heartbeat within `lag_ms`, for `stable_seconds`."""

    lag_ms: float
    stable_seconds: float
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Health:
    """The state of one database's replication at one moment, without its lag."""

    subscription: Subscription | None
    slot_status: Status
    bytes_behind: int | None
    """WAL written but not applied there; None while nobody reads the slot."""


def hopeless(
    database: str, now: Health, *, errors_before: int, without_worker_seconds: float
) -> BlueGreenError | None:
    """Return why waiting longer for `database` is in vain, or None.

    `errors_before` is the count of apply errors when the wait began: it is never reset.
    """
    have = now.subscription
    if have is None:
        return Refused(f"database {database!r}: the subscription is gone; run the update again")
    if not now.slot_status.readable:
        return CloneAgain(
            f"database {database!r}: slot {have.slot_name} is {now.slot_status}, expected reserved "
            "or extended; clone again"
        )
    detail = "; ".join(subscription.trouble(have))
    if not have.enabled:
        return Refused(
            f"subscription {have.name} in {database!r}: {detail}, expected enabled; the standby's "
            "server log says why; mend it there and enable it"
        )
    if have.apply_errors > errors_before:
        return Refused(
            f"subscription {have.name} in {database!r}: {have.apply_errors - errors_before} new "
            f"apply error(s) ({detail}); the standby's server log has the statement; mend the row "
            "or table there, and try again"
        )
    if without_worker_seconds > _WORKER_PATIENCE_SECONDS:
        return Retry(
            f"subscription {have.name} in {database!r}: no worker for "
            f"{without_worker_seconds:.0f} s; check the standby's server log, that it can reach "
            "its publisher, and max_logical_replication_workers"
        )
    return None


class Stability:
    """Since when every heartbeat was within the limit; times are seconds of one clock."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._since: float | None = None

    def note(self, now: float, lag_ms: float | None) -> bool:
        """Take the worst lag of all databases, None when unknown; tell whether it is stable."""
        if lag_ms is None or lag_ms > self._limits.lag_ms:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= self._limits.stable_seconds


class _Database:
    """One database's two ends, and the heartbeat that is on its way between them."""

    def __init__(
        self,
        name: str,
        writer: psycopg.Connection[Any],
        standby: psycopg.Connection[Any],
        subscription_name: str,
        slot_name: str,
    ) -> None:
        self.name = name
        self._writer, self._standby = writer, standby
        self._subscription_name, self._slot_name = subscription_name, slot_name
        self._errors_before: int | None = None
        self._worker_seen_at = time.monotonic()
        self._sent_at = 0.0
        self._token: Any = None
        self._last_ms: float | None = None
        self.bytes_behind: int | None = None

    def check(self) -> None:
        """Raise what makes waiting vain."""
        now = Health(
            subscription.find(self._standby, self._subscription_name),
            slot.status(have := slot.find(self._writer, self._slot_name)),
            self._read_bytes_behind(),
        )
        self.bytes_behind = now.bytes_behind
        if now.subscription is not None and now.subscription.worker_pid is not None and have:
            self._worker_seen_at = time.monotonic()
        if self._errors_before is None:
            self._errors_before = now.subscription.apply_errors if now.subscription else 0
        error = hopeless(
            self.name,
            now,
            errors_before=self._errors_before,
            without_worker_seconds=time.monotonic() - self._worker_seen_at,
        )
        if error is not None:
            raise error

    def _read_bytes_behind(self) -> int | None:
        row = self._writer.execute(_BYTES_BEHIND, (self._slot_name,)).fetchone()
        return None if row is None else row[0]

    def lag_ms(self) -> float | None:
        """Return the last heartbeat's time, or how long the one on its way has taken if longer."""
        now = time.monotonic()
        if self._token is not None and heartbeat.seen(self._standby, self._token):
            self._last_ms = (time.monotonic() - self._sent_at) * 1000
            self._token = None
        if self._token is not None:
            return max((now - self._sent_at) * 1000, self._last_ms or 0.0)
        if now - self._sent_at >= _BEAT_SECONDS:
            self._sent_at = time.monotonic()
            self._token = heartbeat.beat(self._writer)
        return self._last_ms


def wait(
    publisher: Server,
    subscriber: Server,
    *,
    databases: Sequence[str],
    deployment: str,
    direction: Direction,
    limits: Limits,
) -> float:
    """Return the lag in ms once all of `databases` have kept within `limits`.

    Raises what makes waiting vain (`Refused`, `CloneAgain`, `Retry`), and `Retry` with the lag
    when the time is over.
    """
    started = time.monotonic()
    deadline, reported_at, looked_at = started + limits.timeout_seconds, started, 0.0
    stability = Stability(limits)
    with ExitStack() as stack:
        pairs = [
            _Database(
                database,
                stack.enter_context(publisher.connect(database)),
                stack.enter_context(subscriber.connect(database)),
                names.subscription(deployment, direction),
                names.slot(deployment, direction, database),
            )
            for database in databases
        ]
        while True:
            now = time.monotonic()
            if now - looked_at >= _LOOK_SECONDS:
                for pair in pairs:
                    pair.check()
                looked_at = now
            lags = {pair.name: pair.lag_ms() for pair in pairs}
            known = [lag for lag in lags.values() if lag is not None]
            worst = max(known) if len(known) == len(lags) else None
            if stability.note(time.monotonic(), worst) and worst is not None:
                log.info("%s: caught up with %s, lag %.0f ms", subscriber, publisher, worst)
                return worst
            if now > deadline:
                raise Retry(
                    f"{subscriber}: not caught up with {publisher} within "
                    f"{limits.timeout_seconds:g} s: {_words(pairs, lags)}; expected at most "
                    f"{limits.lag_ms:g} ms for {limits.stable_seconds:g} s; lighten the load or "
                    "wait longer"
                )
            if now - reported_at >= _REPORT_SECONDS:
                reported_at = now
                log.info("%s: catching up with %s: %s", subscriber, publisher, _words(pairs, lags))
            time.sleep(_POLL_SECONDS)


def _words(pairs: Sequence[_Database], lags: dict[str, float | None]) -> str:
    parts = []
    for pair in pairs:
        lag = lags[pair.name]
        parts.append(
            f"{pair.name} {'unknown' if lag is None else f'{lag:.0f} ms'}"
            + ("" if pair.bytes_behind is None else f", {pair.bytes_behind / 1e6:.1f} MB")
        )
    return "; ".join(parts)
