"""Programs that run as the servers' user."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from lab.postgres.owner import owner, run


@pytest.fixture
def busy_grpc() -> Iterator[None]:
    """Keep threads of this process within gRPC, as the fixture of the provider host does."""
    server = grpc.server(ThreadPoolExecutor(4))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                grpc.channel_ready_future(channel).result(10)

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()
    server.stop(None)


@pytest.mark.usefixtures("busy_grpc")
def test_they_start_while_other_threads_use_grpc() -> None:
    for _ in range(40):
        assert run(["id", "-u"], {"PATH": "/usr/bin:/bin"}) == f"{owner().uid}\n"
