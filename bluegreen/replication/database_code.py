"""Finds the code of a database that replication or the tool's own sessions would run.

An apply worker fires triggers that are enabled ALWAYS or for REPLICA, fills columns that aren't
sent from their defaults, and evaluates the expressions of indexes, constraints, domains, generated
columns and partition keys, all with an empty `search_path` and the standby's read-only default. The
tool's statements on the standby fire event triggers, and its sessions login triggers. Rows that
such code writes exist twice, rows that it changes differ between the sides, and what it can't find
or may not write stops the apply for good. All of this shows long after the clone, so it is searched
for before, and again before a switch, for code that was made since.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.rows import class_row

from bluegreen import finding
from bluegreen.errors import Refused
from bluegreen.finding import Finding, Level
from bluegreen.names import TOOL_SCHEMA
from bluegreen.postgres import publications
from bluegreen.postgres.publications import Publication
from bluegreen.postgres.queries import Connection, column
from bluegreen.postgres.table_names import TableName, shown
from bluegreen.replication import database_code_sql as queries
from bluegreen.replication import function_text

log = logging.getLogger(__name__)

Sent = Mapping[TableName, Sequence[str]]
"""What is replicated: each table with its columns."""

_CRON_LOG: TableName = ("cron", "job_run_details")
_MOST_NAMED = 5
_SECONDS = 5  # for one row of one expression
_LIMITS = """
SELECT pg_catalog.set_config('statement_timeout', %s, true),
       pg_catalog.set_config('search_path', '', true)
"""


@dataclass(frozen=True, slots=True)
class _Filled:
    column: str
    text: str
    bodies: list[str]


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    language: str
    body: str


@dataclass(frozen=True, slots=True)
class _Function:
    oid: int
    signature: str
    schema: str
    name: str
    language: str
    body: str
    resolved: bool
    """Whether its names are independent of the caller's search_path."""
    volatile: bool


@dataclass(frozen=True, slots=True)
class _Expression:
    schema: str
    table: str
    what: str
    text: str | None
    functions: list[int]

    def __str__(self) -> str:
        return f"{self.what} of {self.schema}.{self.table}"


@dataclass(frozen=True, slots=True)
class Code:
    """What was found in one database, by name."""

    has_plpgsql: bool
    triggers: list[str]
    defaults: list[str]
    """Columns that an apply worker would fill by a default that writes."""
    expressions: list[str]
    event_triggers: list[str]
    written_by_both: list[str]
    """Sent tables that a background worker writes by itself on both sides."""


def planned(conn: Connection, publication: Publication) -> Sent:
    """Return what `publication` would send if it were made now."""
    tables = [
        {"schema": one.schema, "name": one.name, "columns": one.columns}
        for one in publication.tables
    ]
    found = conn.execute(
        queries.PLANNED,
        {
            "tables": json.dumps(tables, default=sorted),
            "all": publication.all_tables,
            "schemas": sorted(publication.schemas),
            "own": TOOL_SCHEMA,
        },
    ).fetchall()
    return {(schema, name): columns for schema, name, columns in found}


def sent(conn: Connection, publication: str) -> Sent:
    """Return what the publication of this name sends."""
    return {
        table: columns
        for table, columns in publications.sent_columns(conn, publication).items()
        if table[0] != TOOL_SCHEMA
    }


def inspect(conn: Connection, replicated: Sent) -> Code:
    """Return what the database's own code would do when rows of `replicated` are applied in it."""
    args = {"sent": json.dumps(_rows(replicated))}
    with conn.cursor(row_factory=class_row(_Function)) as cursor:
        functions = {one.oid: one for one in cursor.execute(queries.FUNCTIONS).fetchall()}
    names = {one.name for one in functions.values()} - set(column(conn, queries.SERVERS_FUNCTIONS))
    languages = column(conn, "SELECT lanname::text FROM pg_catalog.pg_language")
    return Code(
        has_plpgsql="plpgsql" in languages,
        triggers=column(conn, _written(queries.FIRING), args),
        defaults=_writing_defaults(conn, args),
        expressions=_failing_expressions(conn, args, functions, names),
        event_triggers=_writing_event_triggers(conn, names),
        written_by_both=[
            shown(_CRON_LOG)
            for there in column(conn, queries.CRON_LOG)
            if there and _CRON_LOG in replicated
        ],
    )


