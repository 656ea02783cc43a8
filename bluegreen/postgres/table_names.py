"""Names of tables: as the catalog has them, and as people and settings write them."""

from __future__ import annotations

import re

from bluegreen.errors import Refused

TableName = tuple[str, str]
"""Schema and name, as the catalog has them."""

# schema.table, each part with double quotes around it where it holds a dot or a double quote.
_PART = r'(?:"((?:[^"]|"")+)"|([^".]+))'
_NAME = re.compile(rf"{_PART}\.{_PART}", re.DOTALL)


def table_name(text: str) -> TableName:
    """Return schema and name from `schema.table`.

    A part that holds a dot or a double quote is quoted as in SQL, its own quotes doubled. Nothing
    is folded to lower case: names are as the catalog has them.
    """
    found = _NAME.fullmatch(text)
    if found is None:
        raise Refused(f"table {text!r}: expected schema.table, with double quotes around odd names")
    quoted_schema, schema, quoted_name, name = found.groups()
    return _unquoted(quoted_schema) or schema, _unquoted(quoted_name) or name


def _unquoted(part: str | None) -> str:
    return (part or "").replace('""', '"')


def shown(table: TableName) -> str:
    """Return a table's name for people, and for `table_name`."""
    return ".".join(
        '"' + part.replace('"', '""') + '"' if set(part) & {".", '"'} else part for part in table
    )
