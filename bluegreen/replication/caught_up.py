"""Waits until the standby has caught up with the writer, and stays so.

Lag is measured by heartbeats that cross, in every database: the subscriber reports only what it
received, and its confirmed position is late by design while it commits asynchronously. So an idle
writer, a paused worker or a slot that nobody reads can't look current.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors

from bluegreen import names
from bluegreen.errors import BlueGreenError, CloneAgain, Refused, Retry, Unreachable
from bluegreen.finding import require_unblocked
from bluegreen.lsn import Lsn
from bluegreen.names import Direction
from bluegreen.postgres import presence, slots, subscriptions
from bluegreen.postgres.server import Server
from bluegreen.postgres.slots import Slot, Status
from bluegreen.postgres.subscriptions import Subscription
from bluegreen.replication import coverage, heartbeat
from bluegreen.replication.backlog import Backlog, Pace, Sample
from bluegreen.replication.coverage import Coverage
from bluegreen.replication.heartbeat import Beat
from bluegreen.replication.subscription import failing_transaction, subscribing

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.01
_BEAT_SECONDS = 0.25
_LOOK_SECONDS = 0.5
_REPORT_SECONDS = 1.0
_RECONNECT_SECONDS = 0.5

# A worker that ended is started again after wal_retrieve_retry_interval, 5 s unless set.
_WORKER_PATIENCE_SECONDS = 30.0
# Longer than that: then a login tries whether its publisher would let it in at all.
_LOGIN_DOUBT_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When a standby counts as caught up: each heartbeat within `lag_ms`, for `stable_seconds`."""

    lag_ms: float
    stable_seconds: float
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Health:
    """The state of one database's replication at one moment, without its lag."""

    subscription: Subscription | None
    slot_name: str
    """The slot that it has to read."""
    slot_status: Status

    @property
    def readable(self) -> bool:
        """Return whether the subscription reads its slot, and the slot is readable."""
        reads = self.subscription is not None and self.subscription.slot_name == self.slot_name
        return reads and self.slot_status.readable


def hopeless(
    database: str,
    now: Health,
    *,
    errors_before: int,
    without_worker_seconds: float,
    failing: str = "",
) -> BlueGreenError | None:
    """Return why waiting longer for `database` is in vain, or None.

    `errors_before` is the count of errors when the wait began; the server never resets it.
    `failing` says which transaction can't be applied, if that is known.
    """
    have = now.subscription
    if have is None:
        return Refused(f"database {database!r}: the subscription is gone; run the update again")
    if have.slot_name != now.slot_name:
        return Refused(
            f"subscription {have.name} in {database!r}: reads slot {have.slot_name!r}, expected "
            f"{now.slot_name!r}; drop it and run the update again"
        )
    if not now.slot_status.readable:
        return CloneAgain(
            f"database {database!r}: slot {have.slot_name} is {now.slot_status}, expected reserved "
            "or extended; clone again"
        )
    detail = "; ".join(subscriptions.problems(have)) + (f"; next is {failing}" if failing else "")
    if not have.enabled:
        return Refused(
            f"subscription {have.name} in {database!r}: {detail}, expected enabled; the standby's "
            "server log says why; fix the row or table there, and run the update again"
        )
    new_errors = have.apply_errors + have.sync_errors - errors_before
    if new_errors > 0:
        return Refused(
            f"subscription {have.name} in {database!r}: {new_errors} new error(s) ({detail}); the "
            "standby's server log has the reason; fix the row or table there, and try again"
        )
    if without_worker_seconds > _WORKER_PATIENCE_SECONDS:
        return Retry(
            f"subscription {have.name} in {database!r}: no worker reads its slot for "
            f"{without_worker_seconds:.0f} s ({detail or 'one starts and ends at once'}); check "
            "the standby's server log, that it can reach its publisher, and "
            "max_logical_replication_workers"
        )
    return None


