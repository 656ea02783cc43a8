"""Findings: what a check has found, what it means for a switch, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bluegreen.errors import Refused, one_line


class Level(StrEnum):
    """What a finding means for the switch."""

    OK = "ok"
    WARN = "warn"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer; `remedy` says what to do where the level is not `ok`."""

    level: Level
    subject: str
    found: str
    remedy: str = ""

    def line(self) -> str:
        """Return the finding as one line."""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return one_line(f"{self.subject}: {self.found}{remedy}")


def require_unblocked(findings: Iterable[Finding], where: object) -> None:
    """Raise `Refused` with the first blocker of `findings`, which were made on `where`."""
    for finding in findings:
        if finding.level is Level.BLOCK:
            raise Refused(f"{where}: {finding.line()}")


def expect_none(subject: str, items: list[str], remedy: str, level: Level = Level.BLOCK) -> Finding:
    """Return OK if `items` is empty, else a finding of `level` that names the first five."""
    if not items:
        return Finding(Level.OK, subject, "none")
    shown = ", ".join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")
    return Finding(level, subject, shown, remedy)
