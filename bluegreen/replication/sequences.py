"""Sequence values: read exactly, and copied to the standby. They are not replicated.

`pg_sequences.last_value` is NULL for a sequence that was never called, for one that was set with
`is_called = false`, and for one that may not be read, so it is no source. 18 has a function that
gives both columns; before 18 the few without a value are read one by one. Everything is done in
chunks, since a sequence's lock is held to the end of its transaction and 50,000 do not fit into the
lock table.

Temporary sequences belong to their session. A sequence of an extension that we may not read or set
is left to its extension; every other one must be readable.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import errors, sql

from bluegreen.errors import Refused, Retry
from bluegreen.postgres import versions
from bluegreen.postgres.queries import column
from bluegreen.postgres.remedies import statement
from bluegreen.postgres.versions import Feature
from bluegreen.register import closing

Connection = psycopg.Connection[Any]
Item = TypeVar("Item")

CHUNK = 2000  # sequences in one statement: half of the lock table's default size is 6400
_DIRECT = 500  # sequences in one UNION ALL


@dataclass(frozen=True, slots=True)
class Value:
    """A sequence's position: the next call gives `last`, or the one after it when `called`."""

    last: int
    called: bool


@dataclass(frozen=True, slots=True)
class Definition:
    """A sequence's definition; values may only be copied between equal ones."""

    kind: str
    start: int
    least: int
    greatest: int
    increment: int
    cycles: bool


Values = Mapping[str, Value]

# `%I` is format()'s own: these statements have no parameters.
_FROM = """
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_sequence s ON s.seqrelid = c.oid
 WHERE c.relpersistence <> 't' AND n.nspname !~ '^pg_'"""
# has_sequence_privilege() fails for other relations, and the planner may call it for any of
# pg_class.
_PERMITTED = """
(has_schema_privilege(n.oid, 'USAGE')
 AND has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'UPDATE'))"""
_EXTENSIONS = """
EXISTS (SELECT FROM pg_depend d
         WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"""
_COPIED = _FROM + " AND (" + _PERMITTED + " OR NOT " + _EXTENSIONS + ")"

_LIST = "SELECT c.oid::bigint, format('%I.%I', n.nspname, c.relname)" + _COPIED + " ORDER BY c.oid"

_DEFINITIONS = (
    """
SELECT format('%I.%I', n.nspname, c.relname), format_type(s.seqtypid, NULL),
       s.seqstart, s.seqmin, s.seqmax, s.seqincrement, s.seqcycle"""
    + _COPIED
)

UNREADABLE = (
    "SELECT format('%I.%I', n.nspname, c.relname)"
    + _FROM
    + (" AND NOT " + _PERMITTED + " AND NOT " + _EXTENSIONS)
    + " ORDER BY 1 LIMIT 5"
)
"""Names sequences that the session's user may not read or set."""

_CLOSED_SCHEMAS = (
    "SELECT DISTINCT quote_ident(n.nspname)"
    + _FROM
    + " AND NOT has_schema_privilege(n.oid, 'USAGE') AND NOT "
    + _EXTENSIONS
    + " ORDER BY 1 LIMIT 5"
)

# This leaves out what was dropped since it was listed; before 18 that is an error. Materialized,
# since with many sequences the planner would call the function for every row of pg_class.
_PRESENT = """
WITH present AS MATERIALIZED (
    SELECT c.oid FROM pg_class c WHERE c.oid = ANY (%s::bigint[]::oid[]) AND c.relkind = 'S')"""
_READ_18 = (
    _PRESENT
    + """
SELECT p.oid::bigint, d.last_value, d.is_called
  FROM present p, LATERAL pg_get_sequence_data(p.oid::regclass) d"""
)
_READ_OLDER = (
    _PRESENT
    + """
SELECT p.oid::bigint, pg_sequence_last_value(p.oid::regclass) FROM present p"""
)
_WRITE = """\
SELECT count(setval(name::regclass, last, called)),
       set_config('synchronous_commit', %s, true)
  FROM unnest(%s::text[], %s::bigint[], %s::boolean[]) AS u (name, last, called)
 WHERE NOT %s OR EXISTS (
    SELECT FROM pg_db_role_setting s, unnest(s.setconfig) option
     WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND s.setrole = 0
       AND CASE WHEN split_part(option, '=', 1) = 'default_transaction_read_only'
                THEN split_part(option, '=', 2)::boolean ELSE false END)"""


