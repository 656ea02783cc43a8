"""How two fingerprints differ; `side_findings` decides what a difference means.

Majors spell the same expression in different ways, and an upgrade recreates a schema from its text.
So between two majors definitions are equal when they agree without casts, parentheses, qualifiers
and white space outside of literals. Within one major every character counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bluegreen.switch.readiness.fingerprint import Fact, Fingerprint

# Wholes before their parts: parts of a missing whole are not named too.
_ORDER = (
    "role",
    "database",
    "schema",
    "type",
    "relation",
    "sequence",
    "function",
    "object",
    "partition",
    "column",
)

_LITERAL = re.compile(r"('(?:[^']|'')*')")
_CAST = re.compile(
    r'::(?:"[^"]*"|[\w.])+(?: varying| precision)?(?:\(\d+(?:,\d+)?\))?'
    r"(?: with(?:out)? time zone)?(?:\[\])*"
)
_QUALIFIER = re.compile(r'(?:"(?:[^"]|"")*"|\w+)\.(?=["\w])')
_NOISE = re.compile(r"[\s();]+")
_NOT_VALID = " NOT VALID"

# New in 17, which takes GRANT ALL of an older major to include it.
_MAINTAIN = re.compile(r"(, )?MAINTAIN( WITH GRANT OPTION)?")
_HAS_MAINTAIN = 17
_KINDS_OF_PRIVILEGES = ("privilege", "default privileges")


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that differs between the sides; None where a side has none of that name."""

    writer: Fact | None
    standby: Fact | None

    @property
    def fact(self) -> Fact:
        """Return the fact of the side that has it, the writer's first."""
        found = self.writer or self.standby
        assert found is not None
        return found


def differences(
    writer: Fingerprint, standby: Fingerprint, missing: Iterable[str] = ()
) -> list[Difference]:
    """Return every difference except those that follow from another one, wholes first.

    `missing` holds what a side is known to lack, as `kind name`: a role, for a database.
    """
    found, gone = [], set(missing)
    # Most facts are equal to the letter, and there are a hundred thousand of them.
    unequal = {key for key, _ in writer.facts.items() ^ standby.facts.items()}
    for key in sorted(unequal, key=lambda key: (_rank(key[0]), key)):
        one = Difference(writer.facts.get(key), standby.facts.get(key))
        if one.writer is not None and one.standby is not None:
            if not _alike(one.writer, one.standby, writer.major, standby.major):
                found.append(one)
        elif one.fact.whole in gone or one.fact.about in gone:
            gone.add(f"{one.fact.kind} {one.fact.name}")
        elif one.fact.kind not in _KINDS_OF_PRIVILEGES or not _only_maintain(one, writer, standby):
            gone.add(f"{one.fact.kind} {one.fact.name}")
            found.append(one)
    return found


def missing(found: Iterable[Difference]) -> set[str]:
    """Return what one side lacks, as `kind name`."""
    return {
        f"{one.fact.kind} {one.fact.name}"
        for one in found
        if one.writer is None or one.standby is None
    }


def _rank(kind: str) -> int:
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _alike(one: Fact, other: Fact, major: int, other_major: int) -> bool:
    if one.definition == other.definition:
        return True
    left, right = one.definition, other.definition
    if one.kind in _KINDS_OF_PRIVILEGES and min(major, other_major) < _HAS_MAINTAIN:
        return _without_maintain(left) == _without_maintain(right)
    if one.kind == "constraint":
        # New rows are checked against it too.
        left, right = left.removesuffix(_NOT_VALID), right.removesuffix(_NOT_VALID)
    return left == right or (major != other_major and plain(left) == plain(right))


def _only_maintain(one: Difference, writer: Fingerprint, standby: Fingerprint) -> bool:
    older = min(writer.major, standby.major) < _HAS_MAINTAIN
    return older and not _without_maintain(one.fact.definition)


def _without_maintain(privileges: str) -> str:
    return _MAINTAIN.sub("", privileges).removeprefix(", ")


def plain(definition: str) -> str:
    """Return a definition in a spelling common to all majors; for comparison, not for execution."""
    parts = _LITERAL.split(definition)
    for number in range(0, len(parts), 2):
        text = _CAST.sub("", parts[number])
        parts[number] = _NOISE.sub("", _QUALIFIER.sub("", text))
    return "".join(parts)
