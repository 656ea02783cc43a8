"""What the differences between the two sides mean for a switch, in either direction.

A blocker is what would lose rows, stop replication there or on the way back, make the application
fail on the new writer, or give back a right that was taken away on the old one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile

from psycopg import sql

from bluegreen.errors import Refused
from bluegreen.finding import Finding, Level
from bluegreen.names import TOOL_DATABASE
from bluegreen.postgres.queries import Connection
from bluegreen.postgres.server import Server
from bluegreen.postgres.table_names import TableName, table_name
from bluegreen.switch.readiness import comparison, fingerprint, fixes
from bluegreen.switch.readiness.comparison import Difference
from bluegreen.switch.readiness.fingerprint import Fact

_MOST_OF_A_KIND = 10
_SHOWN = 60
_WORDS = 3

_B, _W = Level.BLOCK, Level.WARN

# Only on the writer, only on the standby, different. The same table is in docs/limits.md.
_LEVELS: dict[str, tuple[Level, Level, Level]] = {
    "role": (_B, _B, _B),
    "login": (_B, _B, _B),
    "role attributes": (_B, _B, _B),
    "connection limit": (_W, _W, _W),
    "membership": (_B, _B, _B),
    "setting": (_W, _W, _W),
    "database": (_B, _B, _B),
    "database attributes": (_W, _W, _W),
    "owner": (_B, _B, _B),
    "privilege": (_B, _B, _B),
    "revoked from owner": (_B, _B, _B),
    "default privileges": (_W, _W, _W),
    "slot": (_W, Level.OK, _W),
    "publication": (_W, _W, _W),
    "schema": (_B, _W, _B),
    "extension": (_B, _W, _W),
    "relation": (_B, _W, _B),
    "partition": (_B, _B, _B),
    "inheritance": (_B, _B, _B),
    "column": (_B, _B, _B),
    "not null": (_B, _B, _B),
    "default": (_B, _W, _B),
    # Where only the standby has one, VACUUM FULL on the writer may have written it out.
    "value of earlier rows": (_B, _W, _B),
    "generated": (_B, _B, _B),
    "identity": (_B, _B, _B),
    "constraint": (_B, _B, _B),
    "unique index": (_B, _B, _B),
    "index": (_W, _W, _W),
    "replica identity": (_B, _B, _B),
    "row security": (_B, _B, _B),
    "policy": (_B, _B, _B),
    "trigger": (_B, _B, _B),
    "rule": (_B, _B, _B),
    "query": (_W, _W, _W),
    "sequence": (_B, _B, _B),
    "function": (_B, _W, _W),
    "type": (_B, _W, _B),
    "enum": (_B, _B, _B),
    "attribute": (_B, _B, _B),
    "statistics": (_W, _W, _W),
    "event trigger": (_W, _W, _W),
    "user mapping": (_B, _W, _W),
    "object": (_B, _W, _W),
    "large objects": (_B, _W, _B),
    # A role that the tool has taken LOGIN from, and will give it back to.
    "closed": (Level.OK, Level.OK, Level.OK),
    # Whether partitions are sent as their root: not compared, but it changes what counts.
    "roots": (Level.OK, Level.OK, Level.OK),
}
# Without these the application would use other tables, or act as another role.
_VITAL_SETTINGS = ("search_path of ", "role of ")
_ROWS = ("relation", "partition", "column")


_FORGET = "DELETE FROM bluegreen.closure WHERE kind = 'role' AND name ="


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What the settings accept."""

    differences: tuple[str, ...] = ()
    """Findings that are accepted, by their subject: `app: index public.orders_at`."""
    stale: tuple[str, ...] = ()
    """Tables that may be left behind, as `schema.table`."""

    def tables(self) -> set[TableName]:
        """Return the tables as schema and name."""
        found = set()
        for one in self.stale:
            try:
                found.add(table_name(one))
            except Refused:
                continue  # the judgement of the setting reports that
        return found


