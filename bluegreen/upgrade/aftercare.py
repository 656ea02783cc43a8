"""What a major upgrade leaves undone: extensions of the old version, missing statistics."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from bluegreen.errors import Refused
from bluegreen.postgres import connection
from bluegreen.postgres.server import Row, Server

log = logging.getLogger(__name__)

_OUTDATED = """
SELECT x.extname::text AS name, x.extversion AS installed, a.default_version AS offered
  FROM pg_catalog.pg_extension x
  JOIN pg_catalog.pg_available_extensions a ON a.name = x.extname
 WHERE a.default_version <> x.extversion
 ORDER BY x.extname
"""

# Rows and no statistics: pg_upgrade to 17 or older drops all of them, to 18 keeps most. Partitions
# are left to their root, whose ANALYZE descends; autovacuum skips partitioned tables.
_WITHOUT_STATISTICS = """
SELECT n.nspname::text AS schema, c.relname::text AS name
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND n.nspname !~ '^pg_(toast|temp)'
   AND EXISTS (
       SELECT FROM (SELECT c.oid AS relid
                     UNION SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid) t) part
         JOIN pg_catalog.pg_class p ON p.oid = part.relid
        WHERE p.relkind IN ('r', 'm') AND p.reltuples < 0
          AND pg_catalog.pg_relation_size(p.oid) > 0)
 ORDER BY pg_catalog.pg_table_size(c.oid) DESC, 1, 2
"""

# The value in a session of the table's owner: the narrowest setting holds. The server's own can't
# be read from a session that has another, so its default stands for it.
_OWNERS_PATH = """
SELECT pg_catalog.set_config('search_path', coalesce((
    SELECT pg_catalog.substr(o, 13)
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_db_role_setting s ON s.setrole IN (0, c.relowner)
       AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database
                                  WHERE datname = pg_catalog.current_database()))
     CROSS JOIN pg_catalog.unnest(s.setconfig) o
     WHERE n.nspname = %s AND c.relname = %s AND o LIKE 'search_path=%%'
     ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1), '"$user", public'), false)
"""

# to_regclass() fails where the role lacks USAGE on the schema.
_EXISTS = """
SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s
"""

# Statistics are sampled, so a big table costs little more than a small one: two sessions read
# while the server's own cleaning after the upgrade goes on beside them.
_SESSIONS = 2

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Extension:
    """An installed extension for which the server offers another version."""

    name: str
    installed: str
    offered: str


@dataclass(frozen=True, slots=True)
class BareTable:
    """A table that has rows and no statistics."""

    schema: str
    name: str


def update_extensions(conn: psycopg.Connection[Row]) -> list[str]:
    """Update each extension to the version that the server offers; return those that failed.

    A failure is reported and doesn't stop the rest: the old version goes on working, and further
    steps that an extension needs are only in its own manual.
    """
    with conn.cursor(row_factory=class_row(Extension)) as cursor:
        outdated = cursor.execute(_OUTDATED).fetchall()
    failed = []
    for extension in outdated:
        statement = sql.SQL("ALTER EXTENSION {} UPDATE").format(sql.Identifier(extension.name))
        change = f"{extension.name} {extension.installed} to {extension.offered}"
        try:
            conn.execute(statement)
        except psycopg.Error as error:
            failed.append(f"{change}: {connection.said(error)}")
        else:
            log.info("database %s: extension %s", conn.info.dbname, change)
    return failed


def without_statistics(conn: psycopg.Connection[Row]) -> list[BareTable]:
    """Return the tables that have rows and no statistics, the biggest first."""
    with conn.cursor(row_factory=class_row(BareTable)) as cursor:
        return cursor.execute(_WITHOUT_STATISTICS).fetchall()


def analyze(server: Server, database: str, tables: Collection[BareTable]) -> list[str]:
    """Gather statistics of `tables`; return those that failed, each with the server's reason.

    A table that is dropped meanwhile is skipped. Functions in its indexes run with the search_path
    that its owner's own sessions have; from 17 on the server gives them an empty one.
    """

    def run(share: list[BareTable]) -> list[str]:
        failed = []
        with server.connect(database) as conn:
            for table in share:
                name = sql.Identifier(table.schema, table.name)
                conn.execute(_OWNERS_PATH, (table.schema, table.name))
                try:
                    conn.execute(sql.SQL("ANALYZE {}").format(name))
                except psycopg.Error as error:
                    if conn.broken:
                        raise
                    if _exists(conn, table):
                        failed.append(f"{table.schema}.{table.name}: {_said(error)}")
        return failed

    ordered = list(tables)
    shares = [ordered[n::_SESSIONS] for n in range(_SESSIONS)]
    with ThreadPoolExecutor(_SESSIONS) as pool:
        running = [pool.submit(run, share) for share in shares if share]
        return [failure for one in running for failure in one.result()]


def _exists(conn: psycopg.Connection[Row], table: BareTable) -> bool:
    return conn.execute(_EXISTS, (table.schema, table.name)).fetchone() is not None


def _said(error: psycopg.Error) -> str:
    """Return the server's message, and the function that it came from."""
    said = connection.said(error)
    where = [line for line in (error.diag.context or "").splitlines() if "function" in line]
    return f"{said}, in {where[-1]}" if where else said


def finish(server: Server, databases: Collection[str]) -> None:
    """Update the extensions and gather missing statistics, in every database.

    This is safe to repeat and does only what is missing, also after an interrupted run.
    Raises `Refused` when a table can't be analyzed: without statistics the first query after the
    cutover may take hours instead of milliseconds.
    """
    for database in sorted(databases):
        started = time.monotonic()
        with server.connect(database) as conn:
            for failure in update_extensions(conn):
                log.warning("database %s on %s: extension %s", database, server.cluster, failure)
            tables = without_statistics(conn)
            if not tables:
                continue
            failed = analyze(server, database, tables)
            left = without_statistics(conn)
        if failed:
            raise Refused(
                f"database {database} on {server.cluster}: {len(failed)} table(s) can't be "
                f"analyzed: {'; '.join(failed[:_MOST_NAMED])}; fix them there (a function that "
                "finds nothing: ALTER FUNCTION ... SET search_path = its schemas), and try again"
            )
        if left:
            # ANALYZE of a table that one doesn't own is a warning, not an error.
            named = ", ".join(f"{table.schema}.{table.name}" for table in left[:_MOST_NAMED])
            raise Refused(
                f"database {database} on {server.cluster}: {len(left)} table(s) without statistics "
                f"({named}); give the administrator their owner's privileges, or ANALYZE them"
            )
        log.info(
            "database %s on %s: statistics of %d table(s) gathered in %.1f s",
            database,
            server.cluster,
            len(tables),
            time.monotonic() - started,
        )
