"""Getting an engine: the one on PATH, a download, or a build; kept in a per-user cache."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.engine.version import ENGINE_VERSION, refusal

Report = Callable[[str], None]

_ROOT = Path(__file__).resolve().parents[2]
_MODULE = Path(__file__).with_name("gomod")
_CONNECT_SECONDS = 5.0
_STAMP = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"


class NoEngine(Exception):
    """No engine can be had; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A folder with `pulumi` and the launchers it needs, to be put first on PATH."""

    folder: Path
    version: str
    origin: str


def ensure(report: Report) -> Engine:
    """Return an engine, getting one first if need be.

    Raises `NoEngine` when the one on PATH is too old, or none can be had.
    """
    found = shutil.which("pulumi")
    if found is not None:
        return _from_path(Path(found))
    folder = cache() / "engine" / ENGINE_VERSION / "bin"
    if not (folder / "pulumi").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.parent / "lock"):
            if not (folder / "pulumi").exists():
                _obtain(folder, report)
    # The launchers name the checkout, so they are written anew for each.
    return Engine(folder, f"v{ENGINE_VERSION}", "cache")


def cache() -> Path:
    """Return the lab's per-user cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "bluegreen-lab"


def link(engine: Engine, folder: Path) -> None:
    """Fill `folder` with the engine and with launchers for whatever does not come with it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in engine.folder.iterdir():
        if file.name.startswith("pulumi"):
            _same_file(file, folder / file.name)
    python = f"{_ROOT}/.venv/bin/python" if (_ROOT / ".venv").exists() else sys.executable
    _launcher(
        folder / "pulumi-language-python",
        f'PYTHONPATH="{_ROOT}" exec "{python}" -u -m lab.engine.language_host "$@"',
    )
    # The engine starts it in the program's folder and names the virtual environment as Pulumi.yaml
    # does; the SDK in there is the provider host.
    _launcher(
        folder / "pulumi-resource-pulumi-python",
        'exec "${PULUMI_RUNTIME_VIRTUALENV:?the project names no virtualenv}/bin/python"'
        ' -u -m pulumi.dynamic "$@"',
    )


def _same_file(file: Path, new: Path) -> None:
    # The engine takes what lies beside its real file, and warns of what it finds on PATH: so no
    # symbolic links.
    try:
        os.link(file.resolve(), new)
    except OSError:
        shutil.copy2(file, new)


def _launcher(path: Path, command: str) -> None:
    if path.exists():
        return  # an official engine brings its own
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def _from_path(found: Path) -> Engine:
    answer = subprocess.run(
        [str(found), "version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PULUMI_SKIP_UPDATE_CHECK": "true"},
    )
    version = answer.stdout.strip()
    reason = refusal(version)
    if reason is not None:
        raise NoEngine(reason)
    return Engine(found.resolve().parent, version, "PATH")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold `path`'s lock: two labs that start at once build once."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _obtain(folder: Path, report: Report) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new.") as name:
        fresh = Path(name) / "bin"
        fresh.mkdir()
        reason = _download(fresh, report)
        if reason is not None:
            report(f"engine: no download ({reason})")
            _build(fresh, report)
        fresh.rename(folder)


def _download(fresh: Path, report: Report) -> str | None:
    """Download the official release; return why that was not possible, None when it was."""
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())
    system = platform.system().lower()
    if machine is None or system not in ("linux", "darwin"):
        return f"none for {system} on {platform.machine()}"
    url = f"https://get.pulumi.com/releases/sdk/pulumi-v{ENGINE_VERSION}-{system}-{machine}.tar.gz"
    report(f"engine: downloading pulumi {ENGINE_VERSION}")
    with tempfile.TemporaryFile() as archive:
        try:
            with urllib.request.urlopen(url, timeout=_CONNECT_SECONDS) as answer:
                shutil.copyfileobj(answer, archive)
        except (urllib.error.URLError, OSError) as error:
            return str(getattr(error, "reason", error))
        archive.seek(0)
        with tarfile.open(fileobj=archive, mode="r:gz") as files:
            for member in files.getmembers():
                if member.isfile():
                    member.name = Path(member.name).name
                    files.extract(member, fresh, filter="data")
    return None


def _build(fresh: Path, report: Report) -> None:
    """Build the engine from its Go modules, as the wrapper module beside this file pins them."""
    go = shutil.which("go")
    if go is None:
        raise NoEngine(
            "no Pulumi engine: install pulumi 3.238 or newer (https://www.pulumi.com/docs/install/),"
            " or Go 1.25 or newer to build it, or allow https to get.pulumi.com"
        )
    report(f"engine: building pulumi {ENGINE_VERSION} from its Go modules, about 4 minutes, once")
    command = [go, "build", "-trimpath", "-tags", "osusergo,grpcnotrace"]
    command += ["-ldflags", f"-s -w -X {_STAMP}=v{ENGINE_VERSION}", "-o", f"{fresh}/"]
    command += ["github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"]
    # go.sum pins every module's hash, so no checksum database needs to be asked.
    environment = os.environ | {"GOFLAGS": "-mod=readonly", "GONOSUMDB": "*", "CGO_ENABLED": "0"}
    environment |= {"GOWORK": "off"}
    with tempfile.TemporaryDirectory() as work:
        for file in ("go.mod", "go.sum"):
            shutil.copy(_MODULE / file, work)
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise NoEngine(f"engine: go build exited with {done.returncode}: {last[0]}")
