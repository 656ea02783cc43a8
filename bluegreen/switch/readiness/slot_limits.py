"""What a server may do to slots that fall behind or rest: our slots must outlive both."""

from __future__ import annotations

from collections.abc import Iterator

from bluegreen import names
from bluegreen.errors import CloneAgain
from bluegreen.finding import Finding, Level, none
from bluegreen.postgres.queries import Connection, column
from bluegreen.replication import slot
from bluegreen.replication.both_sides import BothSides

_LEAST_KEPT_MB = 10_240
"""Less WAL is written within the hour that an upgrade or a paused standby takes; ours to choose."""

# In MB, -1 keeps all there is; the other one is there from 18 on, 0 never ends a slot.
_KEPT = """
SELECT setting || ' MB' FROM pg_catalog.pg_settings
 WHERE name = 'max_slot_wal_keep_size' AND setting::bigint BETWEEN 0 AND %s
"""
_IDLE = """
SELECT setting || coalesce(' ' || unit, '') FROM pg_catalog.pg_settings
 WHERE name = 'idle_replication_slot_timeout' AND setting <> '0'
"""


def findings(sides: BothSides) -> Iterator[Finding]:
    """Judge the limits of both servers, and whether the slots that run are within them."""
    for server, conn in ((sides.old, sides.old_cluster), (sides.new, sides.new_cluster)):
        yield none(
            f"max_slot_wal_keep_size on {server}",
            column(conn, _KEPT, _LEAST_KEPT_MB - 1),
            "a slot that falls further behind is lost, and the way back or the deployment with it:"
            " set it to -1",
            Level.WARN,
        )
        yield none(
            f"idle_replication_slot_timeout on {server}",
            column(conn, _IDLE),
            "a slot that rests for so long is lost, and the way back or the deployment with it:"
            " set it to 0",
            Level.WARN,
        )
    for database in sides.databases:
        yield _running(sides, sides.olds[database], database)


def _running(sides: BothSides, old: Connection, database: str) -> Finding:
    subject = f"{database}: the slot on {sides.old}"
    name = names.slot(sides.deployment, sides.direction, database)
    try:
        have = slot.get_readable(old, name, str(sides.old))
    except CloneAgain as error:
        return Finding(Level.BLOCK, subject, str(error))
    return Finding(Level.OK, subject, str(slot.status(have)))