class Stability:
    """Since when each heartbeat has been within the limit; times are seconds of one clock."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._since: float | None = None

    def note(self, now: float, lag_ms: float | None) -> bool:
        """Take the worst lag of all databases, None when unknown; return whether it is stable."""
        if lag_ms is None or lag_ms > self._limits.lag_ms:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= self._limits.stable_seconds


class _Database:
    """The two ends of one database, and the heartbeat on its way between them."""

    def __init__(
        self,
        name: str,
        publisher: Server,
        writer: psycopg.Connection[Any],
        standby: psycopg.Connection[Any],
        deployment: str,
        direction: Direction,
    ) -> None:
        self.name = name
        self._publisher, self._writer, self._standby = publisher, writer, standby
        self._deployment, self._direction = deployment, direction
        self._subscription_name = names.subscription(deployment, direction)
        self._slot_name = names.slot(deployment, direction, name)
        self._errors_before: int | None = None
        self._worker_seen_at = time.monotonic()
        self._login_tried = False
        self._sent_at = 0.0
        self._token: Beat | None = None
        self._marked = False
        self._last_ms: float | None = None
        self.on_its_way_ms = 0.0
        self._backlog = Backlog()
        self.pace: Pace | None = None
        self.copying: list[str] = []
        """Tables whose first copy was not over at the last check."""

    def check(self) -> None:
        """Raise an error when waiting is in vain."""
        slot_now = slots.inspect(self._writer, self._slot_name)
        found = subscriptions.inspect(self._standby, self._subscription_name)
        now = Health(found, self._slot_name, slots.status(slot_now))
        self._note_positions(slot_now)
        # Both ends, since a worker that can't connect starts and ends again and again.
        if found and found.worker_pid is not None and slot_now and slot_now.active_pid is not None:
            self._worker_seen_at, self._login_tried = time.monotonic(), False
        count = found.apply_errors + found.sync_errors if found else 0
        if self._errors_before is None or count < self._errors_before:
            # A crash of the standby resets its counters.
            self._errors_before = count
        idle_seconds = time.monotonic() - self._worker_seen_at
        error = hopeless(
            self.name,
            now,
            errors_before=self._errors_before,
            without_worker_seconds=idle_seconds,
            failing=self._failing(found, changed=count > self._errors_before),
        )
        if found is not None and now.readable:
            # Before any heartbeat of this wait: a later one that arrives would hide it.
            subscribing.require_none_skipped(
                self._writer, self._standby, self._publisher, found, since=None
            )
            self._leave_marker(failed=error is not None)
        if error is not None:
            raise error
        if idle_seconds > _LOGIN_DOUBT_SECONDS and not self._login_tried:
            self._login_tried = True
            self._publisher.try_replication(self.name)

    def coverage(self) -> Coverage:
        """Return which of the published tables are subscribed and ready."""
        publication = names.publication(self._deployment, self._direction)
        found = coverage.inspect(
            self._writer, self._standby, [publication], self._subscription_name
        )
        self.copying = coverage.names_of(tuple(found.unready))
        return found

    def _leave_marker(self, *, failed: bool) -> None:
        """Leave a marker that shows a moved slot: somebody may move it where replication stops."""
        if failed or (self._token is not None and not self._marked):
            heartbeat.leave_marker(self._writer)
            self._marked = True

    def _failing(self, found: Subscription | None, *, changed: bool) -> str:
        if found is None or (found.enabled and not changed):
            return ""
        failing = failing_transaction.find(
            self._writer, self._slot_name, found.publications, found.position
        )
        return str(failing) if failing and (changed or found.apply_errors) else ""

    def _note_positions(self, have: Slot | None) -> None:
        # Without a reader's report the slot's position is the least that was applied.
        applied = None if have is None else have.replayed or have.confirmed_flush
        if have is None or have.written is None or applied is None:
            self.pace = None
            return
        look = Sample(time.monotonic(), Lsn.parse(have.written), Lsn.parse(applied))
        self.pace = self._backlog.note(look)

    def lag_ms(self) -> float | None:
        """Return the last heartbeat's time, or the current one's so far if that is longer.

        None until the first has crossed.
        """
        now = time.monotonic()
        if self._token is not None and heartbeat.seen(self._standby, self._token):
            self._last_ms = (time.monotonic() - self._sent_at) * 1000
            self._token = None
        if self._token is not None:
            self.on_its_way_ms = (now - self._sent_at) * 1000
            return None if self._last_ms is None else max(self.on_its_way_ms, self._last_ms)
        if now - self._sent_at >= _BEAT_SECONDS:
            self._sent_at = time.monotonic()
            self._token, self._marked = heartbeat.beat(self._writer), False
        return self._last_ms


@dataclass(frozen=True, slots=True)
class _Wait:
    publisher: Server
    subscriber: Server
    databases: Sequence[str]
    deployment: str
    direction: Direction
    limits: Limits
    deadline: float

    def watch(self) -> float:
        """Return the lag once it is stable; raises `Retry` when the time is over."""
        stability = Stability(self.limits)
        reported_at, looked_at = time.monotonic(), 0.0
        covered: bool | None = None
        with ExitStack() as stack:
            pairs = [self._open(stack, database) for database in self.databases]
            while True:
                now = time.monotonic()
                if now - looked_at >= _LOOK_SECONDS:
                    for pair in pairs:
                        pair.check()
                    looked_at, covered = now, None
                lags = {pair.name: pair.lag_ms() for pair in pairs}
                known = [lag for lag in lags.values() if lag is not None]
                worst = max(known) if len(known) == len(lags) else None
                if stability.note(time.monotonic(), worst) and worst is not None:
                    # Last, and once for each check: with many tables it isn't cheap.
                    covered = self._covered(pairs) if covered is None else covered
                if covered and worst is not None:
                    log.info(
                        "%s: caught up with %s, lag %.0f ms", self.subscriber, self.publisher, worst
                    )
                    return worst
                if now > self.deadline:
                    for pair in pairs:
                        pair.coverage()  # a copy under way is the cause, whatever the heartbeats do
                    raise self._late(_words(pairs, lags))
                if now - reported_at >= _REPORT_SECONDS:
                    reported_at = now
                    log.info(
                        "%s: catching up with %s: %s",
                        self.subscriber,
                        self.publisher,
                        _words(pairs, lags),
                    )
                time.sleep(_POLL_SECONDS)

    def _covered(self, pairs: Sequence[_Database]) -> bool:
        """Return whether all published tables are subscribed and ready.

        False while first copies are under way; raises `Refused` for tables that only an update
        adds.
        """
        found = {pair.name: pair.coverage() for pair in pairs}
        for database, one in found.items():
            if one.unsubscribed or one.missing or one.put_back:
                require_unblocked(coverage.judge(database, one), self.subscriber)
        return all(one.complete for one in found.values())

    def _open(self, stack: ExitStack, database: str) -> _Database:
        return _Database(
            database,
            self.publisher,
            stack.enter_context(self.publisher.connect(database)),
            stack.enter_context(self.subscriber.connect(database)),
            self.deployment,
            self.direction,
        )

    def _late(self, words: str) -> Retry:
        return Retry(
            f"{self.subscriber}: not caught up with {self.publisher} within "
            f"{self.limits.timeout_seconds:g} s: {words}; expected at most "
            f"{self.limits.lag_ms:g} ms for {self.limits.stable_seconds:g} s; lighten the load or "
            "wait longer"
        )


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

    Raises `Refused`, `CloneAgain` or `Retry` when waiting is in vain, and `Retry` with the lag when
    the time is over. The wait goes on through a restart or failover of either side.
    """
    deadline = time.monotonic() + limits.timeout_seconds
    this = _Wait(publisher, subscriber, databases, deployment, direction, limits, deadline)
    while True:
        try:
            return this.watch()
        except errors.UndefinedTable as error:
            raise Refused(
                f"{subscriber}: {error.diag.message_primary}; heartbeats cross in a table that "
                "Publication makes and a clone inherits: run the update again, or clone again"
            ) from None
        except (Unreachable, psycopg.OperationalError) as error:
            if not presence.is_transient(error):
                raise
            said = str(error).partition("\n")[0]
            if time.monotonic() > deadline:
                raise this._late(said) from None
            log.info("%s: catching up with %s: %s", subscriber, publisher, said)
            time.sleep(_RECONNECT_SECONDS)


def _words(pairs: Sequence[_Database], lags: dict[str, float | None]) -> str:
    parts = []
    for pair in pairs:
        lag = lags[pair.name]
        shown = f"over {pair.on_its_way_ms:.0f} ms" if lag is None else f"{lag:.0f} ms"
        copying = f", first copy of {', '.join(pair.copying[:5])} under way" if pair.copying else ""
        pace = "" if pair.pace is None else f", {pair.pace}"
        parts.append(f"{pair.name} {shown}{copying}{pace}")
    return "; ".join(parts)
