"""A row of the probe's table: one thing to try, what a right answer is, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import psycopg

Connection = psycopg.Connection[Any]
Answer = Sequence[Sequence[Any]]

NAME = "bluegreen_probe"
"""How objects of the probe are called in the table; each run adds letters of its own."""

NOTHING_TO_TRY = "P0002"
"""SQLSTATE by which a statement says that there is nothing here to try it on."""


class Connect(Protocol):
    """Opens another session on the same server."""

    def __call__(self, **other: str) -> Connection:
        """Return it, in autocommit; `other` are keywords of libpq that are to differ."""


class Outcome(StrEnum):
    """What came of a row."""

    WORKS = "works"
    REFUSED = "refused"
    DIFFERS = "differs"
    NOT_TRIED = "not tried"


class Mode(StrEnum):
    """What is left on the server by trying a row."""

    READ = "read"
    ROLLED_BACK = "rolled back"
    ALONE = "in no transaction, on a name that nothing has"
    WRITE = "with --write"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement of an answer, with words that may be shown to everybody."""

    outcome: Outcome
    said: str = ""


def works(said: str = "") -> Verdict:
    """Return that it is as the program needs it."""
    return Verdict(Outcome.WORKS, said)


def differs(said: str) -> Verdict:
    """Return that there is an answer, and another one than the program expects."""
    return Verdict(Outcome.DIFFERS, said)


def not_tried(said: str) -> Verdict:
    """Return that nothing was tried, and why."""
    return Verdict(Outcome.NOT_TRIED, said)


Judge = Callable[[Answer], Verdict]


def any_answer(answer: Answer) -> Verdict:
    """Judge what only has to be taken: whatever comes back is right."""
    del answer
    return works()


def true(answer: Answer) -> Verdict:
    """Judge an answer that is to be one row of nothing but true."""
    if len(answer) == 1 and all(value is True for value in answer[0]):
        return works()
    return differs(f"answered {_plain(answer)}, expected true")


def shown(answer: Answer) -> Verdict:
    """Judge what only has to be there, and show it: never where it could name a user's object."""
    if answer and answer[0] and answer[0][0] not in (None, ""):
        return works(", ".join(str(value) for value in answer[0]))
    return differs(f"answered {_plain(answer)}, expected a value")


def none_missing(answer: Answer) -> Verdict:
    """Judge an answer that names what is missing, of names that stand in the statement."""
    missing = answer[0][0] if answer and answer[0] else None
    return differs(f"missing: {missing}") if missing else works()


def _plain(answer: Answer) -> str:
    """Return an answer as far as it can name nothing: its truth values, numbers and gaps."""
    if not answer:
        return "no row"
    values = (
        str(value) if value is None or isinstance(value, bool | int) else "a value"
        for value in answer[0]
    )
    return (
        ", ".join(values).replace("None", "NULL").replace("True", "true").replace("False", "false")
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to try. `statement` is what is sent, or the name of the library's own reader."""

    what: str
    statement: str
    right: str
    """What a right answer looks like, in words."""
    settles: str
    """Which assumption of the program stands or falls with it."""
    mode: Mode = Mode.READ
    judge: Judge = any_answer
    answers: tuple[str, ...] = ()
    """SQLSTATEs that are the right answer: those of a name that does not exist, mostly."""
    least_major: int = 14
    last_major: int = 99
    writer: bool = False
    """A reader can't do it, whatever it may."""
    question: bool = False
    """The program does not rely on it; the answer says what it could rely on."""
    options: tuple[tuple[str, str], ...] = ()
    """What is connected with, where the row is about a connection."""
    call: Callable[[Connection], Any] | None = None
    """The library's own reader, which is called in the place of `statement`."""


@dataclass(frozen=True, slots=True)
class AwsRow:
    """One AWS call to try. `arguments` are made of what is known of the cluster."""

    what: str
    service: str
    method: str
    right: str
    settles: str
    arguments: Callable[[Place], Mapping[str, Any] | str]
    """The call's arguments, or in words why it is not tried."""
    judge: Callable[[Any], Verdict]
    answers: tuple[str, ...] = ()
    """Error codes that are the right answer."""
    mode: Mode = Mode.READ
    after: Callable[[Place], None] | None = None
    """What takes back a call that was expected to be refused, and was not."""

    @property
    def statement(self) -> str:
        """Return the call in one word."""
        return f"{self.service}.{self.method}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where AWS calls go: nothing of it is ever shown."""

    region: str
    cluster: str
    secret_arn: str | None = None
    zone_id: str | None = None
    host: str = ""
    port: int = 5432
    described: Mapping[str, Any] | None = None
    """The cluster as DescribeDBClusters had it."""
    unused: str = NAME
    """A name that nothing has."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a row, in words that name nothing of the user's."""

    row: Row | AwsRow
    outcome: Outcome
    code: str = ""
    """The SQLSTATE, or AWS's error code."""
    said: str = ""
