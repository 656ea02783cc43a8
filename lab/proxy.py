"""A TCP proxy that makes a network worse: slower, or broken in each way that networks break.

`python -m lab.proxy --delay-ms MS LISTEN=TARGET...` (each IP:PORT) serves until its standard input
closes. Within a process, `Proxy` runs in a thread of its own; any thread may call it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

Where = tuple[str, int]
Result = TypeVar("Result")

_PATIENCE_SECONDS = 10.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset


class _End(asyncio.Protocol):
    """One of a link's two connections; what comes here leaves by the `other`, in order, later."""

    def __init__(self, proxy: Proxy, direction: int) -> None:
        self._proxy, self._direction = proxy, direction
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self._line: deque[tuple[float, bytes | None]] = deque()  # None: the end, or a reset
        self._waiting: asyncio.TimerHandle | None = None
        self._said_all = False
        self.frozen = False  # what comes here stays here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection; a client's is read from once the target answers."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.other is None:
            transport.pause_reading()
            self._proxy.begin(self)

    def data_received(self, data: bytes) -> None:
        """Take a piece."""
        self._take(data)

    def eof_received(self) -> bool:
        """Take the end of what is said here; the other direction may go on."""
        self._take(None)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass a reset on as one, and let go of the rest."""
        self._proxy.links.discard(self)
        if self.frozen or (self.other is not None and self.other.frozen):
            return  # its end is not passed on either
        other, self.other = self.other, None
        if other is not None and other.transport is not None:
            if exc is not None:
                _abandon(other.transport)
            elif not self._line:
                other.transport.close()

    def pause_writing(self) -> None:
        """Hold the other side back while this one is slow."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Let the other side go on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def _take(self, piece: bytes | None) -> None:
        due = self._proxy.loop.time() + self._proxy.delays[self._direction]
        # A delay that has been shortened must not let a later piece overtake.
        self._line.append((max(due, self._line[-1][0]) if self._line else due, piece))
        self.pass_on()

    def pass_on(self) -> None:
        """Send what is due, and come back for the rest."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        while self._line and not self._proxy.dark and not self.frozen:
            due, piece = self._line[0]
            if due > self._proxy.loop.time():
                self._waiting = self._proxy.loop.call_at(due, self.pass_on)
                return
            self._line.popleft()
            there = None if self.other is None else self.other.transport
            if there is None or there.is_closing():
                continue
            if piece is not None:
                there.write(piece)
            else:
                self._said_all = True
                with contextlib.suppress(OSError):  # it has ended in the meantime
                    there.write_eof()
                self._close_if_over()

    def _close_if_over(self) -> None:
        """Close both connections once both directions have ended."""
        if self.other is not None and self.other._said_all:
            for one in (self.other, self):
                if one.transport is not None:
                    one.transport.close()


class Proxy:
    """Passes connections to `listen` on to `target`, later by `delay` seconds in each direction."""

    def __init__(self, listen: Where, target: Where, *, delay: float = 0.0) -> None:
        """Port 0 takes a free one; `address` says which."""
        self.address = listen
        self.delays = [delay, delay]  # to the target, to the client
        self.links: set[_End] = set()
        self.dark = False
        self.loop = asyncio.new_event_loop()
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[_End] = []  # clients that came in the dark
        self._frozen: set[_End] = set()  # the clients of links that are or were
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def start(self) -> Self:
        """Begin to serve; raises `OSError` when the address is taken."""
        self._thread.start()
        self.accept()
        return self

    def set_delay(self, *, to_target: float, to_client: float) -> None:
        """Delay what comes from now on, in seconds."""
        self.delays[:] = [to_target, to_client]

    def black_hole(self) -> None:
        """Let nothing through any more and say nothing; new connections wait as well."""
        self._do(self._darken)

    def heal(self) -> None:
        """End a black hole: what has come meanwhile goes on its way."""
        self._do(self._lighten)

    def freeze(self, *, to_target: bool = True, to_client: bool = True) -> int:
        """Let the connections that are there die without a word; new ones work. Return how many.

        With one direction only the other goes on, as where a route is lost one way.
        """
        return self._do(self._freeze, to_target, to_client)

    def thaw(self) -> None:
        """Let frozen connections go on with what they have held back."""
        self._do(self._melt)

    def reset(self) -> int:
        """Reset every connection at once, on both sides; return how many."""
        return self._do(self._end_all, _abandon)

    def close(self) -> int:
        """Close every connection in order, on both sides; return how many."""
        return self._do(self._end_all, _finish)

    def refuse(self) -> None:
        """Refuse new connections; those that are there stay."""
        self._do(self._unlisten)

    def accept(self) -> None:
        """Take new connections again."""
        asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result(_PATIENCE_SECONDS)

    def stop(self) -> None:
        """End it, with its connections."""
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(_PATIENCE_SECONDS)
        # The resets are sent by callbacks that are in line before this one.
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def begin(self, client: _End) -> None:
        """Connect to the target for a client, or later when it is dark."""
        self.links.add(client)
        if self.dark:
            self._held.append(client)
        else:
            task = self.loop.create_task(self._connect(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, client: _End) -> None:
        there = _End(self, 1)
        there.other = client
        assert client.transport is not None
        try:
            await self.loop.create_connection(lambda: there, *self._target)
        except OSError:
            _abandon(client.transport)
            return
        if client.transport.is_closing():  # it has been ended meanwhile
            assert there.transport is not None
            _abandon(there.transport)
            return
        client.other = there
        client.transport.resume_reading()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _do(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run `work` in the proxy's thread and return what it returns."""

        async def run() -> Result:
            return work(*arguments)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(_PATIENCE_SECONDS)

    async def _listen(self) -> None:
        if self._server is None:
            host, port = self.address
            self._server = await self.loop.create_server(lambda: _End(self, 0), host, port)
            self.address = self._server.sockets[0].getsockname()[:2]

    def _unlisten(self) -> None:
        if self._server is not None:
            for listening in self._server.sockets:
                self.loop.remove_reader(listening.fileno())
            # Behind those that were accepted in this turn and are handed over in the next: once it
            # is closed, asyncio's server drops such a connection without closing it.
            self.loop.call_soon(self._server.close)
            self._server = None

    async def _end(self) -> None:
        self._unlisten()
        self.dark = True  # whoever comes still is held, and ended with the rest
        for task in self._tasks:
            task.cancel()
        # A task of asyncio's own may have a client in hand that was accepted a moment ago.
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        self._melt()
        self._end_all(_abandon)

    def _darken(self) -> None:
        self.dark = True

    def _lighten(self) -> None:
        self.dark = False
        held, self._held = self._held, []
        for client in held:
            if client.transport is not None and not client.transport.is_closing():
                self.begin(client)
        for client in list(self.links):
            client.pass_on()
            if client.other is not None:
                client.other.pass_on()

    def _freeze(self, to_target: bool, to_client: bool) -> int:
        clients = list(self.links)
        for client in clients:
            self._frozen.add(client)
            client.frozen |= to_target
            if client.other is not None:
                client.other.frozen |= to_client
        return len(clients)

    def _melt(self) -> None:
        for client in self._frozen:
            for one in (client, client.other):
                if one is not None:
                    one.frozen = False
                    one.pass_on()
            if client not in self.links:  # it has ended in silence
                for one in (client.other, client):
                    if one is not None and one.transport is not None:
                        _abandon(one.transport)
        self._frozen.clear()

    def _end_all(self, end: Callable[[asyncio.Transport], None]) -> int:
        links = list(self.links)
        for client in links:
            for one in (client.other, client):
                if one is not None and one.transport is not None:
                    end(one.transport)
        return len(links)


def _finish(transport: asyncio.Transport) -> None:
    transport.close()


def _abandon(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock.fileno() < 0:
        return  # it has been closed
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def _where(text: str) -> Where:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m lab.proxy", description=__doc__)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="in each direction")
    parser.add_argument("pairs", nargs="+", metavar="LISTEN=TARGET")
    options = parser.parse_args()
    proxies = []
    for pair in options.pairs:
        listen, _, target = pair.partition("=")
        proxies.append(Proxy(_where(listen), _where(target), delay=options.delay_ms / 1000).start())
    print("ready", flush=True)
    while os.read(0, 4096):
        pass


if __name__ == "__main__":
    main()
