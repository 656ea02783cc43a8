"""One command whose lines are seen as they come, and which never outlives its caller."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from lab import interrupts

# The engine's first interrupt ends its operations in order, the second at once.
_ENDINGS = ((signal.SIGINT, 5.0), (signal.SIGINT, 10.0), (signal.SIGKILL, 10.0))
_FAMILY_SECONDS = 5.0


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    line: Callable[[str], None] | None = None,
) -> tuple[int, str]:
    """Return the command's exit code and all that it wrote; each line goes to `line` at once.

    Whatever is raised meanwhile, Ctrl-C too, ends the command and all that it started first.
    """
    process: subprocess.Popen[str] | None = None
    lines = []
    try:
        with interrupts.held():
            process = subprocess.Popen(
                list(command),
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        assert process.stdout is not None
        for text in process.stdout:
            lines.append(text)
            if line is not None:
                line(text.rstrip("\n"))
        code = process.wait()
    except BaseException:
        if process is not None:
            _end(process)
        raise
    finally:
        if process is not None and process.stdout is not None:
            process.stdout.close()
    return code, "".join(lines)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    for number, patience in _ENDINGS:
        process.send_signal(number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        break
    _, alive = psutil.wait_procs(family, timeout=_FAMILY_SECONDS)
    for member in alive:
        member.kill()
