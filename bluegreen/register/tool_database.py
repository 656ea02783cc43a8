"""The tool's own database on an environment, recognised by its mark.

Anybody else who could put functions or locks into it could act as the administrator, or stop a
switch.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.rows import class_row

from bluegreen.errors import Refused, Retry
from bluegreen.names import TOOL_DATABASE, TOOL_SCHEMA
from bluegreen.polling import poll_until
from bluegreen.postgres import owned, remedies
from bluegreen.postgres.queries import column
from bluegreen.postgres.server import Server
from bluegreen.register.schema import SCHEMA

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]

# CREATE DATABASE can't be in one transaction with the mark. Until the mark is set, the database is
# recognised by taking no connections, and a connection limit that nobody else would choose.
_UNFINISHED_LIMIT = 4782

# From template0: template1 may hold anything, and grant anything to PUBLIC. UTF8 takes every name
# of the server's other databases, and C is a locale that every encoding has.
_CREATE = sql.SQL(
    "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    " ALLOW_CONNECTIONS false CONNECTION LIMIT {}"
).format(sql.Identifier(TOOL_DATABASE), sql.Literal(_UNFINISHED_LIMIT))

_FIND = """
SELECT pg_catalog.pg_get_userbyid(d.datdba)::text AS owner, {trusted} AS trusted,
       pg_catalog.shobj_description(d.oid, 'pg_database') AS comment,
       NOT d.datallowconn AND d.datconnlimit = %(unfinished)s AS unfinished,
       EXISTS (SELECT FROM pg_catalog.aclexplode(
                   coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
                WHERE a.grantee = 0) AS public
  FROM pg_catalog.pg_database d WHERE d.datname = %(name)s
"""

# Everything that applications make belongs to a schema. What an extension brings is left out, and
# a sequence that a table owns.
_CONTENT = """
SELECT n.nspname::text AS schema, c.relname::text AS name, {trusted} AS trusted,
       CASE WHEN c.relkind IN ('r', 'p') THEN 'table' WHEN c.relkind = 'S' THEN 'sequence'
            ELSE 'relation' END AS kind
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
   AND NOT starts_with(n.nspname::text, 'pg_temp_')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
                      AND (d.deptype = 'e' OR c.relkind = 'S' AND d.deptype IN ('a', 'i')))
 UNION ALL
SELECT n.nspname::text, p.proname::text, {trusted_function}, 'function'
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND NOT starts_with(n.nspname::text, 'pg_temp_')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
                      AND d.deptype = 'e')
 UNION ALL
SELECT n.nspname::text, '', {trusted_schema}, 'schema'
  FROM pg_catalog.pg_namespace n WHERE n.nspname = %(schema)s
 ORDER BY 1, 4, 2
"""

_CLOSE_SCHEMAS = """\
DO $do$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT n.nspname FROM pg_namespace n, aclexplode(n.nspacl) a
         WHERE n.nspname IN ('bluegreen', 'public') AND a.grantee = 0
           AND pg_has_role(n.nspowner, 'USAGE')
         GROUP BY n.nspname
    LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', item.nspname);
    END LOOP;
END $do$"""

_FIND_DATABASE = _FIND.format(trusted=owned.TRUSTED.format(owner="d.datdba"))
_FIND_CONTENT = _CONTENT.format(
    trusted=owned.TRUSTED.format(owner="c.relowner"),
    trusted_function=owned.TRUSTED.format(owner="p.proowner"),
    trusted_schema=owned.TRUSTED.format(owner="n.nspowner"),
)

_CONNECTED = """\
SELECT DISTINCT coalesce(a.usename, a.backend_type)::text FROM pg_catalog.pg_stat_activity a
 WHERE a.datname = %s AND a.pid <> pg_catalog.pg_backend_pid() ORDER BY 1"""
_END_OTHERS = """\
SELECT pg_catalog.pg_terminate_backend(a.pid)
  FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
 WHERE a.datname = %s AND a.pid <> pg_catalog.pg_backend_pid()
   AND NOT r.rolsuper AND pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')"""
_DROP_SECONDS = 30.0

# What `clone_origin` keeps there, and what the register's statements make.
_RELATIONS = frozenset(
    {("table", "clone_origin")}
    | {
        (kind.lower(), name)
        for kind, name in re.findall(
            r"CREATE (TABLE|SEQUENCE) IF NOT EXISTS bluegreen\.(\w+)", SCHEMA
        )
    }
)
# The version before marks made databases that are recognised by exactly these.
_FIRST_TABLES = frozenset({"register", "opening", "closure"})

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class _Database:
    owner: str
    trusted: bool
    comment: str | None
    unfinished: bool
    """Made by the tool just now, or by a run that was interrupted before it set the mark."""
    public: bool
    """Whether everybody may connect, or more."""


@dataclass(frozen=True, slots=True)
class _Object:
    schema: str
    name: str
    trusted: bool
    kind: str

    @property
    def ours(self) -> bool:
        """Return whether the tool makes such an object, and its owner can be trusted."""
        if self.schema != TOOL_SCHEMA or not self.trusted:
            return False
        # Functions of an earlier version may have names that this one doesn't know.
        return self.kind in ("function", "schema") or (self.kind, self.name) in _RELATIONS

    def __str__(self) -> str:
        return f"{self.kind} {self.schema}" + (f".{self.name}" if self.name else "")


