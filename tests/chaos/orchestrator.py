"""`python -m tests.chaos.orchestrator`: a switch in a process of its own, which dies when told.

One line of JSON on standard input: the plan, the step after which to die, and whom to take along.
Or to freeze, until somebody continues it: a laptop that sleeps, a machine that is paused.
The library has no line for this: its one gate for steps is wrapped here.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from bluegreen.errors import BlueGreenError
from bluegreen.switch import switchover
from bluegreen.switch.local_fuse import LocalFuse
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.server_fuse import ServerFuse
from bluegreen.switch.step import Step
from bluegreen.switch.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Order:
    """What a child is to do: `die_after` None lets it live."""

    plan: str
    die_after: str | None = None
    local_fuse_too: bool = False
    server_fuse_too: bool = False
    freeze: bool = False
    """To stop (SIGSTOP) instead of dying; the server fuse is another machine's and goes on."""

    def to_line(self) -> bytes:
        """Return the line that the child reads."""
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> None:
    """Run the switch; exit with 0 when it was made, 3 when it was refused or aborted."""
    order = Order(**json.loads(sys.stdin.readline()))
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    plan = SwitchPlan.from_line(order.plan)
    if order.die_after is not None:
        arm(order, Step(order.die_after))
    try:
        done = switchover.switch(plan)
    except BlueGreenError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(3)
    print(json.dumps({"mark": str(done.mark), "slipped": done.slipped}), flush=True)


def arm(order: Order, last: Step, first: Callable[[], None] | None = None) -> None:
    """Let this process die, or freeze, when a switch has passed `last`; `first` is done before."""
    fuses: list[Any] = []
    for kind in (LocalFuse, ServerFuse):
        _note_instances(kind, fuses)
    passed = Timeline.passed
    end = signal.SIGSTOP if order.freeze else signal.SIGKILL
    met = False

    def pass_and_die(self: Timeline, step: Step) -> None:
        nonlocal met
        passed(self, step)
        if step is not last or met:
            return
        met = True
        if first is not None:
            first()
        for fuse in fuses:
            if order.local_fuse_too and isinstance(fuse, LocalFuse):
                os.kill(fuse.pid, end)
            if order.server_fuse_too and isinstance(fuse, ServerFuse):
                _end_backend(SwitchPlan.from_line(order.plan), fuse.pid)
        os.kill(os.getpid(), end)

    Timeline.passed = pass_and_die  # type: ignore[method-assign]


def _note_instances(kind: Any, found: list[Any]) -> None:
    made = kind.__init__

    def note(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        found.append(self)

    kind.__init__ = note


def _end_backend(plan: SwitchPlan, pid: int) -> None:
    with plan.old.connect("postgres") as conn:
        conn.execute("SELECT pg_terminate_backend(%s)", (pid,))


if __name__ == "__main__":
    try:
        main()
    except psycopg.Error as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(4)
