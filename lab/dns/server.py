"""Answers from moto's state in this very process, without a cache.

A change is seen at once, or after the time that the lab's Route 53 is told to take
(`lab.aws.propagation`); a server's address always at once.

Written by hand for speed: while a switch is on, eight clients ask about a thousand times a second,
and a general DNS library in this busy process fell behind (lookups timed out).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import moto.rds.models as rds
from moto.route53.models import route53_backends

from lab.aws.propagation import PROPAGATION
from lab.aws.servers import WIRE

_ENDPOINT_TTL = 5  # Aurora's own, in seconds
_LONGEST_CHAIN = 8
_A, _CNAME, _IN = 1, 5, 1
_AUTHORITATIVE, _NO_SUCH_NAME = 0x8500, 3

Answer = tuple[str, int, int, bytes]  # name, type, TTL, data


class Server:
    """Answers on UDP in a thread of its own until it is stopped."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((host, port))
        self._thread = threading.Thread(target=self._serve, name="dns", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                packet, client = self._socket.recvfrom(512)
            except OSError:  # closed
                return
            with contextlib.suppress(ValueError, IndexError, struct.error, OSError):
                self._socket.sendto(answer(packet), client)

    def stop(self) -> None:
        """End the thread."""
        self._socket.close()


def answer(packet: bytes) -> bytes:
    """Return the answer to a question; raises `ValueError` for what is none."""
    name, end = _read_name(packet, 12)
    kind, _class = struct.unpack(">HH", packet[end : end + 4])
    found, exists = resolve(name)
    if kind == _CNAME:
        found = found[:1]
    elif kind != _A:
        found = [item for item in found if item[1] == _CNAME]
    code = 0 if exists else _NO_SUCH_NAME
    head = packet[:2] + struct.pack(">HHHHH", _AUTHORITATIVE | code, 1, len(found), 0, 0)
    return head + packet[12 : end + 4] + b"".join(map(_record, found))


def resolve(name: str) -> tuple[list[Answer], bool]:
    """Return the CNAMEs on the way to a server's address, with it, and whether `name` exists."""
    chain: list[Answer] = []
    current = name
    for _ in range(_LONGEST_CHAIN):
        address = _endpoint(current)
        if address is not None:
            chain.append((current, _A, _ENDPOINT_TTL, socket.inet_aton(address)))
            return chain, True
        record = next((r for r in _records() if _plain(r.name) == current), None)
        if record is None:
            return chain, bool(chain)
        value = record.records[0]
        if record.type == "A":
            chain.append((current, _A, int(record.ttl), socket.inet_aton(value)))
            return chain, True
        if record.type != "CNAME":
            return chain, True
        target = _plain(value)
        chain.append((current, _CNAME, int(record.ttl), _write_name(target)))
        current = target
    return chain, True


def start(host: str, port: int) -> Server:
    """Start answering."""
    return Server(host, port)


def _record(item: Answer) -> bytes:
    name, kind, ttl, rdata = item
    return _write_name(name) + struct.pack(">HHIH", kind, _IN, ttl, len(rdata)) + rdata


def _read_name(packet: bytes, at: int) -> tuple[str, int]:
    parts = []
    while length := packet[at]:
        if length >= 0xC0:
            raise ValueError("a question holds no pointer")
        parts.append(packet[at + 1 : at + 1 + length].decode("ascii"))
        at += length + 1
    return ".".join(parts).lower(), at + 1


def _write_name(name: str) -> bytes:
    parts = name.split(".")
    return b"".join(bytes([len(part)]) + part.encode("ascii") for part in parts) + b"\0"


def _plain(name: str) -> str:
    return name.rstrip(".").lower()


def _records() -> Iterator[Any]:
    for account in list(route53_backends.values()):
        for backend in list(account.values()):
            for zone in list(backend.zones.values()):
                # The zone's own NS and SOA records are nothing that clients ask for.
                yield from (r for r in PROPAGATION.records(zone) if r.type not in ("NS", "SOA"))


def _endpoint(name: str) -> str | None:
    """Return the address behind the endpoint of a cluster or an instance; None for other names."""
    if not name.endswith(".rds.amazonaws.com"):
        return None
    # An endpoint's second label is its cluster's own, and tells writer from reader by a prefix.
    label = name.split(".")[1].removeprefix("cluster-ro-").removeprefix("cluster-")
    for account in list(rds.rds_backends.values()):
        for backend in list(account.values()):
            for cluster in list(backend.clusters.values()):
                if cluster.url_identifier == label:
                    address = WIRE.addresses.get(cluster.arn)
                    return address[0] if address is not None else None
    return None
