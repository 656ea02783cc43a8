"""Getting an engine: the one on PATH, a download, or a build; kept in a per-user cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.engine.build import NoBuild, build
from lab.engine.download import OFFICIAL, NoDownload, download
from lab.engine.version import ENGINE_VERSION, OLDEST_TEXT, refusal

Report = Callable[[str], None]


class NoEngine(Exception):
    """No engine can be had; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A folder with `pulumi`; `launchers.link` adds what it needs beside it."""

    folder: Path
    version: str
    """As `pulumi version` says it, such as `v3.259.0`."""
    origin: str
    """`PATH`, `cache`, `download` or `build`."""


def ensure(report: Report, *, source: str = OFFICIAL) -> Engine:
    """Return an engine, getting one first if need be; `source` is where releases are.

    Raises `NoEngine` when the one on PATH is too old, or none can be had.
    """
    found = shutil.which("pulumi")
    if found is not None:
        return _from_path(Path(found))
    folder = cache() / "engine" / ENGINE_VERSION / "bin"
    origin = "cache"
    if not (folder / "pulumi").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.parent / "lock"):
            if not (folder / "pulumi").exists():
                origin = _obtain(folder, report, source)
    return Engine(folder, f"v{ENGINE_VERSION}", origin)


def cache() -> Path:
    """Return the lab's per-user cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "bluegreen-lab"


def _from_path(found: Path) -> Engine:
    version = _version(found)
    reason = refusal(version)
    if reason is not None:
        raise NoEngine(reason)
    return Engine(found.resolve().parent, version, "PATH")


def _version(pulumi: Path) -> str:
    """Return what `pulumi version` says; empty when it can't say it."""
    try:
        answer = subprocess.run(
            [str(pulumi), "version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | {"PULUMI_SKIP_UPDATE_CHECK": "true"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold `path`'s lock: two labs that start at once get one engine between them."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _obtain(folder: Path, report: Report, source: str) -> str:
    """Fill `folder`, all at once or not at all; return how. The caller holds the lock."""
    # Of an attempt that was killed.
    for left in folder.parent.glob("new.*"):
        shutil.rmtree(left, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new.") as name:
        fresh = Path(name) / "bin"
        origin = _download_or_build(fresh, report, source)
        version = _version(fresh / "pulumi")
        if version != f"v{ENGINE_VERSION}":
            raise NoEngine(
                f"engine: the {origin} says it is {version!r}, expected v{ENGINE_VERSION};"
                f" {_ADVICE}"
            )
        fresh.rename(folder)
    report(f"engine: pulumi {ENGINE_VERSION} is in {folder}")
    return origin


_ADVICE = (
    f"install pulumi {OLDEST_TEXT} or newer (https://www.pulumi.com/docs/install/), or Go 1.25 or"
    " newer to build it, or allow https to get.pulumi.com"
)


def _download_or_build(fresh: Path, report: Report, source: str) -> str:
    """Fill `fresh`; return how."""
    try:
        fresh.mkdir()
        download(fresh, report, base=source)
    except NoDownload as error:
        no_download = str(error)
        report(f"engine: no download ({no_download})")
    else:
        return "download"
    # A download that broke off may have left something.
    shutil.rmtree(fresh)
    fresh.mkdir()
    try:
        build(fresh, report)
    except NoBuild as error:
        raise NoEngine(
            f"no Pulumi engine: none on PATH; no download ({no_download}); no build ({error});"
            f" {_ADVICE}"
        ) from None
    return "build"
