"""Trying the rows: each by itself, so that one that is refused says nothing of the next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from psycopg.pq import TransactionStatus

from bluegreen.aws.clients import client
from bluegreen.aws.errors import code_of
from bluegreen.errors import BlueGreenError
from bluegreen.postgres import connection, versions
from bluegreen.postgres.server import SESSION
from bluegreen.probe import objects, table, writes
from bluegreen.probe.objects import Objects, undisturbed
from bluegreen.probe.readers import NothingToTryError
from bluegreen.probe.row import (
    NAME,
    NOTHING_TO_TRY,
    Answer,
    AwsRow,
    Connect,
    Connection,
    Mode,
    Outcome,
    Place,
    Result,
    Row,
    Verdict,
    differs,
    not_tried,
)
from bluegreen.probe.scrub import Scrubber
from bluegreen.probe.writes import Bench, Step

# Nobody waits for the probe: a lock that somebody holds is reported.
_STATEMENT_TIMEOUT, _LOCK_TIMEOUT = "15s", "2s"

Report = Callable[[Result], None]


@dataclass(slots=True)
class Probe:
    """One run: what is found, and what is left of it."""

    connect: Connect
    scrub: Scrubber
    write: bool = False
    reader: bool = False
    report: Report = lambda _: None
    name: str = field(default_factory=objects.new_name)
    password: str = field(default_factory=writes.new_password)
    results: list[Result] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What could not be removed: of this run, and of earlier ones."""

    def sql(self) -> None:
        """Try every row of SQL, in the table's order; raises `psycopg.OperationalError`."""
        self.scrub.learn({self.password: "password"})
        self.scrub.keep(row.statement for row in table.ROWS if row.call is None)
        with contextlib.closing(self._session()) as conn:
            self.left += [f"{one}: of an earlier run" for one in objects.of_earlier_runs(conn)]
            for row in table.ROWS:
                if row.mode is not Mode.WRITE:
                    self._note(row, self._try(conn, row))
                    conn = self._alive(conn)
        self._writes()

    def aws(self, place: Place) -> None:
        """Try every call."""
        for row in table.AWS:
            self._note(row, self._call(row, place))

    def _session(self) -> Connection:
        """Return a session with the settings of the tool's own, as far as the server takes them."""
        conn = self.connect()
        timeouts = (("statement_timeout", _STATEMENT_TIMEOUT), ("lock_timeout", _LOCK_TIMEOUT))
        for name, value in (*SESSION, *timeouts):
            with contextlib.suppress(psycopg.errors.Error):
                conn.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
        if versions.supports(conn, versions.Feature.EVENT_TRIGGERS_OFF):
            with contextlib.suppress(psycopg.errors.Error):
                conn.execute("SELECT pg_catalog.set_config('event_triggers', 'off', false)")
        return conn

    def _alive(self, conn: Connection) -> Connection:
        """Return `conn`, or another one where a row has ended it."""
        if not conn.closed:
            return conn
        return self._session()

    def _try(self, conn: Connection, row: Row) -> tuple[Verdict, str]:
        unfit = self._unfit(conn, row)
        if unfit is not None:
            return not_tried(unfit), ""
        return self._judged(row, lambda: self._answer(conn, row))

    def _unfit(self, conn: Connection, row: Row) -> str | None:
        major = versions.major(conn)
        if not row.least_major <= major <= row.last_major:
            return f"of {row.least_major} and later; the server is {major}"
        if self.reader and row.writer:
            return "not on a reader"
        return None

    def _answer(self, conn: Connection, row: Row) -> Answer:
        if row.options:
            self.connect(**dict(row.options)).close()
            return []
        if row.mode is Mode.ALONE:
            return _execute(conn, self._named(row.statement))
        if row.call is not None and row.mode is Mode.READ:
            # Not in a transaction: a reader may go on behind a refusal, and names what is missing.
            row.call(conn)
            return []
        with conn.transaction(force_rollback=True):
            if row.call is None:
                return _execute(conn, self._named(row.statement))
            row.call(conn)
            return []

    def _judged(self, row: Row, ask: Callable[[], Answer]) -> tuple[Verdict, str]:
        """Return what is to be said of an answer, and the SQLSTATE where there is none."""
        try:
            answer = ask()
        except NothingToTryError as error:
            return not_tried(str(error)), ""
        except psycopg.Error as error:
            return _refused(row, error, connection.said(error))
        except BlueGreenError as error:
            cause = error.__context__ if isinstance(error.__context__, psycopg.Error) else None
            return _refused(row, cause, str(error))
        if row.answers:
            return differs(f"taken, expected SQLSTATE {' or '.join(row.answers)}"), ""
        return row.judge(answer), ""

    def _named(self, statement: str) -> str:
        return statement.replace(NAME, self.name)

    def _note(self, row: Row | AwsRow, found: tuple[Verdict, str]) -> None:
        verdict, code = found
        result = Result(row, verdict.outcome, code, self.scrub(verdict.said))
        self.results.append(result)
        self.report(result)

    # What is written.

    def _writes(self) -> None:
        why = "not on a reader" if self.reader else None if self.write else "needs --write"
        if why is not None:
            for row in writes.ROWS:
                self._note(row, (not_tried(why), ""))
            return
        made = Objects(self.name)
        with objects.ended_in_order():
            try:
                self._take_steps(made)
            finally:
                with undisturbed():
                    self.left += [self.scrub(one) for one in made.remove_all(self._session)]

    def _take_steps(self, made: Objects) -> None:
        with contextlib.closing(self._session()) as conn:
            bench = Bench(conn, self.connect, self.name, self.password)
            for step in writes.STEPS:
                self._note(step.row, self._step(bench, made, step))
                bench = replace(bench, conn=self._alive(bench.conn))

    def _step(self, bench: Bench, made: Objects, step: Step) -> tuple[Verdict, str]:
        if step.needs is not None and step.needs not in made.there:
            return not_tried(f"the {step.needs} was not made"), ""
        if step.makes is not None:
            made.there.append(step.makes)  # before: whoever is interrupted may have made it
        do = step.do or (lambda bench: _execute(bench.conn, self._named(step.row.statement)))
        verdict, code = self._judged(step.row, lambda: do(bench))
        if not bench.conn.closed and bench.conn.info.transaction_status != TransactionStatus.IDLE:
            bench.conn.rollback()
        if step.makes is not None and verdict.outcome is Outcome.REFUSED and code:
            made.there.remove(step.makes)
        if step.removes is not None and verdict.outcome is Outcome.WORKS:
            made.there.remove(step.removes)
        return verdict, code

    # What is asked of AWS.

    def _call(self, row: AwsRow, place: Place) -> tuple[Verdict, str]:
        if row.mode is Mode.WRITE and not self.write:
            return not_tried("needs --write"), ""
        try:
            arguments = row.arguments(place)
            if isinstance(arguments, str):
                return not_tried(arguments), ""
            answer = getattr(client(row.service, place.region, once=True), row.method)(**arguments)
        except ClientError as error:
            code = code_of(error)
            if code in row.answers:
                return Verdict(Outcome.WORKS), code
            return Verdict(Outcome.REFUSED, _said(error)), code
        except (BotoCoreError, ResponseParserError) as error:
            return Verdict(Outcome.REFUSED, type(error).__name__), ""
        if row.after is not None:
            self._take_back(row, place)
        return row.judge(answer), ""

    def _take_back(self, row: AwsRow, place: Place) -> None:
        assert row.after is not None
        try:
            with undisturbed():
                row.after(place)
        except (ClientError, BotoCoreError) as error:
            self.left.append(f"{row.what}, {place.unused}: {self.scrub(str(error))}")


def _refused(row: Row, error: psycopg.Error | None, said: str) -> tuple[Verdict, str]:
    code = (error.sqlstate if error is not None else None) or ""
    if code and code in row.answers:
        return Verdict(Outcome.WORKS), code
    if code == NOTHING_TO_TRY:
        return not_tried(said), ""
    return Verdict(Outcome.REFUSED, said), code


def _said(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", ""))


def _execute(conn: psycopg.Connection[Any], statement: str) -> Answer:
    """Execute one message of statements; return the rows of the last of them."""
    cursor = conn.execute(statement.encode())
    while cursor.nextset():
        pass
    return cursor.fetchall() if cursor.description else []


def outcomes(results: Sequence[Result]) -> Iterator[tuple[Outcome, int]]:
    """Return how many rows came out how."""
    for outcome in Outcome:
        yield outcome, sum(one.outcome is outcome for one in results)