def _rows(replicated: Sent) -> list[dict[str, Any]]:
    return [
        {"schema": schema, "name": name, "columns": list(found)}
        for (schema, name), found in replicated.items()
    ]


def _written(query: str) -> sql.Composed:
    return sql.SQL(query).format(written=sql.SQL(queries.WRITTEN))


def _writing_defaults(conn: Connection, args: Mapping[str, Any]) -> list[str]:
    with conn.cursor(row_factory=class_row(_Filled)) as cursor:
        filled = cursor.execute(_written(queries.FILLED), args).fetchall()
    return [
        f"{one.column} DEFAULT {one.text}"
        for one in filled
        if any(function_text.writes(text) for text in (one.text, *one.bodies))
    ]


def _writing_event_triggers(conn: Connection, names: Collection[str]) -> list[str]:
    with conn.cursor(row_factory=class_row(_Event)) as cursor:
        events = cursor.execute(queries.EVENTS).fetchall()
    return [
        one.name
        for one in events
        if one.language not in ("plpgsql", "sql") or function_text.may_write(one.body, names)
    ]


def _failing_expressions(
    conn: Connection,
    args: Mapping[str, Any],
    functions: Mapping[int, _Function],
    names: Collection[str],
) -> list[str]:
    """Return the expressions that fail in an apply worker, each with the reason."""
    with conn.cursor(row_factory=class_row(_Expression)) as cursor:
        expressions = cursor.execute(_written(queries.EXPRESSIONS), args).fetchall()
    if not expressions:
        return []
    relations = set(column(conn, queries.RELATIONS))
    found = []
    for one in expressions:
        own = [functions[oid] for oid in one.functions if oid in functions]
        own = [function for function in own if function.language not in ("c", "internal")]
        if not own:
            continue
        why = _failure(conn, one) or _unresolved(conn, own, functions.values(), names, relations)
        if why is not None:
            found.append(f"{one} calls {own[0].signature}: {why}")
    return found


def _failure(conn: Connection, one: _Expression) -> str | None:
    """Return why it fails for one row of its table, under an apply worker's conditions."""
    if one.text is None:
        return None
    query = sql.SQL(
        "SELECT {expression} FROM (SELECT) one"
        " LEFT JOIN LATERAL (SELECT * FROM {table} LIMIT 1) row ON true"
    ).format(
        # The text is the catalog's, and the table's owner made it: it runs at every write anyway.
        expression=sql.SQL(one.text),
        table=sql.Identifier(one.schema, one.table),
    )
    return _said(conn, query)


