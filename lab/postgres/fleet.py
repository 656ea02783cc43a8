"""The servers behind the lab's clusters, by the cluster's ARN."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from psycopg import sql

from lab import leftovers
from lab.postgres import clone as copies
from lab.postgres import slow
from lab.postgres.certificates import Issuer
from lab.postgres.server import LabServer, Master, server_parameters, with_master

# Two primaries at a time, each the other's peer: one deployment has a source and a target.
_PRIMARIES = slow.PRIMARIES
_FIRST_SECONDARY = 21

_CLOSE_SECONDS = 20.0  # whoever ends the lab waits 60
_CLOSE_POLL_SECONDS = 0.02


class Fleet:
    """Real servers on addresses of one block, all on the same port. Its methods block."""

    def __init__(
        self,
        root: Path,
        block: str,
        port: int,
        *,
        proxied: bool = False,
        issuer: Issuer | None = None,
    ) -> None:
        """`block` is the first three numbers of the addresses, such as `127.40.0`.

        `proxied`: primaries are reached, by each other too, at their proxies' addresses. `issuer`
        gives servers that have names their certificates; without one nobody speaks TLS.
        """
        self._proxied, self._issuer = proxied, issuer
        self._root, self._block, self._port = root, block, port
        self._servers: dict[str, LabServer] = {}
        self._taken: set[int] = set()
        self._lock = threading.Lock()
        self._count = 0
        self._files: list[str] = []
        """How the paths of each server's files begin, whatever its version."""
        self._busy, self._closed = 0, False

    def create(
        self,
        arn: str,
        *,
        major: int,
        parameters: Mapping[str, str],
        master_username: str,
        master_password: str,
        database: str | None,
        names: Sequence[str] = (),
    ) -> tuple[str, int]:
        """Make an empty cluster, whose clients call it `names`, and return its address."""
        server = self._new(arn, major, names, secondary=False)
        with self._kept(arn, server):
            server.parameters = server_parameters(parameters)
            server.initdb()
            server.start()
            with_master(server, master_username, master_password)
            if database is not None:
                with server.as_superuser() as conn:
                    conn.execute(
                        sql.SQL("CREATE DATABASE {} OWNER {}").format(
                            sql.Identifier(database), sql.Identifier(master_username)
                        )
                    )
        return self._reached(server)

    def clone(
        self,
        arn: str,
        source_arn: str,
        *,
        parameters: Mapping[str, str],
        names: Sequence[str] = (),
    ) -> tuple[str, int]:
        """Make a copy-on-write clone of a running cluster and return its address."""
        source = self._servers[source_arn]
        server = self._new(arn, source.major, names, secondary=False)
        with self._kept(arn, server):
            copies.clone(source, server, server_parameters(parameters))
        return self._reached(server)

    def standby(self, arn: str, primary_arn: str, *, names: Sequence[str] = ()) -> tuple[str, int]:
        """Make a secondary Region's cluster: a physical standby. Return its address."""
        primary = self._servers[primary_arn]
        server = self._new(arn, primary.major, names, secondary=True)
        with self._kept(arn, server):
            copies.standby(primary, server)
        return server.host, server.port

    def promote(self, arn: str) -> None:
        """Detach a standby: it becomes a cluster of its own."""
        copies.promote(self._servers[arn])

    def set_password(self, arn: str, user: str, password: str) -> None:
        """Give the master user another password."""
        server = self._servers[arn]
        with server.as_superuser() as conn:
            conn.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(user), sql.Literal(password)
                )
            )
        server.master = Master(user, password)

    def reboot(self, arn: str, parameters: Mapping[str, str]) -> None:
        """Restart with the parameter group's values of now."""
        server = self._servers[arn]
        with self._working():
            server.parameters = server_parameters(parameters)
            server.configure()
            server.restart()

    def upgrade(self, arn: str, major: int, parameters: Mapping[str, str]) -> None:
        """Upgrade to another major version in place."""
        values = server_parameters(parameters)
        with self._working():
            self._servers[arn] = copies.upgrade(self._servers[arn], major, values)

    def delete(self, arn: str) -> None:
        """Delete a cluster's server and data, and free its address."""
        with self._lock:
            server = self._servers.pop(arn)
        server.remove()
        self._release(server)

    def address(self, arn: str) -> tuple[str, int]:
        """Return host address and port of a cluster."""
        return self._reached(self._servers[arn])

    def server(self, arn: str) -> LabServer:
        """Return the server itself, for tests and faults."""
        return self._servers[arn]

    def close(self) -> None:
        """Stop every server, those that are being made, restarted or upgraded included."""
        with self._lock:
            self._closed = True
            servers, self._servers = list(self._servers.values()), {}
        deadline = time.monotonic() + _CLOSE_SECONDS
        for server in servers:
            server.stop("immediate")
        while True:
            # What works on one that others are at fails with its tool, and starts no other.
            busy = self._busy and time.monotonic() < deadline
            leftovers.stop(leftovers.working_below(*self._files))
            if not busy:
                return
            time.sleep(_CLOSE_POLL_SECONDS)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Be known while a server is being made or changed; refuse to begin behind `close`."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the lab ends")
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def _reached(self, server: LabServer) -> tuple[str, int]:
        """Return where a primary is to be reached."""
        host = slow.proxy_of(server.host) if self._proxied and server.peer else server.host
        return host, server.port

    def _new(self, arn: str, major: int, names: Sequence[str], *, secondary: bool) -> LabServer:
        with self._lock:
            number = self._free(secondary)
            self._taken.add(number)
            self._count += 1
            name = f"{arn.rpartition(':')[2]}-{self._count}"
            self._files.append(f"{self._root / name}-")
        peer = None
        if number in _PRIMARIES:
            other = _PRIMARIES[1 - _PRIMARIES.index(number)]
            peer = f"{self._block}.{other}"
            if self._proxied:
                peer = slow.proxy_of(peer)
        identity = self._issuer.identity(names) if self._issuer and names else None
        host = f"{self._block}.{number}"
        return LabServer(name, major, self._root, host, self._port, peer=peer, identity=identity)

    def _free(self, secondary: bool) -> int:
        choices = range(_FIRST_SECONDARY, 255) if secondary else _PRIMARIES
        for number in choices:
            if number not in self._taken:
                return number
        raise RuntimeError("the lab holds two primary clusters at a time; delete one first")

    @contextmanager
    def _kept(self, arn: str, server: LabServer) -> Iterator[None]:
        """Keep `server` when the block succeeds; else leave nothing of it."""
        with self._working():
            try:
                yield
                with self._lock:
                    if self._closed:
                        raise RuntimeError("the lab ends")
                    self._servers[arn] = server
            except BaseException:
                server.remove()
                self._release(server)
                raise

    def _release(self, server: LabServer) -> None:
        with self._lock:
            self._taken.discard(int(server.host.rpartition(".")[2]))
