"""The operating system's user that the servers run as: PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns the data directories; `switches` when that is not the user running the lab."""

    uid: int
    gid: int
    switches: bool

    def take(self, path: Path) -> None:
        """Give `path` to the servers' user."""
        if self.switches:
            os.chown(path, self.uid, self.gid)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `subprocess` that start a program as this user."""
        if not self.switches:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


@cache
def owner() -> Owner:
    """Return the user for the servers: oneself, or for root an unprivileged one."""
    if os.getuid() != 0:
        return Owner(os.getuid(), os.getgid(), switches=False)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Owner(entry.pw_uid, entry.pw_gid, switches=True)
    raise LookupError(f"no unprivileged user to run PostgreSQL as; expected one of {_CANDIDATES}")


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    cwd: Path | None = None,
    timeout: float = 600,
) -> str:
    """Run `command` as the servers' user and return its output.

    Raises `RuntimeError` with the output when it fails.
    """
    # A file, not a pipe: a server started by pg_ctl would keep the pipe open for ever.
    with open(os.devnull, "rb") as nothing:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            list(command),
            env=dict(environment),
            cwd=cwd or "/",
            stdin=nothing,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
            **owner().arguments(),
        )
    if done.returncode:
        raise RuntimeError(f"{command[0]} exited with {done.returncode}: {done.stdout.strip()}")
    return done.stdout
