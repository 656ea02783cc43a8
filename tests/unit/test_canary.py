"""The canary's verdict: which rows are lost, which came twice."""

from __future__ import annotations

import pytest

from bluegreen.canary import Rows, Verdict, judge


@pytest.mark.parametrize(
    ("written", "arrived", "lost", "doubled"),
    [
        pytest.param(Rows(10, 10, 9), Rows(10, 10, 9), 0, 0, id="exact"),
        pytest.param(Rows(10, 10, 9), Rows(7, 7, 9), 3, 0, id="a-gap"),
        pytest.param(Rows(10, 10, 9), Rows(7, 7, 6), 3, 0, id="lost-at-the-end"),
        pytest.param(Rows(10, 10, 9), Rows(13, 10, 9), 0, 3, id="doubled"),
        pytest.param(Rows(10, 10, 9), Rows(8, 6, 9), 4, 2, id="both"),
        pytest.param(Rows(10, 10, 9), None, 10, 0, id="nothing-came"),
    ],
)
def test_the_writers_rows_are_the_measure(
    written: Rows, arrived: Rows | None, lost: int, doubled: int
) -> None:
    (verdict,) = judge({1: written}, {} if arrived is None else {1: arrived})
    assert verdict == Verdict(1, lost, doubled)
    assert verdict.exact == (lost == doubled == 0)


def test_each_writer_has_its_own_verdict() -> None:
    found = judge({2: Rows(1, 1, 0), 1: Rows(2, 2, 1)}, {1: Rows(2, 2, 1), 2: Rows(2, 1, 0)})
    assert [str(one) for one in found] == [
        "canary 1: 0 lost, 0 doubled",
        "canary 2: 0 lost, 1 doubled",
    ]
