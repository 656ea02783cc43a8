"""What real life brings to a switch without any fault: large transactions, storms, silence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from bluegreen.errors import Retry
from bluegreen.postgres import server
from bluegreen.switch.completion import Switched
from bluegreen.switch.step import Step
from bluegreen.switch.switchover import switch
from tests.chaos.faults import Fault
from tests.chaos.rounds import Arena
from tests.chaos.servers import APP, DATABASES, PASSWORD, Deployment, Part
from tests.fixtures.switchable import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROWS = 1_500_000
BIG = DATABASES[0]
_FILL = "INSERT INTO bulk SELECT n, 'row' FROM generate_series(%s::bigint, %s::bigint) n"


@pytest.fixture(scope="module")
def quiet() -> Iterator[Deployment]:
    """Return a deployment without clients."""
    with Deployment.made() as made:
        server.remember(made.logins)
        yield made


@pytest.fixture
def world(quiet: Deployment) -> Deployment:
    """Return it ready for its next switch, with an empty table."""
    with quiet.old.connect(BIG) as conn:
        conn.execute("TRUNCATE bulk")
    quiet.prepare()
    return quiet


def _application(part: Part) -> psycopg.Connection[Any]:
    return part.connect(BIG, user=APP, password=PASSWORD)  # type: ignore[no-any-return]


def _rows(part: Part) -> int:
    with part.connect(BIG) as conn:
        row = conn.execute("SELECT count(*) FROM bulk").fetchone()
    return int(row[0])


def _switched(world: Deployment, **settings: Any) -> Switched:
    return switch(world.plan(fuse_seconds=20.0, drain_seconds=15.0, **settings))


def test_a_huge_transaction_just_before_the_switch_is_all_there(world: Deployment) -> None:
    """It is waited for while writers go on; a switch that is asked for less patience is refused."""
    with _application(world.old) as conn:
        conn.execute(_FILL, (1, ROWS))
    with pytest.raises(Retry, match="has not caught up"):
        _switched(world, lag_seconds=0.2)
    with _application(world.old) as conn:
        conn.execute("INSERT INTO ledger (client, n) VALUES (900, 1)")
    done = _switched(world, lag_seconds=120.0)
    assert _rows(world.new) == ROWS
    world.turn(done.mark)


def test_a_huge_transaction_that_the_fence_kills_leaves_nothing(world: Deployment) -> None:
    said: list[str | None] = []
    with _application(world.old) as conn:
        conn.execute("BEGIN")
        conn.execute(_FILL, (1, ROWS))

        def stay() -> None:
            try:
                conn.execute("SELECT pg_sleep(600)")
            except psycopg.Error as error:
                said.append(error.sqlstate)

        thread = threading.Thread(target=stay)
        thread.start()
        try:
            done = _switched(world, lag_seconds=60.0)
        finally:
            with world.old.connect() as end:
                end.execute("SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
            thread.join(30)
    assert said == ["57P01"]
    assert (_rows(world.old), _rows(world.new)) == (0, 0)
    world.turn(done.mark)


def test_a_transaction_open_across_the_switch_can_not_commit(world: Deployment) -> None:
    conn = _application(world.old)
    conn.execute("BEGIN")
    conn.execute(_FILL, (1, 1000))
    done = _switched(world)
    with pytest.raises(psycopg.OperationalError):
        conn.execute("COMMIT")
    assert (_rows(world.old), _rows(world.new)) == (0, 0)
    world.turn(done.mark)


def test_an_idle_source_is_switched(world: Deployment) -> None:
    """Nothing was written for longer than any keepalive of the replication takes."""
    with world.old.connect() as conn:
        began = conn.execute("SELECT clock_timestamp()").fetchone()
        wait_until(
            lambda: (
                conn.execute(
                    "SELECT min(reply_time) > %s + interval '6 s' FROM pg_stat_replication", began
                ).fetchone()
                == (True,)
            ),
            "the source is idle",
        )
    done = _switched(world)
    assert not done.repeated
    world.turn(done.mark)


def test_a_writer_whose_last_wal_is_not_published_is_switched(world: Deployment) -> None:
    """No subscription ever confirms that WAL, so whoever compares positions waits for ever."""
    with world.old.connect("postgres") as conn:
        conn.execute("DROP TABLE IF EXISTS unseen")
        conn.execute("CREATE TABLE unseen AS SELECT generate_series(1, 200000) n")
        conn.execute("SELECT pg_switch_wal()")
    done = _switched(world)
    assert not done.repeated
    world.turn(done.mark)


@pytest.mark.long
def test_storms_of_two_hundred_clients() -> None:
    """All sessions are ended right before the fence, so that all start while it is put up."""
    with Arena.made(200, roaming=200, pace_seconds=1.0) as arena:
        arena.fuse_seconds = 10.0
        for _ in range(20):
            assert arena.play(Fault.STORM, Step.REGISTER).gate
        arena.compare()
