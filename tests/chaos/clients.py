"""Applications: clients that write all the time with idempotency keys, and note every answer.

A client's keys are 1, 2, 3 ... A key is tried, on whichever side takes it, until a commit is
acknowledged; so what has to be found in the end is exactly 1 to the last acknowledged, and perhaps
one more. Some clients roam; one of each database and side is pinned there, and tries it without
end: they are the probe for a second writer. Every second one says `BEGIN READ WRITE` in each
session that was born to write; and on each side somebody sits in a transaction, listens and
notifies, keeps a pool and begins logins that never end (`lab.workload.hostile`).

`python -m tests.chaos.clients` is told what to do by a line of JSON, and ends with its input.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import psycopg

from lab.workload import hostile
from lab.workload.login import Login

_ROW = struct.Struct("<iBqqq")
_PAUSE_SECONDS = 0.04
TWICE = 2

_WRITE = """\
WITH put AS (INSERT INTO ledger (client, n) VALUES (%(client)s, %(n)s)
             ON CONFLICT (client, n) DO NOTHING)
INSERT INTO counter VALUES (%(client)s, %(n)s)
    ON CONFLICT (client) DO UPDATE SET value = excluded.value"""


class Commit(NamedTuple):
    """An acknowledged commit; times are `time.monotonic_ns`. Side 0 is the source, 1 the target.

    Side 2 is no commit: a unique value was issued twice.
    """

    client: int
    side: int
    n: int
    sent_ns: int
    done_ns: int


def database_of(client: int, databases: Sequence[str]) -> str:
    """Return the database that a client writes to."""
    return databases[client % len(databases)]


class Client:
    """One of them, in a thread of its own."""

    def __init__(
        self,
        number: int,
        sides: Sequence[int],
        where: list[dict[str, Any]],
        file: int,
        pace_seconds: float,
    ) -> None:
        self._pace_seconds = pace_seconds
        self._number, self._sides, self._where, self._file = number, sides, where, file
        self._n = 0

    def run(self, stop: threading.Event) -> None:
        """Write until `stop`."""
        while not stop.is_set():
            for side in self._sides:
                try:
                    with psycopg.connect(**self._where[side], autocommit=True) as conn:
                        self._write(conn, side, stop)
                except psycopg.Error as error:
                    if error.sqlstate == "23505":
                        self._note(TWICE, 0)
                    stop.wait(_PAUSE_SECONDS)

    def _write(self, conn: psycopg.Connection[Any], side: int, stop: threading.Event) -> None:
        born_to_write = conn.info.parameter_status("default_transaction_read_only") == "off"
        says_so = bool(self._number % 2) and born_to_write
        while not stop.is_set():
            sent_ns = time.monotonic_ns()
            key = {"client": self._number, "n": self._n + 1}
            if says_so:
                with conn.pipeline():
                    conn.execute(hostile.BEGIN)
                    conn.execute(_WRITE, key)
                    conn.execute("COMMIT")
            else:
                conn.execute(_WRITE, key)
            self._n += 1
            self._note(side, sent_ns)
            stop.wait(self._pace_seconds)

    def _note(self, side: int, sent_ns: int) -> None:
        row = _ROW.pack(self._number, side, self._n, sent_ns, time.monotonic_ns())
        os.write(self._file, row)  # appended whole: one write of a few bytes


@dataclass(frozen=True, slots=True)
class Application:
    """Where the clients go: two sides, each with the databases."""

    hosts: tuple[str, str]
    port: int
    databases: tuple[str, ...]
    user: str
    password: str
    roaming: int = 4
    pace_seconds: float = 0.01


class _Nuisance(hostile.Stubborn):
    """Sessions of the application, by its password."""

    def __init__(self, application: Application, host: str) -> None:
        login = Login(application.user, application.password)
        super().__init__(host, application.port, login, application.databases[0])

    def session(self, application_name: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=self.name,
            port=self.port,
            dbname=self.database,
            user=self.login.user,
            password=self.login.password,
            connect_timeout=5,
            application_name=application_name,
            autocommit=True,
        )


def main() -> None:
    """Be all clients until standard input ends."""
    order = json.loads(sys.stdin.readline())
    application = Application(**order["application"])
    file = os.open(order["file"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    stop = threading.Event()
    threads = []
    databases = application.databases
    pinned = len(databases)
    for number in range(application.roaming + 2 * pinned):
        sides = [0, 1]
        if number >= application.roaming:
            sides = [(number - application.roaming) // pinned]
        where = [
            {
                "host": host,
                "port": application.port,
                "dbname": database_of(number, databases),
                "user": application.user,
                "password": application.password,
                "connect_timeout": 5,
                "application_name": f"client {number}",
            }
            for host in application.hosts
        ]
        client = Client(number, sides, where, file, application.pace_seconds)
        threads.append(threading.Thread(target=client.run, args=(stop,)))
    with ExitStack() as nuisances:
        for host in application.hosts:
            nuisances.enter_context(hostile.nuisances(_Nuisance(application, host)))
        for thread in threads:
            thread.start()
        sys.stdin.read()
        stop.set()
        for thread in threads:
            thread.join()


class Clients:
    """The process of the clients, and what they have noted; use as a context."""

    def __init__(self, application: Application, file: Path) -> None:
        self.application = application
        self._file = file
        self._offset = 0
        self.acknowledged: dict[int, int] = {}
        self.twice = 0

    def __enter__(self) -> Self:
        order = {
            "file": str(self._file),
            "application": {
                name: getattr(self.application, name)
                for name in self.application.__dataclass_fields__
            },
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.clients"], stdin=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self

    def stop(self) -> None:
        """End them, each after its last answer."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
        assert self._process.wait(60) == 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def news(self) -> list[Commit]:
        """Return what was noted since the last call."""
        return list(self._read())

    def _read(self) -> Iterator[Commit]:
        if self._process.poll() not in (None, 0):
            raise AssertionError(f"the clients ended with {self._process.returncode}")
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        whole = len(content) // _ROW.size * _ROW.size
        self._offset += whole
        for fields in _ROW.iter_unpack(content[:whole]):
            found = Commit(*fields)
            if found.side == TWICE:
                self.twice += 1
            else:
                self.acknowledged[found.client] = found.n
                yield found


if __name__ == "__main__":
    main()
