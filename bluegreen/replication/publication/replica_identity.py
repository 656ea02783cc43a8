"""Replica identities: what an UPDATE or DELETE sends along so that the subscriber finds the row.

A published table without one refuses every UPDATE and DELETE, on production, at once. So the
publication asks here first. `declared_identity` sets and undoes what is declared for a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from bluegreen.errors import Refused
from bluegreen.postgres import publications
from bluegreen.postgres.table_names import TableName, shown, table_name

Kind = Literal["default", "nothing", "full", "index"]

_KINDS: dict[str, Kind] = {"d": "default", "n": "nothing", "f": "full", "i": "index"}
_MOST_NAMED = 20

# The apply compares rows column by column where no key finds them, by the type's default equality
# (lookup_type_cache): a btree or hash class of the type or of one it is binary coercible to. An
# array, a domain or a composite type has equality when its parts do.
_INCOMPARABLE = """
WITH RECURSIVE incomparable AS (
  SELECT t.oid FROM pg_catalog.pg_type t
   WHERE t.typtype = 'b' AND NOT (t.typelem <> 0 AND t.typlen = -1 AND t.typcategory = 'A')
     AND NOT EXISTS (
         SELECT FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod
          WHERE o.opcdefault AND m.amname IN ('btree', 'hash')
            AND (o.opcintype = t.oid OR EXISTS (
                 SELECT FROM pg_catalog.pg_cast k
                  WHERE k.castsource = t.oid AND k.casttarget = o.opcintype
                    AND k.castmethod = 'b' AND k.castcontext = 'i')))
  UNION
  SELECT t.oid FROM incomparable i JOIN pg_catalog.pg_type t
      ON t.typtype = 'd' AND t.typbasetype = i.oid
      OR t.typcategory = 'A' AND t.typlen = -1 AND t.typelem = i.oid
      OR t.typtype = 'c' AND EXISTS (
         SELECT FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            AND a.atttypid = i.oid)
)
"""

_ROWS = """
SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS relkind,
       c.relreplident::text AS letter,
       coalesce((
         SELECT json_agg(json_build_object(
             'name', x.relname,
             'columns', (SELECT json_agg(a.attname::text ORDER BY a.attnum)
                           FROM pg_catalog.pg_attribute a
                          WHERE a.attrelid = c.oid
                            AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])),
             'primary', i.indisprimary, 'chosen', i.indisreplident,
             'flaw', CASE
                WHEN NOT i.indisunique THEN 'not unique'
                WHEN NOT i.indisvalid THEN 'not valid'
                WHEN NOT i.indimmediate THEN 'deferrable'
                WHEN i.indpred IS NOT NULL THEN 'partial'
                WHEN i.indexprs IS NOT NULL THEN 'on an expression'
                WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a
                              WHERE a.attrelid = c.oid AND NOT a.attnotnull
                                AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1]))
                     THEN 'on a nullable column'
             END))
           FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
          WHERE i.indrelid = c.oid), '[]') AS indexes,
       (SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped) AS generated,
       (SELECT array_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, NULL)
                         ORDER BY a.attnum)
          FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
           AND a.atttypid IN (SELECT i.oid FROM incomparable i)) AS incomparable,
       pg_catalog.current_setting('server_version_num')::int >= 180000 AS full_needs_generated,
       {columns}
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""

# An UPDATE is checked where its row is stored: with publish_via_partition_root a root is sent, and
# its list and filter apply, but each partition has its own identity.
_PUBLISHED = """
  JOIN (SELECT s.publication, s.oid AS sent, coalesce(t.relid, s.oid) AS stored
          FROM ({sent}) s
          LEFT JOIN LATERAL pg_catalog.pg_partition_tree(s.oid) t ON s.relkind = 'p' AND t.isleaf
         WHERE s.publication = %(pub)s) x ON x.stored = c.oid
  LEFT JOIN ({listed}) r ON r.oid = x.sent AND r.publication = x.publication
 WHERE c.relkind = 'r'
 ORDER BY 1, 2
"""

_NAMED = """
 WHERE (n.nspname, c.relname) = (%(schema)s, %(name)s) AND c.relkind IN ('r', 'p')
    OR c.relkind = 'r' AND c.oid IN (
       SELECT t.relid FROM pg_catalog.pg_class p
         JOIN pg_catalog.pg_namespace s ON s.oid = p.relnamespace,
              pg_catalog.pg_partition_tree(p.oid) t
        WHERE (s.nspname, p.relname) = (%(schema)s, %(name)s) AND p.relkind = 'p')
 ORDER BY c.relkind, 1, 2
"""

