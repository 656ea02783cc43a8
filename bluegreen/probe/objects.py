"""What `--write` has made and not removed yet; whatever happens, it is removed or named."""

from __future__ import annotations

import contextlib
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from types import FrameType

import psycopg
from psycopg import errors, sql

from bluegreen.polling import poll_until
from bluegreen.postgres import connection
from bluegreen.postgres.queries import value
from bluegreen.probe.row import NAME, Connection

# A slot whose making was interrupted goes on in the server until its statement timeout.
_SECONDS = 30.0

_EARLIER = """
SELECT kind || ' ' || name FROM (
    SELECT 'publication', pubname FROM pg_catalog.pg_publication
    UNION ALL SELECT 'subscription', subname FROM pg_catalog.pg_subscription
    UNION ALL SELECT 'replication slot', slot_name FROM pg_catalog.pg_replication_slots
    UNION ALL SELECT 'role', rolname FROM pg_catalog.pg_roles
    UNION ALL SELECT 'database', datname FROM pg_catalog.pg_database) AS found (kind, name)
 WHERE name ~ %s
"""


class Kind(StrEnum):
    """What `--write` makes."""

    PUBLICATION = "publication"
    SLOT = "replication slot"
    SUBSCRIPTION = "subscription"
    ROLE = "role"
    DATABASE = "database"


_EXISTS: dict[Kind, str] = {
    Kind.PUBLICATION: "SELECT true FROM pg_catalog.pg_publication WHERE pubname = %s",
    Kind.SLOT: "SELECT true FROM pg_catalog.pg_replication_slots WHERE slot_name = %s",
    Kind.SUBSCRIPTION: (
        "SELECT true FROM pg_catalog.pg_subscription WHERE subname = %s AND subdbid ="
        " (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
    ),
    Kind.ROLE: "SELECT true FROM pg_catalog.pg_roles WHERE rolname = %s",
    Kind.DATABASE: "SELECT true FROM pg_catalog.pg_database WHERE datname = %s",
}

_REMOVE: dict[Kind, tuple[sql.SQL, ...]] = {
    Kind.PUBLICATION: (sql.SQL("DROP PUBLICATION {}"),),
    # PostgreSQL leaves its comment behind when it is dropped.
    Kind.SUBSCRIPTION: (
        sql.SQL("COMMENT ON SUBSCRIPTION {} IS NULL"),
        sql.SQL("ALTER SUBSCRIPTION {} DISABLE"),
        sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)"),
        sql.SQL("DROP SUBSCRIPTION {}"),
    ),
    Kind.ROLE: (sql.SQL("DROP ROLE {}"),),
    Kind.DATABASE: (sql.SQL("DROP DATABASE {} WITH (FORCE)"),),
}


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def new_name() -> str:
    """Return a name that nothing has, and that says whose it is."""
    return f"{NAME}_{secrets.token_hex(4)}"


def of_earlier_runs(conn: Connection) -> list[str]:
    """Return what runs that were killed have left, and what one that is under way has made."""
    return [str(found) for (found,) in conn.execute(_EARLIER, (f"^{NAME}_[0-9a-f]+$",))]


@dataclass(slots=True)
class Objects:
    """The objects of one run, all of one name."""

    name: str
    there: list[Kind] = field(default_factory=list)
    """Made, or perhaps made, and not removed yet; in the order of their making."""

    def remove_all(self, connect: Callable[[], Connection]) -> list[str]:
        """Remove what is there over a new connection; return what could not be, in words."""
        deadline = time.monotonic() + _SECONDS
        left = []
        for kind in reversed(self.there):
            why = self._remove(kind, connect, deadline)
            if why is not None:
                left.append(f"{kind} {self.name}: {why}")
        self.there.clear()
        return left

    def _remove(self, kind: Kind, connect: Callable[[], Connection], deadline: float) -> str | None:
        said = "not tried"
        for _ in poll_until(deadline, first=0.05, most=1.0):
            try:
                with connect() as conn:
                    _drop(conn, kind, self.name)
                return None
            except (errors.ObjectInUse, psycopg.OperationalError) as error:
                said = connection.said(error)
            except psycopg.Error as error:
                return connection.said(error)
        return said


def _exists(conn: Connection, kind: Kind, name: str) -> bool:
    """Return whether the object is there."""
    return bool(value(conn, _EXISTS[kind], name))


def _drop(conn: Connection, kind: Kind, name: str) -> None:
    """Remove the object; one that is gone is fine."""
    if not _exists(conn, kind, name):
        return
    if kind is Kind.SLOT:
        conn.execute("SELECT pg_catalog.pg_drop_replication_slot(%s)", (name,))
        return
    for statement in _REMOVE[kind]:
        conn.execute(statement.format(sql.Identifier(name)))


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let no Ctrl-C end what is done inside; one that came is raised behind it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Let a request to end, or a terminal that is gone, raise `KeyboardInterrupt` inside."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
