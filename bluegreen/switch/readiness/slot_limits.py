"""When a server gives up slots that fall behind or are not read: ours must survive both."""

from __future__ import annotations

from collections.abc import Iterator

from bluegreen import names
from bluegreen.errors import CloneAgain
from bluegreen.finding import Finding, Level, expect_none
from bluegreen.postgres import slot_limits as limits
from bluegreen.postgres import slots
from bluegreen.postgres.queries import Connection
from bluegreen.replication import slot
from bluegreen.replication.both_sides import BothSides

_LEAST_KEPT_MB = 10_240
"""More than the WAL of the hour that an upgrade or a paused standby takes; our choice."""


def findings(sides: BothSides) -> Iterator[Finding]:
    """Judge the limits of both servers, and whether the slots in use are within them."""
    for server, conn in ((sides.old, sides.old_cluster), (sides.new, sides.new_cluster)):
        found = limits.inspect(conn)
        yield expect_none(
            f"max_slot_wal_keep_size on {server}",
            [f"{found.keep_mb} MB"] if 0 <= found.keep_mb < _LEAST_KEPT_MB else [],
            "a slot that falls further behind is lost, and the way back or the deployment with it:"
            " set it to -1",
            Level.WARN,
        )
        yield expect_none(
            f"idle_replication_slot_timeout on {server}",
            [f"{found.idle_seconds} s"] if found.idle_seconds else [],
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
        have = slot.require_readable(old, name, str(sides.old))
    except CloneAgain as error:
        return Finding(Level.BLOCK, subject, str(error))
    return Finding(Level.OK, subject, str(slots.status(have)))
