"""The drain: everything that was written before the fence is on the other side, durably.

From the barrier, a heartbeat behind the fence, to the mark, where the new writer's own WAL begins.
A drain counts only on the connections that saw it. If the new writer restarts, what was applied but
not yet durable is gone there and comes again. So a broken connection ends the attempt (before the
decision) or starts the drain again (after it).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import psycopg
from psycopg import sql

from bluegreen.errors import Refused, Retry
from bluegreen.lsn import Lsn
from bluegreen.replication import heartbeat, sequences
from bluegreen.replication.heartbeat import Barrier
from bluegreen.replication.sequences import Reader, Value
from bluegreen.switch.schema_watch import SchemaWatch
from bluegreen.switch.side import Connection, Side
from bluegreen.switch.step import Step
from bluegreen.switch.timeline import Timeline
from bluegreen.switch.watchdog import Watchdog

Result = TypeVar("Result")

# Positions as in `bluegreen.postgres.wal`. The commit between these two is a synchronous one if the
# session says so, and has then moved what is written past itself and all that was applied before.
_BEFORE_COMMIT = "SELECT set_config('bluegreen.written', pg_current_wal_lsn()::text, false)"
_PROOF = """\
SELECT current_setting('synchronous_commit') <> 'off'
       AND pg_current_wal_lsn() > current_setting('bluegreen.written')::pg_lsn,
       pg_current_wal_lsn()::text"""


# The code that waits in the servers is written in it.
_LANGUAGE = """\
SELECT has_language_privilege(current_user, oid, 'USAGE') FROM pg_language
 WHERE lanname = 'plpgsql'"""


class _NotCrossed(Retry):
    """The barrier did not cross in time."""


class _FirstFailure:
    """The first error of several legs; it ends the others, which would wait in vain.

    A leg that ran into the deadline, or was cancelled, is no failure of its own.
    """

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self.error: BaseException | None = None

    def note(self, leg: Future[Any]) -> None:
        """Note the result of a leg that has ended."""
        error = None if leg.cancelled() else leg.exception()
        if error is None or isinstance(error, _NotCrossed | psycopg.errors.QueryCanceled):
            return
        if self.error is None:
            self.error = error
            self._watchdog.cancel()


@dataclass(frozen=True, slots=True)
class Drained:
    """What the decision needs."""

    heartbeats: list[int]
    """Ids of the barrier's transactions."""
    older: list[int]
    """Transactions still open at the barrier; the decision stands only if each rolled back."""
    mark: Lsn


