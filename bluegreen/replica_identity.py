"""Replica identities: what an UPDATE or DELETE sends along so that the subscriber finds the row.

A published table without one refuses every UPDATE and DELETE, on production, at once. So the
publication asks here first, and tables may be declared to have one while they are published. What
they had before is remembered on the server, in the comment of the tool's schema: it survives an
interrupted update, and a clone inherits it together with the identities themselves.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import psycopg
from psycopg import errors, sql
from psycopg.rows import class_row

from bluegreen import blockers
from bluegreen.errors import Refused, Retry
from bluegreen.names import TOOL_SCHEMA

log = logging.getLogger(__name__)

Kind = Literal["default", "nothing", "full", "index"]
TableName = tuple[str, str]

_KINDS: dict[str, Kind] = {"d": "default", "n": "nothing", "f": "full", "i": "index"}
_LOCK_TIMEOUT_MS = 2000
_MOST_NAMED = 20

_ROWS = """
SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS relkind,
       c.relreplident::text AS letter,
       coalesce((
         SELECT json_agg(json_build_object(
             'name', x.relname,
             'columns', (SELECT json_agg(a.attname::text ORDER BY a.attnum)
                           FROM pg_catalog.pg_attribute a
                          WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])),
             'primary', i.indisprimary, 'chosen', i.indisreplident,
             'flaw', CASE
                WHEN NOT i.indisunique THEN 'not unique'
                WHEN NOT i.indisvalid THEN 'not valid'
                WHEN NOT i.indimmediate THEN 'deferrable'
                WHEN i.indpred IS NOT NULL THEN 'partial'
                WHEN i.indexprs IS NOT NULL THEN 'on an expression'
                WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a
                              WHERE a.attrelid = c.oid AND NOT a.attnotnull
                                AND a.attnum = ANY (i.indkey::int2[])) THEN 'on a nullable column'
             END))
           FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
          WHERE i.indrelid = c.oid), '[]') AS indexes,
       (SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       {listed} AS listed,
       {filtered} AS filtered
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""

# Columns of a list and of a filter both show in pg_depend, so the filter's own tree must tell.
_PUBLISHED = """
  LEFT JOIN pg_catalog.pg_publication_rel r ON r.prrelid = c.oid
       AND r.prpubid = (SELECT p.oid FROM pg_catalog.pg_publication p WHERE p.pubname = %(pub)s)
 WHERE EXISTS (SELECT FROM pg_catalog.pg_publication_tables t
                WHERE t.pubname = %(pub)s AND t.schemaname = n.nspname AND t.tablename = c.relname)
   AND NOT (n.nspname = %(tool)s AND c.relname = 'canary')
 ORDER BY 1, 2
"""
_LISTED = """(SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute a
               WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs::int2[]))"""
_FILTERED = """(SELECT array_agg(DISTINCT a.attname::text)
                  FROM regexp_matches(r.prqual::text, ':varattno (\\d+)', 'g') AS m
                  JOIN pg_catalog.pg_attribute a
                    ON a.attrelid = c.oid AND a.attnum = m[1]::int)"""

_NAMED = """
 WHERE (n.nspname, c.relname) = (%(schema)s, %(name)s) AND c.relkind IN ('r', 'p')
    OR c.relkind = 'r' AND c.oid IN (
       SELECT t.relid FROM pg_catalog.pg_class p
         JOIN pg_catalog.pg_namespace s ON s.oid = p.relnamespace,
              pg_catalog.pg_partition_tree(p.oid) t
        WHERE (s.nspname, p.relname) = (%(schema)s, %(name)s) AND p.relkind = 'p')
 ORDER BY c.relkind, 1, 2
"""

# A partition's index has a name of its own; it is attached to the parent's.
_CHILD_INDEX = """
SELECT x.relname::text FROM pg_catalog.pg_class p
  JOIN pg_catalog.pg_namespace s ON s.oid = p.relnamespace,
       pg_catalog.pg_partition_tree(p.oid) t
  JOIN pg_catalog.pg_index i ON i.indexrelid = t.relid
  JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE (s.nspname, p.relname) = (%s, %s) AND (n.nspname, c.relname) = (%s, %s)
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """One table's replica identity; `index` is the index's name, without its schema."""

    kind: Kind
    index: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `str()` wrote; raises `Refused` for anything else."""
        kind, _, index = text.partition(" ")
        if kind == "index" and index.strip():
            return cls("index", index.strip())
        plain: dict[str, Kind] = {"default": "default", "nothing": "nothing", "full": "full"}
        if not index and kind in plain:
            return cls(plain[kind])
        raise Refused(f"replica identity: got {text!r}, expected 'full' or 'index NAME'")

    def __str__(self) -> str:
        return self.kind if self.index is None else f"index {self.index}"


@dataclass(frozen=True, slots=True)
class TableIdentity:
    """A table with everything that decides whether it may be published, as the server has it."""

    schema: str
    name: str
    relkind: str
    letter: str
    indexes: list[dict[str, Any]]
    columns: list[str] | None
    listed: list[str] | None
    """The publication's column list; None publishes every column."""
    filtered: list[str] | None
    """The columns of the publication's row filter."""

    @property
    def key(self) -> TableName:
        """Return schema and name."""
        return self.schema, self.name

    @property
    def identity(self) -> Identity:
        """Return the identity in force; an index that was dropped since leaves its name empty."""
        kind = _KINDS[self.letter]
        chosen = next((one["name"] for one in self.indexes if one["chosen"]), "")
        return Identity(kind, chosen if kind == "index" else None)


def table_name(text: str) -> TableName:
    """Return schema and name from `schema.table`; double quotes where a name holds a dot.

    Nothing is folded to lower case: names are as the catalog has them.
    """
    parts: list[str] = [""]
    quoted = False
    for char in text:
        if char == '"':
            quoted = not quoted
        elif char == "." and not quoted:
            parts.append("")
        else:
            parts[-1] += char
    if quoted or len(parts) != 2 or not all(parts):
        raise Refused(f"table {text!r}: expected schema.table, with double quotes around odd names")
    return parts[0], parts[1]


def shown(table: TableName) -> str:
    """Return a table's name for people, and for `table_name`."""
    return ".".join(f'"{part}"' if "." in part else part for part in table)


def missing(table: TableIdentity, identity: Identity) -> str | None:
    """Return why publishing `table` with `identity` would break its writes, or None.

    The rules are CheckCmdReplicaIdentity's: an identity, within the column list, and every
    column of the row filter within the identity.
    """
    listed = None if table.listed is None else set(table.listed)
    if identity.kind == "full":
        if listed is not None and not set(table.columns or ()) <= listed:
            return "its identity is full, but the column list leaves columns out"
        return None
    key = _key_columns(table, identity)
    if key is None:
        return "has no replica identity"
    if listed is not None and not key <= listed:
        return f"the column list leaves out {', '.join(sorted(key - listed))} of its identity"
    outside = set(table.filtered or ()) - key
    if outside:
        return f"the row filter uses {', '.join(sorted(outside))}, which its identity lacks"
    return None


def _key_columns(table: TableIdentity, identity: Identity) -> set[str] | None:
    for index in table.indexes:
        # A deferrable primary key identifies nothing (RelationGetIndexList).
        chosen = index["primary"] if identity.kind == "default" else index["name"] == identity.index
        if chosen and identity.kind in ("default", "index") and index["flaw"] is None:
            return set(index["columns"])
    return None


def refuse(publication: str, problems: Mapping[TableName, str]) -> None:
    """Raise `Refused` with all of `problems` and their remedies, if there are any."""
    if not problems:
        return
    named = [f"{shown(table)} ({why})" for table, why in list(problems.items())[:_MOST_NAMED]]
    more = len(problems) - len(named)
    tables = ", ".join(named) + (f" and {more} more" if more > 0 else "")
    raise Refused(
        f"publication {publication!r}: UPDATE and DELETE would fail on {tables}; nothing was "
        "changed; give each a primary key, or declare it in replica_identity "
        '({"schema.table": "full"} or "index NAME"), or publish a list without it'
    )


def published(conn: psycopg.Connection[Any], publication: str) -> list[TableIdentity]:
    """Return every table that `publication` sends, partitions one by one."""
    with_lists = conn.info.server_version >= 150000
    query = _query(
        _PUBLISHED, *((_LISTED, _FILTERED) if with_lists else ("NULL::text[]", "NULL::text[]"))
    )
    with conn.cursor(row_factory=class_row(TableIdentity)) as cursor:
        return cursor.execute(query, {"pub": publication, "tool": TOOL_SCHEMA}).fetchall()


def _query(where: str, listed: str, filtered: str) -> sql.Composed:
    # All parts are constants of this file.
    return sql.SQL(_ROWS + where).format(
        listed=sql.SQL(listed),
        filtered=sql.SQL(filtered),
    )


def resolve(
    conn: psycopg.Connection[Any], declared: Mapping[str, str]
) -> dict[TableName, tuple[TableIdentity, Identity]]:
    """Return each declared table, and each partition of one, with the identity it shall have.

    Raises `Refused` for a table that does not exist, or an index that can't identify rows.
    """
    found: dict[TableName, tuple[TableIdentity, Identity]] = {}
    for text, wish in declared.items():
        schema, name = table_name(text)
        identity = Identity.parse(wish)
        if identity.kind not in ("full", "index"):
            raise Refused(f"replica identity of {text}: got {wish!r}, expected full or index NAME")
        with conn.cursor(row_factory=class_row(TableIdentity)) as cursor:
            query = _query(_NAMED, "NULL::text[]", "NULL::text[]")
            tables = cursor.execute(query, {"schema": schema, "name": name}).fetchall()
        if not tables:
            raise Refused(f"replica identity of {text}: no such table; mend replica_identity")
        for table in tables:
            own = _own_index(conn, schema, identity, table)
            _refuse_flawed(table, own)
            found[table.key] = table, own
    return found


def _own_index(
    conn: psycopg.Connection[Any], schema: str, identity: Identity, table: TableIdentity
) -> Identity:
    if identity.kind == "full" or any(one["name"] == identity.index for one in table.indexes):
        return identity
    row = conn.execute(_CHILD_INDEX, (schema, identity.index, table.schema, table.name)).fetchone()
    if row is None:
        raise Refused(
            f"replica identity of {shown(table.key)}: it has no index {identity.index!r}; "
            "create it first, unique and over columns that are NOT NULL"
        )
    return Identity("index", row[0])


def _refuse_flawed(table: TableIdentity, identity: Identity) -> None:
    for index in table.indexes:
        if index["name"] == identity.index and index["flaw"] is not None:
            raise Refused(
                f"replica identity of {shown(table.key)}: index {identity.index!r} is "
                f"{index['flaw']}; expected unique, valid, not deferrable, not partial, NOT NULL"
            )


def live(conn: psycopg.Connection[Any], declared: Mapping[str, str]) -> dict[str, str]:
    """Return `declared` as the server has it: a key whose table or partition differs says so."""
    found = {}
    for text, wish in declared.items():
        try:
            resolved = resolve(conn, {text: wish})
        except Refused:
            continue  # the table or its index is gone: so is its declaration
        other = [table for table, wanted in resolved.values() if table.identity != wanted]
        found[text] = str(other[0].identity) if other else wish
    return found


def remembered(conn: psycopg.Connection[Any]) -> dict[TableName, Identity]:
    """Return what the tables had before `declare` changed them."""
    row = conn.execute(
        "SELECT pg_catalog.obj_description(n.oid, 'pg_namespace')"
        " FROM pg_catalog.pg_namespace n WHERE n.nspname = %s",
        (TOOL_SCHEMA,),
    ).fetchone()
    try:
        content = json.loads(row[0]) if row and row[0] else {}
        entries = content["replica_identity"] if isinstance(content, dict) and content else {}
        return {table_name(key): Identity.parse(text) for key, text in entries.items()}
    except (ValueError, KeyError):
        return {}  # a comment of somebody else's: nothing of ours to remember


def _remember(conn: psycopg.Connection[Any], before: Mapping[TableName, Identity]) -> None:
    entries = {shown(table): str(identity) for table, identity in sorted(before.items())}
    text = json.dumps({"replica_identity": entries}) if entries else None
    conn.execute(
        sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(TOOL_SCHEMA), sql.Literal(text))
    )


