"""Where a lab lives: a folder under the checkout, a block of loopback addresses, ports."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

CHECKOUT = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")

PORT = 5432  # of every server; each lab has addresses of its own
DNS_PORT = 5353
_FIRST_BLOCK, _BLOCKS = 80, 100
_DNS_NUMBER = 2


@dataclass(frozen=True, slots=True)
class Place:
    """One lab's folder and addresses. `block` is the first three numbers of the addresses."""

    name: str
    block: str

    @property
    def folder(self) -> Path:
        """Return the lab's folder."""
        return CHECKOUT / ".lab" / self.name

    @property
    def project(self) -> Path:
        """Return the lab's copy of the program, where `pulumi` is to be run."""
        return self.folder / "project"

    @property
    def dns(self) -> str:
        """Return where the lab's DNS answers, as IP:PORT."""
        return f"{self.block}.{_DNS_NUMBER}:{DNS_PORT}"

    @property
    def servers(self) -> Path:
        """Return where the servers' data goes: outside the checkout when that is closed to them.

        A checkout below root's home can't be entered by the unprivileged user that runs them.
        """
        if os.getuid() == 0:
            return Path("/var/tmp") / f"bluegreen-lab-{os.getuid()}" / self.block
        return self.folder / "servers"

    @property
    def note(self) -> Path:
        """Return the file that says which processes are this lab's."""
        return self.folder / "lab.json"


def choose(name: str) -> Place:
    """Return the place for a lab called `name`; raises `ValueError` for an impossible name."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"lab {name!r}: expected lower-case letters, digits and hyphens, 31 at most"
        )
    first = zlib.crc32(f"{CHECKOUT}:{name}".encode()) % _BLOCKS
    for step in range(_BLOCKS):
        number = (first + step) % _BLOCKS
        block = f"127.{_FIRST_BLOCK + number}.0"
        if _free(f"{block}.{_DNS_NUMBER}", DNS_PORT):
            return Place(name, block)
    raise ValueError(f"lab {name!r}: no block of loopback addresses is free; end another lab")


def existing(name: str) -> Place | None:
    """Return the place of the lab `name` when its folder says so."""
    try:
        noted = json.loads((CHECKOUT / ".lab" / name / "lab.json").read_text())
    except (OSError, ValueError):
        return None
    return Place(name, noted["block"])


def running(place: Place) -> bool:
    """Return whether the lab's control process runs."""
    return _control(place) is not None


def write_note(place: Place, control: int) -> None:
    """Remember the control process, with its start time: process ids come round again."""
    started = psutil.Process(control).create_time()
    note = {"block": place.block, "control": control, "started": started}
    place.note.write_text(json.dumps(note))


def clear(place: Place) -> None:
    """End whatever is left of a lab, and delete its files."""
    control = _control(place)
    if control is not None:
        control.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs([control], timeout=30)
        for process in alive:
            process.kill()
    for process in _servers(place):
        process.send_signal(signal.SIGQUIT)  # a postmaster's immediate shutdown
    psutil.wait_procs(_servers(place), timeout=30)
    shutil.rmtree(place.servers, ignore_errors=True)
    shutil.rmtree(place.folder, ignore_errors=True)


@contextmanager
def locked() -> Iterator[None]:
    """Hold the lock under which labs choose their addresses."""
    folder = CHECKOUT / ".lab"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _control(place: Place) -> psutil.Process | None:
    try:
        noted = json.loads(place.note.read_text())
        process = psutil.Process(noted["control"])
        same = abs(process.create_time() - noted["started"]) < 1
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    return process if same and process.status() != psutil.STATUS_ZOMBIE else None


def _servers(place: Place) -> list[psutil.Process]:
    """Return the postmasters whose data lies in this lab's folder."""
    found = []
    for file in place.servers.glob("*/postmaster.pid"):
        try:
            process = psutil.Process(int(file.read_text().split()[0]))
            if str(file.parent) in process.cmdline():
                found.append(process)
        except (OSError, ValueError, IndexError, psutil.Error):
            continue
    return found


def _free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, port))
        except OSError:
            return False
    return True
