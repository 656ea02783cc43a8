"""The canary: numbered rows whose way across shows what a wrong start of a subscription loses.

A start that is too high loses rows without any error (measured: 1061 transactions, nothing in the
log), one that is too low sends rows twice, which only tables with keys complain about. So numbered
rows are written while a clone is made, to a table without a key, from before the slot until after
the subscription runs; once it has caught up, the other side has each of them exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

_WRITE = "INSERT INTO bluegreen.canary (writer, n) VALUES (%s, %s)"
_COUNT = """
SELECT writer, count(*), count(DISTINCT n), max(n) FROM bluegreen.canary GROUP BY writer"""


@dataclass(frozen=True, slots=True)
class Rows:
    """What one side holds of one writer's rows, which are numbered from 0 without a gap."""

    held: int
    different: int
    last: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the other side lacks of one writer's rows, and what it has more than once."""

    writer: int
    lost: int
    doubled: int

    @property
    def exact(self) -> bool:
        """Whether each row came exactly once."""
        return self.lost == 0 and self.doubled == 0

    def __str__(self) -> str:
        return f"canary {self.writer}: {self.lost} lost, {self.doubled} doubled"


def write(conn: Connection, writer: int, number: int) -> None:
    """Write row `number` of `writer`; numbers begin at 0 and leave no gap."""
    conn.execute(_WRITE, (writer, number))


def read(conn: Connection) -> dict[int, Rows]:
    """Return what a side holds, by writer."""
    return {writer: Rows(*rows) for writer, *rows in conn.execute(_COUNT).fetchall()}


def judge(written: Mapping[int, Rows], arrived: Mapping[int, Rows]) -> list[Verdict]:
    """Compare the writer's side with the other one, which has caught up with it since.

    What is written is the measure, since rows that are lost at the end leave no gap.
    """
    none = Rows(0, 0, -1)
    verdicts = []
    for writer, rows in sorted(written.items()):
        other = arrived.get(writer, none)
        verdicts.append(
            Verdict(
                writer,
                lost=max(rows.last, other.last) + 1 - other.different,
                doubled=other.held - other.different,
            )
        )
    return verdicts
