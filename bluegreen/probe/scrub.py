"""Words of servers and services, without any name that is the user's.

What is known is replaced by what it is: names that the server's catalogs have, and what was given
to reach it. What isn't known and looks like a name goes as well: in quotation marks, behind the
kind of an object, with dots, or as long numbers and identifiers of AWS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bluegreen.probe.row import Connection

# Everything that a user may have named, each with what it is; the system's own names stay.
_NAMES = """
SELECT rolname::text, 'role' FROM pg_catalog.pg_roles
UNION SELECT datname::text, 'database' FROM pg_catalog.pg_database
UNION SELECT nspname::text, 'schema' FROM pg_catalog.pg_namespace
UNION SELECT c.relname::text, 'table' FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n
 WHERE n.oid = c.relnamespace AND n.nspname !~ '^(pg_|information_schema$)'
UNION SELECT p.proname::text, 'function' FROM pg_catalog.pg_proc p, pg_catalog.pg_namespace n
 WHERE n.oid = p.pronamespace AND n.nspname !~ '^(pg_|information_schema$)'
UNION SELECT t.typname::text, 'type' FROM pg_catalog.pg_type t, pg_catalog.pg_namespace n
 WHERE n.oid = t.typnamespace AND n.nspname !~ '^(pg_|information_schema$)'
UNION SELECT pubname::text, 'publication' FROM pg_catalog.pg_publication
UNION SELECT subname::text, 'subscription' FROM pg_catalog.pg_subscription
UNION SELECT slot_name::text, 'slot' FROM pg_catalog.pg_replication_slots
UNION SELECT spcname::text, 'tablespace' FROM pg_catalog.pg_tablespace
UNION SELECT evtname::text, 'event trigger' FROM pg_catalog.pg_event_trigger
"""

# Names that everybody has. One that is a user's too tells nothing about him.
_EVERYBODYS = re.compile(
    r"pg_\w+|rds\w*_(superuser|replication|iam|password|extension|ad|reserved)|rdsadmin"
    r"|rdsproxyadmin|rdsrepladmin|rdstopmgr|rdswriteforwarduser|information_schema|public"
    r"|bluegreen(_probe\w*)?|template[01]|postgres|plpgsql|heartbeat|register|opening|closure"
    r"|pgoutput|pglogical"
)

_KINDS = (
    "table|view|relation|sequence|index|materialized view|foreign table|schema|database|role|user"
    "|function|procedure|routine|language|publication|subscription|replication slot|slot|column"
    "|type|domain|tablespace|extension|event trigger|trigger|rule|policy|constraint|parameter"
    "|operator|collation|conversion|host|server|cluster|instance|secret|zone|group|account"
)

_GENERAL = (
    (re.compile(r"\barn:[\w-]+:\S+"), "<arn>"),
    (re.compile(r"\b[\w.+-]+@[\w-]+(\.[\w-]+)+"), "<address>"),
    (re.compile(r"\b\d{1,3}(\.\d{1,3}){3}\b"), "<address>"),
    (re.compile(r"(?<![\w/:])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?![\w:])"), "<address>"),
    (re.compile(r"\b[\w-]+(?:\.[\w-]+){2,}\b"), "<host>"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA|Z[0-9A-Z]{2})[0-9A-Z]{8,}\b"), "<id>"),
    (re.compile(r"\b\d{12}\b"), "<account>"),
)
_QUOTED = re.compile(
    r"\"([^\"]*(?:\"\"[^\"]*)*)\"|(?<!\w)'([^']*(?:''[^']*)*)'(?!\w)|‘([^’]*)’|“([^”]*)”"
)
_OF_A_KIND = re.compile(rf"\b({_KINDS})( |: )(?!<)([^\s\"'<>,;:()]+)", re.IGNORECASE)
_POSITION = re.compile(r"[\d.]+|[0-9A-F]+/[0-9A-F]+")
_WORDS = frozenset(
    {
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "before",
        "by",
        "can",
        "cannot",
        "could",
        "does",
        "exist",
        "exists",
        "expected",
        "for",
        "from",
        "has",
        "in",
        "is",
        "it",
        "may",
        "must",
        "name",
        "names",
        "not",
        "of",
        "on",
        "or",
        "owner",
        "owners",
        "privileges",
        "that",
        "the",
        "this",
        "to",
        "was",
        "which",
        "while",
        "with",
    }
)
_HARMLESS = _WORDS | set(_KINDS.split("|")) | {"permission", "denied", "error", "name", "data"}


@dataclass(slots=True)
class Scrubber:
    """Replaces names; `known` are those that are the user's, each with what it is."""

    known: dict[str, str] = field(default_factory=dict)
    ours: set[str] = field(default_factory=set)
    """What the server and the program itself have named; it stays."""

    def learn(self, names: Mapping[str, str]) -> None:
        """Know `names` from now on, each with what it is.

        A word of the messages themselves tells nothing, and its loss would leave them unreadable.
        """
        for name, kind in names.items():
            if name and name not in _HARMLESS and not _EVERYBODYS.fullmatch(name):
                self.known.setdefault(name, kind)

    def keep(self, texts: Iterable[str]) -> None:
        """Let the words of `texts`, which the program has written itself, stay where they are."""
        self.ours |= {word for text in texts for word in re.findall(r"[a-z]\w*", text)}

    def learn_from(self, conn: Connection) -> None:
        """Know every name that the server's catalogs have."""
        self.learn(dict(conn.execute(_NAMES).fetchall()))
        system = conn.execute(
            "SELECT relname::text FROM pg_catalog.pg_class WHERE relnamespace ="
            " 'pg_catalog'::regnamespace UNION SELECT proname::text FROM pg_catalog.pg_proc"
            " WHERE pronamespace = 'pg_catalog'::regnamespace"
            " UNION SELECT name FROM pg_catalog.pg_settings"
        )
        self.ours |= {name for (name,) in system}

    def __call__(self, text: str) -> str:
        """Return `text` as one line without the user's names."""
        text = " ".join(text.split())
        there = [name for name in self.known if " ".join(name.split()) in text]
        for name in sorted(there, key=len, reverse=True):
            text = _whole(name).sub(f"<{self.known[name]}>", text)
        for pattern, instead in _GENERAL:
            text = pattern.sub(instead, text)
        text = _QUOTED.sub(self._quoted, text)
        return _OF_A_KIND.sub(self._of_a_kind, text)

    def _is_ours(self, name: str) -> bool:
        bare = name.removesuffix("()").removeprefix("pg_catalog.")
        return bool(_EVERYBODYS.fullmatch(bare)) or bare in self.ours

    def _quoted(self, found: re.Match[str]) -> str:
        inner = next((one for one in found.groups() if one is not None), "")
        harmless = self._is_ours(inner) or re.fullmatch(r"<[\w ]+>|[\d.]*|", inner)
        return found[0] if harmless else f"{found[0][0]}<name>{found[0][-1]}"

    def _of_a_kind(self, found: re.Match[str]) -> str:
        name = found[3]
        if name.lower() in _HARMLESS or self._is_ours(name) or _POSITION.fullmatch(name):
            return found[0]
        return f"{found[1]}{found[2]}<name>"


def _whole(name: str) -> re.Pattern[str]:
    """Return what finds a name that is not part of a longer word."""
    before = r"(?<!\w)" if re.match(r"\w", name) else ""
    after = r"(?!\w)" if re.search(r"\w$", name) else ""
    return re.compile(before + re.escape(" ".join(name.split())) + after)


def given(values: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Return what was given to reach a server or AWS as known names: (what it is, it)."""
    return {value: kind for kind, value in values if value}
