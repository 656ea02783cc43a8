"""Publications: what turns one into another, as statements and in words; `publishing` acts."""

from __future__ import annotations

from psycopg import sql

from bluegreen.errors import Refused
from bluegreen.postgres.publications import Publication, PublishedTable
from bluegreen.postgres.table_names import shown

_MOST_NAMED = 5


def statements(have: Publication | None, desired: Publication) -> list[sql.Composed]:
    """Return the statements that turn `have` into `desired`: none when they agree.

    Raises `Refused` where `unchangeable` has a reason.
    """
    if have == desired:
        return []
    name = sql.Identifier(desired.name)
    if have is None:
        create = sql.SQL("CREATE PUBLICATION {} FOR {} WITH ({})")
        return [create.format(name, _scope(desired), _options(desired))]
    if (why := unchangeable(have, desired)) is not None:
        raise Refused(why)
    todo = []
    if (have.schemas, have.tables) != (desired.schemas, desired.tables):
        todo.append(sql.SQL("ALTER PUBLICATION {} SET {}").format(name, _scope(desired)))
    if have.operations != desired.operations:
        todo.append(sql.SQL("ALTER PUBLICATION {} SET ({})").format(name, _options(desired)))
    if have.generated and not desired.generated:
        none = sql.SQL("ALTER PUBLICATION {} SET (publish_generated_columns = none)")
        todo.append(none.format(name))
    return todo


def unchangeable(have: Publication, desired: Publication) -> str | None:
    """Return why `have` can't become `desired` in place, None when it can.

    Only a drop leads from all tables to a choice, or back. Sending a partition root in place of its
    partitions could be altered, but its rows are skipped without an error until the subscription is
    refreshed.
    """
    if have.all_tables != desired.all_tables:
        what = "can't change between all tables and a choice of them"
    elif have.via_root != desired.via_root:
        what = "can't change publish_via_partition_root"
    else:
        return None
    return (
        f"publication {desired.name!r}: {what} while a slot reads it (rows in between would be "
        "lost); destroy the deployment and stand it up again with the other choice"
    )


def begun(have: Publication, desired: Publication) -> list[str]:
    """Return in words what `desired` sends and `have` leaves out, of tables that both send.

    What was left out until then is missing on the other side, and nothing there tells.
    """
    later = {one.key: one for one in desired.tables}
    found = []
    for one in sorted(have.tables, key=lambda table: table.key):
        other = later.get(one.key)
        if one.schema in desired.schemas:
            other = PublishedTable(*one.key)
        if other is None or one.schema in have.schemas:
            continue
        if one.columns is not None and (other.columns is None or other.columns - one.columns):
            found.append(f"more columns of {shown(one.key)}")
        if one.where is not None and other.where != one.where:
            found.append(f"another row filter of {shown(one.key)}")
    return found + [one.upper() for one in sorted(desired.operations - have.operations)]


def _scope(desired: Publication) -> sql.Composable:
    if desired.all_tables:
        return sql.SQL("ALL TABLES")
    parts: list[sql.Composable] = []
    if desired.tables:
        tables = sorted(desired.tables, key=lambda one: one.key)
        parts.append(sql.SQL("TABLE {}").format(sql.SQL(", ").join(map(listed, tables))))
    if desired.schemas:
        names = map(sql.Identifier, sorted(desired.schemas))
        parts.append(sql.SQL("TABLES IN SCHEMA {}").format(sql.SQL(", ").join(names)))
    return sql.SQL(", ").join(parts)


def listed(table: PublishedTable) -> sql.Composed:
    """Return a table as CREATE PUBLICATION takes it."""
    text = sql.SQL("{}").format(sql.Identifier(table.schema, table.name))
    if table.columns is not None:
        names = sql.SQL(", ").join(map(sql.Identifier, sorted(table.columns)))
        text += sql.SQL(" ({})").format(names)
    if table.where is not None:
        # The administrator's own expression; `_execute` accepts one statement only.
        text += sql.SQL(" WHERE ({})").format(sql.SQL(table.where))
    return text


def _options(desired: Publication) -> sql.Composed:
    return sql.SQL("publish = {}, publish_via_partition_root = {}").format(
        sql.Literal(", ".join(sorted(desired.operations))), sql.Literal(desired.via_root)
    )


def described(have: Publication) -> list[str]:
    """Return `have` as sorted lines: what the server says, to compare with later."""
    lines = ["ALL TABLES"] if have.all_tables else []
    lines += [sql.SQL("SCHEMA {}").format(sql.Identifier(one)).as_string() for one in have.schemas]
    lines += [listed(one).as_string() for one in have.tables]
    lines = [*sorted(lines), f"publish {', '.join(sorted(have.operations))}"]
    if have.via_root:
        lines.append("publish_via_partition_root")
    if have.generated:
        lines.append("publish_generated_columns")
    return lines


def difference(have: Publication, desired: Publication) -> str:
    """Return in words where `have` and `desired` differ."""
    has, expected = set(described(have)), set(described(desired))
    return f"has {_some(has - expected)}, expected {_some(expected - has)}"


def _some(lines: set[str]) -> str:
    named = sorted(lines)[:_MOST_NAMED]
    more = len(lines) - len(named)
    return ("; ".join(named) or "nothing else") + (f" and {more} more" if more > 0 else "")
