"""Two servers under clients that never stop, switched to and fro as the program does it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from bluegreen import names
from bluegreen.errors import BlueGreenError
from bluegreen.lsn import Lsn
from bluegreen.names import TOOL_DATABASE, Direction
from bluegreen.postgres.server import Server
from bluegreen.register import closing, register
from bluegreen.replication import slot
from bluegreen.replication.subscription import dropping, subscribing
from bluegreen.replication.subscription.options import SubscriptionSpec
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.step import Step
from tests.chaos.orchestrator import Order
from tests.fixtures.replicated import DATABASE, DEPLOYMENT
from tests.fixtures.switchable import Switchable

ROOT = Path(__file__).resolve().parents[2]
_CHILD = [sys.executable, "-m", "tests.chaos.orchestrator"]
_CHILD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One row that a client was told is committed."""

    at: float
    cluster: str
    number: int


@dataclass(slots=True)
class Clients:
    """Threads that insert rows on whichever side takes them, for as long as the rig lives."""

    world: Switchable
    count: int = 4
    acknowledged: list[Acknowledged] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Errors that no switch may cause: a value of a sequence that was issued before."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start them."""
        for _ in range(self.count):
            thread = threading.Thread(target=self._run, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self) -> None:
        for server in itertools.cycle((self.world.pair.source, self.world.pair.target)):
            if self._stop.is_set():
                return
            try:
                self._write_to(server)
            except psycopg.errors.UniqueViolation as error:
                self.broken.append(f"{server.cluster}: {error.diag.message_detail}")
            except psycopg.Error:
                self._stop.wait(0.005)

    def _write_to(self, server: Server) -> None:
        with self.world.connect(server) as conn:
            while not self._stop.is_set():
                row = conn.execute("INSERT INTO ledger DEFAULT VALUES RETURNING n").fetchone()
                assert row is not None
                self.acknowledged.append(
                    Acknowledged(time.monotonic(), server.cluster, int(str(row[0])))
                )
                self._stop.wait(0.004)

    def stop(self) -> None:
        """End them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


@dataclass(slots=True)
class Rig:
    """A deployment in the hands of the tests: who is the writer, and what was switched so far."""

    world: Switchable
    clients: Clients
    writer: str = "source"
    moves: int = 0

    @property
    def old(self) -> Server:
        """Return the writer."""
        return self.world.pair.source if self.writer == "source" else self.world.pair.target

    @property
    def new(self) -> Server:
        """Return the standby."""
        return self.world.pair.target if self.writer == "source" else self.world.pair.source

    @property
    def running(self) -> Direction:
        """Return the direction that rows flow in now."""
        return Direction.FORWARD if self.writer == "source" else Direction.REVERSE

    @property
    def coming(self) -> Direction:
        """Return the direction that rows flow in after the switch."""
        return Direction.REVERSE if self.writer == "source" else Direction.FORWARD

    def plan(self, **settings: object) -> SwitchPlan:
        """Return the switch from the writer to the standby."""
        chosen: dict[str, object] = {"drain_seconds": 1.0, "fuse_seconds": 2.0} | settings
        return SwitchPlan(
            DEPLOYMENT,
            self.running,
            self.old,
            self.new,
            (DATABASE,),
            **chosen,  # type: ignore[arg-type]
        )

    def prepare(self) -> None:
        """Make the slot of the coming direction, as the program does before the switch."""
        name = names.slot(DEPLOYMENT, self.coming, DATABASE)
        reader = names.subscription(DEPLOYMENT, self.coming)
        with self.new.connect(DATABASE) as conn:
            slot.ensure(conn, name, reader=reader, where=str(self.new), wait_seconds=30)

    def run(self, order: Order) -> tuple[int, str]:
        """Run an orchestrator to its end; return its exit code and what it said."""
        child = subprocess.run(
            _CHILD,
            cwd=ROOT,
            env=dict(os.environ),
            input=order.to_line(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_CHILD_SECONDS,
            check=False,
        )
        return child.returncode, child.stdout.decode()

    @contextmanager
    def frozen(self, order: Order) -> Iterator[None]:
        """Run an orchestrator until it freezes; behind the block it goes on, to its end.

        A local fuse that was frozen with it goes on as well.
        """
        child = subprocess.Popen(
            _CHILD,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert child.stdin is not None
        child.stdin.write(order.to_line())
        child.stdin.flush()
        process = psutil.Process(child.pid)
        try:
            self._until(lambda: process.status() == psutil.STATUS_STOPPED, "the freeze")
            family = [*process.children(recursive=True), process]
            yield
            for one in family:
                one.resume()
            child.communicate(timeout=_CHILD_SECONDS)
        finally:
            child.kill()
            child.communicate()

    def switch_again(self) -> str:
        """Run the next switch until it is made; return what it said.

        It may have to wait until an attempt's deadline is past.
        """
        said = ""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            code, text = self.run(Order(self.plan().to_line()))
            said += text
            if code == 0:
                self._moved(json.loads(text.strip().splitlines()[-1])["mark"])
                return said
        raise AssertionError(f"no switch came through:\n{said}\n{self.describe()}")

    def _moved(self, mark: str) -> None:
        """Let the old writer follow the new one, as the program does after the switch."""
        coming, running = self.coming, self.running
        wanted = SubscriptionSpec(
            name=names.subscription(DEPLOYMENT, coming),
            publications=(names.publication(DEPLOYMENT, coming),),
            slot_name=names.slot(DEPLOYMENT, coming, DATABASE),
            start=Lsn.parse(mark),
            enabled=True,
            streaming="parallel",
            disable_on_error=True,
        )
        deadline = time.monotonic() + 30
        with self.new.connect(DATABASE) as new, self.old.connect(DATABASE) as old:
            subscribing.ensure(old, new, self.new, wanted, alter=False, deadline=deadline)
            dropping.drop(new, names.subscription(DEPLOYMENT, running), deadline=deadline)
            slot.drop(
                old,
                names.slot(DEPLOYMENT, running, DATABASE),
                where=str(self.old),
                deadline=deadline,
            )
        self.writer = "target" if self.writer == "source" else "source"
        self.moves += 1

    def open_sides(self) -> list[str]:
        """Return the clusters that take an application's write right now."""
        return self.world.open_sides()

    def wait_until_open(self, clusters: list[str], seconds: float) -> float:
        """Wait until exactly `clusters` take writes; return after how many seconds."""
        began = time.monotonic()
        while (found := self.open_sides()) != clusters:
            took = time.monotonic() - began
            assert len(found) < 2, f"both sides take writes\n{self.describe()}"
            assert took < seconds, (
                f"after {took:.1f} s {found} take writes, expected {clusters}\n{self.describe()}"
            )
            time.sleep(0.01)
        return time.monotonic() - began

    def wait_for_clients(self, more: int = 20) -> None:
        """Wait until so many rows more were acknowledged by whichever side is open."""
        before = len(self.clients.acknowledged)
        self._until(lambda: len(self.clients.acknowledged) >= before + more, "clients that write")

    def _until(self, met: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 30
        while not met():
            assert time.monotonic() < deadline, f"{what}\n{self.describe()}"
            time.sleep(0.01)

    def check(self) -> None:
        """Assert that nothing was lost, doubled, or written on two sides at once."""
        acknowledged = sorted(self.clients.acknowledged, key=lambda one: one.at)
        numbers = [one.number for one in acknowledged]
        assert self.clients.broken == []
        assert len(numbers) == len(set(numbers)), "a sequence value was issued twice"
        held = set(self.world.rows(self.old))
        lost = sorted(set(numbers) - held)
        assert lost == [], f"{len(lost)} acknowledged rows are lost, such as {lost[:5]}"
        clusters = [one.cluster for one in acknowledged]
        changes = sum(a != b for a, b in itertools.pairwise(clusters))
        assert changes <= self.moves, "writes on both sides at once"

    def describe(self) -> str:
        """Return both registers and the ends of both logs, for a failure's message."""
        lines = [f"writer {self.writer}, {self.moves} moves"]
        for server in (self.world.pair.source, self.world.pair.target):
            lab = self.world.pair.lab(server)
            try:
                with server.connect(TOOL_DATABASE) as conn:
                    rows = conn.execute(
                        "SELECT attempt, state, started_at, ended_at FROM bluegreen.register"
                        " ORDER BY started_at DESC LIMIT 3"
                    ).fetchall()
                    openings = conn.execute(
                        "SELECT attempt, state FROM bluegreen.opening"
                        " ORDER BY changed_at DESC LIMIT 3"
                    ).fetchall()
                    closed = closing.is_closed(conn, [DATABASE])
                    live = register.find_live(conn)
                lines.append(f"{server}: closed {closed}, live {live}, {rows}, {openings}")
            except (BlueGreenError, psycopg.Error) as error:
                lines.append(f"{server}: {error}")
            lines.append(lab.tail(8))
        return "\n".join(lines)


BEFORE_DECISION = (
    Step.READY,
    Step.ARM,
    Step.REGISTER,
    Step.FENCE,
    Step.DRAIN,
    Step.SEQUENCES,
)
AFTER_DECISION = (Step.DECIDE, Step.OPEN, Step.STOP, Step.CLOSE, Step.DONE)
