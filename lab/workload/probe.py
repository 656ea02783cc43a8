"""Whether one server is open for writing, seen by an application's session, fifty times a second.

It only reads: a write, even one rolled back, would take a transaction id, and the switch takes such
an id on the fenced side for a leaking fence. While it can write, one session is kept and asked
again and again: it stands for the client that holds on to an old connection. A read-only session
looks into the catalog for the moment from which new sessions would be writable, and opens one.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg

from lab.workload.address import Address, resolve
from lab.workload.endpoint import Connection, open_session
from lab.workload.lifeline import Lifeline
from lab.workload.login import APP_DATABASE, Login

_PERIOD = 0.02  # seconds
_RETRY = 0.1  # seconds; a login costs a hundred times a question
_RENEW = 0.5  # seconds after which a read-only session is replaced whatever the catalog says

_ROW = struct.Struct("<QQIBxxx")

_QUESTION = """
    SELECT current_setting('transaction_read_only') = 'off' AND NOT pg_is_in_recovery(),
           EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
                   WHERE d.datname = current_database() AND s.setrole = 0
                   AND 'default_transaction_read_only=on' = ANY (s.setconfig))"""


class Look(NamedTuple):
    """One question to a server: it was `writable` at some moment between start and end.

    Looks of the same `session` are of one connection.
    """

    start_ns: int
    end_ns: int
    session: int
    writable: bool


def probe(name: str, port: int, login: Login, folder: Path, lifeline: Lifeline) -> None:
    """Watch the endpoint until the lifeline ends; every look goes to a file of the server's."""
    session = 0
    while not lifeline.ended():
        session += 1
        try:
            where = resolve(name, port)
            with open_session(where, APP_DATABASE, login, "workload probe") as conn:
                _watch(conn, session, file_of(folder, where), lifeline)
        except (psycopg.Error, OSError):
            # Fenced by NOLOGIN, stopped, deleted or just ended by the fence: nobody can write
            # through this session, and no look says that anybody could.
            lifeline.wait(_RETRY)


def _watch(conn: Connection, session: int, path: Path, lifeline: Lifeline) -> None:
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        born = time.monotonic()
        born_fenced = False
        while not lifeline.wait(_PERIOD):
            start_ns = time.monotonic_ns()
            row = conn.execute(_QUESTION).fetchone()
            assert row is not None
            writable, fenced = row
            os.write(output, _ROW.pack(start_ns, time.monotonic_ns(), session, writable))
            born_fenced = born_fenced or fenced
            opened = born_fenced and not fenced
            if not writable and (opened or time.monotonic() - born > _RENEW):
                return
    finally:
        os.close(output)


def file_of(folder: Path, server: Address) -> Path:
    """Return where the looks at `server` are kept."""
    return folder / f"probe-{server.host}-{server.port}.bin"


def read_looks(folder: Path) -> dict[Address, list[Look]]:
    """Return all looks by server; empty when nothing was probed."""
    return {address: list(_rows(path)) for address, path in _files(folder)}


def _files(folder: Path) -> Iterator[tuple[Address, Path]]:
    for path in sorted(folder.glob("probe-*-*.bin")):
        _, host, port = path.stem.split("-")
        yield Address(host, int(port)), path


def _rows(path: Path) -> Iterator[Look]:
    content = path.read_bytes()
    whole = len(content) // _ROW.size * _ROW.size
    for start_ns, end_ns, session, writable in _ROW.iter_unpack(content[:whole]):
        yield Look(start_ns, end_ns, session, bool(writable))
