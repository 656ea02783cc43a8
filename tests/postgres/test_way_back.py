"""The way back is looked at before the way there, on real servers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from bluegreen.errors import Refused
from bluegreen.finding import Level
from bluegreen.replication import heartbeat
from bluegreen.switch.switchover import switch
from lab.postgres import replicator
from tests.fixtures.rds import REPLICATOR
from tests.fixtures.readiness import blockers, findings
from tests.fixtures.replicated import DATABASE, DEPLOYMENT
from tests.fixtures.switchable import Switchable, wait_until

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)

SLOT = f"bg_{DEPLOYMENT}_reverse_{DATABASE}"
PUBLICATION = f"bg_{DEPLOYMENT}_reverse"


def _refused(world: Switchable, words: str) -> None:
    """Require that report and switch name it, that nothing has moved, and who needs no way back."""
    assert any(words in line for line in blockers(world)), words
    with pytest.raises(Refused) as error:
        switch(world.cutover())
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert world.open_sides() == [world.pair.source.cluster]
    assert not any(words in line for line in blockers(world, rollback=False))


@contextmanager
def _on(world: Switchable, side: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    pair = world.pair
    with pair.connect(pair.source if side == "old" else pair.target) as conn:
        yield conn


def test_what_the_way_back_needs_is_named_before_the_way_there(switchable: Switchable) -> None:
    world = switchable
    assert blockers(world) == []
    # Left by a cutover that was aborted, and lost since: on a test's server by a limit of nothing.
    lost = world.pair.target_lab
    with lost.as_superuser(DATABASE) as conn:
        conn.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        conn.execute("ALTER SYSTEM SET max_wal_size = '32MB'")
        conn.execute("SELECT pg_reload_conf()")

        def invalidated() -> bool:
            conn.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))")
            conn.execute("SELECT pg_switch_wal()")
            conn.execute("CHECKPOINT")
            status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s"
            return conn.execute(status, (SLOT,)).fetchone() == ("lost",)

        wait_until(invalidated, "a lost slot")
    _refused(world, f"{SLOT} on orders-2 is lost, expected reserved")
    warned = [one.line() for one in findings(world, Level.WARN)]
    assert any("max_slot_wal_keep_size on orders-2: 1 MB" in line for line in warned)

    with lost.as_superuser(DATABASE) as conn:
        conn.execute("SELECT pg_drop_replication_slot(%s)", (SLOT,))
        conn.execute("ALTER SYSTEM RESET ALL")
        lost.configure()  # its own settings were there, too
        conn.execute("SELECT pg_reload_conf()")
    # The report comes before the update that makes it; the switch itself after.
    assert blockers(world) == []
    with pytest.raises(Refused, match=rf"{SLOT} is missing; pulumi up --refresh makes it"):
        switch(world.cutover())
    assert lost.pid() is not None
    switch(world.cutover(rollback=False))
    assert world.open_sides() == ["orders-2"]


def test_places_are_counted_alike_before_and_after_the_slot_is_made(
    switchable: Switchable,
) -> None:
    """The report comes before the update that makes the slot; the switch's own look after."""

    def room() -> list[str]:
        return [line for line in blockers(switchable) if "room for the way" in line]

    with _on(switchable, "new") as conn:
        conn.execute(
            "SELECT pg_create_physical_replication_slot('taken_' || n) FROM generate_series(1,"
            " (SELECT current_setting('max_replication_slots')::int - count(*)::int"
            "    FROM pg_replication_slots)) n"
        )
        assert room() == []  # made already, and no place is left
        conn.execute("SELECT pg_drop_replication_slot(%s)", (SLOT,))
        assert room() == []  # exactly enough
        conn.execute("SELECT pg_create_physical_replication_slot('one_more')")
        (said,) = room()
    assert "replication slots are in use, 1 more needed; raise max_replication_slots" in said


