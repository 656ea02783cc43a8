"""Connecting by a name until a server that takes writes answers, as a good pool does it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import psycopg

from lab.workload.address import Address, resolve
from lab.workload.lifeline import Lifeline
from lab.workload.login import Login
from lab.workload.scram import keys

Connection = psycopg.Connection[tuple[Any, ...]]

_FIRST_DELAY = 0.002  # seconds, doubled after every failure
_LAST_DELAY = 0.05
# The name is asked again while waiting: a lookup costs a tenth of a login, and on a busy machine
# eight clients' logins slow down the very switch that they wait for. So do lookups: with twice as
# many, outages were 6 ms longer at the median, and no client's wait was shorter. A read-only
# session is worth keeping: the server ends it when its fence is taken off.
_READ_ONLY_DELAY = 0.2
# No login is given to who is refused by name: it takes an administrator, not a moment. Each attempt
# costs the server a whole login, and eight clients' slow down the switch that they wait for.
_REFUSED_DELAY = 0.1
_LOOK_FIRST = 0.012
_LOOK_LAST = 0.02

UNREACHABLE = "08006"  # no server answered; not told by a server
NO_ADDRESS = "08001"  # the name could not be resolved
READ_ONLY = "25006"
NO_LOGIN = "28000"


class Endpoint:
    """A DNS name and port to connect to; every attempt resolves the name anew."""

    def __init__(
        self,
        name: str,
        port: int,
        database: str,
        login: Login,
        on_error: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_error` is told the SQLSTATE of every attempt that brought no writable session."""
        self._name, self._port = name, port
        self._database, self._login = database, login
        self._on_error = on_error

    def connect(self, lifeline: Lifeline) -> Connection | None:
        """Return an autocommit session that may write, however long it takes; None at the end.

        A read-only session is kept until the name moves, the server ends it (an aborted switch
        does), or the delay is over.
        """
        delay = _FIRST_DELAY
        while not lifeline.ended():
            tried = self._resolve()
            conn = None if tried is None else self._attempt(tried)
            if isinstance(conn, psycopg.Connection):
                if writable(conn):
                    return conn
                self._on_error(READ_ONLY)
                self._wait(_READ_ONLY_DELAY, tried, conn, lifeline)
                conn.close()
            elif conn == NO_LOGIN:
                self._wait(_REFUSED_DELAY, tried, None, lifeline)
            else:
                self._wait(delay, tried, None, lifeline)
                delay = min(2 * delay, _LAST_DELAY)
        return None

    def _resolve(self) -> Address | None:
        try:
            return resolve(self._name, self._port)
        except OSError:
            self._on_error(NO_ADDRESS)
            return None

    def _attempt(self, where: Address) -> Connection | str:
        """Return a session, or the SQLSTATE of what is in its way."""
        try:
            return open_session(where, self._database, self._login)
        except psycopg.OperationalError as error:
            state = sqlstate_of(error)
            self._on_error(state)
            return state

    def _wait(
        self, seconds: float, tried: Address | None, conn: Connection | None, lifeline: Lifeline
    ) -> None:
        """Wait `seconds`, or until the name moved away from `tried`, or `conn` was ended."""
        until = time.monotonic() + seconds
        look = _LOOK_FIRST
        session = None if conn is None else conn.fileno()
        while (left := until - time.monotonic()) > 0:
            if lifeline.wait(min(left, look), session):
                return
            if left > look and self._resolve() != tried:
                return
            # Not all clients in one moment: the first one back ends the outage for most.
            look = min(random.uniform(1.2, 1.8) * look, _LOOK_LAST)


def sqlstate_of(error: psycopg.OperationalError) -> str:
    """Return a failed connection's SQLSTATE, which only the server's words tell psycopg."""
    refused = "not permitted to log in" in str(error)
    return error.sqlstate or (NO_LOGIN if refused else UNREACHABLE)


def open_session(
    where: Address, database: str, login: Login, application_name: str = "workload"
) -> Connection:
    """Return an autocommit session. The lab has no TLS on its loopback addresses."""
    login_keys: dict[str, Any] = {**keys(login).parameters()}
    return psycopg.connect(
        host=where.host,
        hostaddr=where.host,
        port=where.port,
        dbname=database,
        user=login.user,
        sslmode="disable",
        gssencmode="disable",
        connect_timeout=2,
        application_name=application_name,
        autocommit=True,
        prepare_threshold=0,
        **login_keys,
    )


def writable(conn: Connection) -> bool:
    """Return whether the session's transactions may write; asks nobody.

    Servers from 14 on report both values with the login.
    """
    status = conn.info.parameter_status
    return status("default_transaction_read_only") == "off" and status("in_hot_standby") == "off"