class Reader:
    """Reads all sequences of one database again and again; the list is read once.

    A sequence that is made later is not seen: a caller that relies on the list watches the schema.
    The first reading prepares the statements: to plan a read of hundreds of sequences costs more
    than the read.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        rows = conn.execute(_LIST).fetchall()
        self._names: dict[int, str] = dict(rows)
        self._direct: list[sql.Composed] = []

    def __len__(self) -> int:
        return len(self._names)

    def read(self, *, beside: Callable[[], object] = lambda: None) -> dict[str, Value]:
        """Return every sequence's value, by its quoted name.

        What `beside` executes is sent in the same message. Raises `Refused` naming sequences that
        may not be read, `Retry` when one was dropped.
        """
        at_once = versions.supports(self._conn, Feature.SEQUENCE_DATA)
        values = (self._read_18 if at_once else self._read_older)(beside)
        if len(values) < len(self._names):
            raise unreadable(self._conn)
        return values

    def _together(self) -> AbstractContextManager[object]:
        # In a pipeline they are one transaction, and share its locks.
        return self._conn.pipeline() if len(self._names) <= CHUNK else nullcontext()

    def _read_18(self, beside: Callable[[], object]) -> dict[str, Value]:
        values = {}
        with self._together():
            beside()
            found = [
                self._conn.execute(_READ_18, (oids,), prepare=True)
                for oids in chunks(list(self._names), CHUNK)
            ]
        for oid, last, called in itertools.chain.from_iterable(found):
            if last is None:  # 18 hides what may not be read
                raise unreadable(self._conn)
            values[self._names[oid]] = Value(last, called)
        return values

    def _read_older(self, beside: Callable[[], object]) -> dict[str, Value]:
        """Read in one go what the last reading had to ask for; then what is new."""
        values: dict[str, Value] = {}
        uncalled = set()
        try:
            with self._together():
                beside()
                last_values = [
                    self._conn.execute(_READ_OLDER, (oids,), prepare=True)
                    for oids in chunks(list(self._names), CHUNK)
                ]
                directly = [self._conn.execute(some, prepare=True) for some in self._direct]
            for oid, last in itertools.chain.from_iterable(last_values):
                if last is None:
                    uncalled.add(self._names[oid])
                else:
                    values[self._names[oid]] = Value(last, True)
            for name, last, called in itertools.chain.from_iterable(directly):
                values[name] = Value(last, called)
            for names in chunks(sorted(uncalled - values.keys()), _DIRECT):
                statement = _union(names)
                self._direct.append(statement)
                for name, last, called in self._conn.execute(statement, prepare=True):
                    values[name] = Value(last, called)
        except (errors.InsufficientPrivilege, errors.UndefinedTable):
            raise unreadable(self._conn) from None
        return values


def _union(names: Sequence[str]) -> sql.Composed:
    # The names come quoted from the server's own format().
    selects = [
        sql.SQL("SELECT {}::text, last_value, is_called FROM {}").format(
            sql.Literal(name),
            sql.SQL(name),
        )
        for name in names
    ]
    return sql.SQL(" UNION ALL ").join(selects)


def unreadable(conn: Connection) -> Refused | Retry:
    """Return the refusal that names sequences without privilege, and the GRANT that helps.

    Returns `Retry` when privileges are complete: then what could not be read was dropped.
    """
    names = column(conn, UNREADABLE)
    schemas = column(conn, _CLOSED_SCHEMAS)
    what, role = f"sequences in {conn.info.dbname}", conn.info.user
    if not names:
        return Retry(f"{what}: one was dropped while they were read; try again")
    # The names come quoted from the server's own format().
    cures = [statement("SELECT, UPDATE", f"SEQUENCE {', '.join(names)}", role)]
    if schemas:
        cures.insert(0, statement("USAGE", f"SCHEMA {', '.join(schemas)}", role))
    return Refused(
        f"{what}: no privilege on {', '.join(names)}; expected SELECT and UPDATE: "
        + "; ".join(cures)
    )


def definitions(conn: Connection) -> dict[str, Definition]:
    """Return the definition of each sequence, by its quoted name."""
    return {row[0]: Definition(*row[1:]) for row in conn.execute(_DEFINITIONS).fetchall()}


def require_alike(writer: Connection, standby: Connection) -> None:
    """Raise `Refused` naming sequences that the standby lacks, or has of another definition."""
    desired, have = definitions(writer), definitions(standby)
    missing = sorted(name for name in desired if name not in have)
    other = sorted(name for name in desired if name in have and have[name] != desired[name])
    database = writer.info.dbname
    if missing:
        raise Refused(
            f"sequences in {database}: the standby lacks {_some(missing)}; make them there with"
            " the writer's definition"
        )
    if other:
        raise Refused(
            f"sequences in {database}: {_some(other)} differ in definition; make the standby's"
            " like the writer's"
        )


def changed(values: Values, known: Values) -> dict[str, Value]:
    """Return the values that differ from what is known to be on the other side.

    A lower value counts too: the writer's sequence may have been set back.
    """
    return {name: value for name, value in values.items() if known.get(name) != value}


def write(conn: Connection, values: Values, *, durable: bool = True) -> None:
    """Set sequences, each chunk in a transaction of its own.

    Unless `durable`, they are so only with the next synchronous commit of anybody there. For who
    holds the opening's row: nobody else can know that the side is closed when this arrives.
    """
    for items in chunks(list(values.items()), CHUNK):
        _write(conn, items, durable=durable, while_closed=False)


def pre_set(standby: Connection, values: Values) -> None:
    """Set sequences of a side that is closed; raises `Refused` once it is open.

    The server looks in the same statement: a caller who sleeps between his look and this (a paused
    machine) would set sequences back that the side, being the writer by then, has used.
    """
    for items in chunks(list(values.items()), CHUNK):
        row = _write(standby, items, durable=True, while_closed=True).fetchone()
        if row is None or row[0] != len(items):
            require_closed(standby)
            raise Retry(f"sequences in {standby.info.dbname}: somebody opens it; look again")


def _write(
    conn: Connection, items: Sequence[tuple[str, Value]], *, durable: bool, while_closed: bool
) -> psycopg.Cursor[Any]:
    try:
        return conn.execute(
            _WRITE,
            (
                "on" if durable else "off",
                [name for name, _ in items],
                [value.last for _, value in items],
                [value.called for _, value in items],
                while_closed,
            ),
            prepare=True,
        )
    except (errors.InsufficientPrivilege, errors.UndefinedTable):
        raise unreadable(conn) from None


def copy(writer: Connection, standby: Connection) -> int:
    """Bring the standby's sequences to the writer's current values; return how many there are.

    Raises `Refused` when `standby` is open: setting back the sequences of an environment in use
    would make it issue values twice.
    """
    require_closed(standby)
    require_alike(writer, standby)
    values = Reader(writer).read()
    pre_set(standby, changed(values, Reader(standby).read()))
    return len(values)


def require_closed(standby: Connection) -> None:
    """Raise `Refused` unless the database of `standby` refuses writes by default."""
    database = standby.info.dbname
    if not closing.is_closed(standby, [database]):
        statement = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(
            sql.Identifier(database)
        )
        raise Refused(
            f"sequences in {database}: {standby.info.host} is open to writers, so it is no "
            "standby; expected the side that is closed: exchange the two, or close it: "
            f"{statement.as_string()}"
        )


def drift(writer: Connection, standby: Connection, *, tolerance: int) -> list[str]:
    """Return the standby's sequences that are missing, of another definition, or far off.

    Far off is more than `tolerance` calls in either direction: the writer moves on all the time,
    and the switch brings the rest. A sequence that is ahead would waste values, or was set by hand.
    """
    desired, have = definitions(writer), definitions(standby)
    found = {name for name in desired if have.get(name) != desired[name]}
    ours, theirs = Reader(writer).read(), Reader(standby).read()
    for name, value in ours.items():
        if name in theirs and name not in found:
            step = desired[name].increment
            # Integers: a 64-bit difference has no exact float.
            if abs(_next(value, step) - _next(theirs[name], step)) > tolerance * abs(step):
                found.add(name)
    return sorted(found)


def _next(value: Value, increment: int) -> int:
    return value.last + increment if value.called else value.last


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield `items` in runs of at most `size`."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _some(names: Iterable[str], shown: int = 5) -> str:
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more
