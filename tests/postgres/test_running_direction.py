"""Whether replication between two real servers is alive."""

from __future__ import annotations

import time

import pytest
from psycopg import sql

from bluegreen.errors import CloneAgain, Refused
from bluegreen.names import Direction
from bluegreen.replication import running_direction
from tests.fixtures.replicated import Pair

NAME = "bg_green_forward"
SLOT = "bg_green_forward_app"


def require_healthy(pair: Pair, *, seconds: float) -> None:
    running_direction.require_healthy(
        pair.source,
        pair.target,
        databases=["app"],
        deployment="green",
        direction=Direction.FORWARD,
        deadline=time.monotonic() + seconds,
    )


def test_a_running_direction_is_healthy(pair: Pair) -> None:
    require_healthy(pair, seconds=30)


def test_a_disabled_subscription_is_named(pair: Pair) -> None:
    with pair.target_lab.connect("app") as conn:
        conn.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(sql.Identifier(NAME)))
    with pytest.raises(Refused, match=f"subscription {NAME} in app on orders-2: disabled"):
        require_healthy(pair, seconds=0)


def test_a_subscription_without_a_worker_is_named(pair: Pair) -> None:
    require_healthy(pair, seconds=30)
    pair.target_lab.stop()
    pair.target_lab.configure(max_logical_replication_workers="0")
    pair.target_lab.start()
    with pytest.raises(Refused, match=f"{NAME} in app on orders-2: no worker runs"):
        require_healthy(pair, seconds=0)


def test_a_dropped_slot_means_clone_again(pair: Pair) -> None:
    with pair.target_lab.connect("app") as conn:
        conn.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(sql.Identifier(NAME)))
    with pair.source_lab.connect("app") as conn:
        conn.execute(
            "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots "
            "WHERE slot_name = %s AND active",
            (SLOT,),
        )
        conn.execute("SELECT pg_drop_replication_slot(%s)", (SLOT,))
    with pytest.raises(CloneAgain, match=f"slot {SLOT} on orders-1: missing"):
        require_healthy(pair, seconds=30)
