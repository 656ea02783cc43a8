"""Whether replication between two real servers is alive."""

from __future__ import annotations

import time

import pytest
from psycopg import sql

from bluegreen import running_direction
from bluegreen.errors import CloneAgain, Refused
from bluegreen.names import Direction
from bluegreen.server import Server
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MakeServer
from tests.fixtures.rds import PlacedClusters

NAME = "bg_green_forward"
SLOT = "bg_green_forward_app"
Pair = tuple[Server, LabServer, Server, LabServer]


@pytest.fixture(params=[(16, 18), (18, 16)], ids=["16-to-18", "18-to-16"])
def pair(request: pytest.FixtureRequest, make_server: MakeServer, placed: PlacedClusters) -> Pair:
    """Return publisher and subscriber, with one running subscription in `app`."""
    old, new = request.param
    writer, standby = make_server(old, "writer"), make_server(new, "standby")
    for server in (writer, standby):
        with server.connect() as conn:
            conn.execute("CREATE DATABASE app")
    source, target = placed.place(writer, "orders-1"), placed.place(standby, "orders-2")
    with writer.connect("app") as conn:
        conn.execute(sql.SQL("CREATE PUBLICATION {} FOR ALL TABLES").format(sql.Identifier(NAME)))
        conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (SLOT,))
    with standby.connect("app") as conn:
        conn.execute(
            sql.SQL(
                "CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {} "
                "WITH (create_slot=false, slot_name={}, copy_data=false)"
            ).format(
                sql.Identifier(NAME),
                sql.Literal(source.conninfo("app", "replication")),
                sql.Identifier(NAME),
                sql.Identifier(SLOT),
            )
        )
    return source, writer, target, standby


def require_healthy(source: Server, target: Server, *, seconds: float) -> None:
    running_direction.require_healthy(
        source,
        target,
        databases=["app"],
        deployment="green",
        direction=Direction.FORWARD,
        deadline=time.monotonic() + seconds,
    )


def test_a_running_direction_is_healthy(pair: Pair) -> None:
    source, _, target, _ = pair
    require_healthy(source, target, seconds=30)


def test_a_disabled_subscription_is_named(pair: Pair) -> None:
    source, _, target, standby = pair
    with standby.connect("app") as conn:
        conn.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(sql.Identifier(NAME)))
    with pytest.raises(Refused, match=f"subscription {NAME} in app on orders-2: disabled"):
        require_healthy(source, target, seconds=0)


def test_a_subscription_without_a_worker_is_named(pair: Pair) -> None:
    source, _, target, standby = pair
    require_healthy(source, target, seconds=30)
    standby.stop()
    standby.configure(max_logical_replication_workers="0")
    standby.start()
    with pytest.raises(Refused, match=f"{NAME} in app on orders-2: no worker runs"):
        require_healthy(source, target, seconds=0)


def test_a_dropped_slot_means_clone_again(pair: Pair) -> None:
    source, writer, target, standby = pair
    with standby.connect("app") as conn:
        conn.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(sql.Identifier(NAME)))
    with writer.connect("app") as conn:
        conn.execute(
            "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots "
            "WHERE slot_name = %s AND active",
            (SLOT,),
        )
        conn.execute("SELECT pg_drop_replication_slot(%s)", (SLOT,))
    with pytest.raises(CloneAgain, match=f"slot {SLOT} on orders-1: missing"):
        require_healthy(source, target, seconds=30)
