"""A client that a fence has to hold: it does all that a switch could stumble over, all the time.

It says `BEGIN READ WRITE`, takes whatever session it gets and comes back at once, keeps a pool of
idle ones, sits in a transaction, listens and notifies, and begins logins that it does not end. Its
transactions are recorded and checked as any other client's.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import psycopg

from lab.workload.address import resolve
from lab.workload.endpoint import NO_ADDRESS, Connection, open_session, sqlstate_of
from lab.workload.lifeline import Lifeline
from lab.workload.login import APP_DATABASE, Login

BEGIN = "BEGIN READ WRITE"
_AGAIN = 0.02  # seconds; a pool that does not back off
_POOL = 3
_HELD_SECONDS = 0.5
_PROTOCOL = 3 << 16


class Stubborn:
    """An endpoint that takes any session, read-only or not: its client says READ WRITE anyway."""

    def __init__(
        self,
        name: str,
        port: int,
        login: Login,
        database: str = APP_DATABASE,
        on_error: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_error` is told the SQLSTATE of every attempt that brought no session."""
        self.name, self.port, self.login = name, port, login
        self.database, self._on_error = database, on_error

    def connect(self, lifeline: Lifeline) -> Connection | None:
        """Return a session, however long it takes; None at the end."""
        while not lifeline.ended():
            try:
                return self.session("workload")
            except psycopg.OperationalError as error:
                self._on_error(sqlstate_of(error))
            except OSError:
                self._on_error(NO_ADDRESS)
            lifeline.wait(_AGAIN)
        return None

    def session(self, application_name: str) -> Connection:
        """Return a session; raises `psycopg.OperationalError` or `OSError`."""
        where = resolve(self.name, self.port)
        return open_session(where, self.database, self.login, application_name)

    def half_open(self) -> socket.socket:
        """Return the line of a login that the server has answered, and that waits for us now."""
        where = resolve(self.name, self.port)
        line = socket.create_connection((where.host, where.port), timeout=2)
        said = f"user\0{self.login.user}\0database\0{self.database}\0\0".encode()
        line.sendall(struct.pack("!II", len(said) + 8, _PROTOCOL) + said)
        line.recv(1)
        return line


@contextlib.contextmanager
def nuisances(endpoint: Stubborn) -> Iterator[None]:
    """Do everything but writing, each by a thread, until the context ends."""
    stop = threading.Event()
    kinds = (*[_idle] * _POOL, _sit_in_transaction, _listen_and_notify, _log_in_half_way)
    threads = [threading.Thread(target=_on_and_on, args=(one, endpoint, stop)) for one in kinds]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


Kind = Callable[[Stubborn, threading.Event], None]


def _on_and_on(kind: Kind, endpoint: Stubborn, stop: threading.Event) -> None:
    while not stop.wait(_AGAIN):
        with contextlib.suppress(psycopg.Error, OSError):
            kind(endpoint, stop)


def _idle(endpoint: Stubborn, stop: threading.Event) -> None:
    """Keep a session, and ask it now and then whether it lives."""
    with endpoint.session("workload pool") as conn:
        while not stop.wait(_HELD_SECONDS):
            conn.execute("SELECT 1")


def _sit_in_transaction(endpoint: Stubborn, stop: threading.Event) -> None:
    """Hold a snapshot, and every other time a transaction id as well."""
    with endpoint.session("workload idle in transaction") as conn:
        for number in range(1_000_000):
            conn.execute(BEGIN)
            conn.execute("SELECT pg_current_xact_id()" if number % 2 else "SELECT now()")
            ended = stop.wait(_HELD_SECONDS)
            conn.execute("ROLLBACK")
            if ended:
                return


def _listen_and_notify(endpoint: Stubborn, stop: threading.Event) -> None:
    with endpoint.session("workload queue") as conn:
        conn.execute("LISTEN workload")
        while not stop.wait(_AGAIN):
            conn.execute("NOTIFY workload")


def _log_in_half_way(endpoint: Stubborn, stop: threading.Event) -> None:
    with endpoint.half_open():
        stop.wait(_HELD_SECONDS)
