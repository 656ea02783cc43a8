"""The orchestrator as a process of its own, which stops at a gate behind a step until it is told.

Run as a process it reads one line of JSON: the plan, the logins, and the step behind which it
stops; there it says so by a pipe of its own and waits for a line. Whoever started it kills it
there, or breaks something and lets it go on. The gate stands in the one place that every step comes
by. Its standard output and error go to another process, as a provider host's go to the engine.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from bluegreen.errors import BlueGreenError
from bluegreen.postgres import server
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.step import Step
from bluegreen.switch.switchover import switch
from bluegreen.switch.timeline import Timeline


def main() -> None:
    """Switch, with a gate."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    order = json.loads(sys.stdin.readline())
    server.remember(order["logins"])
    if order["step"] is not None:
        _gate(Step(order["step"]))
    try:
        done = switch(SwitchPlan.from_line(order["plan"]), lambda line: _say(report=line))
    except BlueGreenError as error:
        _say(error=type(error).__name__, text=str(error))
    else:
        _say(mark=str(done.mark), attempt=done.attempt, slipped=done.slipped)


def _gate(where: Step) -> None:
    passed, met = Timeline.passed, list[Step]()

    def pass_and_stop(timeline: Timeline, step: Step) -> None:
        passed(timeline, step)
        if step is where and not met:
            met.append(step)
            _say(gate=step.value)
            sys.stdin.readline()

    setattr(Timeline, "passed", pass_and_stop)  # noqa: B010 - mypy knows methods as constant


def _say(**what: object) -> None:
    os.write(int(sys.argv[1]), json.dumps(what).encode() + b"\n")


class Orchestrator:
    """That process. It starts at once and waits for its plan, so that its start costs nobody."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._engine = subprocess.Popen(
            ["tee", "-a", str(log)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        listen, speak = os.pipe()
        self._ear = os.fdopen(listen)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.gate", str(speak)],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=self._engine.stdin,
            stderr=self._engine.stdin,
            pass_fds=[speak],
            text=True,
        )
        os.close(speak)
        assert self._engine.stdin is not None
        self._engine.stdin.close()
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.result: dict[str, Any] | None = None
        self.reports: list[str] = []
        self.fuse: psutil.Process | None = None

    def _read(self) -> None:
        for line in self._ear:
            self._said.put(json.loads(line))
        self._said.put(None)

    def begin(
        self, plan: SwitchPlan, logins: Mapping[str, tuple[str, str]], step: Step | None
    ) -> None:
        """Let it switch, as far as the gate behind `step`."""
        self._tell(json.dumps({"plan": plan.to_line(), "logins": dict(logins), "step": step}))

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it has ended; what it said last is still to be read

    def reached(self, seconds: float = 60) -> bool:
        """Wait for the gate; False when the switch ended before it."""
        while (said := self._said.get(timeout=seconds)) is not None:
            if "gate" in said:
                self.fuse = self._find_fuse()
                return True
            self._take(said)
        self._said.put(None)  # for `wait`, which reads to the end as well
        return False

    def _take(self, said: dict[str, Any]) -> None:
        if "report" in said:
            self.reports.append(said["report"])
        else:
            self.result = said

    def _find_fuse(self) -> psutil.Process | None:
        for child in psutil.Process(self._process.pid).children():
            if "bluegreen.switch.local_fuse" in child.cmdline():
                return child
        return None

    def go(self) -> None:
        """Let it go on from the gate."""
        self._tell("")

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()

    def kill_engine(self) -> None:
        """End the process that reads its standard output and error by SIGKILL; it goes on."""
        self._engine.kill()
        self._engine.wait(10)

    def kill_fuse(self) -> None:
        """End its local fuse by SIGKILL; one that has ended by itself is fine."""
        if self.fuse is not None and self.fuse.is_running():
            self.fuse.kill()

    def wait(self, seconds: float) -> dict[str, Any] | None:
        """Wait for its end; what it said of the switch, None when it was killed.

        Raises `TimeoutError` when it goes on for longer than `seconds`, `RuntimeError` when it
        ended by itself without a word: what it should never do, whatever happens to it.
        """
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the orchestrator is still at work after {seconds:g} s") from None
        self._reader.join(10)
        while (said := self._said.get(timeout=10)) is not None:
            self._take(said)
        if self.result is None and self._process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the orchestrator ended with {self._process.returncode}")
        return self.result

    def dismiss(self) -> None:
        """End it however it is."""
        self._process.kill()
        self._process.wait(10)
        self._reader.join(10)
        self._ear.close()
        self._engine.wait(10)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()


if __name__ == "__main__":
    main()
