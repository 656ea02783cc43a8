"""Clients that do what a fence made of a default does not expect: nothing of theirs is lost."""

from __future__ import annotations

from bluegreen.switchover import switch
from tests.fixtures.switchable import Switchable


def test_clients_that_say_read_write_and_reconnect_lose_nothing(switchable: Switchable) -> None:
    """As pgx, JDBC and psycopg do when asked for an access mode, each time they begin."""
    world, pair = switchable, switchable.pair
    with world.writers(8, read_write=True) as writers:
        writers.wait_for(100, pair.source.cluster)
        there = switch(world.cutover())
        writers.wait_for(100, pair.target.cluster)
    assert there.slipped == 0
    assert set(writers.numbers()) <= set(world.rows(pair.target))
    assert set(world.rows(pair.source)) <= set(world.rows(pair.target))
