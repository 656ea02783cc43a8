"""The role that first copies are made as: may it read every row of the tables to be copied?

Changes come from the WAL, whatever a role may read. A first copy is a query of the role that the
subscription connects as: without SELECT it fails, in the standby's log only, and under row security
it copies a part of the rows without an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from bluegreen.errors import Refused
from bluegreen.postgres.queries import Connection
from bluegreen.postgres.remedies import quoted
from bluegreen.postgres.table_names import TableName

# Row security as check_enable_rls decides it; a policy that shows this role every row is harmless.
_UNREADABLE = """
SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname), pg_catalog.quote_ident(n.nspname),
       NOT pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE') AS no_usage,
       NOT pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT')
       AND EXISTS (SELECT FROM pg_catalog.pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                      AND a.attgenerated = ''
                      AND NOT pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT'))
         AS no_select,
       c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
       AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE'))
       AND (NOT EXISTS (SELECT FROM policy p WHERE p.polrelid = c.oid AND p.polpermissive AND p.all)
            OR EXISTS (SELECT FROM policy p
                        WHERE p.polrelid = c.oid AND NOT p.polpermissive AND NOT p.all)) AS filtered
  FROM ROWS FROM (pg_catalog.unnest(%(schemas)s::text[]), pg_catalog.unnest(%(tables)s::text[]))
       AS t(schema, name)
  JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
  JOIN pg_catalog.pg_roles r ON r.rolname = %(role)s
 ORDER BY 1
"""
_POLICIES = """
WITH policy AS (
  SELECT p.polrelid, p.polpermissive,
         pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true' AS all
    FROM pg_catalog.pg_policy p
   WHERE p.polcmd IN ('r', '*')
     AND EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) AS m(oid)
                  WHERE m.oid = 0 OR pg_catalog.pg_has_role(%(role)s::name, m.oid, 'USAGE')))
"""


def require_readable(
    publisher: Connection, what: str, role: str, tables: Sequence[TableName]
) -> None:
    """Raise `Refused` when `role` can't copy all rows of one of `tables`, with the remedy."""
    values = {
        "role": role,
        "schemas": [one[0] for one in tables],
        "tables": [one[1] for one in tables],
    }
    for table, schema, no_usage, no_select, filtered in publisher.execute(
        _POLICIES + _UNREADABLE, values
    ).fetchall():
        if no_usage:
            found, remedy = "may not use its schema", f"GRANT USAGE ON SCHEMA {schema}"
        elif no_select:
            found, remedy = "may not read it", f"GRANT SELECT ON {table}"
        elif filtered:
            raise Refused(
                f"{what}: table {table} can't be copied whole: its row security hides rows from"
                f" {role!r}, whom the subscription connects as; ALTER ROLE {quoted(role)}"
                f" BYPASSRLS, or CREATE POLICY copy ON {table} FOR SELECT TO {quoted(role)}"
                " USING (true), on the publisher, then try again"
            )
        else:
            continue
        raise Refused(
            f"{what}: table {table} can't be copied: {role!r}, whom the subscription connects as,"
            f" {found}; {remedy} TO {quoted(role)} on the publisher, then try again"
        )
