"""A whole switch, there and back, as a master user who is no superuser; and what he must have."""

from __future__ import annotations

import pytest

from bluegreen.errors import Refused
from bluegreen.switch.switchover import switch
from tests.fixtures.postgres import MASTER
from tests.fixtures.readiness import blockers
from tests.fixtures.replicated import DATABASE
from tests.fixtures.switchable import APP, Switchable


def test_a_cutover_and_a_rollback_as_an_ordinary_master_lose_nothing(
    ordinary: Switchable,
) -> None:
    world, pair = ordinary, ordinary.pair
    for server in (pair.source, pair.target):
        with server.connect(DATABASE) as conn:
            assert conn.execute("SHOW is_superuser").fetchone() == ("off",)
    assert blockers(world) == []
    before = world.catalogs(pair.source)
    with world.writers() as writers:
        writers.wait_for(100, pair.source.cluster)
        there = switch(world.cutover(fence="no-login"))
        writers.wait_for(100, pair.target.cluster)
        world.run_reverse(str(there.mark))
        pair.publish_again_after_drop(pair.source)
        back = switch(world.rollback(fence="no-login"))
        writers.wait_for(100, pair.source.cluster)
    numbers = writers.numbers()
    assert there.slipped == back.slipped == 0
    assert len(numbers) == len(set(numbers))
    assert set(numbers) <= set(world.rows(pair.source))
    assert world.catalogs(pair.source) == before


def test_what_an_ordinary_master_lacks_is_refused_by_name(ordinary: Switchable) -> None:
    world, pair = ordinary, ordinary.pair
    lacks = [
        (f"REVOKE pg_signal_backend FROM {MASTER}", "lacks on orders-1: pg_signal_backend;"),
        (f"REVOKE pg_monitor FROM {MASTER}", "lacks on orders-1: pg_read_all_stats;"),
        (f"ALTER ROLE {MASTER} NOREPLICATION", "lacks on orders-1: REPLICATION;"),
        (f"ALTER ROLE {MASTER} NOCREATEROLE", f"can't alter on orders-1: {APP};"),
        (f"REVOKE ADMIN OPTION FOR {APP} FROM {MASTER}", f"can't alter on orders-1: {APP};"),
        ("ALTER DATABASE postgres OWNER TO rdsadmin", "databases of others: postgres of rdsadmin;"),
    ]
    fixes = (
        f"GRANT pg_signal_backend, pg_monitor TO {MASTER}; ALTER ROLE {MASTER} CREATEROLE"
        f" REPLICATION; GRANT {APP} TO {MASTER} WITH ADMIN OPTION;"
        f"ALTER DATABASE postgres OWNER TO {MASTER}"
    )
    for statement, said in lacks:
        if pair.source_lab.aurora and "can't alter" in said:
            continue  # rds_superuser may alter the roles of others
        with pair.source_lab.as_superuser() as conn:
            conn.execute(statement)
        with pytest.raises(Refused, match=said):
            switch(world.cutover())
        with pair.source_lab.as_superuser() as conn:
            conn.execute(fixes)
    with pair.target_lab.as_superuser() as conn:
        conn.execute(f"ALTER DATABASE {DATABASE} OWNER TO rdsadmin")
    with pytest.raises(Refused, match=f"databases of others: {DATABASE} of rdsadmin on orders-2;"):
        switch(world.cutover())
    assert world.open_sides() == [pair.source.cluster]
