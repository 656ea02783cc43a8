"""Which server answered: a host address and a port, in six bytes."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple, Self

import psycopg


class Address(NamedTuple):
    """An IPv4 host address and a port. In the lab each cluster has one of its own."""

    host: str
    port: int

    @classmethod
    def of(cls, conn: psycopg.Connection[Any]) -> Self:
        """Return where `conn` ended up, whatever name it was given; asks nobody."""
        return cls(conn.info.hostaddr, conn.info.port)

    @classmethod
    def unpack(cls, host: bytes, port: int) -> Self:
        """Return the address from its packed form."""
        return cls(socket.inet_ntoa(host), port)

    def packed_host(self) -> bytes:
        """Return the host address as four bytes."""
        return socket.inet_aton(self.host)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def resolve(name: str, port: int) -> Address:
    """Return the IPv4 address that `name` has now, by the C library or what the lab put before it.

    Raises `OSError` when the name has none.
    """
    answers = socket.getaddrinfo(name, port, socket.AF_INET, socket.SOCK_STREAM)
    host, found = answers[0][4][:2]
    return Address(str(host), int(found))
