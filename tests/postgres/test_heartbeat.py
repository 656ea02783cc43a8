"""The heartbeat's schema, made by two deployments of one source at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bluegreen.replication import heartbeat
from tests.fixtures.databases import Database
from tests.fixtures.switchable import wait_until


def test_two_that_make_it_at_once_share_it(make_database: Callable[..., Database]) -> None:
    database = make_database(18)
    with (
        database.connect() as first,
        database.connect() as second,
        database.connect() as watch,
        ThreadPoolExecutor(1) as pool,
    ):
        pid = second.info.backend_pid
        with first.transaction():
            heartbeat.ensure(first)
            making = pool.submit(heartbeat.ensure, second)
            waits = "SELECT FROM pg_locks WHERE pid = %s AND NOT granted"
            wait_until(lambda: watch.execute(waits, (pid,)).fetchone() is not None, "the second")
        making.result(timeout=60)
        assert heartbeat.seen(first, heartbeat.beat(second))
