"""A switch is exact where the other LSN functions count in another space, as Aurora's may.

Slots, origins and `pg_current_wal_lsn()` are in one; the functions that nobody has vouched for are
shifted here by 192 terabytes, on both servers and in every database, and are no use for anything.
"""

from __future__ import annotations

import time

import pytest

from bluegreen.errors import Refused
from bluegreen.lsn import Lsn
from bluegreen.postgres import owned, slots, wal
from bluegreen.replication import heartbeat, slot
from bluegreen.switch.switchover import switch
from lab.postgres.server import LabServer
from tests.fixtures.replicated import DATABASE, Pair
from tests.fixtures.switchable import Switchable

_SHIFT = 0xC000_0000_0000
_UNVOUCHED = {
    "pg_current_wal_insert_lsn": "pg_current_wal_lsn",
    "pg_current_wal_flush_lsn": "pg_current_wal_lsn",
}


def shift(lab: LabServer, functions: dict[str, str]) -> None:
    """Let functions answer what the others say and the shift, in every database of the server."""
    for database in lab.databases():
        with lab.as_superuser(database) as conn:
            conn.execute("SET allow_system_table_mods = on")
            for name, other in functions.items():
                conn.execute(
                    f"CREATE OR REPLACE FUNCTION pg_catalog.{name}() RETURNS pg_lsn LANGUAGE sql"
                    f" VOLATILE AS 'SELECT pg_catalog.{other}() + {_SHIFT}::numeric'"
                )


def test_to_and_fro_with_the_other_functions_in_another_space(switchable: Switchable) -> None:
    world, pair = switchable, switchable.pair
    for lab in (pair.source_lab, pair.target_lab):
        shift(lab, _UNVOUCHED)
    with world.writers() as writers:
        writers.wait_for(50, pair.source.cluster)
        there = switch(world.cutover())
        world.run_reverse(str(there.mark))
        writers.wait_for(50, pair.target.cluster)
        pair.publish_again_after_drop(pair.source)
        back = switch(world.rollback())
        writers.wait_for(50, pair.source.cluster)
    assert (there.slipped, back.slipped) == (0, 0)
    assert world.rows(pair.source) == writers.numbers()
    for server, done in ((pair.target, there), (pair.source, back)):
        with pair.connect(server) as conn:
            assert Lsn(0) < done.mark < wal.position(conn) < Lsn(_SHIFT)


def test_a_server_that_counts_elsewhere_than_its_slots_is_refused_and_gets_no_slot(
    pair: Pair,
) -> None:
    shift(pair.source_lab, {"pg_current_wal_lsn": "pg_current_wal_insert_lsn"})
    with pair.connect(pair.source) as conn:
        heartbeat.ensure(conn)
        with pytest.raises(Refused, match=r"slot wrong on writer: is at .* pg_current_wal_lsn"):
            slot.ensure(conn, "wrong", reader="nobody", where="writer", wait_seconds=5)
        assert slots.inspect(conn, "wrong") is None
        assert not owned.knows_slot(conn, "wrong")


def test_a_slot_goes_without_a_stamp_where_the_server_has_no_such_statistics(pair: Pair) -> None:
    """Seen on Aurora: pg_stat_wal raises 0A000, right behind the making of the slot."""
    with pair.source_lab.as_superuser(DATABASE) as conn:
        conn.execute("SET allow_system_table_mods = on")
        conn.execute("ALTER VIEW pg_catalog.pg_stat_bgwriter RENAME TO pg_stat_nothing")
    with pair.connect(pair.source) as conn:
        made = slot.ensure(conn, "bare", reader="nobody", where="writer", wait_seconds=5)
        assert slot.stamp(conn, "bare") is None
        assert not slot.was_recreated(conn, "bare", "1/2")
        assert made.confirmed <= wal.position(conn)
        slot.drop(conn, "bare", where="writer", deadline=time.monotonic() + 10)
