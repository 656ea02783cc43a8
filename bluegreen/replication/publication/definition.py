"""Publications: the statements and the words that lead from one to another; `publishing` acts."""

from __future__ import annotations

from psycopg import sql

from bluegreen.errors import Refused
from bluegreen.postgres.publications import Publication, Table
from bluegreen.postgres.table_names import shown

_MOST_NAMED = 5


def statements(have: Publication | None, want: Publication) -> list[sql.Composed]:
    """Return what turns `have` into `want`: nothing when they agree.

    Raises `Refused` where `unchangeable` has a reason.
    """
    if have == want:
        return []
    name = sql.Identifier(want.name)
    if have is None:
        create = sql.SQL("CREATE PUBLICATION {} FOR {} WITH ({})")
        return [create.format(name, _scope(want), _options(want))]
    if (why := unchangeable(have, want)) is not None:
        raise Refused(why)
    todo = []
    if (have.schemas, have.tables) != (want.schemas, want.tables):
        todo.append(sql.SQL("ALTER PUBLICATION {} SET {}").format(name, _scope(want)))
    if have.operations != want.operations:
        todo.append(sql.SQL("ALTER PUBLICATION {} SET ({})").format(name, _options(want)))
    if have.generated and not want.generated:
        none = sql.SQL("ALTER PUBLICATION {} SET (publish_generated_columns = none)")
        todo.append(none.format(name))
    return todo


def unchangeable(have: Publication, want: Publication) -> str | None:
    """Return why `have` can't become `want` in place, None when it can.

    Between all tables and a choice only a drop leads. A partition root in place of its partitions
    could be altered, but until the subscription is refreshed its rows are skipped without an error.
    """
    if have.all_tables != want.all_tables:
        what = "can't change between all tables and a choice of them"
    elif have.via_root != want.via_root:
        what = "can't change publish_via_partition_root"
    else:
        return None
    return (
        f"publication {want.name!r}: {what} while a slot reads it (rows in between would be lost); "
        "destroy the deployment and stand it up anew with the other choice"
    )


def begun(have: Publication, want: Publication) -> list[str]:
    """Return in words what `want` sends and `have` leaves out, of tables that both send.

    What was left out until then is missing on the other side, and nothing there tells.
    """
    wanted = {one.key: one for one in want.tables}
    found = []
    for one in sorted(have.tables, key=lambda table: table.key):
        other = wanted.get(one.key)
        if one.schema in want.schemas:
            other = Table(*one.key)
        if other is None or one.schema in have.schemas:
            continue
        if one.columns is not None and (other.columns is None or other.columns - one.columns):
            found.append(f"more columns of {shown(one.key)}")
        if one.where is not None and other.where != one.where:
            found.append(f"another row filter of {shown(one.key)}")
    return found + [one.upper() for one in sorted(want.operations - have.operations)]


def _scope(want: Publication) -> sql.Composable:
    if want.all_tables:
        return sql.SQL("ALL TABLES")
    parts: list[sql.Composable] = []
    if want.tables:
        tables = sorted(want.tables, key=lambda one: one.key)
        parts.append(sql.SQL("TABLE {}").format(sql.SQL(", ").join(map(listed, tables))))
    if want.schemas:
        names = map(sql.Identifier, sorted(want.schemas))
        parts.append(sql.SQL("TABLES IN SCHEMA {}").format(sql.SQL(", ").join(names)))
    return sql.SQL(", ").join(parts)


def listed(table: Table) -> sql.Composed:
    """Return a table as CREATE PUBLICATION takes it."""
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


def difference(have: Publication, want: Publication) -> str:
    """Return in words what `have` and `want` do not share."""
    has, expected = set(described(have)), set(described(want))
    return f"has {_some(has - expected)}, expected {_some(expected - has)}"


def _some(lines: set[str]) -> str:
    named = sorted(lines)[:_MOST_NAMED]
    more = len(lines) - len(named)
    return ("; ".join(named) or "nothing else") + (f" and {more} more" if more > 0 else "")
