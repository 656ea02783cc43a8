"""Publications: which tables the writer sends. Statements are built here first, and run apart.

A publication is altered in place or not at all: drop it and make it anew under a slot that still
has to decode, and 16 fails for ever while 18 skips the rows between without an error (measured on
16.14 and 18.4).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row

from bluegreen import blockers, heartbeat, replica_identity, versions
from bluegreen.errors import CloneAgain, Refused, Retry
from bluegreen.names import TOOL_SCHEMA
from bluegreen.replica_identity import Identity, TableIdentity, TableName
from bluegreen.versions import Feature

T = TypeVar("T")
log = logging.getLogger(__name__)

OPERATIONS = frozenset({"insert", "update", "delete", "truncate"})

# Heartbeat and canary show that rows cross, so every publication has them.
_TOOL_TABLES = ("heartbeat", "canary")
_LOCK_TIMEOUT_MS = 2000


@dataclass(frozen=True, slots=True)
class Table:
    """One published table; `columns` None publishes all, `where` is a boolean SQL expression."""

    schema: str
    name: str
    columns: frozenset[str] | None = None
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """What a publication sends. All tables, or whole schemas and single tables together."""

    name: str
    all_tables: bool
    schemas: frozenset[str] = frozenset()
    tables: frozenset[Table] = frozenset()
    operations: frozenset[str] = OPERATIONS
    via_root: bool = False


# 14 has neither schemas, nor filters, nor column lists.
_HEAD = """
SELECT p.puballtables AS all_tables, p.pubviaroot AS via_root, p.pubinsert AS insert,
       p.pubupdate AS update, p.pubdelete AS delete, p.pubtruncate AS truncate
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

# What reads a publication stands in the sender's own command, START_REPLICATION; a slot that
# nobody reads now is known by its name only.
_READERS = """
SELECT s.slot_name::text AS slot
  FROM pg_catalog.pg_replication_slots s
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid
 WHERE s.database = pg_catalog.current_database() AND s.plugin = 'pgoutput'
   AND (starts_with(s.slot_name::text, %(name)s || '_')
        OR starts_with(a.query, 'START_REPLICATION') AND strpos(a.query, %(quoted)s) > 0)
 ORDER BY 1
"""


TOOL_TABLES = frozenset(Table(TOOL_SCHEMA, name) for name in _TOOL_TABLES)


def from_scope(name: str, scope: Mapping[str, Any]) -> Publication:
    """Return the publication that a resource's `scope` describes, heartbeat and canary included.

    Raises `Refused` for a scope of another shape.
    """
    match scope.get("kind"):
        case "all":
            return Publication(name, all_tables=True)
        case "schemas" if scope.get("schemas"):
            return Publication(name, False, frozenset(scope["schemas"]), TOOL_TABLES)
        case "tables" if scope.get("tables"):
            tables = {_table(entry) for entry in scope["tables"]}
            return Publication(name, False, frozenset(), frozenset(tables) | TOOL_TABLES)
    raise Refused(
        f"publication {name!r}: scope is {dict(scope)!r}, expected kind all, "
        "kind schemas with schemas, or kind tables with tables"
    )


def _table(entry: Mapping[str, Any]) -> Table:
    columns = entry.get("columns")
    return Table(
        entry["schema"],
        entry["name"],
        frozenset(columns) if columns else None,
        entry.get("where") or None,
    )


def to_scope(have: Publication) -> dict[str, Any]:
    """Return the `scope` of what the server has, with extra keys for what no wish can say."""
    own = TOOL_TABLES - have.tables
    tables = [
        {"schema": one.schema, "name": one.name}
        | ({"columns": sorted(one.columns)} if one.columns is not None else {})
        | ({"where": one.where} if one.where is not None else {})
        for one in sorted(have.tables - TOOL_TABLES, key=lambda one: (one.schema, one.name))
    ]
    scope: dict[str, Any]
    if have.all_tables:
        scope = {"kind": "all"}
    elif have.schemas and not tables:
        scope = {"kind": "schemas", "schemas": sorted(have.schemas)}
    elif not have.schemas:
        scope = {"kind": "tables", "tables": tables}
    else:
        scope = {"kind": "mixed", "schemas": sorted(have.schemas), "tables": tables}
    if own and not have.all_tables:
        scope["missing"] = sorted(f"{one.schema}.{one.name}" for one in own)
    if have.operations != OPERATIONS:
        scope["operations"] = sorted(have.operations)
    if have.via_root:
        scope["publish_via_partition_root"] = True
    return scope