def check(
    old: tuple[Server, Mapping[str, Connection]],
    new: tuple[Server, Mapping[str, Connection]],
    tolerance: Tolerance,
) -> list[Finding]:
    """Compare the writer with the standby: each a server and connections to what moves."""
    sides = str(old[0]), str(new[0])
    with ThreadPoolExecutor(len(sides)) as pool:  # both sides at once: 10,000 tables take seconds
        writer, standby = pool.map(fingerprint.of_cluster, (old[0], new[0]))
        found = comparison.differences(writer, standby)
        missing = comparison.missing(found)
        findings = judge("cluster", sides, found, tolerance)
        findings += _left_behind(writer.facts, standby.facts, listed=old[1].keys())
        compared = len(writer.facts)
        for database, conn in old[1].items():
            writer, standby = pool.map(fingerprint.of_database, (conn, new[1][database]))
            compared += len(writer.facts)
            differing = comparison.differences(writer, standby, missing)
            roots = ("roots", "roots") in writer.facts
            findings += judge(database, sides, differing, tolerance, roots=roots)
    findings += _unknown(tolerance, findings)
    if not findings:
        return [Finding(Level.OK, "the two sides", f"alike in {compared:,} things")]
    return findings


def judge(
    where: str,
    sides: tuple[str, str],
    found: Sequence[Difference],
    tolerance: Tolerance,
    *,
    roots: bool = False,
) -> list[Finding]:
    """Return a finding for each difference, the first ones of each kind by name.

    `where` is a database, `sides` the writer and the standby. With `roots` partitions are sent as
    their root, and may differ.
    """
    stale = tolerance.tables()
    closed = {one.fact.name for one in found if one.fact.kind == "closed" and one.standby}
    findings: list[Finding] = []
    hidden, shown = Counter[tuple[Level, str]](), Counter[tuple[Level, str]]()
    for one in found:
        level = _level(one, roots=roots, stale=stale)
        if level is Level.OK:
            continue
        subject = f"{where}: {_words(one.fact)}"
        if subject in tolerance.differences:
            findings.append(Finding(Level.WARN, subject, f"{_found(one, sides)}, accepted"))
        elif shown[level, one.fact.kind] < _MOST_OF_A_KIND:
            shown[level, one.fact.kind] += 1
            findings.append(
                Finding(level, subject, _found(one, sides), _remedy(one, sides, closed))
            )
        else:
            hidden[level, one.fact.kind] += 1
    return findings + [
        Finding(level, f"{where}: {kind}", f"{count} more differ", "fix those above first")
        for (level, kind), count in hidden.items()
    ]


def _level(one: Difference, *, roots: bool, stale: Collection[TableName]) -> Level:
    fact = one.fact
    writer, standby, different = _LEVELS[fact.kind]
    level = standby if one.writer is None else writer if one.standby is None else different
    if fact.kind == "relation" and _holds_rows(fact):
        level = _B
    if fact.kind == "setting" and fact.name.startswith(_VITAL_SETTINGS):
        level = _B
    if fact.kind == "enum" and one.writer and one.standby:
        orders = [sorted(json.loads(side.definition)) for side in (one.writer, one.standby)]
        level = _B if orders[0] != orders[1] else _W
    if level is _B and fact.kind in _ROWS and ((roots and _is_leaf(fact)) or _table(fact) in stale):
        return _W
    return level


def _holds_rows(fact: Fact) -> bool:
    return "table" in fact.definition and not fact.definition.startswith(("unlogged", "foreign"))


def _is_leaf(fact: Fact) -> bool:
    return fact.kind == "partition"


def _table(fact: Fact) -> TableName | None:
    named = fact.name if fact.kind != "column" else fact.whole.removeprefix("relation ")
    try:
        return table_name(named)
    except Refused:
        return None


