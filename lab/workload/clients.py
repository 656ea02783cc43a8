"""A client: transactions at a steady pace, each recorded as truthfully as a client can know it."""

from __future__ import annotations

import random
import time
from typing import Protocol

import psycopg

from lab.workload import transactions
from lab.workload.address import Address
from lab.workload.endpoint import READ_ONLY, UNREACHABLE, Connection
from lab.workload.lifeline import Lifeline
from lab.workload.live import Slot
from lab.workload.records import Outcome, Record, RecordWriter

_NOWHERE = Address("0.0.0.0", 0)
_SETTLE_SECONDS = 5.0  # at the end, for what is still unsettled


class Connecting(Protocol):
    """What finds a session that may write."""

    def connect(self, lifeline: Lifeline) -> Connection | None:
        """Return one, however long it takes; None at the end."""
        ...


class Client:
    """One client with at most one connection, one transaction at a time."""

    def __init__(
        self,
        client: int,
        rate: float,
        endpoint: Connecting,
        records: RecordWriter,
        slot: Slot,
        *,
        begin: str = "BEGIN",
    ) -> None:
        """`rate` is in transactions per second; what an outage swallowed is not made up for."""
        self._client, self._begin = client, begin
        self._period_ns = int(1e9 / rate)
        self._endpoint, self._records, self._slot = endpoint, records, slot
        self._chance = random.Random(client)
        self._conn: Connection | None = None
        self._server = _NOWHERE
        self._unsettled: list[Record] = []
        self._n = 0

    def run(self, lifeline: Lifeline) -> None:
        """Work until the lifeline ends; nothing is left unrecorded."""
        due_ns = time.monotonic_ns() + self._chance.randrange(self._period_ns)
        while not lifeline.ended():
            if self._conn is None and not self._connect(lifeline):
                break
            if lifeline.wait_until(due_ns):
                break
            self._transact()
            if self._conn is not None:
                self._settle()
            due_ns = max(due_ns + self._period_ns, time.monotonic_ns() - self._period_ns)
        self._finish()

    def _connect(self, lifeline: Lifeline) -> bool:
        """Get a writable session; False at the end."""
        self._conn = self._endpoint.connect(lifeline)
        if self._conn is None:
            return False
        self._server = Address.of(self._conn)
        self._slot.connected(self._server)
        return True

    def _settle(self) -> None:
        """Find out about every transaction whose COMMIT went unanswered."""
        assert self._conn is not None
        while self._unsettled:
            lost = self._unsettled[0]
            try:
                there = transactions.settle(self._conn, self._client, lost.n)
            except psycopg.Error as error:
                self._slot.error(error.sqlstate or UNREACHABLE)
                self._disconnect()
                return
            outcome = Outcome.FOUND if there else Outcome.ABSENT
            self._records.append(lost._replace(done_ns=time.monotonic_ns(), outcome=outcome))
            self._unsettled.pop(0)

    def _transact(self) -> None:
        assert self._conn is not None
        self._n += 1
        transaction = transactions.build(self._chance, self._client, self._n)
        sent_ns = time.monotonic_ns()
        outcome, sqlstate = Outcome.COMMITTED, ""
        values: tuple[int, ...] = ()
        try:
            values = transactions.run(self._conn, transaction, begin=self._begin)
        except psycopg.Error as error:
            sqlstate = error.sqlstate or UNREACHABLE
            outcome = Outcome.FAILED if self._refused(error) else Outcome.UNSETTLED
        done_ns = time.monotonic_ns()
        record = Record(
            self._n, sent_ns, done_ns, self._server, transaction.kind, outcome, sqlstate, values
        )
        self._records.append(record)
        if outcome is Outcome.UNSETTLED:
            self._unsettled.append(record)
        self._count(record)

    def _count(self, record: Record) -> None:
        match record.outcome:
            case Outcome.COMMITTED:
                self._slot.committed(record.done_ns)
            case Outcome.FAILED:
                self._slot.failed()
            case _:
                self._slot.lost_connection()
        if record.sqlstate:
            self._slot.error(record.sqlstate)

    def _refused(self, error: psycopg.Error) -> bool:
        """Return whether the server has refused the transaction for certain.

        That takes a live connection: one that breaks may have lost the answer to a COMMIT.
        """
        assert self._conn is not None
        try:
            self._conn.execute("ROLLBACK")
        except psycopg.Error:
            self._disconnect()
            return False
        if error.diag.severity_nonlocalized != "ERROR":
            self._disconnect()
            return False
        if error.sqlstate == READ_ONLY:
            self._disconnect()
        return True

    def _disconnect(self) -> None:
        assert self._conn is not None
        self._conn.close()
        self._conn = None

    def _finish(self) -> None:
        """Settle what can be settled in a few seconds, and record what can't."""
        grace = Lifeline(None, time.monotonic() + _SETTLE_SECONDS)
        while self._unsettled and (self._conn is not None or self._connect(grace)):
            self._settle()
        if self._conn is not None:
            self._disconnect()
