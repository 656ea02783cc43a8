"""Counters of running clients in shared memory, for whoever shows them.

Each client writes its own slot and nobody waits for anybody. Only the gap between any two commits
of all clients is shared; a lost update there costs the display some precision, never the proof,
which comes from the records.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lab.workload.address import Address

_HEAD = struct.Struct("<QQ")  # last acknowledgement, longest gap, both in ns
_SLOT = struct.Struct("<QQQQ4sHxx")
_ERROR = struct.Struct("<5sxxxQ")
_ERRORS = 12  # different SQLSTATEs a client can count; what comes after is counted as XXXXX
_OTHER = "XXXXX"
_SLOT_SIZE = _SLOT.size + _ERRORS * _ERROR.size


@dataclass(frozen=True, slots=True)
class Live:
    """The counters at one moment; two of them make a rate.

    `longest_gap_ms` is between two commits, `since_commit_ms` since the last one.
    """

    at_ns: int
    committed: int
    failed: int
    lost_connections: int
    connects: int
    servers: tuple[Address, ...]
    errors: dict[str, int]
    longest_gap_ms: float
    since_commit_ms: float

    def rate(self, before: Live) -> float:
        """Return commits per second since `before`."""
        seconds = (self.at_ns - before.at_ns) / 1e9
        return (self.committed - before.committed) / seconds if seconds > 0 else 0.0


class Board:
    """The shared memory: a file with a slot for each client."""

    def __init__(self, path: Path, clients: int) -> None:
        size = _HEAD.size + clients * _SLOT_SIZE
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)
        self._clients = clients

    @classmethod
    def create(cls, path: Path, clients: int) -> Self:
        """Make an empty board."""
        path.write_bytes(bytes(_HEAD.size + clients * _SLOT_SIZE))
        return cls(path, clients)

    def slot(self, index: int) -> Slot:
        """Return the slot of the client `index`, for that client alone to write."""
        return Slot(self._memory, _HEAD.size + index * _SLOT_SIZE)

    def reset_gap(self) -> None:
        """Measure the longest gap from now on."""
        last, _ = _HEAD.unpack_from(self._memory)
        _HEAD.pack_into(self._memory, 0, last, 0)

    def read(self) -> Live:
        """Return the sum of all slots now."""
        now = time.monotonic_ns()
        last, longest = _HEAD.unpack_from(self._memory)
        total, errors, servers = [0, 0, 0, 0], Counter[str](), set[Address]()
        for index in range(self._clients):
            at = _HEAD.size + index * _SLOT_SIZE
            *counts, host, port = _SLOT.unpack_from(self._memory, at)
            total = [a + b for a, b in zip(total, counts, strict=True)]
            if port:
                servers.add(Address.unpack(host, port))
            for number in range(_ERRORS):
                state, count = _ERROR.unpack_from(
                    self._memory, at + _SLOT.size + number * _ERROR.size
                )
                if count:
                    errors[state.decode("ascii")] += count
        waiting = max(0, now - last) if last else 0
        committed, failed, lost_connections, connects = total
        return Live(
            at_ns=now,
            committed=committed,
            failed=failed,
            lost_connections=lost_connections,
            connects=connects,
            servers=tuple(sorted(servers)),
            errors=dict(errors),
            longest_gap_ms=longest / 1e6,
            since_commit_ms=waiting / 1e6,
        )

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()


class Slot:
    """One client's counters."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory, self._offset = memory, offset
        self._counts = [0, 0, 0, 0]
        self._server = Address("0.0.0.0", 0)
        self._errors: Counter[str] = Counter()

    def connected(self, server: Address) -> None:
        """Note a writable session."""
        self._counts[3] += 1
        self._server = server
        self._write()

    def committed(self, at_ns: int) -> None:
        """Note an acknowledged commit."""
        last, longest = _HEAD.unpack_from(self._memory)
        if at_ns > last:
            gap = at_ns - last if last else 0
            _HEAD.pack_into(self._memory, 0, at_ns, max(longest, gap))
        self._counts[0] += 1
        self._write()

    def failed(self) -> None:
        """Note a transaction that the server refused."""
        self._counts[1] += 1
        self._write()

    def lost_connection(self) -> None:
        """Note a transaction whose COMMIT went unanswered."""
        self._counts[2] += 1
        self._write()

    def error(self, sqlstate: str) -> None:
        """Count an error by its SQLSTATE."""
        if sqlstate not in self._errors and len(self._errors) >= _ERRORS - 1:
            sqlstate = _OTHER
        self._errors[sqlstate] += 1
        number = list(self._errors).index(sqlstate)
        at = self._offset + _SLOT.size + number * _ERROR.size
        _ERROR.pack_into(self._memory, at, sqlstate.encode("ascii"), self._errors[sqlstate])

    def _write(self) -> None:
        host, port = self._server.packed_host(), self._server.port
        _SLOT.pack_into(self._memory, self._offset, *self._counts, host, port)
