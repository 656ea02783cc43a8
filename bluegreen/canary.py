"""The canary: numbered rows that show what a wrong start of replication would lose or double.

A start that is too high loses rows without any error (measured: 1,970 transactions). Writers number
their rows without gaps, so the other side tells by counting. Each loss wider than the writers'
pause shows. The table has no key on purpose, see `heartbeat`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

_WRITE = "INSERT INTO bluegreen.canary (writer, n) VALUES (%s, %s)"

# A writer's rows are committed in the order of their numbers, so a lost tail shows only against
# what its publisher holds: hence `Tally.rows`, and `compare`.
_COUNT = """\
SELECT coalesce(sum(rows), 0)::bigint AS rows,
       coalesce(sum(last + 1 - numbers), 0)::bigint AS lost,
       coalesce(sum(rows - numbers), 0)::bigint AS doubled
  FROM (SELECT count(*) AS rows, count(DISTINCT n) AS numbers, max(n) AS last
          FROM bluegreen.canary GROUP BY writer) AS by_writer"""


@dataclass(frozen=True, slots=True)
class Tally:
    """What one side's rows say: how many there are, gaps in their numbers, numbers too many."""

    rows: int
    lost: int
    doubled: int

    @property
    def problem(self) -> str | None:
        """What is wrong, in words; None when nothing is."""
        if not self.lost and not self.doubled:
            return None
        return (
            f"canary: {self.lost} row(s) lost and {self.doubled} doubled; replication did not start"
            " where the clone ends: clone again"
        )


def write(conn: Connection, writer: int, number: int) -> None:
    """Write row `number` of `writer`; numbers go 0, 1, 2, ... without gaps, in commit order."""
    conn.execute(_WRITE, (writer, number))


def count(conn: Connection) -> Tally:
    """Return what the canary shows on one side."""
    row = conn.execute(_COUNT).fetchone()
    assert row is not None
    return Tally(*row)


def clear(conn: Connection) -> None:
    """Remove all rows; on the publisher, whose deletion can't be replicated without a key."""
    conn.execute("TRUNCATE bluegreen.canary")
