"""What makes a cluster unfit to be cloned or replicated from, decided over what was seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bluegreen.deployment.source_check import (
    ReplicationRole,
    SourceFacts,
    cloning_problem,
    replicating_problem,
)
from bluegreen.postgres.capacity import Capacity
from bluegreen.postgres.slot_limits import SlotLimits
from bluegreen.register.alterable import DeniedDatabase

ROLE = ReplicationRole(
    "repl", exists=True, can_login=True, can_replicate=True, rds_role_exists=True
)
ROOM = Capacity(
    max_slots=20,
    used_slots=0,
    max_senders=20,
    used_senders=0,
    max_workers=8,
    used_workers=0,
    max_processes=16,
    used_processes=1,
    enabled_subscriptions=0,
    origins_parameter="max_replication_slots",
    max_origins=20,
    used_origins=0,
)
FIT = SourceFacts(
    cluster="orders-1",
    wal_level="logical",
    capacity=ROOM,
    databases=frozenset({"app", "postgres"}),
    subscriptions=(),
    slots=frozenset(),
    origins=(),
    closed=False,
    role=ROLE,
)


def test_a_fit_source() -> None:
    assert cloning_problem(FIT, ["app"]) is None
    assert replicating_problem(FIT, ["app"], "green") is None


def test_a_missing_database_is_named_with_those_that_are_there() -> None:
    assert cloning_problem(FIT, ["app", "billing"]) == (
        "databases: billing not found on orders-1; it has app"
    )


def test_a_standby_is_no_source() -> None:
    assert "is closed to writers" in str(cloning_problem(replace(FIT, closed=True), ["app"]))


def test_a_subscriber_is_not_cloned() -> None:
    found = cloning_problem(replace(FIT, subscriptions=("feed in app",)), ["app"])
    assert "is a subscriber itself (feed in app)" in str(found)


def test_wal_level_names_the_parameter() -> None:
    found = replicating_problem(replace(FIT, wal_level="replica"), ["app"], "green")
    assert "set rds.logical_replication to 1" in str(found)


def test_another_deployment_is_named_and_ones_own_leftovers_are_not() -> None:
    slots = frozenset({"bg_green_forward_app", "bg_purple_forward_app", "debezium"})
    found = replicating_problem(replace(FIT, slots=slots), ["app"], "green")
    assert "(bg_purple_forward_app)" in str(found)
    own = replace(
        FIT,
        slots=frozenset({"bg_green_forward_app"}),
        capacity=replace(ROOM, used_slots=20, used_senders=20, used_workers=8, used_origins=20),
    )
    assert replicating_problem(own, ["app"], "green") is None


def test_a_database_that_can_not_be_closed_is_named_with_its_remedy_before_anything_is_made() -> (
    None
):
    denied = (DeniedDatabase("Billing", "billing_owner"), DeniedDatabase("old", "rdsadmin"))
    found = replicating_problem(replace(FIT, admin="Admin", unclosable=denied), ["app"], "green")
    assert found == (
        "source orders-1: Billing of billing_owner, old of rdsadmin can't be closed by 'Admin', so "
        'neither a clone nor the old side could be; GRANT "billing_owner" TO "Admin", or ALTER '
        'DATABASE "Billing" OWNER TO "Admin"'
    )


def test_slots_must_be_free_for_every_database() -> None:
    found = replace(FIT, capacity=replace(ROOM, used_slots=19))
    assert "19 of 20 replication slots are in use, 1 more needed" in str(
        replicating_problem(found, ["app", "billing"], "green")
    )


def test_senders_must_be_free_for_every_database() -> None:
    found = replace(FIT, capacity=replace(ROOM, used_senders=20))
    assert replicating_problem(found, ["app"], "green") == (
        "source orders-1: 20 of 20 WAL senders are in use, 1 more needed; raise max_wal_senders "
        "and reboot its writer"
    )


def test_the_way_back_needs_workers_and_origins_on_the_source() -> None:
    for room, parameter in (
        (replace(ROOM, used_workers=8), "max_logical_replication_workers"),
        (replace(ROOM, used_processes=16), "max_worker_processes"),
        (replace(ROOM, used_origins=20), "max_replication_slots"),
    ):
        found = replicating_problem(replace(FIT, capacity=room), ["app"], "green")
        assert f"1 more needed; raise {parameter}" in str(found)


@pytest.mark.parametrize(
    ("change", "statements"),
    [
        (
            {"exists": False, "can_login": False, "can_replicate": False},
            "CREATE ROLE \"repl\" LOGIN PASSWORD '(that of the secret)'; "
            'GRANT rds_replication TO "repl";',
        ),
        (
            {
                "exists": False,
                "can_login": False,
                "can_replicate": False,
                "rds_role_exists": False,
            },
            "CREATE ROLE \"repl\" LOGIN REPLICATION PASSWORD '(that of the secret)';",
        ),
        ({"can_login": False}, 'ALTER ROLE "repl" LOGIN;'),
        ({"can_replicate": False}, 'GRANT rds_replication TO "repl";'),
        (
            {"can_replicate": False, "rds_role_exists": False},
            'ALTER ROLE "repl" REPLICATION;',
        ),
        ({"name": 're"pl', "can_login": False}, 'ALTER ROLE "re""pl" LOGIN;'),
    ],
)
def test_the_role_is_refused_with_the_statements_that_mend_it(
    change: dict[str, bool], statements: str
) -> None:
    found = replace(FIT, role=replace(ROLE, **change))  # type: ignore[arg-type]
    assert str(replicating_problem(found, ["app"], "green")).endswith(f"run: {statements}")


def test_slots_outlive_the_making_of_the_clone() -> None:
    def said(limits: SlotLimits) -> str:
        return str(replicating_problem(replace(FIT, slot_limits=limits), ["app"], "green"))

    assert "max_slot_wal_keep_size is 64 MB" in said(SlotLimits(keep_mb=64))
    assert "idle_replication_slot_timeout is 3600 s" in said(SlotLimits(idle_seconds=3600))
    assert said(SlotLimits(keep_mb=100_000, idle_seconds=7 * 86400)) == "None"
