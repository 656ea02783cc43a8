"""Rows that others bring to the writer, and that `origin = none` leaves out without an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bluegreen.deployment import source_check
from bluegreen.errors import Refused
from bluegreen.replication import heartbeat
from bluegreen.switch.switchover import switch
from lab.postgres.server import LabServer
from tests.fixtures.readiness import blockers
from tests.fixtures.replicated import DATABASE, DEPLOYMENT
from tests.fixtures.switchable import Switchable, wait_until

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)


@contextmanager
def _origin(lab: LabServer, name: str) -> Iterator[None]:
    """Let another tool have an origin there."""
    with lab.connect(DATABASE) as conn:
        conn.execute("SELECT pg_replication_origin_create(%s)", (name,))
    yield
    with lab.connect(DATABASE) as conn:
        conn.execute("SELECT pg_replication_origin_drop(%s)", (name,))


def _write_under(lab: LabServer, name: str) -> int:
    with lab.connect(DATABASE) as conn:
        conn.execute("SELECT pg_replication_origin_session_setup(%s)", (name,))
        row = conn.execute("INSERT INTO ledger DEFAULT VALUES RETURNING n").fetchone()
    assert row is not None
    return int(str(row[0]))


def test_what_is_written_under_an_origin_is_left_out_and_so_refused_by_name(
    switchable: Switchable,
) -> None:
    """The server says no word: the row is missing there, and the heartbeat behind it is not."""
    world = switchable
    pair = world.pair
    with _origin(pair.source_lab, "pglogical_of_sales"):
        n = _write_under(pair.source_lab, "pglogical_of_sales")
        with pair.source.connect(DATABASE) as here, pair.target.connect(DATABASE) as there:
            token = heartbeat.beat(here)
            wait_until(lambda: heartbeat.seen(there, token), "the heartbeat behind the row")
        assert n in world.rows(pair.source)
        assert n not in world.rows(pair.target)

        assert any("pglogical_of_sales" in line for line in blockers(world))
        with pytest.raises(Refused, match=r"origins of others.*pglogical_of_sales"):
            switch(world.cutover())
        assert world.open_sides() == [pair.source.cluster]

        found = source_check.inspect(pair.source, [DATABASE])
        assert "pglogical_of_sales" in str(
            source_check.replicating_problem(found, [DATABASE], DEPLOYMENT)
        )
    with world.pair.lab(pair.target).connect(DATABASE) as conn:
        conn.execute("INSERT INTO ledger (n) VALUES (%s)", (n,))
    done = switch(world.cutover())
    assert world.open_sides() == [pair.target.cluster]

    # The way back: the tool's own subscription has an origin, which is none of others.
    world.run_reverse(str(done.mark))
    switch(world.rollback())
    assert world.open_sides() == [pair.source.cluster]