class Drain:
    """Brings the last rows from `old` to `new`; prepared before the outage, run within it."""

    def __init__(self, old: Side, new: Side) -> None:
        self._old, self._new = old, new
        self._readers: dict[str, Reader] = {}
        self._known: dict[str, dict[str, Value]] = {}  # the values on the new side
        self._marking = min(new.databases)  # its connection takes the mark
        self._watch: SchemaWatch | None = None
        self._pool = ThreadPoolExecutor(2 * len(old.databases), "drain")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def watch(self, watch: SchemaWatch) -> None:
        """Check behind the fence whether a watched schema has changed; only before a decision."""
        self._watch = watch

    def prepare(self, *, seconds: float) -> int:
        """Pre-set the sequences and let a heartbeat cross, while writers go on.

        Waiting for a large transaction here causes no outage. Returns the number of sequences.
        Raises `Retry` when the heartbeat takes longer than `seconds`.
        """

        def one(name: str) -> None:
            old, new = self._old.databases[name], self._new.databases[name]
            for side in (self._old, self._new):
                _require_language(side, name)
            sequences.require_alike(old, new)
            reader = Reader(old)
            values = reader.read()
            sequences.pre_set(new, sequences.changed(values, Reader(new).read()))
            self._readers[name], self._known[name] = reader, values

        self._each(one)
        number = time.time_ns()
        with Watchdog((self._old, self._new), seconds=seconds) as watchdog:
            self._each(lambda name: heartbeat.barrier(self._old.databases[name], number))
            self._each(lambda name: self._wait(name, number, watchdog))
        # Once more on the warm connections, so that plans and catalogs are loaded before the
        # outage.
        self._each(one)
        self._mark({})
        return sum(map(len, self._readers.values()))

    def begin(self, watchdog: Watchdog, *, behind: sql.Composed | None = None) -> PendingDrain:
        """Set the barrier and read the sequences on the old side; wait for the barrier on the new.

        All of it waits in the servers for `behind`, a statement that is over when the fence is up,
        so nothing has to be sent then. The sequences are read only behind the fence: a session that
        is not ended yet may call one without a trace in the WAL.
        """
        number = time.time_ns()
        waits = self._start(lambda name: self._wait(name, number, watchdog))
        reads = self._start(lambda name: self._set_barrier(name, number, behind))
        return PendingDrain(self._bring_all, waits, reads, watchdog)

    def run(self, watchdog: Watchdog, timeline: Timeline) -> Drained:
        """Do the whole drain, with the fence up; raises what `PendingDrain` does."""
        with self.begin(watchdog) as pending:
            pending.wait_until_across()
            timeline.passed(Step.DRAIN)
            drained = pending.bring_sequences()
            timeline.passed(Step.SEQUENCES)
        return drained

    def _bring_all(self, values: Mapping[str, dict[str, Value]]) -> Lsn:
        """Bring the sequences of every database, and return the mark."""
        mark = self._each(lambda name: self._bring_sequences(name, values[name]))[self._marking]
        if self._watch is not None:
            self._watch.require_harmless()
        assert mark is not None
        return mark

    def _set_barrier(
        self, name: str, number: int, is_up: sql.Composed | None
    ) -> tuple[Barrier, dict[str, Value]]:
        """Set the barrier and read the sequences, which nobody calls any more."""
        conn = self._old.databases[name]
        barrier = heartbeat.barrier(conn, number, behind=is_up)
        if name not in self._readers:
            self._readers[name] = Reader(conn)
        return barrier, self._readers[name].read(beside=lambda: self._look_again(conn))

    def _look_again(self, conn: Connection) -> None:
        """Ask for the schema's marker, in the message that is being prepared."""
        if self._watch is not None:
            self._watch.look_again(conn)

    def _bring_sequences(self, name: str, values: dict[str, Value]) -> Lsn | None:
        """Set the sequences that have moved since they were last set; one database marks as well.

        What the others are given becomes durable with the opening, and counts only with it.
        """
        restarted = self._watch is not None and self._watch.restarted(name)
        moved = sequences.changed(values, {} if restarted else self._known.get(name, {}))
        self._known[name] = values
        if name == self._marking:
            return self._mark(moved)
        conn = self._new.databases[name]
        with conn.pipeline():
            sequences.write(conn, moved, durable=False)
            self._look_again(conn)
        return None

    def _mark(self, moved: sequences.Values) -> Lsn:
        """Make everything applied so far durable, and return where the new writer's WAL is.

        The subscription applies asynchronously; a synchronous commit flushes all before it. The
        same message sets the last sequences, unless they are too many for one transaction.
        """
        conn = self._new.databases[self._marking]
        if len(moved) > sequences.CHUNK:
            sequences.write(conn, moved, durable=False)
            moved = {}
        with conn.pipeline():
            conn.execute("BEGIN")
            sequences.write(conn, moved)
            conn.execute(_BEFORE_COMMIT, prepare=True)
            conn.execute("SELECT pg_logical_emit_message(true, 'bluegreen', 'mark')", prepare=True)
            conn.execute("COMMIT")
            found = conn.execute(_PROOF, prepare=True)
            self._look_again(conn)
        durable, mark = found.fetchone() or (False, "")
        if not durable:
            raise Retry(f"{self._new.server}: a synchronous commit did not flush what was applied")
        return Lsn.parse(mark)

    def _wait(self, name: str, number: int, watchdog: Watchdog) -> None:
        try:
            heartbeat.wait_until_crossed(self._new.databases[name], number, seconds=watchdog.left())
        except psycopg.errors.QueryCanceled:
            raise _NotCrossed(
                f"database {name!r}: {self._new.server} has not caught up with"
                f" {self._old.server} within {watchdog.seconds:g} s"
            ) from None

    def _start(self, work: Callable[[str], Result]) -> Mapping[str, Future[Result]]:
        return {name: self._pool.submit(work, name) for name in self._old.databases}

    def _each(self, work: Callable[[str], Result]) -> dict[str, Result]:
        """Do `work` for all databases at once; a single one needs no thread."""
        if len(self._old.databases) == 1:
            return {name: work(name) for name in self._old.databases}
        futures: Mapping[str, Future[Any]] = self._start(work)
        for ended in wait(futures.values(), return_when=FIRST_EXCEPTION).done:
            ended.result()  # raises the failure, whatever the others still do
        return {name: future.result() for name, future in futures.items()}


class PendingDrain:
    """A drain that is under way; use as a context, which an error leaves at once.

    A leg that fails ends the others, and its error is raised in place of theirs.
    Raises `Retry` when the drain is not over at the watchdog's deadline,
    `psycopg.errors.QueryCanceled` for the rest.
    """

    def __init__(
        self,
        bring: Callable[[Mapping[str, dict[str, Value]]], Lsn],
        waits: Mapping[str, Future[None]],
        reads: Mapping[str, Future[tuple[Barrier, dict[str, Value]]]],
        watchdog: Watchdog,
    ) -> None:
        self._bring, self._waits, self._reads = bring, waits, reads
        self._watchdog, self._first = watchdog, _FirstFailure(watchdog)
        legs: list[Future[Any]] = [*waits.values(), *reads.values()]
        for leg in legs:
            leg.add_done_callback(self._first.note)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        self._watchdog.cancel()  # legs may wait for a fence or a heartbeat that never comes
        if self._first.error is not None and self._first.error is not error:
            raise self._first.error from None

    def wait_until_across(self) -> None:
        """Wait until the barrier is visible on the new side, in every database."""
        for crossed in self._waits.values():
            crossed.result()

    def bring_sequences(self) -> Drained:
        """Set the new side's sequences, make all of it durable, and return what was drained."""
        read = {name: future.result() for name, future in self._reads.items()}
        mark = self._bring({name: values for name, (_, values) in read.items()})
        heartbeats = [barrier.id for barrier, _ in read.values()]
        older = {transaction for barrier, _ in read.values() for transaction in barrier.older}
        return Drained(heartbeats, sorted(older.difference(heartbeats)), mark)


def _require_language(side: Side, name: str) -> None:
    """Raise `Refused`, before anything is fenced, where the switch could not wait in the server."""
    row = side.databases[name].execute(_LANGUAGE).fetchone()
    if row == (True,):
        return
    remedy = "CREATE EXTENSION plpgsql" if row is None else "GRANT USAGE ON LANGUAGE plpgsql"
    raise Refused(
        f"database {name!r} on {side.server}: the administrator can't use the language plpgsql,"
        f" which the switch waits in; {remedy} there"
    )