def _words(fact: Fact) -> str:
    if fact.kind == "relation":
        return f"{fact.definition.partition(' partitioned by')[0]} {fact.name}"
    return fact.name if fact.kind == fact.name else f"{fact.kind} {fact.name}"


def _found(one: Difference, sides: tuple[str, str]) -> str:
    if one.standby is None:
        return f"only on {sides[0]}{_short(one.fact)}"
    if one.writer is None:
        return f"only on {sides[1]}{_short(one.fact)}"
    if one.fact.kind in ("query", "function"):
        return "differs"
    writer, standby = _from_where_they_differ(one.writer.definition, one.standby.definition)
    return f"{_cut(writer) or 'none'} on {sides[0]}, {_cut(standby) or 'none'} on {sides[1]}"


def _from_where_they_differ(writer: str, standby: str) -> tuple[str, str]:
    """Return both as one line each, without the words that both begin with."""
    words, others = writer.split(), standby.split()
    alike = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(words, others, strict=False))
    )
    skipped = alike if alike > _WORDS else 0
    return " ".join(words[skipped:]), " ".join(others[skipped:])


def _short(fact: Fact) -> str:
    shown = (
        *("privilege", "setting", "revoked from owner", "partition", "default"),
        "value of earlier rows",
    )
    return f" ({_cut(fact.definition)})" if fact.kind in shown and fact.definition else ""


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _remedy(one: Difference, sides: tuple[str, str], closed: Collection[str]) -> str:
    fact, standby = one.fact, sides[1]
    match fact.kind:
        case "relation" if one.standby is None and _holds_rows(fact):
            return f"make it on {standby} too, and run pulumi up: its rows are taken in"
        case "database" if one.standby is None:
            return f"its rows would stay behind: drop it, or clone again with it on {standby}"
        case "database" if one.writer is None:
            return "its rows would not come back: drop it"
        case "login" if fact.name in closed:
            name = fact.name.removeprefix('"').removesuffix('"').replace('""', '"')
            statement = f"{_FORGET} {sql.Literal(name).as_string()}"
            return (
                f"the next opening would give it back; on {standby}, database {TOOL_DATABASE}: "
                f"{statement}"
            )
        case "slot":
            return f"its consumer gets nothing more after the switch: let it read from {standby}"
        case "large objects":
            return "they are not replicated: copy them, or clone again"
        case "value of earlier rows":
            return (
                f"rows of before the column have that on {sides[0]}, and were never sent: make the"
                f" table anew on {standby}, and run pulumi up, which copies it; accept it where"
                " VACUUM FULL or a copy has written it out"
            )
        case "column" if one.standby is None:
            return f"with the DEFAULT that it was added with, {_on(one, standby)}"
    return _on(one, standby) or f"make {standby} like {sides[0]}"


def _on(one: Difference, standby: str) -> str:
    text = fixes.statement(one)
    return f"on {standby}: {text}" if text else ""


def _left_behind(*sides: Mapping[tuple[str, str], Fact], listed: Collection[str]) -> list[Finding]:
    """Return a warning for databases on both sides that stay as the clone had them."""
    both = set.intersection(
        *({name for kind, name in side if kind == "database"} for side in sides)
    )
    quoted = {one for one in both if one.strip('"').replace('""', '"') in {*listed, "postgres"}}
    return [
        Finding(
            Level.WARN,
            f"cluster: database {name}",
            "is not replicated",
            "what is written to it stays behind: name it in environment.databases, or accept it",
        )
        for name in sorted(both - quoted)
    ]


def _unknown(tolerance: Tolerance, findings: Iterable[Finding]) -> list[Finding]:
    """Return a warning for accepted differences that don't exist."""
    subjects = {one.subject for one in findings}
    return [
        Finding(
            Level.WARN,
            "switch.accept_differences",
            f"{one!r} is no difference",
            "take it out, or write it as it is shown",
        )
        for one in tolerance.differences
        if one not in subjects
    ]