def declare(
    conn: psycopg.Connection[Any],
    wanted: Mapping[TableName, tuple[TableIdentity, Identity]],
    *,
    deadline: float,
) -> None:
    """Give each table its identity, each in a transaction that also remembers the one before."""
    for key, (table, identity) in wanted.items():
        if table.identity == identity:
            continue
        _alter(conn, key, identity, before=table.identity, deadline=deadline)
        log.info("table %s: replica identity %s, was %s", shown(key), identity, table.identity)


def undo(conn: psycopg.Connection[Any], tables: Iterable[TableName], *, deadline: float) -> None:
    """Give `tables` back what they had before `declare`; others are left alone."""
    before = remembered(conn)
    for key in tables:
        if key not in before:
            continue
        _alter(conn, key, before[key], before=None, deadline=deadline)
        log.info("table %s: replica identity %s again", shown(key), before[key])


def _alter(
    conn: psycopg.Connection[Any],
    table: TableName,
    identity: Identity,
    *,
    before: Identity | None,
    deadline: float,
) -> None:
    """Alter one table; `before` is remembered, and None forgets what was.

    A short lock timeout: waiting for AccessExclusiveLock makes everybody else queue behind it.
    """
    while True:
        try:
            with conn.transaction():
                memory = remembered(conn)
                if before is None:
                    memory.pop(table, None)
                else:
                    memory.setdefault(table, before)
                _remember(conn, memory)
                conn.execute(
                    "SELECT set_config('lock_timeout', %s, true)", (str(_LOCK_TIMEOUT_MS),)
                )
                conn.execute(statement(table, identity))
            return
        except (errors.UndefinedTable, errors.UndefinedObject):
            if before is not None:
                raise
            log.warning("table %s: gone or without its index, identity left", shown(table))
            with conn.transaction():
                memory = remembered(conn)
                memory.pop(table, None)
                _remember(conn, memory)
            return
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            if time.monotonic() > deadline:
                who = blockers.words(blockers.open_transactions(conn, writing=False))
                raise Retry(
                    f"table {shown(table)}: no lock to set its replica identity: {who}; try again"
                ) from None


def statement(table: TableName, identity: Identity) -> sql.Composed:
    """Return the ALTER TABLE that gives `table` its identity."""
    match identity.kind:
        case "index":
            how = sql.SQL("USING INDEX {}").format(sql.Identifier(identity.index or ""))
        case "default":
            how = sql.SQL("DEFAULT").format()
        case "nothing":
            how = sql.SQL("NOTHING").format()
        case "full":
            how = sql.SQL("FULL").format()
    return sql.SQL("ALTER TABLE {} REPLICA IDENTITY {}").format(sql.Identifier(*table), how)
