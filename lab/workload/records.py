"""What each client knows about each of its transactions, appended to a file of fixed-size rows.

One unbuffered write a row: it survives the death of the client, which is what is put to the test
(not of the machine).
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from lab.workload.address import Address

_HEADER = struct.Struct("<8sQQQ")
_MAGIC = b"wkload01"
_ROW = struct.Struct("<QQQ4sHBB5s3x4q")
_NO_VALUE = -(2**63)
MAX_VALUES = 4


class Outcome(IntEnum):
    """How a transaction ended, as far as its client can know."""

    COMMITTED = 1  # acknowledged
    FAILED = 2  # the server refused it: it can't be there
    FOUND = 3  # the connection broke, the key was there afterwards
    ABSENT = 4  # the connection broke, and a tombstone now keeps the key from ever appearing
    UNSETTLED = 5  # the connection broke; replaced by one of the two above after a look


class Record(NamedTuple):
    """What is known about transaction `n`; a later record of the same `n` takes its place.

    Times are `time.monotonic_ns`, one clock for the whole machine.
    `done_ns` is the acknowledgement, or the moment when the outcome was settled. `values` are what
    the transaction drew from sequences, in the order that its kind defines.
    """

    n: int
    sent_ns: int
    done_ns: int
    server: Address
    kind: int
    outcome: Outcome
    sqlstate: str
    values: tuple[int, ...]


class RecordWriter:
    """Appends one client's records."""

    def __init__(self, folder: Path, client: int) -> None:
        self._file = os.open(
            folder / f"client-{client}.bin",
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND,
            0o644,
        )
        os.write(self._file, _HEADER.pack(_MAGIC, client, time.monotonic_ns(), time.time_ns()))

    def append(self, record: Record) -> None:
        """Write `record` before anybody is told about it."""
        values = record.values + (_NO_VALUE,) * (MAX_VALUES - len(record.values))
        row = _ROW.pack(
            record.n,
            record.sent_ns,
            record.done_ns,
            record.server.packed_host(),
            record.server.port,
            record.kind,
            record.outcome,
            record.sqlstate.encode("ascii"),
            *values,
        )
        os.write(self._file, row)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class ClientLog:
    """The last word of a client about each transaction; `wall_offset_ns` leads to wall time."""

    client: int
    wall_offset_ns: int
    records: list[Record]


def read_all(folder: Path) -> list[ClientLog]:
    """Return the logs of all clients that ever wrote into `folder`.

    Raises `FileNotFoundError` when there is none: nothing recorded is not the same as no loss.
    """
    logs = [_read(path) for path in sorted(folder.glob("client-*.bin"))]
    if not logs:
        raise FileNotFoundError(f"{folder}: no client has recorded anything here")
    return logs


def _read(path: Path) -> ClientLog:
    content = path.read_bytes()
    magic, client, monotonic_ns, wall_ns = _HEADER.unpack_from(content)
    if magic != _MAGIC:
        raise ValueError(f"{path}: not a workload's record file")
    last_words = {record.n: record for record in _rows(content)}
    return ClientLog(client, wall_ns - monotonic_ns, list(last_words.values()))


def _rows(content: bytes) -> Iterator[Record]:
    # A client that was killed may have left half a row: that transaction counts as unrecorded.
    whole = (len(content) - _HEADER.size) // _ROW.size * _ROW.size
    servers: dict[tuple[bytes, int], Address] = {}
    for row in _ROW.iter_unpack(memoryview(content)[_HEADER.size : _HEADER.size + whole]):
        n, sent_ns, done_ns, host, port, kind, outcome, sqlstate, *values = row
        if (host, port) not in servers:
            servers[host, port] = Address.unpack(host, port)
        yield Record(
            n,
            sent_ns,
            done_ns,
            servers[host, port],
            kind,
            Outcome(outcome),
            sqlstate.rstrip(b"\0").decode("ascii"),
            tuple(value for value in values if value != _NO_VALUE),
        )
