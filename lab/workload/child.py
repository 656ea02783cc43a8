"""The processes of the workload: `python -m lab.workload.child`, told what to be on its input.

One line of JSON comes first, passwords included, so that none is ever in a process list.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lab.workload import hostile, pgbench, probe
from lab.workload.clients import Client
from lab.workload.endpoint import Endpoint
from lab.workload.lifeline import Lifeline
from lab.workload.live import Board
from lab.workload.login import APP_DATABASE, BENCH_DATABASE, Login
from lab.workload.multihost import MultiHost
from lab.workload.records import RecordWriter

BOARD = "live.bin"


@dataclass(frozen=True, slots=True)
class Task:
    """What a child is to do; `index` and `clients` are the client's place on the board."""

    role: Literal["client", "hostile", "probe", "pgbench"]
    folder: str
    host: str
    port: int
    user: str
    password: str
    rate: float = 0
    client: int = 0
    index: int = 0
    clients: int = 0

    def to_line(self) -> bytes:
        """Return the line that the child reads first."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: str) -> Task:
        """Return the task in the child's first line."""
        fields: dict[str, Any] = json.loads(line)
        return cls(**fields)


def main() -> None:
    """Do the task on standard input until that ends."""
    task = Task.from_line(sys.stdin.readline())
    lifeline = Lifeline()
    folder, login = Path(task.folder), Login(task.user, task.password)
    match task.role:
        case "client":
            _be_client(task, folder, login, lifeline)
        case "hostile":
            _be_hostile(task, folder, login, lifeline)
        case "probe":
            probe.probe(task.host, task.port, login, folder, lifeline)
        case "pgbench":
            endpoint = Endpoint(task.host, task.port, BENCH_DATABASE, login)
            log = folder / "pgbench.log"
            pgbench.supervise(endpoint, login, int(task.rate), log, lifeline)


def _be_client(task: Task, folder: Path, login: Login, lifeline: Lifeline) -> None:
    slot = Board(folder / BOARD, task.clients).slot(task.index)
    kind = MultiHost if "," in task.host else Endpoint
    endpoint = kind(task.host, task.port, APP_DATABASE, login, on_error=slot.error)
    with RecordWriter(folder, task.client) as records:
        Client(task.client, task.rate, endpoint, records, slot).run(lifeline)


def _be_hostile(task: Task, folder: Path, login: Login, lifeline: Lifeline) -> None:
    slot = Board(folder / BOARD, task.clients).slot(task.index)
    endpoint = hostile.Stubborn(task.host, task.port, login, on_error=slot.error)
    with RecordWriter(folder, task.client) as records, hostile.nuisances(endpoint):
        client = Client(task.client, task.rate, endpoint, records, slot, begin=hostile.BEGIN)
        client.run(lifeline)


if __name__ == "__main__":
    main()
