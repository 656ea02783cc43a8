"""Whole deployments between majors: 16 and 18 always, 14, 15 and 17 where they are installed.

Every pair loses nothing and doubles nothing under clients that write all the time, there and back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from bluegreen import names
from bluegreen.names import Direction
from bluegreen.postgres import owned
from bluegreen.register import register
from bluegreen.replication import heartbeat
from lab.postgres import clone as copies
from lab.postgres.binaries import available, binaries
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MakeServer
from tests.fixtures.provider_host import Host, Made
from tests.fixtures.rds import PlacedClusters
from tests.fixtures.replicated import DATABASE, DEPLOYMENT, Pair
from tests.fixtures.switchable import Switchable, Writers
from tests.versions import life as steps
from tests.versions.life import Life

CLONED = [(15, 16), (15, 18), (16, 18), (15, 15), (16, 16), (18, 18)]
COPIED = [(14, 16), (15, 17), (17, 18)]
# Which `make test-all` leaves to `make test-versions` and `make test-long`.
LONG = {(15, 18), (15, 15), (16, 16), (15, 17)}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _params(pairs: list[tuple[int, int]]) -> list[Any]:
    return [
        pytest.param(
            pair,
            id=f"{pair[0]}-to-{pair[1]}",
            marks=[pytest.mark.long] if pair in LONG else [],
        )
        for pair in pairs
    ]


@pytest.fixture
def majors(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Return the pair; without its binaries the test is skipped, saying so."""
    pair: tuple[int, int] = request.param
    for major in pair:
        if major not in available():
            pytest.skip(f"PostgreSQL {major} is not installed: `make more-versions` fetches it")
    return pair


@pytest.fixture
def source(majors: tuple[int, int], make_server: MakeServer) -> LabServer:
    """Return a writer of the older major with rows."""
    server = make_server(majors[0], "writer")
    steps.make_database(server)
    with server.connect(DATABASE) as conn:
        conn.execute(steps.ROWS)
    return server


@pytest.fixture
def life(source: LabServer, placed: PlacedClusters, provider_host: Host) -> Life:
    """Return a deployment whose source has its register."""
    placed_source = placed.place(source, "orders-1")
    register.ensure_database(placed_source)
    return Life(provider_host, placed_source, source)


@pytest.fixture
def copies_made() -> Iterator[list[LabServer]]:
    """Return a list of servers to remove at the end."""
    made: list[LabServer] = []
    yield made
    for server in made:
        server.remove()


@pytest.mark.parametrize("majors", _params(CLONED), indirect=True)
def test_a_clone_is_upgraded_switched_to_and_back_without_loss(
    majors: tuple[int, int], life: Life, placed: PlacedClusters, copies_made: list[LabServer]
) -> None:
    old, new = majors
    if not binaries(old).complete:
        pytest.skip(f"this PostgreSQL {old} has no pg_basebackup or pg_upgrade; Debian's 15 has")
    source_lab = life.source_lab
    life.publish(life.source, Direction.FORWARD)
    pair = Pair(life.source, life.source, source_lab, source_lab)  # until there is a target
    with Switchable(pair).writers() as writers:
        writers.wait_for(100, life.source.cluster)
        slot = life.slot(life.source, Direction.FORWARD)
        target_lab = steps.copy_of(source_lab, 60)
        copies_made.append(target_lab)
        copies.clone(source_lab, target_lab, dict(source_lab.parameters))
        credentials = life.source.credentials
        target = placed.place_with(target_lab, "orders-2", credentials)
        steps.share_volume("orders-1", "orders-2")
        start = life.origin(target)
        if new != old:
            upgraded = copies.upgrade(target_lab, new, dict(source_lab.parameters))
            copies_made[:] = [upgraded]
            target_lab = upgraded
        writers.wait_for(100, life.source.cluster)
    there_and_back(life, Pair(life.source, target, source_lab, target_lab), slot, start, writers)