def _said(conn: Connection, query: sql.Composed) -> str | None:
    """Return the server's error for `query` if something can't be found or written."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute("SET TRANSACTION READ ONLY")
            conn.execute(_LIMITS, (f"{_SECONDS}s",))
            conn.execute(query)
    except (
        errors.UndefinedFunction,
        errors.UndefinedTable,
        errors.UndefinedObject,
        errors.UndefinedColumn,
        errors.InvalidSchemaName,
        errors.ReadOnlySqlTransaction,
    ) as error:
        return error.diag.message_primary
    except psycopg.Error:
        return None  # a row that breaks the table's own rules is no concern of ours
    return None


def _unresolved(
    conn: Connection,
    called: Iterable[_Function],
    functions: Iterable[_Function],
    names: Collection[str],
    relations: Collection[str],
) -> str | None:
    """Return what the functions' texts, and those they call, can't find or may not write.

    Running them is not enough: an empty table, or a STRICT function of NULL, runs nothing, and a
    branch may be rare.
    """
    todo, seen = list(called), set[int]()
    while todo:
        one = todo.pop()
        if one.oid in seen or one.language not in ("sql", "plpgsql"):
            continue
        seen.add(one.oid)
        if one.volatile and function_text.writes(one.body):
            return f"{one.signature} writes"
        if one.resolved:
            continue
        if one.language == "sql":  # the server parses it as it would to run it
            said = _said(
                conn,
                sql.SQL("SELECT pg_catalog.fmgr_sql_validator({})").format(sql.Literal(one.oid)),
            )
            if said is not None:
                return said
        elif missing := _unqualified(one, names, relations):
            return f"{one.signature} uses {missing} without its schema"
        inner = {name for schema, name in function_text.calls(one.body) if schema is not None}
        todo += [function for function in functions if function.name in inner]
    return None


def _unqualified(one: _Function, names: Collection[str], relations: Collection[str]) -> str | None:
    called = {name for schema, name in function_text.calls(one.body) if schema is None}
    used = sorted(called.intersection(names))
    used += sorted(function_text.unqualified_relations(one.body).intersection(relations))
    return used[0] if used else None


_FOUND = (
    (
        "triggers",
        "triggers enabled ALWAYS or for REPLICA",
        "an apply worker fires them: a row they change or write differs on the other side, and a"
        " write stops the apply there; ALTER TABLE ... ENABLE TRIGGER or DISABLE TRIGGER them",
    ),
    (
        "defaults",
        "columns that aren't sent, with a default that writes",
        "an apply worker may not write beside the row, so the first row stops it; send the column,"
        " or ALTER COLUMN ... DROP DEFAULT or DROP IDENTITY",
    ),
    (
        "expressions",
        "expressions that an apply worker can't evaluate",
        "it has an empty search_path and may not write beside the row, so the first such row stops"
        " it; ALTER FUNCTION ... SET search_path = (its schemas)",
    ),
    (
        "event_triggers",
        "event triggers that may write",
        "they fire when this tool makes its objects or logs in on the standby, where a row of"
        " their own stops the replication; ALTER EVENT TRIGGER ... DISABLE for the deployment",
    ),
    (
        "written_by_both",
        "tables that pg_cron's launcher writes on both sides",
        "the same numbers there stop the replication; set cron.log_run to off, or leave the table"
        " out of replication.tables",
    ),
)


def findings(code: Code, where: str) -> list[Finding]:
    """Judge what was found in the database called `where`."""
    plpgsql = Finding(Level.OK, f"{where}: language plpgsql", "is there")
    if not code.has_plpgsql:
        plpgsql = Finding(
            Level.BLOCK,
            f"{where}: language plpgsql",
            "is missing",
            "the switch needs it: CREATE EXTENSION plpgsql",
        )
    return [
        plpgsql,
        *(
            finding.expect_none(f"{where}: {subject}", getattr(code, kind), remedy)
            for kind, subject, remedy in _FOUND
        ),
    ]


def require_replicable(conn: Connection, publication: Publication, cluster: str) -> None:
    """Raise `Refused` for the first thing in a database that replication would fail on."""
    if publication.all_tables or publication.schemas:
        _warn_of_makers(conn, cluster)
    code = inspect(conn, planned(conn, publication))
    for found in findings(code, f"database {conn.info.dbname!r} on {cluster}"):
        if found.level is Level.BLOCK:
            raise Refused(found.line())


def _warn_of_makers(conn: Connection, cluster: str) -> None:
    """Log what makes tables: they are published at once, and UPDATE fails on one without a key."""
    makers = [
        name
        for name, body in conn.execute(queries.MAKERS).fetchall()
        if function_text.makes_tables(body)
    ]
    if makers:
        log.warning(
            "database %s on %s: %s make(s) tables, which are published from then on: UPDATE and "
            "DELETE fail on one without a primary key; give it one, make it UNLOGGED or TEMPORARY, "
            "or choose replication.tables",
            conn.info.dbname,
            cluster,
            ", ".join(makers[:_MOST_NAMED]),
        )


def check(
    old: Mapping[str, Connection], new: Mapping[str, Connection], publication: str
) -> list[Finding]:
    """Judge the standby, where rows are applied now, and the writer, where they would be after.

    `publication` is the writer's, by which rows go to the standby.
    """
    found: list[Finding] = []
    for name, conn in old.items():
        replicated = sent(conn, publication)
        for side, where in ((new[name], "the standby"), (conn, "the writer")):
            judged = findings(inspect(side, replicated), f"{name} on {where}")
            found += [one for one in judged if one.level is not Level.OK]
    return found or [Finding(Level.OK, "code that an apply worker would run", "none")]
