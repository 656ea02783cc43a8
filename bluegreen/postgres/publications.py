"""Publications, as a server has them at one moment. Nothing else reads pg_publication.

That includes its dependent catalogs: `SENT` and `LISTED` are for queries that join what is
published with something else. `bluegreen.replication.publication.definition` builds statements
from these values.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from bluegreen.postgres import versions
from bluegreen.postgres.queries import column
from bluegreen.postgres.table_names import TableName
from bluegreen.postgres.versions import Feature

OPERATIONS = frozenset({"insert", "update", "delete", "truncate"})


@dataclass(frozen=True, slots=True)
class PublishedTable:
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
    tables: frozenset[PublishedTable] = frozenset()
    operations: frozenset[str] = OPERATIONS
    via_root: bool = False
    generated: bool = False
    """Whether generated columns are sent; never desired, since no subscriber of ours takes them."""


# 14 has neither schemas, nor filters, nor column lists.
_HEAD = """
SELECT p.puballtables AS all_tables, p.pubviaroot AS via_root, p.pubinsert AS insert,
       p.pubupdate AS update, p.pubdelete AS delete, p.pubtruncate AS truncate,
       {generated} AS generated
  FROM pg_catalog.pg_publication p WHERE p.pubname = %s
"""
_SCHEMAS = """
SELECT n.nspname::text
  FROM pg_catalog.pg_publication_namespace s
  JOIN pg_catalog.pg_publication p ON p.oid = s.pnpubid
  JOIN pg_catalog.pg_namespace n ON n.oid = s.pnnspid
 WHERE p.pubname = %s
"""
_TABLES = """
SELECT n.nspname::text AS schema, c.relname::text AS name, {columns} AS columns, {filter} AS filter
  FROM pg_catalog.pg_publication_rel r
  JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
  JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE p.pubname = %s
"""
_COLUMNS = """(SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs::int2[]))"""
_FILTER = "pg_catalog.pg_get_expr(r.prqual, r.prrelid)"
_EXISTING = """
SELECT p.pubname::text FROM pg_catalog.pg_publication p WHERE p.pubname = ANY (%s)
"""

# With publish_via_partition_root the view holds the root, otherwise its partitions.
_SENT = """
SELECT p.pubname::text AS publication, p.schemaname::text AS schema, p.tablename::text AS name,
       c.oid, c.relkind, {columns} AS columns, {filtered} AS filtered
  FROM pg_catalog.pg_publication_tables p
  JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
"""
_ALL_COLUMNS = """ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)"""
# pg_depend shows the columns of a list and of a filter alike, so the filter's own tree is read.
_LISTED = """
SELECT p.pubname::text AS publication, r.prrelid AS oid, {listed} AS listed, {filtered} AS filtered
  FROM pg_catalog.pg_publication_rel r
  JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
