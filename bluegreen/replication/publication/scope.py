"""The `scope` of a publication: what users write, and what the server has, in the same words.

`{"kind": "all"}`, `{"kind": "schemas", "schemas": [...]}` or `{"kind": "tables", "tables": [...]}`,
where schemas and tables may be combined and a table is
`{"schema": ..., "name": ..., "columns": [...], "where": "..."}`. Beside them, in any kind,
`operations` (all of insert, update, delete, truncate by default) and `publish_via_partition_root`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from bluegreen.errors import Refused
from bluegreen.names import TOOL_SCHEMA
from bluegreen.postgres.publications import OPERATIONS, Publication, PublishedTable
from bluegreen.postgres.table_names import shown

# The heartbeat proves that rows cross, so every publication has it.
TOOL_TABLES = frozenset({PublishedTable(TOOL_SCHEMA, "heartbeat")})

_KEYS = {
    "all": {"kind", "operations", "publish_via_partition_root"},
    "schemas": {"kind", "operations", "publish_via_partition_root", "schemas", "tables"},
    "tables": {"kind", "operations", "publish_via_partition_root", "tables"},
}
_TABLE_KEYS = {"schema", "name", "columns", "where"}
_CARRY_THE_HEARTBEAT = {"insert", "update"}


def from_scope(name: str, scope: Mapping[str, Any]) -> Publication:
    """Return the publication that a resource's `scope` describes, the heartbeat included.

    Raises `Refused`, naming the key, for a scope of another shape.
    """
    what = f"publication {name!r}: scope"
    kind = scope.get("kind")
    if kind not in _KEYS:
        raise Refused(f"{what}.kind: got {kind!r}, expected all, schemas or tables")
    unknown = sorted(set(scope) - _KEYS[kind])
    if unknown:
        raise Refused(
            f"{what}.{unknown[0]}: not allowed with kind {kind}; "
            f"allowed: {', '.join(sorted(_KEYS[kind]))}"
        )
    operations = frozenset(scope.get("operations") or OPERATIONS)
    if not operations <= OPERATIONS:
        wrong = ", ".join(sorted(map(str, operations - OPERATIONS)))
        raise Refused(f"{what}.operations: got {wrong}, expected {', '.join(sorted(OPERATIONS))}")
    if not operations >= _CARRY_THE_HEARTBEAT:
        raise Refused(f"{what}.operations: insert and update carry the heartbeat; add both")
    for key in ("schemas", "tables"):
        if kind == key and not scope.get(key):
            raise Refused(f"{what}.{key}: is empty; name what to publish, or choose kind all")
    return Publication(
        name,
        all_tables=kind == "all",
        schemas=frozenset(scope.get("schemas") or ()),
        tables=frozenset() if kind == "all" else _tables(what, scope.get("tables")) | TOOL_TABLES,
        operations=operations,
        via_root=bool(scope.get("publish_via_partition_root")),
    )


def _tables(what: str, entries: Collection[Mapping[str, Any]] | None) -> frozenset[PublishedTable]:
    found: dict[tuple[str, str], PublishedTable] = {}
    for entry in entries or ():
        if not set(entry) <= _TABLE_KEYS or not (entry.get("schema") and entry.get("name")):
            raise Refused(
                f"{what}.tables: got {dict(entry)!r}, expected schema and name, and perhaps "
                "columns and where"
            )
        columns = entry.get("columns")
        table = PublishedTable(
            entry["schema"],
            entry["name"],
            frozenset(columns) if columns else None,
            entry.get("where") or None,
        )
        if table.key in found:
            raise Refused(f"{what}.tables: {shown(table.key)} is named twice")
        found[table.key] = table
    return frozenset(found.values())


def to_scope(have: Publication) -> dict[str, Any]:
    """Return the `scope` of what the server has; extra keys hold what no `scope` can ask for."""
    tables = [
        {"schema": one.schema, "name": one.name}
        | ({"columns": sorted(one.columns)} if one.columns is not None else {})
        | ({"where": one.where} if one.where is not None else {})
        for one in sorted(have.tables - TOOL_TABLES, key=lambda one: one.key)
    ]
    scope: dict[str, Any]
    if have.all_tables:
        scope = {"kind": "all"}
    elif have.schemas:
        scope = {"kind": "schemas", "schemas": sorted(have.schemas)}
        scope |= {"tables": tables} if tables else {}
    else:
        scope = {"kind": "tables", "tables": tables}
    missing = TOOL_TABLES - have.tables
    if missing and not have.all_tables:
        scope["missing"] = sorted(shown(one.key) for one in missing)
    if have.operations != OPERATIONS:
        scope["operations"] = sorted(have.operations)
    if have.via_root:
        scope["publish_via_partition_root"] = True
    if have.generated:
        scope["publish_generated_columns"] = True
    return scope
