"""Whether the final writer's sequences are past every value that anybody has used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[tuple[Any, ...]]

_INVOICES = """shop."Invoice Number's\""""

_SEQUENCES = """
    SELECT n.nspname, c.relname, format('%I.%I', n.nspname, c.relname),
           s.seqincrement, s.seqcycle, o.nspname, t.relname, a.attname
    FROM pg_sequence s
    JOIN pg_class c ON c.oid = s.seqrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
        AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    LEFT JOIN pg_class t ON t.oid = d.refobjid
    LEFT JOIN pg_namespace o ON o.oid = t.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE n.nspname !~ '^pg_'
    ORDER BY 3"""

# A column filled from a sequence that no catalog connects with it.
_OTHER_COLUMNS = {_INVOICES: (("shop", "orders"), "invoice")}
# Columns where a value from a sequence could come twice without an error.
_NOT_UNIQUE = (
    (_INVOICES, ("shop", "orders"), "invoice"),
    ("shop.event_id_seq", ("shop", "event"), "event_id"),
)

Column = tuple[tuple[str, str], str]  # (schema, table), column


@dataclass(frozen=True, slots=True)
class Position:
    """Where a sequence stands: its last value, handed out already if `called`."""

    name: str
    increment: int
    cycles: bool
    last_value: int
    called: bool

    def is_at_or_past(self, used: int) -> bool:
        """Return whether the sequence can't hand out `used` any more; cycling ones always can."""
        if self.cycles:
            return True
        ahead = self.last_value - used if self.increment > 0 else used - self.last_value
        return ahead > 0 or (ahead == 0 and self.called)


@dataclass(frozen=True, slots=True)
class Behind:
    """A sequence that would hand out a used value again."""

    name: str
    last_value: int
    called: bool
    used: int


@dataclass(frozen=True, slots=True)
class SequenceReport:
    """How many sequences were looked at, which are behind, which values came twice."""

    checked: int
    behind: tuple[Behind, ...]
    issued_twice: tuple[tuple[str, int], ...]


def report(
    writer: Connection, standby: Connection | None, drawn: Mapping[str, Mapping[int, int]]
) -> SequenceReport:
    """Judge all sequences of the writer's database.

    Used are the values in the columns they fill and those in `drawn` (how often clients recorded
    each); for sequences with neither, what the standby's has handed out.
    """
    behind: list[Behind] = []
    found = _read(writer)
    handed_out = {} if standby is None else _handed_out(standby)
    for position, column in found:
        used = _furthest_used(writer, position, column, drawn.get(position.name, {}))
        if used is None:
            used = handed_out.get(position.name)
        if used is not None and not position.is_at_or_past(used):
            behind.append(Behind(position.name, position.last_value, position.called, used))
    twice = {(name, value) for name, seen in drawn.items() for value, n in seen.items() if n > 1}
    names = {position.name for position, _ in found}
    for name, table, column_name in _NOT_UNIQUE:
        if name in names:
            twice.update((name, value) for value in _repeated(writer, table, column_name))
    return SequenceReport(len(found), tuple(behind), tuple(sorted(twice)))


def _read(conn: Connection) -> list[tuple[Position, Column | None]]:
    result: list[tuple[Position, Column | None]] = []
    for schema, name, quoted, increment, cycles, *owner in conn.execute(_SEQUENCES).fetchall():
        row = conn.execute(
            sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(schema, name))
        ).fetchone()
        assert row is not None
        owner_schema, owner_table, owner_column = owner
        column = _OTHER_COLUMNS.get(quoted)
        if owner_column is not None:
            column = ((owner_schema, owner_table), owner_column)
        result.append((Position(quoted, increment, cycles, row[0], row[1]), column))
    return result


def _furthest_used(
    conn: Connection, position: Position, column: Column | None, recorded: Iterable[int]
) -> int | None:
    used = set(recorded)
    furthest = max if position.increment > 0 else min
    if column is not None:
        table, name = column
        query = "SELECT max({}) FROM {}" if position.increment > 0 else "SELECT min({}) FROM {}"
        row = conn.execute(
            sql.SQL(query).format(sql.Identifier(name), sql.Identifier(*table))
        ).fetchone()
        if row is not None and row[0] is not None:
            used.add(row[0])
    return furthest(used, default=None)


def _handed_out(conn: Connection) -> dict[str, int]:
    return {at.name: at.last_value for at, _ in _read(conn) if at.called}


def _repeated(conn: Connection, table: tuple[str, str], column: str) -> list[int]:
    rows = conn.execute(
        sql.SQL("SELECT {column} FROM {table} GROUP BY 1 HAVING count(*) > 1").format(
            column=sql.Identifier(column), table=sql.Identifier(*table)
        )
    ).fetchall()
    return [value for (value,) in rows]
