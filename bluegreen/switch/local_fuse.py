"""The local fuse: a process that does at once what the register says when the switch is killed.

It holds the read end of a pipe. When that closes without a message, the process that held the other
end is dead: SIGKILL closes it too. An attempt that is `preparing` is aborted and un-fenced, one
that is `decided` is carried out. The fuse has its own session, so no signal for the terminal's or
the engine's group reaches it, and none of the switch's streams, so nobody waits for it.

`python -m bluegreen.switch.local_fuse` reads two lines: the plan with the attempt, and the
logins. They come through the pipe since others on the machine can read arguments and
environment.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psycopg

from bluegreen.errors import BlueGreenError, Retry
from bluegreen.names import TOOL_DATABASE
from bluegreen.postgres import server
from bluegreen.register import register
from bluegreen.register.register import AttemptState
from bluegreen.switch import completion
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.side import end_others

log = logging.getLogger(__name__)

_ARMED = b"armed\n"
_OVER = b"over\n"
_ARM_SECONDS = 30.0
_END_SECONDS = 2.0
# A server that restarts or is out of reach comes back within this, or an operator has to act.
_INSIST_SECONDS = 600.0
_PAUSES = (0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


class LocalFuse:
    """The switch's end of the fuse; use as a context, within which the fuse watches."""

    def __init__(self, plan: SwitchPlan, attempt: str) -> None:
        self._plan, self._attempt = plan, attempt
        self._armed = threading.Event()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bluegreen.switch.local_fuse"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": _python_path()},
        )
        self._arming = threading.Thread(target=self._arm, daemon=True)
        self._arming.start()
        return self

    def _arm(self) -> None:
        """Hand over plan and logins, in parallel with the switch's own preparations."""
        with contextlib.suppress(OSError, BlueGreenError):
            logins = server.logins_of(self._plan.old, self._plan.new)
            text = json.dumps({"attempt": self._attempt, "plan": self._plan.to_line()})
            pipe, answer = self._pipe(), self._process.stdout
            pipe.write(text.encode() + b"\n" + json.dumps(logins).encode() + b"\n")
            pipe.flush()
            assert answer is not None
            if answer.readline() == _ARMED:
                self._armed.set()

    def _pipe(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def pid(self) -> int:
        """Return the fuse's process id."""
        return self._process.pid

    def wait_until_armed(self) -> None:
        """Wait until it watches, with its connections open; raises `Retry` when it can't."""
        self._arming.join(_ARM_SECONDS)  # over at once when the process ends instead of answering
        if not self._armed.is_set():
            code = self._process.poll()
            found = (
                f"not ready after {_ARM_SECONDS:g} s" if code is None else f"ended with code {code}"
            )
            raise Retry(
                f"local fuse: process {self.pid} {found}; nothing was touched; see that this"
                f" machine can start {sys.executable} and reach {self._plan.old}"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._armed.is_set():
            self._process.kill()  # nothing was touched yet, so there is nothing to watch
        self._arming.join()
        # Whatever failed: without a message the fuse reads the register. It ends at once when this
        # attempt isn't live there; otherwise it does what the switch could not carry out.
        with contextlib.suppress(OSError):
            if error is None:
                self._pipe().write(_OVER)
            self._pipe().close()
        assert self._process.stdout is not None
        self._process.stdout.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            _left_on.append(self._process)


# Fuses that are still at work; they may outlive this process.
_left_on: list[subprocess.Popen[bytes]] = []


def _python_path() -> str:
    """Return the path that finds this package wherever the switch was started."""
    ours, theirs = str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")
    return ours if not theirs else f"{theirs}{os.pathsep}{ours}"


def main() -> None:
    """Watch the pipe on standard input; act when it closes without a message."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # what ends the switch must not end its fuse
    order = json.loads(sys.stdin.buffer.readline())
    plan, attempt = SwitchPlan.from_line(order["plan"]), order["attempt"]
    server.remember(json.loads(sys.stdin.buffer.readline()))
    with plan.old.connect(TOOL_DATABASE, application_name="bluegreen local fuse") as conn:
        os.write(sys.stdout.fileno(), _ARMED)
        if sys.stdin.buffer.readline() == _OVER:
            return
        act(plan, attempt, conn)


def act(plan: SwitchPlan, attempt: str, conn: psycopg.Connection[object]) -> None:
    """End the attempt of a dead switch: abort it, or carry it out if it was decided.

    `conn` is to the tool's database of the fenced server, and may be broken.
    """
    until = time.monotonic() + _INSIST_SECONDS
    for number in itertools.count():
        try:
            if conn.closed:
                conn = plan.old.connect(TOOL_DATABASE, application_name="bluegreen local fuse")
            if _ended(plan, attempt, conn):
                return
        except (BlueGreenError, psycopg.Error) as error:
            log.debug("local fuse: %s", error)
            conn.close()
            if time.monotonic() > until:
                return
        time.sleep(_PAUSES[min(number, len(_PAUSES) - 1)])


def _ended(plan: SwitchPlan, attempt: str, conn: psycopg.Connection[object]) -> bool:
    if register.abort(conn, attempt):
        end_others(conn, attempt, finishers=False)
        return True
    live = register.find_live(conn)
    if live is None or live.name != attempt or live.state is not AttemptState.DECIDED:
        return True
    # Its sessions there may hold the register's row; the finisher ends those on the new side.
    end_others(conn, attempt, finishers=False)
    completion.finish(plan, attempt)
    return True


if __name__ == "__main__":
    main()