@pytest.mark.parametrize("majors", _params(COPIED), indirect=True)
def test_a_target_filled_by_a_first_copy_is_switched_to_and_back_without_loss(
    majors: tuple[int, int], life: Life, placed: PlacedClusters, make_server: MakeServer
) -> None:
    source_lab = life.source_lab
    # The sides are compared, and so are the rights of their masters: 14 and 15 have no such mode.
    target_lab = make_server(majors[1], "standby", aurora=source_lab.aurora)
    steps.make_database(target_lab)
    target = placed.place(target_lab, "orders-2")
    with target_lab.connect(DATABASE) as conn:
        heartbeat.ensure(conn)
    life.publish(life.source, Direction.FORWARD)
    pair = Pair(life.source, target, source_lab, target_lab)
    with Switchable(Pair(life.source, life.source, source_lab, source_lab)).writers() as writers:
        writers.wait_for(100, life.source.cluster)
        name = names.slot(DEPLOYMENT, Direction.FORWARD, DATABASE)
        with steps.snapshot_of_new_slot(source_lab, name) as snapshot:
            steps.first_copy(source_lab, target_lab, snapshot)
        with source_lab.connect(DATABASE) as conn:
            owned.note_slot(
                conn, name, publication=names.publication(DEPLOYMENT, Direction.FORWARD)
            )
        slot = life.slot(life.source, Direction.FORWARD)  # which is taken over
        steps.close(target)
        writers.wait_for(100, life.source.cluster)
    there_and_back(life, pair, slot, str(slot.outs["consistent_point"]), writers)


def there_and_back(life: Life, pair: Pair, slot: Made, start: str, before: Writers) -> None:
    """Replicate, cut over and roll back under load; nothing is lost, doubled or different."""
    world = Switchable(pair)
    life.publish(pair.target, Direction.REVERSE)
    switchover = life.register(pair.target, start)
    forward = life.subscribe(
        pair.target, pair.target_lab.major, pair.source, Direction.FORWARD, start
    )
    life.catch_up(pair.source, pair.target, Direction.FORWARD)
    life.copy_sequences(pair.source, pair.target)
    forward = life.take_in(forward, pair.source_lab, pair.target_lab)
    life.catch_up(pair.source, pair.target, Direction.FORWARD)
    assert steps.differences(pair.source_lab, pair.target_lab) == []
    assert world.open_sides() == [pair.source.cluster]

    with world.writers() as writers:
        writers.wait_for(100, pair.source.cluster)
        reverse_slot = life.slot(pair.target, Direction.REVERSE)
        switchover = life.switch(switchover, "target")
        writers.wait_for(100, pair.target.cluster)
        reverse = life.subscribe(
            pair.source,
            pair.source_lab.major,
            pair.target,
            Direction.REVERSE,
            str(switchover.outs["mark"]),
        )
        life.unsubscribe(forward)
        life.drop_slot(slot)
        life.catch_up(pair.target, pair.source, Direction.REVERSE)
    assert steps.differences(pair.target_lab, pair.source_lab) == []

    with world.writers() as later:
        later.wait_for(100, pair.target.cluster)
        slot = life.slot(pair.source, Direction.FORWARD)
        switchover = life.switch(switchover, "source")
        later.wait_for(100, pair.source.cluster)
        forward = life.subscribe(
            pair.target,
            pair.target_lab.major,
            pair.source,
            Direction.FORWARD,
            str(switchover.outs["mark"]),
        )
        life.unsubscribe(reverse)
        life.drop_slot(reverse_slot)
        life.catch_up(pair.source, pair.target, Direction.FORWARD)
    assert steps.differences(pair.source_lab, pair.target_lab) == []

    acknowledged = [*before.numbers(), *writers.numbers(), *later.numbers()]
    assert len(acknowledged) == len(set(acknowledged))
    assert set(acknowledged) <= set(world.rows(pair.source))
    for moved in (writers, later):
        clusters = [cluster for _, cluster, _ in sorted(moved.acknowledged)]
        assert sum(a != b for a, b in itertools.pairwise(clusters)) == 1
