"""A subscription while things break: it goes on by itself, nothing is lost and nothing doubled."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from dynamic_providers.subscription import SubscriptionProvider
from lab.postgres.clone import wait_until
from tests.fixtures.provider_host import Host
from tests.fixtures.subscribed import Subscribed


@contextmanager
def _writing(this: Subscribed) -> Iterator[list[int]]:
    """Write rows all the while; yields how many were acknowledged."""
    stop, acknowledged = threading.Event(), [0]

    def write() -> None:
        while not stop.is_set():
            try:
                with this.source_lab.connect(this.database) as conn:
                    while not stop.is_set():
                        conn.execute("INSERT INTO orders (note) VALUES ('n')")
                        acknowledged[0] += 1
                        stop.wait(0.005)
            except psycopg.OperationalError:
                stop.wait(0.05)  # the server restarts: come again

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        thread.join()


def _kill_worker(this: Subscribed) -> None:
    this.on_target("SELECT pg_terminate_backend(%s)", this.wait_until_worker())


def _kill_worker_hard(this: Subscribed) -> None:
    """The server takes it for a crash and restarts all its processes."""
    os.kill(this.wait_until_worker(), signal.SIGKILL)


def _restart_publisher(this: Subscribed) -> None:
    this.source_lab.restart()


def _kill_publisher(this: Subscribed) -> None:
    """Its slot comes back at an older position: the origin makes that harmless."""
    this.source_lab.kill()
    this.source_lab.start()


def _kill_subscriber(this: Subscribed) -> None:
    this.target_lab.kill()
    this.target_lab.start()


@pytest.mark.parametrize(
    "break_it",
    [_kill_worker, _kill_worker_hard, _restart_publisher, _kill_publisher, _kill_subscriber],
    ids=lambda one: one.__name__.strip("_").replace("_", "-"),
)
def test_it_goes_on_by_itself(
    provider_host: Host, subscribed: Subscribed, break_it: Callable[[Subscribed], None]
) -> None:
    host = provider_host.of(SubscriptionProvider())
    # Without a key a row that came twice would show.
    for run in (subscribed.on_source, subscribed.on_target):
        run("ALTER TABLE orders DROP CONSTRAINT orders_pkey; ALTER TABLE orders"
            " REPLICA IDENTITY FULL")  # fmt: skip
    made = host.create(subscribed.props)
    subscribed.wait_until_worker()
    with _writing(subscribed) as acknowledged:
        _wait_for(acknowledged, 20)
        break_it(subscribed)
        _wait_for(acknowledged, acknowledged[0] + 20)
    subscribed.wait_until_equal()
    assert len(subscribed.ids("target")) >= acknowledged[0]
    live = host.read(made)
    assert live is not None
    assert not host.diff(live, subscribed.props).changes


def _wait_for(acknowledged: list[int], count: int) -> None:
    wait_until(lambda: acknowledged[0] >= count, "acknowledged rows")
