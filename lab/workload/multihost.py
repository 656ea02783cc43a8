"""Clients that know both servers by name and ask libpq for the one that takes writes.

The connection string is `host=A,B target_session_attrs=read-write`: no DNS record has to move.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import psycopg

from lab.workload.address import resolve
from lab.workload.endpoint import UNREACHABLE, Connection, writable
from lab.workload.lifeline import Lifeline
from lab.workload.login import Login
from lab.workload.scram import keys

_FIRST_DELAY, _LAST_DELAY = 0.002, 0.02  # seconds


class MultiHost:
    """Several names, separated by commas, of which one leads to the writer."""

    def __init__(
        self,
        names: str,
        port: int,
        database: str,
        login: Login,
        on_error: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_error` is told the SQLSTATE of every attempt that brought no writable session."""
        self._names = names.split(",")
        self._port, self._database, self._login = port, database, login
        self._on_error = on_error

    def connect(self, lifeline: Lifeline) -> Connection | None:
        """Return an autocommit session that may write, however long it takes; None at the end."""
        delay = _FIRST_DELAY
        while not lifeline.ended():
            try:
                conn = self._attempt()
            except (psycopg.OperationalError, OSError) as error:
                self._on_error(getattr(error, "sqlstate", None) or UNREACHABLE)
            else:
                if writable(conn):
                    return conn
                conn.close()
            if lifeline.wait_until(time.monotonic_ns() + int(random.uniform(0.5, 1) * delay * 1e9)):
                return None
            delay = min(2 * delay, _LAST_DELAY)
        return None

    def _attempt(self) -> Connection:
        login_keys: dict[str, Any] = {**keys(self._login).parameters()}
        addresses = [resolve(name, self._port) for name in self._names]
        return psycopg.connect(
            host=",".join(self._names),
            hostaddr=",".join(address.host for address in addresses),
            port=self._port,
            dbname=self._database,
            user=self._login.user,
            target_session_attrs="read-write",
            sslmode="disable",
            gssencmode="disable",
            connect_timeout=2,
            application_name="workload",
            autocommit=True,
            prepare_threshold=0,
            **login_keys,
        )
