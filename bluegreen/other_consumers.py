"""Others that read from the writer: their slots and publications stay behind, and fall silent."""

from __future__ import annotations

from collections.abc import Iterator

from bluegreen import names
from bluegreen.both_sides import BothSides
from bluegreen.finding import Finding, Level, none
from bluegreen.names import Direction
from bluegreen.queries import column

# A subscription's copies of tables have slots of their own for as long as they run.
_SLOTS = """
SELECT pg_catalog.format('%%s (%%s%%s)', slot_name, plugin,
                         CASE WHEN active THEN '' ELSE ', nobody reads it' END)
  FROM pg_catalog.pg_replication_slots
 WHERE slot_type = 'logical' AND NOT temporary AND slot_name <> ALL (%s)
   AND slot_name !~ '^pg_[0-9]+_sync_[0-9]+_[0-9]+$'
 ORDER BY 1
"""
_PUBLICATIONS = """
SELECT pubname::text FROM pg_catalog.pg_publication WHERE pubname <> ALL (%s) ORDER BY 1
"""


def findings(sides: BothSides) -> Iterator[Finding]:
    """Name what others read from on the writer that is to be left."""
    ours = [
        names.slot(sides.deployment, direction, database)
        for direction in Direction
        for database in sides.databases
    ]
    yield none(
        f"slots of other consumers on {sides.old}",
        column(sides.old_cluster, _SLOTS, ours),
        f"they stay there and get nothing more: let theirs begin anew on {sides.new} after the"
        " switch, and drop these",
        Level.WARN,
    )
    own = [names.publication(sides.deployment, direction) for direction in Direction]
    for database in sides.databases:
        yield none(
            f"{database}: publications of other consumers",
            column(sides.olds[database], _PUBLICATIONS, own),
            f"who reads them must go on from {sides.new} after the switch",
            Level.WARN,
        )
