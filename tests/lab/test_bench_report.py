"""What the benches share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import report
from bench.report import Goal, Spread


def test_a_spread_is_the_median_and_how_far_values_lie_apart() -> None:
    assert report.spread([5, 1, 3, 2, 4]) == Spread(p50=3, p95=5, min=1, max=5, n=5)
    assert report.spread([7]) == Spread(7, 7, 7, 7, 1)


def test_p95_leaves_the_worst_of_twenty_aside() -> None:
    assert report.spread(range(1, 21)).p95 == 19
    assert report.spread(range(1, 101)).p95 == 95


def test_growth_stands_beside_how_the_count_grows() -> None:
    figures = {50: report.spread([2]), 500: report.spread([30])}
    assert report.growth(figures) == {50: "", 500: "x15.0 for x10"}


def test_a_goal_says_whether_it_is_met() -> None:
    assert Goal(100, "ms").verdict(100) == "<= 100 ms: met"
    assert Goal(100, "ms").verdict(100.1) == "<= 100 ms: MISSED"


def test_a_result_is_written_with_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    figures = {"slot_ms": {50: report.spread([1.5])}}
    path = report.write("some", figures, started_on=report.machine())
    found = json.loads(path.read_text())
    assert found["slot_ms"] == {"50": {"p50": 1.5, "p95": 1.5, "min": 1.5, "max": 1.5, "n": 1}}
    assert found["machine"]["cores"] > 0
