"""What was looked at before the fence may change until it is up: nothing slips through between."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from bluegreen.errors import BlueGreenError, Refused, Retry
from bluegreen.names import TOOL_DATABASE
from bluegreen.register import register
from bluegreen.switch.step import Step
from bluegreen.switch.switchover import switch
from tests.fixtures.postgres import PASSWORD
from tests.fixtures.rds import REPLICATOR
from tests.fixtures.replicated import DATABASE
from tests.fixtures.steps import right_after
from tests.fixtures.switchable import APP, Switchable

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)


def _execute(world: Switchable, sides: str, statement: str) -> None:
    """Run `statement` as the administrator on the standby, then on the writer, or on one."""
    pair = world.pair
    servers = {"both": (pair.target, pair.source), "writer": (pair.source,)}
    for server in servers.get(sides, (pair.target,)):
        with pair.connect(server) as conn:
            conn.execute(statement)


def _require_untouched(world: Switchable) -> None:
    """Require that the old writer is open, and that nothing is left of an attempt."""
    assert world.open_sides() == [world.pair.source.cluster]
    with world.pair.source.connect(TOOL_DATABASE) as conn:
        assert register.find_live(conn) is None


MADE = (
    "CREATE TABLE late (id int PRIMARY KEY); "
    f"GRANT ALL ON late TO {APP}; GRANT SELECT ON late TO {REPLICATOR}"
)


def test_a_table_that_is_made_and_filled_in_between_is_not_left_behind(
    switchable: Switchable,
) -> None:
    """The standby has it and does not subscribe to it: its rows would go nowhere, silently."""
    world = switchable

    def migrate() -> None:
        _execute(world, "both", MADE)
        _execute(world, "writer", "INSERT INTO late VALUES (1)")

    with (
        right_after(Step.ARM, migrate),
        pytest.raises(Refused, match=r"not subscribed.*public\.late"),
    ):
        switch(world.cutover())
    _require_untouched(world)


def test_a_table_that_is_gone_again_is_in_nobodys_way(switchable: Switchable) -> None:
    world = switchable

    def stage() -> None:
        _execute(world, "writer", MADE)
        _execute(world, "writer", "DROP TABLE late")

    with right_after(Step.ARM, stage):
        switch(world.cutover())
    assert world.open_sides() == [world.pair.target.cluster]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ("CREATE SEQUENCE late; SELECT nextval('late')", Retry, "sequences"),
        ("ALTER SEQUENCE down RENAME TO late", Retry, "sequences"),
        ("ALTER TABLE ledger SET UNLOGGED", Refused, "no longer published: public.ledger"),
        (
            "ALTER PUBLICATION bg_green_forward SET (publish = 'insert, update, delete')",
            Retry,
            "publication",
        ),
        ("SELECT pg_replication_origin_create('late')", Refused, "origins of others.*late"),
    ],
    ids=[
        "a-sequence-made",
        "a-sequence-renamed",
        "a-table-unlogged",
        "the-publication-altered",
        "an-origin-made",
    ],
)
def test_nor_is_anything_else_that_replication_would_not_bring(
    switchable: Switchable, change: str, kind: type[BlueGreenError], words: str
) -> None:
    world = switchable
    with (
        right_after(Step.ARM, lambda: _execute(world, "writer", change)),
        pytest.raises(kind, match=words),
    ):
        switch(world.cutover())
    _require_untouched(world)


REFILL = (
    "TRUNCATE ledger RESTART IDENTITY;"
    "INSERT INTO ledger SELECT nextval('ledger_n_seq') FROM generate_series(1, 5)"
)


def test_a_table_that_is_emptied_and_filled_anew_goes_on_with_its_numbers(
    switchable: Switchable,
) -> None:
    """Its sequence is where it was, and the standby's was set back by what replication brought."""
    world = switchable
    _execute(world, "writer", REFILL)
    with right_after(Step.ARM, lambda: _execute(world, "writer", REFILL)):
        switch(world.cutover())
    assert world.sequences(world.pair.target) == world.sequences(world.pair.source)
    assert world.rows(world.pair.target) == [1, 2, 3, 4, 5]
    with world.connect(world.pair.target) as conn:
        assert conn.execute("INSERT INTO ledger DEFAULT VALUES RETURNING n").fetchone() == (6,)


def test_a_sequence_that_is_altered_in_between_is_named(switchable: Switchable) -> None:
    """The new writer would go on by the old steps, into numbers that a client holds already."""
    world = switchable
    alter = 'ALTER SEQUENCE "Odd Name" INCREMENT 50'
    with (
        right_after(Step.ARM, lambda: _execute(world, "writer", alter)),
        pytest.raises(Refused, match=r'"Odd Name" differ in definition'),
    ):
        switch(world.cutover())
    _require_untouched(world)


def test_a_role_that_is_made_in_between_is_fenced_with_the_others(switchable: Switchable) -> None:
    world = switchable
    seen = []

    def hire() -> None:
        with world.pair.connect(world.pair.source) as conn:
            conn.execute(
                sql.SQL("CREATE ROLE newcomer LOGIN PASSWORD {} IN ROLE {}").format(
                    sql.Literal(PASSWORD), sql.Identifier(APP)
                )
            )

    def try_to_write() -> None:
        lab = world.pair.lab(world.pair.source)
        try:
            with lab.connect(DATABASE, user="newcomer", password=PASSWORD) as conn:
                conn.execute("BEGIN READ WRITE; INSERT INTO ledger DEFAULT VALUES; COMMIT")
        except psycopg.OperationalError as error:
            seen.append(str(error))

    with right_after(Step.ARM, hire), right_after(Step.FENCE, try_to_write):
        done = switch(world.cutover())
    assert "newcomer" in seen[0]
    assert "not permitted to log in" in seen[0]
    assert done.slipped == 0
    assert world.open_sides() == [world.pair.target.cluster]
