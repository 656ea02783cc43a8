"""Nothing is switched while a published table is not subscribed and ready, on real servers."""

from __future__ import annotations

import pytest

from bluegreen.errors import Refused, Retry
from bluegreen.names import Direction
from bluegreen.replication import caught_up, coverage
from bluegreen.switch.switchover import switch
from tests.fixtures.rds import REPLICATOR
from tests.fixtures.readiness import blockers
from tests.fixtures.replicated import DATABASE, DEPLOYMENT
from tests.fixtures.switchable import APP, Switchable, wait_until

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)

SUBSCRIPTION = "bg_green_forward"
LIMITS = caught_up.Limits(lag_ms=5000, stable_seconds=0.2, timeout_seconds=60)


def _on(world: Switchable, sides: str, statement: str) -> None:
    """Run `statement` on the standby, then on the writer, or on one of them."""
    pair = world.pair
    servers = {"both": (pair.target, pair.source), "writer": (pair.source,)}
    for server in servers.get(sides, (pair.target,)):
        with pair.connect(server) as conn:
            conn.execute(statement)


def _look(world: Switchable) -> coverage.Coverage:
    pair = world.pair
    with pair.connect(pair.source) as here, pair.connect(pair.target) as there:
        return coverage.inspect(here, there, [SUBSCRIPTION], SUBSCRIPTION)


def _refused_everywhere(world: Switchable, words: str) -> None:
    """Require that report, gate and switch name the same table, and that nothing was moved."""
    assert any(words in line for line in blockers(world)), blockers(world)
    with pytest.raises(Refused) as by_switch:
        switch(world.cutover())
    assert words in str(by_switch.value)
    assert world.open_sides() == [world.pair.source.cluster]


def _wait_for_the_gate(world: Switchable) -> float:
    pair = world.pair
    return caught_up.wait(
        pair.source,
        pair.target,
        databases=(DATABASE,),
        deployment=DEPLOYMENT,
        direction=Direction.FORWARD,
        limits=LIMITS,
    )


def test_a_table_made_on_both_sides_is_named_until_it_is_taken_in(switchable: Switchable) -> None:
    """One that is made on the writer only is named as well, and needs its twin first."""
    world = switchable
    odd = 'CREATE TABLE "In.voices" (id int PRIMARY KEY)'
    _on(
        world,
        "both",
        f'{odd}; GRANT ALL ON "In.voices" TO {APP}; GRANT SELECT ON "In.voices" TO {REPLICATOR}',
    )
    _on(world, "writer", 'INSERT INTO "In.voices" SELECT generate_series(1, 1000)')
    _refused_everywhere(world, 'tables published and not subscribed: public."In.voices"')
    with pytest.raises(Refused, match=r"not subscribed.*pulumi up"):
        _wait_for_the_gate(world)

    _on(world, "standby", f"ALTER SUBSCRIPTION {SUBSCRIPTION} REFRESH PUBLICATION")
    _wait_for_the_gate(world)
    assert _look(world).complete
    assert blockers(world) == []

    _on(world, "writer", "CREATE TABLE only_here (id int PRIMARY KEY)")
    _refused_everywhere(world, "published tables missing on the standby: public.only_here")
    _on(world, "writer", "DROP TABLE only_here")
    switch(world.cutover())
    with world.pair.connect(world.pair.target) as conn:
        assert conn.execute('SELECT count(*) FROM "In.voices"').fetchone() == (1000,)


def test_a_copy_that_is_under_way_is_named_and_waited_for(switchable: Switchable) -> None:
    world = switchable
    _on(
        world, "both", f"CREATE TABLE big (id int PRIMARY KEY); GRANT SELECT ON big TO {REPLICATOR}"
    )
    _on(world, "writer", "INSERT INTO big SELECT generate_series(1, 1000)")
    with world.pair.connect(world.pair.target) as holder:
        # The copy waits for this lock, which the refresh passes.
        holder.execute("BEGIN; LOCK TABLE big IN SHARE MODE")
        with world.pair.connect(world.pair.target) as conn:
            conn.execute(f"ALTER SUBSCRIPTION {SUBSCRIPTION} REFRESH PUBLICATION")
        wait_until(lambda: bool(_look(world).unready), "a copy under way")
        _refused_everywhere(world, "tables whose first copy is not over: public.big")
        late = caught_up.Limits(lag_ms=5000, stable_seconds=0.1, timeout_seconds=1.5)
        with pytest.raises(Retry, match=r"first copy of .*public\.big"):
            caught_up.wait(
                world.pair.source,
                world.pair.target,
                databases=(DATABASE,),
                deployment=DEPLOYMENT,
                direction=Direction.FORWARD,
                limits=late,
            )
    _wait_for_the_gate(world)
    assert _look(world).complete
    switch(world.cutover())
