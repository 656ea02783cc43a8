"""Which objects are the tool's: they carry its mark; what has none is neither used nor dropped.

The mark is a JSON object in a comment. It is set in the transaction that makes the object, and
a clone or an upgraded server inherits it with the object. A name proves nothing: applications have
schemas and databases called `bluegreen`, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from bluegreen.errors import Refused
from bluegreen.names import TOOL_SCHEMA
from bluegreen.postgres.table_names import TableName, shown, table_name

Connection = psycopg.Connection[Any]

MARK = {"made_by": "bluegreen"}

Memory = Mapping[str, Any]
"""What the mark of a published database's schema remembers, by subject."""
Change = Callable[[Memory], Memory]

_ONE_AT_A_TIME = "SELECT pg_catalog.pg_advisory_xact_lock(4782, 3)"

TRUSTED = """(pg_catalog.pg_has_role({owner}, current_user, 'MEMBER') OR EXISTS (
    SELECT FROM pg_catalog.pg_roles g WHERE g.rolname = 'rds_superuser'
       AND pg_catalog.pg_has_role({owner}, g.oid, 'MEMBER')))"""
"""SQL: whether the role with the oid `owner` can do anyway what the administrator can.

Not the other way round: an administrator is a member of many application roles. RDS requires that
of a role that makes databases for them, and 16 of the role's maker.
"""

# What is in a schema depends on it; indexes and row types depend on their table only. Triggers and
# rules are in no schema, and run whenever a heartbeat is written.
_SCHEMA = """
SELECT pg_catalog.obj_description(n.oid, 'pg_namespace') AS comment,
       pg_catalog.pg_get_userbyid(n.nspowner)::text AS owner,
       {schema_trusted} AND coalesce({table_trusted}, true) AS trusted,
       ARRAY(SELECT pg_catalog.format('%%s %%s', a.attname,
                                      pg_catalog.format_type(a.atttypid, a.atttypmod))
               FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
              ORDER BY a.attnum) AS columns,
       ARRAY(SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
               FROM pg_catalog.pg_depend d
              WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid
                AND d.deptype = 'n'
                AND NOT (d.classid = 'pg_catalog.pg_class'::regclass
                         AND d.objid IS NOT DISTINCT FROM t.oid)
              UNION
             SELECT pg_catalog.pg_describe_object('pg_catalog.pg_trigger'::regclass, g.oid, 0)
               FROM pg_catalog.pg_trigger g WHERE g.tgrelid = t.oid AND NOT g.tgisinternal
              UNION
             SELECT pg_catalog.pg_describe_object('pg_catalog.pg_rewrite'::regclass, r.oid, 0)
               FROM pg_catalog.pg_rewrite r WHERE r.ev_class = t.oid
              ORDER BY 1) AS foreign_objects
  FROM pg_catalog.pg_namespace n
  LEFT JOIN pg_catalog.pg_class t
    ON t.relnamespace = n.oid AND t.relname = 'heartbeat' AND t.relkind = 'r'
 WHERE n.nspname = %s
"""

_FIND_SCHEMA = _SCHEMA.format(
    schema_trusted=TRUSTED.format(owner="n.nspowner"),
    table_trusted=TRUSTED.format(owner="t.relowner"),
)

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Schema:
    """A published database's schema `bluegreen`, the tool's or not."""

    comment: str | None
    owner: str
    trusted: bool
    """Whether its owner and the heartbeat table's can do anyway what the administrator can."""
    columns: list[str]
    """Columns of the heartbeat table; empty where there is no such table."""
    foreign_objects: list[str]
    """What else is in it, or on its table."""

    @property
    def marked(self) -> bool:
        """Return whether it carries the tool's mark."""
        return is_mark(self.comment)


