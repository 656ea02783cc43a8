"""How often a switch waits for an answer while nobody can write: told by a network that is slow.

docs/switch.md gives these counts; each one more costs an outage the distance to the servers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from psycopg import sql

from bluegreen import names
from bluegreen.names import Direction
from bluegreen.postgres.server import Server
from bluegreen.register import closing
from bluegreen.replication import heartbeat
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.step import OUTAGE, Step
from bluegreen.switch.switchover import switch
from lab.proxy import Proxy
from tests.fixtures.replicated import DATABASE, DEPLOYMENT, Pair
from tests.fixtures.switchable import Switchable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("pair", [(16, 18)], indirect=True, ids=["16-to-18"]),
]

_ROUND_TRIP_SECONDS = 0.1
_EXPECTED = {
    Step.FENCE: 1,
    Step.DRAIN: 0,  # sent with the fence, as what waits for it in the servers
    Step.SEQUENCES: 2,  # read behind the barrier; write, and mark with it
    Step.DECIDE: 1,
    Step.OPEN: 1,
}


@contextmanager
def far_away(server: Server) -> Iterator[Server]:
    """Yield the same server at the end of a slow line."""
    host = server.host
    with Proxy((host, 0), (host, server.port), delay=_ROUND_TRIP_SECONDS / 2) as proxy:
        yield replace(server, port=proxy.address[1])


def add_database(pair: Pair, name: str) -> None:
    """Make one more database that is replicated, with a sequence that moves."""
    made, slot = sql.Identifier(name), names.slot(DEPLOYMENT, Direction.FORWARD, name)
    publication = sql.Identifier(names.publication(DEPLOYMENT, Direction.FORWARD))
    for lab in (pair.source_lab, pair.target_lab):
        with lab.connect() as conn:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(made))
        with lab.connect(name) as conn:
            heartbeat.ensure(conn)
            conn.execute("CREATE SEQUENCE moves")
    with pair.source_lab.connect(name) as conn:
        conn.execute(sql.SQL("CREATE PUBLICATION {} FOR ALL TABLES").format(publication))
        conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
    with pair.target_lab.connect(name) as conn:
        reverse = sql.Identifier(names.publication(DEPLOYMENT, Direction.REVERSE))
        conn.execute(sql.SQL("CREATE PUBLICATION {} FOR ALL TABLES").format(reverse))
        back = names.slot(DEPLOYMENT, Direction.REVERSE, name)
        conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (back,))
        conn.execute(
            sql.SQL(
                "CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {} "
                "WITH (create_slot=false, slot_name={}, copy_data=false, origin=none)"
            ).format(
                sql.Identifier(names.subscription(DEPLOYMENT, Direction.FORWARD)),
                sql.Literal(pair.source.conninfo(name, "replication")),
                publication,
                sql.Identifier(slot),
            )
        )
    with pair.target.connect(names.TOOL_DATABASE) as conn:
        closing.close_all(conn)


@pytest.mark.parametrize("databases", [1, 5])
def test_as_many_for_several_databases_as_for_one(switchable: Switchable, databases: int) -> None:
    pair = switchable.pair
    more = [f"more_{number}" for number in range(1, databases)]
    for lab in (pair.target_lab, pair.source_lab):  # the way back needs them too
        with lab.as_superuser() as conn:
            conn.execute("ALTER SYSTEM SET max_logical_replication_workers = 8")  # from 4
        lab.restart()
    for name in more:
        add_database(pair, name)
    with ExitStack() as stack:
        old, new = (stack.enter_context(far_away(side)) for side in (pair.source, pair.target))
        plan = SwitchPlan(DEPLOYMENT, Direction.FORWARD, old, new, (DATABASE, *more))
        phases = switch(plan).phases_ms
    took = {step: int(phases[step] / 1000 / _ROUND_TRIP_SECONDS) for step in OUTAGE}
    assert took == _EXPECTED, phases
