"""The guard on real servers: who may be destroyed when, through its provider."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.names import Direction
from bluegreen.postgres.server import Server
from bluegreen.register import register
from dynamic_providers.host_errors import ProviderError
from dynamic_providers.retirement_guard import RetirementGuardProvider
from tests.fixtures.rds import PlacedClusters
from tests.fixtures.replicated import Pair

provider = RetirementGuardProvider()


def retire(server: Server, *, deployment: str | None = None, **changes: Any) -> None:
    """Delete the guard of an environment."""
    applied = {
        "server": server.to_props(),
        "databases": ["app"],
        "deployment": deployment,
        "stack": "green" if deployment else "blue",
        "deletion_protection": False,
        "retire": False,
    }
    made = provider.create(applied | changes)
    assert made.outs is not None
    provider.delete(made.id, made.outs)


def switch(pair: Pair) -> None:
    pair.close(pair.source)
    pair.publish(pair.target, Direction.REVERSE)
    pair.open(pair.target)
    pair.subscribe(pair.source, pair.target, Direction.REVERSE)
    pair.unsubscribe(pair.target, Direction.FORWARD)
    drop_slot(pair, pair.source, "bg_green_forward_app")


def drop_slot(pair: Pair, server: Server, name: str) -> None:
    with pair.lab(server).connect("app") as conn:
        conn.execute(
            "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots "
            "WHERE slot_name = %s AND active",
            (name,),
        )
        conn.execute("SELECT pg_drop_replication_slot(%s)", (name,))


def test_before_the_cutover_the_target_may_go_and_the_source_stays(pair: Pair) -> None:
    retire(pair.target, deployment="green")
    with pytest.raises(ProviderError, match="orders-1: is the writer"):
        retire(pair.source)
    with pytest.raises(ProviderError, match="for others \\(slot bg_green_forward_app\\)"):
        retire(pair.source, retire=True)


def test_in_the_rollback_window_neither_may_go(pair: Pair) -> None:
    switch(pair)
    with pytest.raises(ProviderError, match="subscription bg_green_reverse in app"):
        retire(pair.source)
    with pytest.raises(ProviderError, match="orders-2: is the writer"):
        retire(pair.target, deployment="green")


def test_after_final_the_source_may_go(pair: Pair) -> None:
    switch(pair)
    pair.unsubscribe(pair.source, Direction.REVERSE)
    retire(pair.source)
    with pytest.raises(ProviderError, match="orders-2: is the writer"):
        retire(pair.target, deployment="green")


def test_after_a_rollback_the_target_may_go_again(pair: Pair) -> None:
    switch(pair)
    pair.close(pair.target)
    pair.publish_again(pair.source, Direction.FORWARD)
    pair.open(pair.source)
    pair.subscribe(pair.target, pair.source, Direction.FORWARD)
    pair.unsubscribe(pair.source, Direction.REVERSE)
    retire(pair.target, deployment="green")


def test_the_protection_comes_first(pair: Pair) -> None:
    with pytest.raises(
        ProviderError, match=r"deletion_protection false -s green && pulumi up -s green"
    ):
        retire(pair.target, deployment="green", deletion_protection=True)


def test_a_switch_in_progress_stops_it(pair: Pair) -> None:
    register.ensure_database(pair.target)
    with pair.target_lab.connect("bluegreen") as conn:
        register.begin(conn, "a", "orders-1", seconds=60)
    with pytest.raises(ProviderError, match="a switch is in progress"):
        retire(pair.target, deployment="green")


def test_a_server_out_of_reach_is_an_error_and_one_that_is_gone_is_not(
    pair: Pair, placed: PlacedClusters
) -> None:
    pair.target_lab.stop()
    with pytest.raises(ProviderError, match="can't connect"):
        retire(pair.target, deployment="green")
    placed.rds.delete_db_instance(DBInstanceIdentifier="orders-2-1", SkipFinalSnapshot=True)
    placed.rds.delete_db_cluster(DBClusterIdentifier="orders-2", SkipFinalSnapshot=True)
    retire(pair.target, deployment="green", deletion_protection=True)
