"""Whether two servers hold the same rows, whatever order they are stored in."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from bluegreen.names import TOOL_SCHEMA

Connection = psycopg.Connection[tuple[Any, ...]]
Table = tuple[str, str]  # schema, name

_POLL_SECONDS = 0.1

_TABLES = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence = 'p'
    AND n.nspname <> %s AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"""

# A sum, not an exclusive or: that would cancel out a row that is there twice. ONLY: the rows of
# inheriting tables are theirs, and would hide which of the two differs.
_HASH = "SELECT count(*), coalesce(sum(hash_record_extended(t, 0)::numeric), 0) FROM ONLY {} t"
_TEXT_HASH = (
    "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM ONLY {} t"
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The content of a table: number of rows and the sum of their hashes."""

    rows: int
    hash: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A table that is not the same on both sides; None where it does not exist."""

    table: Table
    writer: Fingerprint | None
    standby: Fingerprint | None


def tables(conn: Connection) -> list[Table]:
    """Return the tables that applications fill: partitions, not their parents."""
    return [(schema, name) for schema, name in conn.execute(_TABLES, (TOOL_SCHEMA,)).fetchall()]


def fingerprint(conn: Connection, table: Table) -> Fingerprint | None:
    """Return the content of `table`, None where there is no such table."""
    name = sql.Identifier(*table)
    try:
        with conn.transaction():
            row = conn.execute(sql.SQL(_HASH).format(name)).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    except psycopg.errors.UndefinedFunction:
        # A column of json, point, bit or another type without a hash function.
        row = conn.execute(sql.SQL(_TEXT_HASH).format(name)).fetchone()
    assert row is not None
    return Fingerprint(int(row[0]), int(row[1]))


def differences(
    writer: Connection, standby: Connection, only: Iterable[Table] | None = None
) -> list[Difference]:
    """Return the tables that differ now, of `only` or of all that either side has."""
    names = sorted(only if only is not None else {*tables(writer), *tables(standby)})

    def read(conn: Connection) -> list[Fingerprint | None]:
        return [fingerprint(conn, name) for name in names]

    with ThreadPoolExecutor(1) as other:
        there = other.submit(read, standby)
        here = read(writer)
        pairs = zip(names, here, there.result(), strict=True)
    return [Difference(name, ours, theirs) for name, ours, theirs in pairs if ours != theirs]


def settled_differences(
    writer: Connection, standby: Connection, timeout_seconds: float
) -> list[Difference]:
    """Return what still differs once replication had `timeout_seconds` to bring the last rows.

    Nobody may write meanwhile.
    """
    deadline = time.monotonic() + timeout_seconds
    left = differences(writer, standby)
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        left = differences(writer, standby, [difference.table for difference in left])
    return left