def ensure(server: Server) -> None:
    """Make the database, closed to everybody else, or check that an existing one is the tool's.

    Raises `Refused` where it is not, or where somebody else could change what is in it.
    """
    with server.connect("postgres") as conn, _explained(conn, server):
        found = _find(conn)
        if found is None:
            try:
                conn.execute(_CREATE)
            except (errors.DuplicateDatabase, errors.UniqueViolation):
                log.info("%s: made by somebody else meanwhile", _named(server))
            found = _find(conn)
        if found is None:
            raise Refused(f"{_named(server)}: dropped by somebody else meanwhile; try again")
        if found.unfinished:
            _finish(conn)
            return
        content = _content(server)
        why = _unfit(found, content)
        if why is not None:
            raise Refused(f"{_named(server)}: {why}")
        if found.public or not owned.is_mark(found.comment):
            _finish(conn)


def close_schemas(conn: Connection) -> None:
    """Revoke PUBLIC's privileges on the database's schemas, as far as this role may."""
    conn.execute(_CLOSE_SCHEMAS)


def exists(server: Server) -> bool:
    """Return whether the tool's database exists; somebody else's of that name doesn't count."""
    with server.connect("postgres") as conn:
        found = _find(conn)
    if found is None or found.unfinished:
        return False
    return owned.is_mark(found.comment) or _is_of_before_marks(_content(server))


def drop(server: Server) -> None:
    """Drop the tool's database; a missing one, or somebody else's, is left as it is.

    Raises `Refused` where it holds something that the tool did not make.
    """
    with server.connect("postgres") as conn, _explained(conn, server):
        found = _find(conn)
        if found is None:
            return
        if not found.unfinished:
            content = _content(server)
            if not owned.is_mark(found.comment) and not _is_of_before_marks(content):
                log.warning("%s: left as it is, since it has no mark of this tool", _named(server))
                return
            others = _others(content)
            if others is not None:
                raise Refused(f"{_named(server)}: {others}")
        _drop(conn, server)


def _drop(conn: Connection, server: Server) -> None:
    """Drop the database, whoever is connected.

    AWS's own superuser may be, to every database now and then, and only a superuser may end it: so
    the others' sessions are ended, and its own is waited for.
    """
    name = sql.Identifier(TOOL_DATABASE)
    try:
        conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        return
    except errors.InsufficientPrivilege:
        who = column(conn, _CONNECTED, TOOL_DATABASE)
        if not who:
            raise  # another privilege
    log.info("%s: waits for the end of sessions of %s", _named(server), ", ".join(who))
    for _ in poll_until(time.monotonic() + _DROP_SECONDS):
        conn.execute(_END_OTHERS, (TOOL_DATABASE,))
        try:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))  # it waits 5 s itself
            return
        except errors.ObjectInUse:
            who = column(conn, _CONNECTED, TOOL_DATABASE) or who
    raise Retry(
        f"{_named(server)}: can't be dropped while sessions of {', '.join(who)} are there, which "
        "only a superuser may end; try again"
    )


def _find(conn: Connection) -> _Database | None:
    with conn.cursor(row_factory=class_row(_Database)) as cursor:
        return cursor.execute(
            _FIND_DATABASE, {"name": TOOL_DATABASE, "unfinished": _UNFINISHED_LIMIT}
        ).fetchone()


def _content(server: Server) -> list[_Object]:
    with (
        server.connect(TOOL_DATABASE) as conn,
        conn.cursor(row_factory=class_row(_Object)) as cursor,
    ):
        return cursor.execute(_FIND_CONTENT, {"schema": TOOL_SCHEMA}).fetchall()


def _finish(conn: Connection) -> None:
    database = sql.Identifier(TOOL_DATABASE)
    with conn.transaction():
        # First, since it locks the database: two runs then come one after the other.
        conn.execute(_marking())
        conn.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        conn.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true CONNECTION LIMIT -1").format(database)
        )


def _marking() -> sql.Composed:
    return sql.SQL("COMMENT ON DATABASE {} IS {}").format(
        sql.Identifier(TOOL_DATABASE), sql.Literal(json.dumps(owned.MARK))
    )


def _unfit(found: _Database, content: list[_Object]) -> str | None:
    if not owned.is_mark(found.comment) and not _is_of_before_marks(content):
        return (
            "has no mark of this tool, so somebody else made it; rename it: ALTER DATABASE "
            f"{TOOL_DATABASE} RENAME TO ...; or, if this tool made it, mark it: "
            f"{_marking().as_string()}"
        )
    if not found.trusted:
        return (
            f"belongs to {found.owner!r}, who may change what this tool relies on; expected the "
            f"administrator: ALTER DATABASE {TOOL_DATABASE} OWNER TO CURRENT_USER"
        )
    return _others(content)


def _is_of_before_marks(content: list[_Object]) -> bool:
    tables = {one.name for one in content if one.kind == "table"}
    return all(one.ours for one in content) and tables >= _FIRST_TABLES


def _others(content: list[_Object]) -> str | None:
    """Return what the tool did not make, or whose owner isn't trusted."""
    others = [one for one in content if not one.ours]
    if not others:
        return None
    more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    return (
        f"holds what this tool did not make: {', '.join(map(str, others[:_MOST_NAMED]))}{more}; "
        "move or drop it, then try again"
    )


@contextmanager
def _explained(conn: Connection, server: Server) -> Iterator[None]:
    with remedies.explained(conn, _named(server)):
        yield


def _named(server: Server) -> str:
    return f"database {TOOL_DATABASE} on {server}"
