"""What the text of a SQL or PL/pgSQL function does: what it calls, and whether it writes.

The server resolves names in such a body when it runs, so the catalogs don't show this. Comments and
quoted text are left out: a function that only mentions a word does nothing with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_IGNORED = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_NAME = r'(?:"(?:[^"]|"")+"|[a-z_][\w$]*)'
_CALL = re.compile(rf"(?<![\w.\"$])((?:{_NAME}\s*\.\s*)?{_NAME})\s*\(", re.IGNORECASE)
_RELATION = re.compile(
    rf"\b(?:from|join|into|update|table)\s+(?:only\s+)?({_NAME})(?![\w$])(?!\s*[.(])", re.IGNORECASE
)
_WRITES = re.compile(
    r"\b(?:insert\s+into|update\s+(?!of\b)[\w\"]|delete\s+from|truncate|merge\s+into|copy|nextval"
    r"|setval|create\s|alter\s|drop\s|refresh\s|lo_\w+\s*\()",
    re.IGNORECASE,
)
_MAKES_TABLE = re.compile(r"\bcreate\s+table\b", re.IGNORECASE)
# What runs text or code that isn't visible here.
_OPAQUE = re.compile(r"\b(?:execute|call|dblink\w*)\b", re.IGNORECASE)


def _bare(body: str) -> str:
    return _IGNORED.sub(" ", body)


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def calls(body: str) -> set[tuple[str | None, str]]:
    """Return what looks like a call: schema, None where none is written, and name."""
    found: set[tuple[str | None, str]] = set()
    for text in _CALL.findall(_bare(body)):
        parts = [_plain(part) for part in re.findall(_NAME, text, re.IGNORECASE)]
        found.add((parts[0], parts[1]) if len(parts) > 1 else (None, parts[0]))
    return found


def unqualified_relations(body: str) -> set[str]:
    """Return the names without a schema that stand where a table's name does."""
    return {_plain(name) for name in _RELATION.findall(_bare(body))}


def writes(body: str) -> bool:
    """Return whether the function itself writes, or makes objects."""
    return _WRITES.search(_bare(body)) is not None


def makes_tables(body: str) -> bool:
    """Return whether it makes permanent tables; also in quoted text, which it may execute."""
    return _MAKES_TABLE.search(re.sub(r"--[^\n]*", " ", body)) is not None


def may_write(body: str, functions: Collection[str]) -> bool:
    """Return whether it writes, runs invisible code, or calls one of the users' `functions`."""
    text = _bare(body)
    if _WRITES.search(text) or _OPAQUE.search(text):
        return True
    return any(name in functions for _schema, name in calls(body))