def parse(comment: str | None) -> dict[str, Any]:
    """Return a comment's JSON object; empty where the comment is none."""
    try:
        found = json.loads(comment or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_mark(comment: str | None) -> bool:
    """Return whether a comment is, or holds, the tool's mark."""
    return MARK.items() <= parse(comment).items()


def find_schema(conn: Connection) -> Schema | None:
    """Return the schema `bluegreen` of `conn`'s database."""
    with conn.cursor(row_factory=class_row(Schema)) as cursor:
        return cursor.execute(_FIND_SCHEMA, (TOOL_SCHEMA,)).fetchone()


def unfit_schema(found: Schema, columns: Sequence[str]) -> str | None:
    """Return why the schema can't be used or dropped as the tool's own, None when it can.

    The version before marks made schemas that are known by their shape: a table of exactly these
    `columns`, and nothing else.
    """
    named = ", ".join(found.foreign_objects[:_MOST_NAMED])
    more = len(found.foreign_objects) - _MOST_NAMED
    named += f" and {more} more" if more > 0 else ""
    if not found.marked and (found.columns != list(columns) or found.foreign_objects):
        has = f"holds {named}" if named else "is empty"
        return (
            f"has no mark of this tool, so somebody else made it ({has}); rename it: "
            f"ALTER SCHEMA {TOOL_SCHEMA} RENAME TO ...; or, if this tool made it, mark it: "
            f"COMMENT ON SCHEMA {TOOL_SCHEMA} IS '{json.dumps(MARK)}'"
        )
    if not found.trusted:
        return (
            f"it or its table belongs to {found.owner!r}, who may change what this tool relies on; "
            f"expected the administrator: ALTER SCHEMA {TOOL_SCHEMA} OWNER TO CURRENT_USER, and "
            "its table likewise"
        )
    if found.foreign_objects:
        return f"holds what this tool did not make: {named}; move or drop it, then try again"
    return None


def remembered(conn: Connection) -> dict[str, Any]:
    """Return what else the mark of the schema remembers."""
    found = find_schema(conn)
    return parse(found.comment) if found is not None else {}


def remember(conn: Connection, **more: Any) -> None:
    """Add `more` to the schema's mark; an empty value is forgotten."""
    change_memory(conn, lambda _: {**MARK, **more})


def change_memory(conn: Connection, change: Change) -> None:
    """Add to the schema's mark what `change` makes of what it remembers; nothing when that is none.

    One at a time, to the end of the transaction: of two that have read before either writes, the
    later one would forget what the earlier one has added.
    """
    with conn.transaction():
        conn.execute(_ONE_AT_A_TIME)
        known = remembered(conn)
        more = change(known)
        if not more:
            return
        kept = {key: value for key, value in {**known, **MARK, **more}.items() if value}
        conn.execute(
            sql.SQL("COMMENT ON SCHEMA {} IS {}").format(
                sql.Identifier(TOOL_SCHEMA), sql.Literal(json.dumps(kept))
            )
        )


def note_slot(conn: Connection, name: str, *, publication: str) -> None:
    """Remember in the slot's database that the tool made it: slots take no comment.

    Where nothing is published by the tool, nothing is remembered. Tables that were put before into
    the `publication` that is read through it are whole for whoever begins with it.
    """

    def change(known: Memory) -> Memory:
        later = {one: texts for one, texts in _added(known).items() if one != publication}
        return {"slots": sorted({*_slots(known), name}), "added": later}

    if find_schema(conn) is not None:
        change_memory(conn, change)


def forget_slot(conn: Connection, name: str) -> None:
    """Forget a slot that is gone: the next one of its name may not be the tool's."""
    if knows_slot(conn, name):
        change_memory(conn, lambda known: {"slots": [one for one in _slots(known) if one != name]})


def forget_slots(conn: Connection) -> None:
    """Forget every slot, and what their readers take in: a clone's notes are about its source's."""
    known = remembered(conn)
    if _slots(known) or _added(known):
        remember(conn, slots=[], added={})


def note_added(conn: Connection, publication: str, tables: Collection[TableName]) -> None:
    """Remember tables that were put into a publication while a slot reads it.

    What was written to them before goes nowhere, until whoever subscribes has copied them.
    """

    def change(known: Memory) -> Memory:
        before = _added(known)
        names = {*before.get(publication, []), *map(shown, tables)}
        return {"added": {**before, publication: sorted(names)}}

    if tables:
        change_memory(conn, change)


def added(conn: Connection, publications: Collection[str]) -> set[TableName]:
    """Return the tables that were put into publications under a slot, and not taken in since."""
    known = _added(remembered(conn))
    return {table_name(text) for one in publications for text in known.get(one, [])}


def forget_added(
    conn: Connection, publications: Collection[str], tables: Collection[TableName]
) -> None:
    """Forget `tables` that were put into publications: they are taken in, copied as a whole."""
    gone = set(map(shown, tables))

    def change(known: Memory) -> Memory:
        kept = {
            one: [text for text in texts if one not in publications or text not in gone]
            for one, texts in _added(known).items()
        }
        return {"added": {one: texts for one, texts in kept.items() if texts}}

    if added(conn, publications) & set(tables):
        change_memory(conn, change)


def knows_slot(conn: Connection, name: str) -> bool:
    """Return whether a slot of this name in `conn`'s database is the tool's."""
    return name in _slots(remembered(conn))


def _slots(known: Memory) -> Sequence[str]:
    found: Sequence[str] = known.get("slots", [])
    return found


def _added(known: Memory) -> Mapping[str, Sequence[str]]:
    found: Mapping[str, Sequence[str]] = known.get("added", {})
    return found


def mark(conn: Connection, kind: str, name: str) -> None:
    """Mark an object of this database: `kind` is PUBLICATION or SUBSCRIPTION."""
    conn.execute(marking(kind, name))


def is_marked(conn: Connection, kind: str, name: str) -> bool:
    """Return whether there is such an object and it carries the mark."""
    row = conn.execute(_COMMENTS[kind], (name,)).fetchone()
    return row is not None and is_mark(row[0])


def require_marked(conn: Connection, kind: str, name: str) -> None:
    """Raise `Refused` where somebody else made the object of this name; a missing one is fine."""
    row = conn.execute(_COMMENTS[kind], (name,)).fetchone()
    if row is None or is_mark(row[0]):
        return
    raise Refused(
        f"{kind.lower()} {name!r} in {conn.info.dbname!r}: exists and has no mark of this tool, so "
        "somebody else made it; drop or rename it if it is unused, or, if this tool made it, mark "
        f"it: {marking(kind, name).as_string()}"
    )


_COMMENTS = {
    "PUBLICATION": "SELECT pg_catalog.obj_description(p.oid, 'pg_publication')"
    " FROM pg_catalog.pg_publication p WHERE p.pubname = %s",
    "SUBSCRIPTION": "SELECT pg_catalog.obj_description(s.oid, 'pg_subscription')"
    " FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid"
    " WHERE s.subname = %s AND d.datname = pg_catalog.current_database()",
}


def marking(kind: str, name: str) -> sql.Composed:
    """Return the statement that marks an object of this database."""
    return sql.SQL("COMMENT ON {} {} IS {}").format(
        _KINDS[kind], sql.Identifier(name), sql.Literal(json.dumps(MARK))
    )


_KINDS = {"PUBLICATION": sql.SQL("PUBLICATION"), "SUBSCRIPTION": sql.SQL("SUBSCRIPTION")}
