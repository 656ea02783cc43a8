"""Each obstacle to a major upgrade is named, with what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bluegreen.upgrade.obstacles import Obstacles, problem

NOTHING = Obstacles("orders-2", open_to_writers=False)


def test_nothing_in_the_way() -> None:
    assert problem(NOTHING) is None


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("prepared", "tx1 in app", "ROLLBACK PREPARED"),
        ("invalid_databases", "half", "drop them"),
        ("slots", "debezium", "pg_drop_replication_slot"),
        ("subscriptions", "bg_green_forward in app", "destroy this deployment"),
        ("unconnectable_databases", "hidden", "ALLOW_CONNECTIONS true"),
        ("open_template0", "template0", "ALLOW_CONNECTIONS false"),
        ("unstorable_columns", "public.t.c (regproc) in app", "change their type"),
        ("looser_children", "public.child.c in app", "SET NOT NULL"),
    ],
)
def test_each_obstacle_is_named(field: str, value: str, remedy: str) -> None:
    found = problem(replace(NOTHING, **{field: (value,)}))  # type: ignore[arg-type]
    assert found is not None
    assert found.startswith("cluster orders-2: ")
    assert value in found
    assert remedy in found
    assert "\n" not in found


def test_clients_are_an_obstacle_only_where_they_can_write() -> None:
    clients = replace(NOTHING, sessions=("app in orders",))
    assert problem(clients) is None
    found = problem(replace(clients, open_to_writers=True))
    assert found is not None
    assert "serves clients (app in orders)" in found
