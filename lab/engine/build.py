"""The engine built from its Go modules, which the module beside this file pins by their hashes.

No package registry carries the engine as a program, but the Go module proxy carries its source.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from lab import interrupts
from lab.engine.version import ENGINE_VERSION

MODULE = Path(__file__).with_name("gomod")
_PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
_STAMP = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
_REPORT_SECONDS = 15.0


class NoBuild(Exception):
    """The engine can't be built; the message says why, in a few words."""


def build(fresh: Path, report: Callable[[str], None]) -> None:
    """Put a `pulumi` built here into `fresh`; a build that is interrupted ends at once.

    Raises `NoBuild`.
    """
    go = shutil.which("go")
    if go is None:
        raise NoBuild("there is no go on PATH")
    report(f"engine: building pulumi {ENGINE_VERSION} from its Go modules, about 4 minutes, once")
    # Its own group, so that the compilers end with it.
    process: subprocess.Popen[str] | None = None
    try:
        with interrupts.held():
            process = subprocess.Popen(
                command(go, fresh),
                cwd=MODULE,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        said = _watch(process, report)
        code = process.wait()
    except BaseException:
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        raise
    finally:
        if process is not None and process.stderr is not None:
            process.stderr.close()
    if code:
        raise NoBuild(_reason(said) or f"go build exited with {code}")


def command(go: str, fresh: Path) -> list[str]:
    """Return the command: flags and tags are those of the official release's build."""
    stamp = f"-s -w -X {_STAMP}=v{ENGINE_VERSION}"
    flags = ["-v", "-trimpath", "-buildvcs=false", "-tags", "osusergo,grpcnotrace"]
    return [go, "build", *flags, "-ldflags", stamp, "-o", str(fresh / "pulumi"), _PACKAGE]


def _environment() -> dict[str, str]:
    # go.sum holds every hash, and nothing may be added to it: so the checksum database is never
    # asked, and a module that differs is refused.
    return os.environ | {"GOFLAGS": "-mod=readonly", "GOWORK": "off", "CGO_ENABLED": "0"}


def _watch(process: subprocess.Popen[str], report: Callable[[str], None]) -> list[str]:
    """Report how far the build is every few seconds; return what was no progress."""
    assert process.stderr is not None
    said, packages, modules = [], 0, 0
    due = time.monotonic() + _REPORT_SECONDS
    for line in process.stderr:
        text = line.strip()
        if text.startswith("go: downloading "):
            modules += 1
        elif text and " " not in text:
            packages += 1
        elif text:
            said.append(text)
        if time.monotonic() >= due:
            due += _REPORT_SECONDS
            report(f"engine: {modules} modules downloaded, {packages} packages built")
    return said


def _reason(said: list[str]) -> str | None:
    """Return the line that says what went wrong: the first of go's own, else the last."""
    own = [line for line in said if line.startswith("go: ")] or said[-1:]
    return own[0] if own else None
