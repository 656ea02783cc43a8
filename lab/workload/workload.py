"""Starting and stopping the workload, and watching it run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from lab.workload.child import BOARD, Task
from lab.workload.live import Board, Live
from lab.workload.login import Login
from lab.workload.schema import Logins

_STOP_SECONDS = 15.0
_ROOT = Path(__file__).resolve().parents[2]


class Workload:
    """Client processes, pgbench and probes, writing what they see into one folder.

    The folder is what the checker reads; several workloads one after another may share it.
    """

    def __init__(
        self,
        folder: Path,
        logins: Logins | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment` is the processes', in a lab the one that leads names to its DNS."""
        self._environment = None if environment is None else dict(environment)
        self._folder, self._logins = folder.resolve(), logins or Logins()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._board: Board | None = None

    @property
    def folder(self) -> Path:
        """Return where the records are."""
        return self._folder

    def start(
        self,
        host: str,
        port: int,
        *,
        clients: int = 8,
        rate: float = 1000.0,
        bench_rate: int = 100,
        hostile: int = 0,
    ) -> None:
        """Start the clients, `rate` transactions a second together, by the DNS name `host`.

        `bench_rate` is pgbench's; 0 leaves it out. So many of the clients are `hostile` as well.
        Returns at once: see `wait_until_running`.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._board = Board.create(self._folder / BOARD, clients)
        # No two runs may share a key, also not those that follow each other within a second.
        first = time.time_ns() // 1_000_000 * 1000
        app, bench = self._logins.app, self._logins.bench
        for index in range(clients):
            task = Task(
                role="hostile" if index < hostile else "client",
                folder=str(self._folder),
                host=host,
                port=port,
                user=app.user,
                password=app.password,
                rate=rate / clients,
                client=first + index,
                index=index,
                clients=clients,
            )
            self._spawn(f"client {index}", task)
        if bench_rate:
            self._spawn("pgbench", self._task("pgbench", host, port, bench, bench_rate))

    def probe(self, host: str, port: int) -> None:
        """Watch one server, by its own endpoint, for being open to writers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        task = self._task("probe", host, port, self._logins.app, 0)
        self._spawn(f"probe {host}:{port}", task)

    def live(self) -> Live:
        """Return the counters of now.

        Raises `RuntimeError` naming a process that has died: its silence would look like peace.
        """
        for name, child in self._children.items():
            if child.poll() is not None:
                raise RuntimeError(f"workload: {name} has exited with {child.returncode}")
        return self._running_board().read()

    def reset_gap(self) -> None:
        """Let `live().longest_gap_ms` start again from zero."""
        self._running_board().reset_gap()

    def wait_until_running(self, timeout: float = 30.0) -> Live:
        """Wait until every client has a writable session and commits arrive."""
        return self.wait_for_commits(1, timeout)

    def wait_for_commits(self, count: int, timeout: float = 30.0) -> Live:
        """Wait until `count` more transactions were acknowledged, with all clients connected."""
        clients = sum(name.startswith("client") for name in self._children)
        before = self.live().committed
        deadline = time.monotonic() + timeout
        while True:
            now = self.live()
            if now.committed >= before + count and now.connects >= clients:
                return now
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"workload: {now.committed - before} commits in {timeout} s, expected {count}"
                    f"; errors so far {now.errors}"
                )
            time.sleep(0.01)

    def stop(self) -> Live:
        """End all processes, each after its last transaction; return the last counters.

        Raises `RuntimeError` naming those that did not end well.
        """
        for child in self._children.values():
            assert child.stdin is not None
            child.stdin.close()
        deadline = time.monotonic() + _STOP_SECONDS
        bad = []
        for name, child in self._children.items():
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.returncode:
                bad.append(f"{name} exited with {child.returncode}")
        self._children.clear()
        last = self._running_board().read()
        if bad:
            raise RuntimeError(f"workload: {', '.join(bad)}; see {self._folder}/children.log")
        return last

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._children:
            self.stop()

    def _running_board(self) -> Board:
        if self._board is None:
            raise RuntimeError("workload: not started")
        return self._board

    def _task(
        self, role: Literal["probe", "pgbench"], host: str, port: int, login: Login, rate: float
    ) -> Task:
        return Task(role, str(self._folder), host, port, login.user, login.password, rate)

    def _spawn(self, name: str, task: Task) -> None:
        with (self._folder / "children.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "lab.workload.child"],
                cwd=_ROOT,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the one who stops them in order
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        assert child.stdin is not None
        child.stdin.write(task.to_line())
        child.stdin.flush()
        self._children[name] = child
