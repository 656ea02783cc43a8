"""A lab's servers behind its proxies: the address that AWS tells is the proxy's."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg

from lab.postgres.fleet import Fleet
from lab.postgres.slow import proxy_of, start_proxies

_DELAY_MS = 40.0


def test_every_round_trip_to_a_primary_takes_both_ways_of_the_delay(
    postgres_root: Path, block: str
) -> None:
    fleet = Fleet(postgres_root / "slow", block, 5434, proxied=True)
    proxies = start_proxies(block, 5434, _DELAY_MS)
    assert proxies is not None
    try:
        host, port = fleet.create(
            "arn:slow",
            major=18,
            parameters={},
            master_username="clusteradmin",
            master_password="secret",
            database="app",
        )
        assert host == proxy_of(fleet.server("arn:slow").host)
        with psycopg.connect(
            host=host, port=port, dbname="app", user="clusteradmin", password="secret"
        ) as conn:
            started = time.monotonic()
            conn.execute("SELECT 1")
            assert time.monotonic() - started >= 2 * _DELAY_MS / 1000
        assert fleet.server("arn:slow").peer is not None
        assert fleet.server("arn:slow").peer in (proxy_of(f"{block}.11"), proxy_of(f"{block}.12"))
    finally:
        fleet.close()
        proxies.communicate()
    assert proxies.returncode == 0