"""
_LISTED_COLUMNS = """(SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute a
               WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs::int2[]))"""
_FILTERED_COLUMNS = """(SELECT array_agg(DISTINCT a.attname::text)
                  FROM regexp_matches(r.prqual::text, ':varattno (\\d+)', 'g') AS m
                  JOIN pg_catalog.pg_attribute a
                    ON a.attrelid = r.prrelid AND a.attnum = m[1]::int)"""
_NO_COLUMNS = "NULL::text[]"

# Text, since filters and column lists have no hash of their own.
_MARKER_OF = """(SELECT coalesce(sum(pg_catalog.hashtextextended(x::text, 0)), 0)
          FROM pg_catalog.{} x)"""

_TABLES_SENT = """
SELECT DISTINCT s.schema, s.name FROM ({sent}) s WHERE s.publication = ANY (%s) ORDER BY 1, 2
"""
_OIDS_SENT = """
SELECT s.schema, s.name, s.oid::int8 FROM ({sent}) s WHERE s.publication = ANY (%s)
"""
_COLUMNS_SENT = "SELECT s.schema, s.name, s.columns FROM ({sent}) s WHERE s.publication = %s"
_SENDERS = "SELECT s.publication FROM ({sent}) s WHERE (s.schema, s.name) = (%s, %s)"


def inspect(conn: psycopg.Connection[Any], name: str) -> Publication | None:
    """Return the publication as the server has it: filters in the server's own spelling."""
    major = versions.major(conn)
    has_schemas = versions.has(major, Feature.SCHEMA_PUBLICATION)
    has_lists = versions.has(major, Feature.COLUMN_LIST)
    has_generated = versions.has(major, Feature.GENERATED_COLUMNS)
    head_query = _HEAD.format(generated="p.pubgencols <> 'n'" if has_generated else "false")
    tables_query = _TABLES.format(
        columns=_COLUMNS if has_lists else _NO_COLUMNS,
        filter=_FILTER if has_lists else "NULL::text",
    )
    with conn.cursor(row_factory=dict_row) as cursor:
        head = cursor.execute(head_query, (name,)).fetchone()
        if head is None:
            return None
        rows = cursor.execute(tables_query, (name,)).fetchall()
    tables = {
        PublishedTable(
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
        schemas=frozenset(column(conn, _SCHEMAS, name)) if has_schemas else frozenset(),
        tables=frozenset(tables),
        operations=frozenset(one for one in OPERATIONS if head[one]),
        via_root=head["via_root"],
        generated=head["generated"],
    )


def missing(conn: psycopg.Connection[Any], names: Collection[str]) -> list[str]:
    """Return which of `names` are not publications of `conn`'s database."""
    there = set(column(conn, _EXISTING, list(names)))
    return [name for name in names if name not in there]


def sent_tables(conn: psycopg.Connection[Any], names: Collection[str]) -> list[TableName]:
    """Return the tables that publications send, sorted: roots or partitions, as they are sent."""
    query: Any = _TABLES_SENT.format(sent=sent(conn))
    found = conn.execute(query, (list(names),)).fetchall()
    return [(schema, table) for schema, table in found]


def sent_oids(conn: psycopg.Connection[Any], names: Collection[str]) -> dict[TableName, int]:
    """Return the tables that publications send, each with its oid."""
    query: Any = _OIDS_SENT.format(sent=sent(conn))
    found = conn.execute(query, (list(names),)).fetchall()
    return {(schema, table): oid for schema, table, oid in found}


def sent_columns(conn: psycopg.Connection[Any], name: str) -> dict[TableName, list[str]]:
    """Return the tables that a publication sends, with the columns that it sends of each."""
    query: Any = _COLUMNS_SENT.format(sent=sent(conn))
    found = conn.execute(query, (name,)).fetchall()
    return {(schema, table): columns for schema, table, columns in found}


def sending(conn: psycopg.Connection[Any], table: TableName) -> list[str]:
    """Return the publications that send a table."""
    return column(conn, _SENDERS.format(sent=sent(conn)), *table)


def marker(conn: psycopg.Connection[Any]) -> str:
    """Return an expression whose number changes when any publication is made or altered."""
    catalogs = ["pg_publication", "pg_publication_rel"]
    if versions.supports(conn, Feature.SCHEMA_PUBLICATION):
        catalogs.append("pg_publication_namespace")
    return " + ".join(map(_MARKER_OF.format, catalogs))


def sent(conn: psycopg.Connection[Any]) -> str:
    """Return the query of what all publications send, for a FROM.

    Its columns: publication, schema, name, oid, relkind, columns (names of those that are sent),
    filtered (whether there is a row filter).
    """
    has_lists = versions.supports(conn, Feature.COLUMN_LIST)
    return _SENT.format(
        columns="p.attnames::text[]" if has_lists else _ALL_COLUMNS,
        filtered="p.rowfilter IS NOT NULL" if has_lists else "false",
    )


def listed(conn: psycopg.Connection[Any]) -> str:
    """Return the query of the tables that publications name, for a FROM.

    Its columns: publication, oid, listed (names of its column list), filtered (names of the columns
    in its row filter); each is null where there is none.
    """
    has_lists = versions.supports(conn, Feature.COLUMN_LIST)
    return _LISTED.format(
        listed=_LISTED_COLUMNS if has_lists else _NO_COLUMNS,
        filtered=_FILTERED_COLUMNS if has_lists else _NO_COLUMNS,
    )
