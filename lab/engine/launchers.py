"""A folder for PATH: the engine, and the programs that it starts for a Python project."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from lab.engine.install import Engine

_ROOT = Path(__file__).resolve().parents[2]
_PROVIDER_HOST = Path(__file__).with_name("provider_host.sh")


def link(engine: Engine, folder: Path) -> None:
    """Fill `folder` with the engine and whatever it needs and does not bring along."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in engine.folder.iterdir():
        if file.name.startswith("pulumi") and file.is_file() and not _ours(file):
            _same_file(file, folder / file.name)
    if not (folder / "pulumi-language-python").exists():
        _write(folder / "pulumi-language-python", _language_host())
    if not (folder / "pulumi-resource-pulumi-python").exists():
        _write(folder / "pulumi-resource-pulumi-python", _PROVIDER_HOST.read_text())


def _language_host() -> str:
    # The caller's PYTHONPATH is the program's, not the host's: the host hands it on.
    return (
        "#!/bin/sh\n"
        f'PROGRAM_PYTHONPATH="$PYTHONPATH" PYTHONPATH={shlex.quote(str(_ROOT))}'
        f' exec {shlex.quote(sys.executable)} -u -m lab.engine.language_host "$@"\n'
    )


def _ours(file: Path) -> bool:
    """Return whether `file` is a launcher of another lab: PATH may lead into one."""
    with open(file, "rb") as opened:
        return b"lab.engine.language_host" in opened.read(4096)


def _same_file(file: Path, new: Path) -> None:
    # The engine takes what lies beside its real file, and warns of what it finds on PATH: so no
    # symbolic links.
    try:
        os.link(file.resolve(), new)
    except OSError:  # another file system, or a file of another user
        shutil.copy2(file.resolve(), new)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
