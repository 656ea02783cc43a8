"""The table: every row, in the order in which they are tried."""

from __future__ import annotations

from bluegreen.probe import aws_calls, catalogs, functions, positions, readers, rights, writes
from bluegreen.probe.row import AwsRow, Row

SECTIONS: dict[str, tuple[Row, ...]] = {
    "Positions": positions.ROWS,
    "Rights, in transactions that are rolled back": rights.ROWS,
    "Functions and settings": functions.ROWS,
    "Catalogs and views": catalogs.ROWS,
    "The program's own readers": readers.ROWS,
    "Made and removed, with --write": writes.ROWS,
}
"""What is tried by SQL."""

AWS: tuple[AwsRow, ...] = aws_calls.ROWS
"""What is asked of AWS, with --cluster."""

ROWS: tuple[Row, ...] = tuple(row for rows in SECTIONS.values() for row in rows)