# A partition's index has its own name; it is attached to the parent's index.
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
    """A table with all that decides whether it may be published, as the server has it."""

    schema: str
    name: str
    relkind: str
    letter: str
    indexes: list[dict[str, Any]]
    columns: list[str] | None
    generated: list[str] | None
    """Its generated columns: never sent, since the other side computes them itself."""
    incomparable: list[str] | None
    """Columns, with type, whose type has no equality to find a row by."""
    full_needs_generated: bool
    """Whether the server refuses to write where a full identity would miss a column: from 18 on."""
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
        """Return the identity in force; its name is empty when its index was dropped since."""
        kind = _KINDS[self.letter]
        chosen = next((one["name"] for one in self.indexes if one["chosen"]), "")
        return Identity(kind, chosen if kind == "index" else None)


def problem(table: TableIdentity, identity: Identity) -> str | None:
    """Return why publishing `table` with `identity` would break its writes, or None.

    The rules are those of CheckCmdReplicaIdentity: an identity, within the column list, and every
    column of the row filter within the identity. Generated columns are never published, so an
    identity can't need them: 18 refuses the writes, before it the other side finds no row.
    """
    listed = None if table.listed is None else set(table.listed)
    generated = set(table.generated or ())
    if listed is not None and listed & generated:
        return f"the column list has the generated {_names(listed & generated)}"
    if identity.kind == "full":
        if listed is not None:
            return "its identity is full, which no column list goes with"
        if generated and table.full_needs_generated:
            return f"its identity is full, but generated {_names(generated)} can't be sent"
        if table.incomparable and _key_columns(table, Identity("default")) is None:
            # With a primary key the other side finds the row by the key (GetRelationIdentityOrPK).
            return f"its identity is full, but {_names(set(table.incomparable))} has no equality"
        return None
    key = _key_columns(table, identity)
    if key is None:
        return "has no replica identity"
    if key & generated:
        return f"its identity has the generated {_names(key & generated)}, which can't be sent"
    if listed is not None and not key <= listed:
        return f"the column list leaves out {_names(key - listed)} of its identity"
    outside = set(table.filtered or ()) - key
    if outside:
        return f"the row filter uses {_names(outside)}, which its identity lacks"
    return None


def _names(columns: set[str]) -> str:
    return ", ".join(sorted(columns))


def _key_columns(table: TableIdentity, identity: Identity) -> set[str] | None:
    for index in table.indexes:
        # A deferrable primary key identifies nothing (RelationGetIndexList).
        chosen = index["primary"] if identity.kind == "default" else index["name"] == identity.index
        if chosen and identity.kind in ("default", "index") and index["flaw"] is None:
            return set(index["columns"])
    return None


def require_none(publication: str, problems: Mapping[TableName, str]) -> None:
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
    where = _PUBLISHED.format(sent=publications.sent(conn), listed=publications.listed(conn))
    query = _query("r.listed, r.filtered", where)
    with conn.cursor(row_factory=class_row(TableIdentity)) as cursor:
        return cursor.execute(query, {"pub": publication}).fetchall()


def _query(columns: str, where: str) -> Any:
    # All parts are constants of this file and of `publications`.
    return _INCOMPARABLE + _ROWS.format(columns=columns) + where


def resolve(
    conn: psycopg.Connection[Any], declared: Mapping[str, str]
) -> dict[TableName, tuple[TableIdentity, Identity]]:
    """Return each declared table, and each partition of one, with the desired identity.

    Raises `Refused` for a table that does not exist, or an index that can't identify rows.
    """
    found: dict[TableName, tuple[TableIdentity, Identity]] = {}
    for text, desired in declared.items():
        schema, name = table_name(text)
        identity = Identity.parse(desired)
        if identity.kind not in ("full", "index"):
            raise Refused(
                f"replica identity of {text}: got {desired!r}, expected full or index NAME"
            )
        with conn.cursor(row_factory=class_row(TableIdentity)) as cursor:
            query = _query("NULL::text[] AS listed, NULL::text[] AS filtered", _NAMED)
            tables = cursor.execute(query, {"schema": schema, "name": name}).fetchall()
        if not tables:
            raise Refused(f"replica identity of {text}: no such table; fix replica_identity")
        for table in tables:
            own = _own_index(conn, schema, identity, table)
            _require_flawless(table, own)
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


def _require_flawless(table: TableIdentity, identity: Identity) -> None:
    for index in table.indexes:
        if index["name"] == identity.index and index["flaw"] is not None:
            raise Refused(
                f"replica identity of {shown(table.key)}: index {identity.index!r} is "
                f"{index['flaw']}; expected unique, valid, not deferrable, not partial, NOT NULL"
            )


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
