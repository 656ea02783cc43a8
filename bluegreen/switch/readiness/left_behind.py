"""What replication leaves behind: tables sent in part or not at all, and what no publication sends.

The server itself says what it publishes, so that roots and partitions, lists, filters and whole
schemas need no rules of their own here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from bluegreen import names
from bluegreen.finding import Finding, Level, expect_none, require_unblocked
from bluegreen.postgres import publications
from bluegreen.postgres.publications import Publication
from bluegreen.postgres.queries import Connection, column
from bluegreen.postgres.table_names import TableName, shown, table_name
from bluegreen.replication.both_sides import BothSides

LARGE_OBJECTS = ("pg_catalog", "pg_largeobject")
"""What to name in accept_stale when they may be left behind."""

# With publish_via_partition_root the root is sent, and its partitions store the rows.
_IN_PART = """
WITH sent AS MATERIALIZED (
  SELECT s.oid, s.relkind, s.filtered,
         ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = s.oid AND a.attnum > 0 AND NOT a.attisdropped
                  AND a.attgenerated = '' AND a.attname <> ALL (s.columns)) AS unsent
    FROM ({sent}) s
   WHERE s.publication = %s
), stored AS (
  SELECT coalesce(t.relid, s.oid) AS oid, s.filtered, s.unsent
    FROM sent s
    LEFT JOIN LATERAL pg_catalog.pg_partition_tree(s.oid) t ON s.relkind = 'p' AND t.isleaf
)
SELECT n.nspname::text, c.relname::text,
       CASE WHEN x.oid IS NULL THEN 'not published'
            WHEN x.filtered THEN 'a row filter'
            ELSE 'without column ' || pg_catalog.array_to_string(x.unsent, ', ') END
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN stored x ON x.oid = c.oid
 WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^(pg_|information_schema$)'
   AND (x.oid IS NULL OR x.filtered OR pg_catalog.cardinality(x.unsent) > 0)
 ORDER BY 1, 2
"""
_OF_A_KIND = """
SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE (c.relkind::text, c.relpersistence::text) = (%s, %s)
   AND n.nspname !~ '^(pg_|information_schema$)'
 ORDER BY 1
"""
_OBJECTS = "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata"


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What of one database the standby does not get."""

    database: str
    in_part: dict[TableName, str]
    """Why each table is not fully replicated, in the running direction or on the way back."""
    unlogged: list[str]
    materialized: list[str]
    unsent: list[str]
    """Operations that the publication leaves out."""
    objects: int
    """Large objects on the writer."""
    objects_there: int
    roots: list[str]
    """Partitioned tables that are sent as themselves."""


def in_part(conn: Connection, publication: str) -> dict[TableName, str]:
    """Return the stored tables that `publication` sends in part or not at all, each with why."""
    query: Any = _IN_PART.format(sent=publications.sent(conn))
    rows = conn.execute(query, (publication,)).fetchall()
    return {(schema, name): why for schema, name, why in rows}


def inspect(sides: BothSides, database: str, *, way_back: bool) -> LeftBehind:
    """Inspect one database; the way back's publication counts too, if there is to be one."""
    old, new = sides.olds[database], sides.news[database]
    found = in_part(old, sides.publication())
    if way_back:
        back = in_part(new, names.publication(sides.deployment, sides.back))
        found = {table: f"{why} on the way back" for table, why in back.items()} | found
    have = publications.inspect(old, sides.publication())
    return LeftBehind(
        database=database,
        in_part=found,
        unlogged=column(old, _OF_A_KIND, "r", "u"),
        materialized=column(old, _OF_A_KIND, "m", "p"),
        unsent=_unsent_operations(have),
        objects=int(column(old, _OBJECTS)[0]),
        objects_there=int(column(new, _OBJECTS)[0]),
        roots=column(old, _OF_A_KIND, "p", "p") if have is not None and have.via_root else [],
    )


def _unsent_operations(have: Publication | None) -> list[str]:
    sent = have.operations if have is not None else publications.OPERATIONS
    return sorted(one.upper() for one in publications.OPERATIONS - sent)


def judge(found: LeftBehind, may_stay: Collection[TableName]) -> Iterator[Finding]:
    """Judge one database; tables in `may_stay` are accepted."""
    stale = {table: why for table, why in found.in_part.items() if table not in may_stay}
    yield expect_none(
        f"{found.database}: tables not wholly replicated",
        [f"{shown(table)} ({why})" for table, why in sorted(stale.items())],
        "publish them, or name them in replication.accept_stale",
    )
    if LARGE_OBJECTS not in may_stay:
        yield expect_none(
            f"{found.database}: large objects, which no publication sends",
            [f"{found.objects}, and {found.objects_there} on the standby"] if found.objects else [],
            f"copy them yourself, then name {shown(LARGE_OBJECTS)} in replication.accept_stale",
        )
    yield expect_none(
        f"{found.database}: unlogged tables",
        found.unlogged,
        "their rows are not replicated: fill them on the new writer",
        Level.WARN,
    )
    yield expect_none(
        f"{found.database}: materialized views",
        found.materialized,
        "they are stale after the switch: REFRESH MATERIALIZED VIEW on the new writer",
        Level.WARN,
    )
    yield expect_none(
        f"{found.database}: partitions sent as their root",
        found.roots,
        "TRUNCATE of one alone, and rows that one had before it was attached, are not sent: where"
        " that was so, DROP and CREATE the table on the standby, and pulumi up copies it",
        Level.WARN,
    )
    # Heartbeats that are there cross by UPDATE alone.
    always = [one for one in found.unsent if one in ("INSERT", "UPDATE")]
    yield expect_none(
        f"{found.database}: operations that no setting leaves out",
        always,
        "somebody has altered the publication by hand, and rows are missing: clone again",
    )
    yield expect_none(
        f"{found.database}: operations that are not replicated",
        [one for one in found.unsent if one not in always],
        "what they change stays on the standby, as replication.operations says",
        Level.WARN,
    )


def findings(
    sides: BothSides, accept_stale: Collection[str], *, way_back: bool
) -> Iterator[Finding]:
    """Inspect and judge every database; raises `Refused` for a name that is no schema.table."""
    tables = accepted(accept_stale)
    for database in sides.databases:
        yield from judge(inspect(sides, database, way_back=way_back), tables)


def accepted(accept_stale: Collection[str]) -> set[TableName]:
    """Return the tables that may be left behind; raises `Refused` for no `schema.table`."""
    return {table_name(text) for text in accept_stale}


def require_none(sides: BothSides, accept_stale: Collection[str], *, way_back: bool) -> None:
    """Raise `Refused` for the first thing that would be left behind and is not accepted."""
    require_unblocked(findings(sides, accept_stale, way_back=way_back), sides.new)
