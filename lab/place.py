"""Where a lab lives: a folder under the checkout, a block of loopback addresses, ports."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")

PORT = 5432
"""The servers' port, unless somebody has it on every address."""

_PORTS = (PORT, 15432, 25432)
_DNS_PORTS = (5353, 5300, 15353)
_FIRST_BLOCK, _BLOCKS = 80, 100
_DNS_NUMBER = 2
_SERVER_NUMBERS = (11, 12, 21, 22)  # two primaries, and a secondary of each


@dataclass(frozen=True, slots=True)
class Place:
    """One lab's folder and addresses."""

    name: str
    block: str
    """The first three numbers of the addresses, such as `127.80.0`."""
    port: int = PORT
    """The port of every server: each has an address of its own."""
    dns_port: int = _DNS_PORTS[0]

    @property
    def folder(self) -> Path:
        """Return the lab's folder."""
        return CHECKOUT / ".lab" / self.name

    @property
    def project(self) -> Path:
        """Return the lab's copy of the program, where `pulumi` is to be run."""
        return self.folder / "project"

    @property
    def programs(self) -> Path:
        """Return the folder for PATH, with the engine."""
        return self.folder / "bin"

    @property
    def home(self) -> Path:
        """Return the engine's own folder, with its plugins."""
        return self.folder / "pulumi"

    @property
    def state(self) -> Path:
        """Return the folder of the file backend."""
        return self.folder / "state"

    @property
    def dns(self) -> str:
        """Return where the lab's DNS answers, as IP:PORT."""
        return f"{self.block}.{_DNS_NUMBER}:{self.dns_port}"

    @property
    def servers(self) -> Path:
        """Return where the servers' data goes: outside the checkout when that is closed to them.

        A checkout below root's home can't be entered by the unprivileged user that runs them.
        """
        if os.getuid() == 0:
            checkout = zlib.crc32(str(CHECKOUT).encode())
            return Path("/var/tmp/bluegreen-lab-0") / f"{self.name}-{checkout:08x}"
        return self.folder / "servers"

    @property
    def ca_file(self) -> Path:
        """Return the operator's file of who signs the servers' certificates."""
        return self.folder / "rds-bundle.pem"

    @property
    def note(self) -> Path:
        """Return the file that says which process and which addresses are this lab's."""
        return self.folder / "lab.json"


def check_name(name: str) -> None:
    """Raise `ValueError` for an impossible name; it becomes a folder's."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"lab {name!r}: expected lower-case letters, digits and hyphens, a letter first,"
            " 31 at most"
        )


def choose(name: str) -> Place:
    """Return a place with free addresses for a lab called `name`. The caller holds `locked()`.

    Raises `ValueError` for an impossible name, `LookupError` when no address can be had.
    """
    check_name(name)
    first = zlib.crc32(f"{CHECKOUT}:{name}".encode()) % _BLOCKS
    for step in range(_BLOCKS):
        block = f"127.{_FIRST_BLOCK + (first + step) % _BLOCKS}.0"
        servers = [f"{block}.{number}" for number in _SERVER_NUMBERS]
        port = _free_port(_PORTS, socket.SOCK_STREAM, servers)
        dns_port = _free_port(_DNS_PORTS, socket.SOCK_DGRAM, [f"{block}.{_DNS_NUMBER}"])
        if port is not None and dns_port is not None:
            return Place(name, block, port, dns_port)
    raise LookupError(f"lab {name}: no block of loopback addresses is free; end another lab")


def existing(name: str) -> Place | None:
    """Return the place of the lab `name` when its folder says so, running or not."""
    check_name(name)
    try:
        noted = json.loads((CHECKOUT / ".lab" / name / "lab.json").read_text())
        return Place(name, noted["block"], noted["port"], noted["dns_port"])
    except (OSError, ValueError, KeyError):
        return None


@contextmanager
def locked() -> Iterator[None]:
    """Hold the lock under which labs choose their addresses."""
    folder = CHECKOUT / ".lab"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _free_port(ports: tuple[int, ...], kind: socket.SocketKind, addresses: list[str]) -> int | None:
    """Return the first port that is free on all `addresses`.

    Somebody on every address, as PostgreSQL or mDNS often is, has it on each of these too.
    """
    for port in ports:
        if all(_free(address, port, kind) for address in addresses):
            return port
    return None


def _free(address: str, port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as sock:
        if kind == socket.SOCK_STREAM:
            # As the servers do: what an earlier lab's connections leave behind is no obstacle.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise LookupError(
                    f"the lab needs loopback addresses such as {address}, which this system does"
                    " not have; Linux has all of 127.0.0.0/8"
                ) from None
            return False
    return True
