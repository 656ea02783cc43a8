"""The report of readiness as people read it: nothing of a finding is cut off."""

from __future__ import annotations

from bluegreen.finding import Finding, Level
from bluegreen.switch.readiness.report import render

_STATEMENT = 'ALTER TABLE public."Order" ADD CONSTRAINT positive CHECK (amount > 0 AND amount < 9)'


def test_a_long_finding_goes_on_in_further_lines() -> None:
    finding = Finding(Level.BLOCK, "app: constraints only on the writer", "positive", _STATEMENT)
    first, *lines = render([Finding(Level.OK, "roles", "none"), finding])
    assert first == "readiness: 1 blocker(s), 2 checks"
    assert lines[0] == "  ok    roles: none"
    assert len(lines) == 3
    assert all(len(line) <= 96 for line in lines)
    assert lines[2].startswith(" " * 8)
    assert " ".join(" ".join(lines[1:]).split()) == f"block {finding.line()}"


def test_a_word_that_is_longer_than_a_line_is_kept_whole() -> None:
    name = "x" * 120
    assert any(line.strip() == name for line in render([Finding(Level.WARN, "tables", name)]))
