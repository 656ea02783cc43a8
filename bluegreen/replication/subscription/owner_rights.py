"""What a subscription's owner needs to apply rows, checked before a lack stops the apply.

From 16 on the apply becomes each table's owner by SET ROLE unless `run_as_owner`; before, and with
`run_as_owner`, it writes with the rights of the subscription's owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from bluegreen.errors import Refused
from bluegreen.postgres import aws_roles, versions
from bluegreen.postgres.remedies import quoted, statement
from bluegreen.postgres.table_names import TableName
from bluegreen.postgres.versions import Feature

# Its worker is a session of this role.
_MAY_LOG_IN = """
SELECT r.rolcanlogin,
       pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT')
  FROM pg_catalog.pg_roles r WHERE r.rolname = %s
"""

# The tables that exist here, and their names as a statement writes them.
_TABLES = """
       ROWS FROM (pg_catalog.unnest(%(schemas)s::text[]), pg_catalog.unnest(%(names)s::text[]))
       AS w(schema, name)
  JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
 CROSS JOIN LATERAL pg_catalog.format('%%I.%%I', w.schema, w.name) AS t(name)"""

# From 16 on: who may become whom matters only there, and earlier majors know no such privilege.
# Before, to be a member is enough, and an upgrade makes such a membership one that may be set.
_NOT_SETTABLE = """
SELECT pg_catalog.pg_get_userbyid(c.relowner)::text AS owner,
       pg_catalog.array_agg(t.name ORDER BY t.name) AS tables
  FROM {tables}
 WHERE NOT pg_catalog.pg_has_role(%(role)s::name, c.relowner, '{become}')
 GROUP BY 1 ORDER BY 1
"""
_NOT_WRITABLE = """
SELECT pg_catalog.pg_get_userbyid(c.relowner)::text AS owner, t.name
  FROM {tables}
 WHERE NOT (pg_catalog.has_table_privilege(%(role)s::name, c.oid, 'SELECT')
            AND pg_catalog.has_table_privilege(%(role)s::name, c.oid, 'INSERT')
            AND pg_catalog.has_table_privilege(%(role)s::name, c.oid, 'UPDATE')
            AND pg_catalog.has_table_privilege(%(role)s::name, c.oid, 'DELETE')
            AND pg_catalog.has_table_privilege(%(role)s::name, c.oid, 'TRUNCATE'))
 ORDER BY 2
"""
# The apply refuses a table whose row security would filter it: for its owner only when forced.
_SECURED = """
SELECT t.name
  FROM {tables}
  JOIN pg_catalog.pg_roles r ON r.oid =
       CASE WHEN %(as_owner)s THEN pg_catalog.to_regrole(pg_catalog.quote_ident(%(role)s))::oid
            ELSE c.relowner END
 WHERE c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
   AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE'))
 ORDER BY 1
"""


def require_appliable(
    conn: psycopg.Connection[Any],
    what: str,
    role: str,
    tables: Sequence[TableName],
    *,
    run_as_owner: bool,
    major: int | None = None,
) -> None:
    """Raise `Refused` when `role`, a subscription's owner, could not apply rows to `tables`.

    Otherwise the first such row would stop the apply, much later. Tables that don't exist here are
    not checked. `major` is that of the server that is to apply, where `conn` leads to another one
    that has its roles and tables, as a clone's source has.
    """
    _require_login(conn, what, role)
    args = {
        "schemas": [schema for schema, _ in tables],
        "names": [name for _, name in tables],
        "role": role,
    }
    applying = versions.major(conn) if major is None else major
    as_owner = run_as_owner or not versions.has(applying, Feature.SET_ROLE)
    if as_owner:
        denied = conn.execute(_NOT_WRITABLE.format(tables=_TABLES), args).fetchall()
        _require_none_of_aws(what, denied)
        if denied:
            names = [name for _, name in denied]
            raise Refused(
                f"{what}: its owner {role!r} may not write {_some(names)}; "
                + statement("SELECT, INSERT, UPDATE, DELETE, TRUNCATE", names[0], role)
            )
    else:
        become = "SET" if versions.supports(conn, Feature.SET_ROLE) else "MEMBER"
        query = _NOT_SETTABLE.format(tables=_TABLES, become=become)
        for owner, owned in conn.execute(query, args).fetchall():
            _require_none_of_aws(what, [(owner, name) for name in owned])
            option = " WITH SET TRUE" if become == "SET" else ""
            raise Refused(
                f"{what}: its owner {role!r} can't SET ROLE to {owner!r}, who owns "
                f"{_some(owned)}; GRANT {quoted(owner)} TO {quoted(role)}{option}"
            )
    secured = conn.execute(
        _SECURED.format(tables=_TABLES), args | {"as_owner": as_owner}
    ).fetchall()
    if secured:
        names = [name for (name,) in secured]
        raise Refused(
            f"{what}: row security would filter what is applied to {_some(names)}; ALTER TABLE "
            f"{names[0]} NO FORCE ROW LEVEL SECURITY, or give the role BYPASSRLS"
        )


def _require_login(conn: psycopg.Connection[Any], what: str, role: str) -> None:
    login = conn.execute(_MAY_LOG_IN, (role,)).fetchone()
    if login is None or not login[0]:
        found = "does not exist" if login is None else "may not log in, as its worker has to"
        remedy = (
            f"CREATE ROLE {quoted(role)} LOGIN"
            if login is None
            else (f"ALTER ROLE {quoted(role)} LOGIN")
        )
        raise Refused(f"{what}: its owner {role!r} {found}; {remedy}")
    if not login[1]:
        raise Refused(
            f"{what}: its owner {role!r} may not connect, as its worker has to; "
            + statement("CONNECT", f"DATABASE {quoted(conn.info.dbname)}", role)
        )


def _require_none_of_aws(what: str, denied: Sequence[tuple[str, str]]) -> None:
    """Raise `Refused` for tables of AWS's own roles, which nobody can become or be granted.

    PostGIS has one, spatial_ref_sys, and all tables of a database or schema include it.
    """
    names = [name for owner, name in denied if owner in aws_roles.LOGINS]
    if names:
        raise Refused(
            f"{what}: {_some(names)} belong to AWS, so rows of theirs can't be applied; name in "
            "bluegreen:replication.tables what else to replicate, without them"
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")