def described(have: Publication) -> list[str]:
    """Return `have` as sorted lines: what the server says, to compare with later."""
    lines = ["ALL TABLES"] if have.all_tables else []
    lines += [sql.SQL("SCHEMA {}").format(sql.Identifier(one)).as_string() for one in have.schemas]
    lines += [_listed(one).as_string() for one in have.tables]
    return [*sorted(lines), f"publish {', '.join(sorted(have.operations))}"] + (
        ["publish_via_partition_root"] if have.via_root else []
    )


def find(conn: psycopg.Connection[Any], name: str) -> Publication | None:
    """Return the publication as the server has it: filters in the server's own spelling."""
    has_schemas = versions.has(versions.major(conn), Feature.SCHEMA_PUBLICATION)
    with conn.cursor(row_factory=dict_row) as cursor:
        head = cursor.execute(_HEAD, (name,)).fetchone()
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
    )


def readers(conn: psycopg.Connection[Any], name: str) -> list[str]:
    """Return the slots of this database that read publication `name`, or will."""
    quoted = sql.Identifier(name).as_string()
    found = conn.execute(_READERS, {"name": name, "quoted": quoted}).fetchall()
    return [slot for (slot,) in found]


def statements(have: Publication | None, want: Publication) -> list[sql.Composed]:
    """Return what turns `have` into `want`: nothing when they agree.

    Raises `Refused` between all tables and a choice: only a drop could do that.
    """
    if have == want:
        return []
    name = sql.Identifier(want.name)
    if have is None:
        create = sql.SQL("CREATE PUBLICATION {} FOR {} WITH ({})")
        return [create.format(name, _scope(want), _options(want))]
    if have.all_tables != want.all_tables:
        raise Refused(fixed_kind(want.name))
    todo = []
    if (have.schemas, have.tables) != (want.schemas, want.tables):
        todo.append(sql.SQL("ALTER PUBLICATION {} SET {}").format(name, _scope(want)))
    if (have.operations, have.via_root) != (want.operations, want.via_root):
        todo.append(sql.SQL("ALTER PUBLICATION {} SET ({})").format(name, _options(want)))
    return todo


def fixed_kind(name: str) -> str:
    """Return why a publication can't change between all tables and a choice of them."""
    return (
        f"publication {name!r}: can't change between all tables and a choice of them while a slot "
        "reads it (rows between a drop and a new one would be lost); destroy the deployment and "
        "stand it up anew with the other choice"
    )


def _scope(want: Publication) -> sql.Composable:
    if want.all_tables:
        return sql.SQL("ALL TABLES")
    parts: list[sql.Composable] = []
    if want.tables:
        tables = sorted(want.tables, key=lambda one: (one.schema, one.name))
        parts.append(sql.SQL("TABLE {}").format(sql.SQL(", ").join(map(_listed, tables))))
    if want.schemas:
        names = map(sql.Identifier, sorted(want.schemas))
        parts.append(sql.SQL("TABLES IN SCHEMA {}").format(sql.SQL(", ").join(names)))
    return sql.SQL(", ").join(parts)


def _listed(table: Table) -> sql.Composed:
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


def ensure(
    conn: psycopg.Connection[Any],
    want: Publication,
    identities: Mapping[str, str],
    *,
    deadline: float,
) -> Publication:
    """Make the server's publication equal to `want`, in place, and return it as the server has it.

    `identities` declares tables' replica identities, `{"schema.table": "full" | "index NAME"}`;
    `deadline` is in seconds of `time.monotonic()`. Raises `Refused` before anything changes where
    writes would break, `CloneAgain` when it is gone under a slot, `Retry` when locks are held.
    """
    _require_features(conn, want)
    if find(conn, want.name) is None and (slots := readers(conn, want.name)):
        raise CloneAgain(
            f"publication {want.name!r}: gone while slot {', '.join(slots)} reads it; made anew, "
            "the rows in between would be lost without an error; clone again"
        )
    declared = replica_identity.resolve(conn, identities)
    planned, have, problems = _patiently(
        conn, want.name, deadline, lambda: _rehearse(conn, want, declared)
    )
    replica_identity.refuse(want.name, problems)
    heartbeat.ensure(conn)
    replica_identity.declare(conn, declared, deadline=deadline)
    if have != planned:
        count = _patiently(conn, want.name, deadline, lambda: _apply(conn, want))
        log.info("publication %s: %d statement(s) committed", want.name, count)
    stale = replica_identity.remembered(conn).keys() - declared.keys()
    replica_identity.undo(conn, stale, deadline=deadline)
    return planned


def require_publishable(
    conn: psycopg.Connection[Any],
    want: Publication,
    identities: Mapping[str, str],
    *,
    deadline: float,
) -> None:
    """Raise what `ensure` would refuse, and change nothing."""
    _require_features(conn, want)
    declared = replica_identity.resolve(conn, identities)
    _, _, problems = _patiently(conn, want.name, deadline, lambda: _rehearse(conn, want, declared))
    replica_identity.refuse(want.name, problems)