def test_who_could_not_follow_is_named_before_he_has_to(switchable: Switchable) -> None:
    """Tables, keys, rights and logins of the other direction."""
    world = switchable
    with _on(world, "new") as new:
        new.execute("CREATE TABLE only_there (id int PRIMARY KEY)")
        _refused(world, "tables missing on the old side: public.only_there")
        new.execute("DROP TABLE only_there")

        new.execute("ALTER TABLE probe REPLICA IDENTITY DEFAULT")
        _refused(world, "tables without replica identity: public.probe (has no replica identity)")
        # A table that isn't sent needs no key, once it may be left behind.
        new.execute(f"DROP PUBLICATION {PUBLICATION}")
        _refused(world, f"the way back's publication: {PUBLICATION} is not on orders-2")
        new.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE ledger, bluegreen.heartbeat")
        stale = "tables not wholly replicated: public.probe (not published on the way back)"
        assert any(stale in line for line in blockers(world))
        accepted = blockers(world, 'public."probe"')
        assert not any("wholly" in line or "without replica" in line for line in accepted)
        with pytest.raises(Refused, match="table 'probe': expected"):
            blockers(world, "probe")

        replicator.forbid(new, REPLICATOR)
        login = [one for one in blockers(world) if "the way back's login" in one]
        assert "permission denied to start WAL sender" in login[0]
        replicator.allow(new, REPLICATOR)


def test_what_no_publication_sends_is_named(switchable: Switchable) -> None:
    world = switchable
    for side in ("new", "old"):
        with _on(world, side) as conn:
            conn.execute("CREATE MATERIALIZED VIEW summed AS SELECT 1 AS n")
            conn.execute("CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY)")
            conn.execute("SELECT lo_create(4711)")
    warned = [one.line() for one in findings(world, Level.WARN)]
    assert any("materialized views: public.summed; they are stale" in line for line in warned)
    assert any("unlogged tables: public.fleeting" in line for line in warned)
    (blocked,) = blockers(world)
    assert "large objects, which no publication sends: 1, and 1 on the standby" in blocked
    assert blockers(world, "pg_catalog.pg_largeobject") == []


def test_a_publication_that_sends_no_inserts_is_a_blocker(switchable: Switchable) -> None:
    """Somebody has altered it by hand: heartbeats that are there cross all the same."""
    world = switchable
    pair = world.pair
    with pair.source.connect(DATABASE) as here, pair.target.connect(DATABASE) as there:
        first = heartbeat.beat(here)
        wait_until(lambda: heartbeat.seen(there, first), "the first heartbeat")
        here.execute(
            "ALTER PUBLICATION bg_green_forward SET (publish = 'update, delete, truncate')"
        )
        here.execute("INSERT INTO public.ledger VALUES (1)")
        second = heartbeat.beat(here)
        wait_until(lambda: heartbeat.seen(there, second), "the heartbeat behind the row")
    assert world.rows(pair.target) == []
    words = "operations that no setting leaves out: INSERT"
    assert any(words in line for line in blockers(world))
    with pytest.raises(Refused, match=words):
        switch(world.cutover())
    assert world.open_sides() == [pair.source.cluster]


def test_roots_are_named_since_not_all_of_their_partitions_is_sent(switchable: Switchable) -> None:
    world = switchable
    for side in ("new", "old"):
        with _on(world, side) as conn:
            conn.execute("CREATE TABLE part (k int PRIMARY KEY) PARTITION BY RANGE (k)")

    def named() -> bool:
        words = "partitions sent as their root: public.part; TRUNCATE of one alone"
        return any(words in one.line() for one in findings(world, Level.WARN))

    assert not named()
    with _on(world, "old") as conn:
        conn.execute("ALTER PUBLICATION bg_green_forward SET (publish_via_partition_root = true)")
    assert named()


def test_a_row_that_was_not_found_is_a_blocker(switchable: Switchable) -> None:
    """From 18 on the server counts them: the two sides differ, whatever the lag says."""
    world = switchable
    with world.connect(world.pair.source) as conn:
        conn.execute("INSERT INTO ledger VALUES (1)")
        wait_until(lambda: world.rows(world.pair.target) == [1], "the row")
        with _on(world, "new") as new:
            new.execute("DELETE FROM ledger")
        conn.execute("DELETE FROM ledger")

    further = itertools.count(2)

    def named() -> bool:
        # A worker's counters show with a later commit of its own, or after a second without any
        # message, which a server that is not idle may never grant it.
        with world.connect(world.pair.source) as conn:
            conn.execute("INSERT INTO ledger VALUES (%s)", (next(further),))
        return any(
            "conflicts: delete_missing 1" in line and "compare the tables" in line
            for line in blockers(world)
        )

    wait_until(named, "the conflict in the report")
