"""The lab's proxy: what it passes on, how late, and how it breaks connections."""

from __future__ import annotations

import contextlib
import gc
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from lab.proxy import Proxy
from tests.fixtures.switchable import wait_until


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """Return the address of a server that says everything back."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(conn: socket.socket) -> None:
        with conn:
            try:
                while piece := conn.recv(4096):
                    conn.sendall(piece)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                conn, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(conn,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listening.getsockname()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", 0), echo) as running:
        yield running


def connect(proxy: Proxy) -> socket.socket:
    conn = socket.create_connection(proxy.address, timeout=10)
    assert said_back(conn, b"hello") == b"hello"  # the connection behind it is there as well
    return conn


def said_back(conn: socket.socket, text: bytes) -> bytes:
    conn.sendall(text)
    got = b""
    while len(got) < len(text):
        piece = conn.recv(4096)
        if not piece:
            break
        got += piece
    return got


def test_all_bytes_come_back_in_order(proxy: Proxy) -> None:
    text = bytes(range(256)) * 4000
    with connect(proxy) as conn:
        sender = threading.Thread(target=conn.sendall, args=(text,))
        sender.start()
        got = b""
        while len(got) < len(text):
            got += conn.recv(1 << 16)
        sender.join()
    assert got == text


def test_the_end_of_one_side_comes_after_all_it_said(proxy: Proxy) -> None:
    proxy.set_delay(to_target=0.03, to_client=0.03)
    with connect(proxy) as conn:
        conn.sendall(b"last words")
        conn.shutdown(socket.SHUT_WR)
        assert conn.recv(100) == b"last words"
        assert conn.recv(100) == b""


def test_each_direction_has_its_own_delay_and_pieces_do_not_add_up(proxy: Proxy) -> None:
    with connect(proxy) as conn:
        proxy.set_delay(to_target=0.15, to_client=0.05)
        started = time.monotonic()
        for _ in range(20):
            conn.sendall(b"x")
        got = b""
        while len(got) < 20:
            got += conn.recv(100)
        taken = time.monotonic() - started
    assert 0.2 <= taken < 2  # twenty delays one after the other would be four seconds


def test_a_reset_is_a_reset_and_not_an_end(proxy: Proxy) -> None:
    with connect(proxy) as conn:
        assert proxy.reset() == 1
        with pytest.raises(ConnectionResetError):
            conn.recv(100)


def test_a_close_is_an_orderly_end(proxy: Proxy) -> None:
    with connect(proxy) as conn:
        assert proxy.close() == 1
        assert conn.recv(100) == b""


def test_a_black_hole_says_nothing_and_what_it_held_comes_after_it(proxy: Proxy) -> None:
    with connect(proxy) as conn:
        proxy.black_hole()
        conn.sendall(b"anybody?")
        conn.settimeout(0.3)
        with pytest.raises(TimeoutError):
            conn.recv(100)
        with socket.create_connection(proxy.address, timeout=0.3) as other:
            other.sendall(b"here?")
            with pytest.raises(TimeoutError):
                other.recv(100)
        proxy.heal()
        conn.settimeout(10)
        assert conn.recv(100) == b"anybody?"


@pytest.mark.parametrize("end", [Proxy.reset, Proxy.stop])
def test_a_client_that_waits_in_the_dark_is_ended_with_the_rest(
    echo: tuple[str, int], end: Callable[[Proxy], object]
) -> None:
    with ExitStack() as stack:
        proxy = Proxy(("127.0.0.1", 0), echo).start()
        if end is not Proxy.stop:
            stack.callback(proxy.stop)
        proxy.black_hole()
        conn = stack.enter_context(socket.create_connection(proxy.address, timeout=10))
        wait_until(lambda: bool(proxy.links), "the proxy has taken the client")
        end(proxy)
        with pytest.raises(ConnectionResetError):
            conn.recv(100)


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_clients_that_come_while_it_ends_are_let_go_of(echo: tuple[str, int]) -> None:
    """Who is accepted as it stops listening had nobody who would close the connection."""
    for _ in range(5):
        proxy, over = Proxy(("127.0.0.1", 0), echo).start(), threading.Event()
        came: list[Proxy] = []
        storm = [threading.Thread(target=_come_and_go, args=(proxy, came, over)) for _ in range(4)]
        for client in storm:
            client.start()
        wait_until(lambda: len(came) > 20, "a storm")  # noqa: B023  # called in this round only
        proxy.stop()
        over.set()
        for client in storm:
            client.join()
    gc.collect()  # where it says what was left open


def _come_and_go(proxy: Proxy, came: list[Proxy], over: threading.Event) -> None:
    while not over.is_set():
        with contextlib.suppress(OSError), socket.create_connection(proxy.address, timeout=10):
            came.append(proxy)


def test_refusing_leaves_what_is_there_and_accepting_takes_new_ones(proxy: Proxy) -> None:
    with connect(proxy) as conn:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(proxy.address, timeout=10)
        assert said_back(conn, b"still here") == b"still here"
        proxy.accept()
        connect(proxy).close()


def test_a_target_that_is_not_there_resets_the_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()
    with (
        Proxy(("127.0.0.1", 0), nobody) as proxy,
        pytest.raises(ConnectionResetError),  # by the first read, or while still connecting
        socket.create_connection(proxy.address, timeout=10) as conn,
    ):
        conn.recv(100)


def test_the_command_serves_until_its_input_ends(echo: tuple[str, int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        host, port = free.getsockname()
    process = subprocess.Popen(
        [sys.executable, "-m", "lab.proxy", f"{host}:{port}={echo[0]}:{echo[1]}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"ready\n"
    with socket.create_connection((host, port), timeout=10) as conn:
        assert said_back(conn, b"hello") == b"hello"
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()
