"""Publications: which tables the writer sends. Read and built here; `publishing` acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from bluegreen.errors import Refused
from bluegreen.postgres import versions
from bluegreen.postgres.versions import Feature
from bluegreen.replication.publication.replica_identity import TableName

OPERATIONS = frozenset({"insert", "update", "delete", "truncate"})


_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Table:
    """One published table; `columns` None publishes all, `where` is a boolean SQL expression."""

    schema: str
    name: str
    columns: frozenset[str] | None = None
    where: str | None = None

    @property
    def key(self) -> TableName:
        """Return schema and name."""
        return self.schema, self.name


@dataclass(frozen=True, slots=True)
class Publication:
    """What a publication sends. All tables, or whole schemas and single tables together."""

    name: str
    all_tables: bool
    schemas: frozenset[str] = frozenset()
    tables: frozenset[Table] = frozenset()
    operations: frozenset[str] = OPERATIONS
    via_root: bool = False
    generated: bool = False
    """Generated columns are sent too, which no subscriber of ours could take; never wished for."""


# 14 has neither schemas, nor filters, nor column lists.
_HEAD = """
SELECT p.puballtables AS all_tables, p.pubviaroot AS via_root, p.pubinsert AS insert,
       p.pubupdate AS update, p.pubdelete AS delete, p.pubtruncate AS truncate,
       {generated} AS generated
  FROM pg_catalog.pg_publication p WHERE p.pubname = %s
"""
_SCHEMAS = """
SELECT n.nspname::text AS schema
  FROM pg_catalog.pg_publication_namespace s
  JOIN pg_catalog.pg_publication p ON p.oid = s.pnpubid
  JOIN pg_catalog.pg_namespace n ON n.oid = s.pnnspid
 WHERE p.pubname = %s
"""
_TABLES_14 = """
SELECT n.nspname::text AS schema, c.relname::text AS name,
       NULL::text[] AS columns, NULL::text AS filter
  FROM pg_catalog.pg_publication_rel r
  JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
  JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE p.pubname = %s
"""
_TABLES = """
SELECT n.nspname::text AS schema, c.relname::text AS name,
       (SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs::int2[])) AS columns,
       pg_catalog.pg_get_expr(r.prqual, r.prrelid) AS filter
  FROM pg_catalog.pg_publication_rel r
  JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
  JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE p.pubname = %s
"""


def find(conn: psycopg.Connection[Any], name: str) -> Publication | None:
    """Return the publication as the server has it: filters in the server's own spelling."""
    major = versions.major(conn)
    has_schemas = versions.has(major, Feature.SCHEMA_PUBLICATION)
    has_generated = versions.has(major, Feature.GENERATED_COLUMNS)
    head_query = _HEAD.format(generated="p.pubgencols <> 'n'" if has_generated else "false")
    with conn.cursor(row_factory=dict_row) as cursor:
        head = cursor.execute(head_query, (name,)).fetchone()
        if head is None:
            return None
        schemas = cursor.execute(_SCHEMAS, (name,)).fetchall() if has_schemas else []
        rows = cursor.execute(_TABLES if has_schemas else _TABLES_14, (name,)).fetchall()
    tables = {
        Table(
            row["schema"],
            row["name"],
            None if row["columns"] is None else frozenset(row["columns"]),
            row["filter"],
        )
        for row in rows
    }
    return Publication(
        name=name,
        all_tables=head["all_tables"],
        schemas=frozenset(row["schema"] for row in schemas),
        tables=frozenset(tables),
        operations=frozenset(one for one in OPERATIONS if head[one]),
        via_root=head["via_root"],
        generated=head["generated"],
    )


def statements(have: Publication | None, want: Publication) -> list[sql.Composed]:
    """Return what turns `have` into `want`: nothing when they agree.

    Raises `Refused` where `unchangeable` has a reason.
    """
    if have == want:
        return []
    name = sql.Identifier(want.name)
    if have is None:
        create = sql.SQL("CREATE PUBLICATION {} FOR {} WITH ({})")
        return [create.format(name, _scope(want), _options(want))]
    if (why := unchangeable(have, want)) is not None:
        raise Refused(why)
    todo = []
    if (have.schemas, have.tables) != (want.schemas, want.tables):
        todo.append(sql.SQL("ALTER PUBLICATION {} SET {}").format(name, _scope(want)))
    if have.operations != want.operations:
        todo.append(sql.SQL("ALTER PUBLICATION {} SET ({})").format(name, _options(want)))
    if have.generated and not want.generated:
        none = sql.SQL("ALTER PUBLICATION {} SET (publish_generated_columns = none)")
        todo.append(none.format(name))
    return todo


def unchangeable(have: Publication, want: Publication) -> str | None:
    """Return why `have` can't become `want` in place, None when it can.

    Between all tables and a choice only a drop leads. A partition root in place of its partitions
    could be altered, but until the subscription is refreshed its rows are skipped without an error.
    """
    if have.all_tables != want.all_tables:
        what = "can't change between all tables and a choice of them"
    elif have.via_root != want.via_root:
        what = "can't change publish_via_partition_root"
    else:
        return None
    return (
        f"publication {want.name!r}: {what} while a slot reads it (rows in between would be lost); "
        "destroy the deployment and stand it up anew with the other choice"
    )


def _scope(want: Publication) -> sql.Composable:
    if want.all_tables:
        return sql.SQL("ALL TABLES")
    parts: list[sql.Composable] = []
    if want.tables:
        tables = sorted(want.tables, key=lambda one: one.key)
        parts.append(sql.SQL("TABLE {}").format(sql.SQL(", ").join(map(listed, tables))))
    if want.schemas:
        names = map(sql.Identifier, sorted(want.schemas))
        parts.append(sql.SQL("TABLES IN SCHEMA {}").format(sql.SQL(", ").join(names)))
    return sql.SQL(", ").join(parts)


def listed(table: Table) -> sql.Composed:
    """Return a table as CREATE PUBLICATION takes it."""
    text = sql.SQL("{}").format(sql.Identifier(table.schema, table.name))
    if table.columns is not None:
        names = sql.SQL(", ").join(map(sql.Identifier, sorted(table.columns)))
        text += sql.SQL(" ({})").format(names)
    if table.where is not None:
        # An expression of the administrator's own; `_execute` lets it be one statement only.
        text += sql.SQL(" WHERE ({})").format(sql.SQL(table.where))
    return text


def _options(want: Publication) -> sql.Composed:
    return sql.SQL("publish = {}, publish_via_partition_root = {}").format(
        sql.Literal(", ".join(sorted(want.operations))), sql.Literal(want.via_root)
    )


def described(have: Publication) -> list[str]:
    """Return `have` as sorted lines: what the server says, to compare with later."""
    lines = ["ALL TABLES"] if have.all_tables else []
    lines += [sql.SQL("SCHEMA {}").format(sql.Identifier(one)).as_string() for one in have.schemas]
    lines += [listed(one).as_string() for one in have.tables]
    lines = [*sorted(lines), f"publish {', '.join(sorted(have.operations))}"]
    if have.via_root:
        lines.append("publish_via_partition_root")
    if have.generated:
        lines.append("publish_generated_columns")
    return lines


def difference(have: Publication, want: Publication) -> str:
    """Return in words what `have` and `want` do not share."""
    has, expected = set(described(have)), set(described(want))
    return f"has {_some(has - expected)}, expected {_some(expected - has)}"


def _some(lines: set[str]) -> str:
    named = sorted(lines)[:_MOST_NAMED]
    more = len(lines) - len(named)
    return ("; ".join(named) or "nothing else") + (f" and {more} more" if more > 0 else "")