def drop(conn: psycopg.Connection[Any], name: str, *, deadline: float) -> None:
    """Drop the publication with heartbeat, canary and declared identities; none there is fine.

    Raises `Refused` while a slot reads it.
    """
    if slots := readers(conn, name):
        raise Refused(
            f"publication {name!r}: slot {', '.join(slots)} still reads it; drop the slot first"
        )
    statement = sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name))
    _patiently(conn, name, deadline, lambda: conn.execute(statement))
    if _heartbeat_elsewhere(conn):
        return
    replica_identity.undo(conn, replica_identity.remembered(conn), deadline=deadline)
    heartbeat.drop(conn)


def _require_features(conn: psycopg.Connection[Any], want: Publication) -> None:
    what, major = f"publication {want.name!r}", versions.major(conn)
    if want.schemas:
        versions.require(major, Feature.SCHEMA_PUBLICATION, what)
    if any(one.where is not None for one in want.tables):
        versions.require(major, Feature.ROW_FILTER, what)
    if any(one.columns is not None for one in want.tables):
        versions.require(major, Feature.COLUMN_LIST, what)


def _rehearse(
    conn: psycopg.Connection[Any],
    want: Publication,
    declared: Mapping[TableName, tuple[TableIdentity, Identity]],
) -> tuple[Publication, Publication | None, dict[TableName, str]]:
    """Return what the server would make of `want`, what it has, and which writes would break.

    Done for real in a transaction that is rolled back: only the server knows which tables a scope
    means, partitions and inheritance included, and how it spells a filter. Nobody else sees it.
    """
    with conn.transaction(force_rollback=True):
        _limit_lock_wait(conn)
        heartbeat.ensure(conn)
        have = find(conn, want.name)
        for statement in statements(have, want):
            _execute(conn, statement)
        planned = find(conn, want.name)
        assert planned is not None
        tables = replica_identity.published(conn, want.name)
        restored = replica_identity.remembered(conn)
    problems = {}
    for table in tables:
        identity = table.identity
        if table.key in declared:
            identity = declared[table.key][1]
        elif table.key in restored:
            identity = restored[table.key]
        if (why := replica_identity.missing(table, identity)) is not None:
            problems[table.key] = why
    return planned, have, problems


def _apply(conn: psycopg.Connection[Any], want: Publication) -> int:
    with conn.transaction():
        _limit_lock_wait(conn)
        todo = statements(find(conn, want.name), want)
        for statement in todo:
            _execute(conn, statement)
    return len(todo)


def _execute(conn: psycopg.Connection[Any], statement: sql.Composed) -> None:
    try:
        # The extended protocol takes one statement: a filter can't smuggle in another.
        conn.execute(statement, binary=True)
    except (
        errors.UndefinedTable,
        errors.UndefinedColumn,
        errors.InvalidSchemaName,
        errors.SyntaxError,
        errors.FeatureNotSupported,
        errors.InvalidParameterValue,
        errors.InvalidObjectDefinition,
        errors.InvalidColumnReference,
        errors.DatatypeMismatch,
        errors.UndefinedFunction,
        errors.DuplicateObject,
        errors.InsufficientPrivilege,
    ) as error:
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        raise Refused(
            f"publication: the server refuses it: {error.diag.message_primary}{detail}; "
            "nothing was changed; mend its scope"
        ) from None


def _limit_lock_wait(conn: psycopg.Connection[Any]) -> None:
    conn.execute("SELECT set_config('lock_timeout', %s, true)", (str(_LOCK_TIMEOUT_MS),))


def _patiently(
    conn: psycopg.Connection[Any], name: str, deadline: float, act: Callable[[], T]
) -> T:
    """Return `act()`, tried again while somebody else's lock is in the way."""
    while True:
        try:
            return act()
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            if time.monotonic() > deadline:
                who = blockers.words(blockers.open_transactions(conn, writing=False))
                raise Retry(
                    f"publication {name!r}: no lock on its tables: {who}; try again"
                ) from None


def _heartbeat_elsewhere(conn: psycopg.Connection[Any]) -> bool:
    """Tell whether another publication still sends the heartbeat."""
    row = conn.execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication_tables t"
        " WHERE t.schemaname = %s AND t.tablename = 'heartbeat' AND EXISTS"
        " (SELECT FROM pg_catalog.pg_publication p WHERE p.pubname = t.pubname"
        "  AND starts_with(p.pubname::text, 'bg_')))",
        (TOOL_SCHEMA,),
    ).fetchone()
    return bool(row and row[0])
