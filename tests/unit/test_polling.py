"""Looks end at the deadline, with a last one there."""

from __future__ import annotations

import pytest

from bluegreen import polling
from bluegreen.polling import poll_until


class Clock:
    """A clock that only sleeping moves, so that nothing here depends on the machine's load."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(polling, "time", made)
    return made


def test_a_deadline_that_has_passed_still_gets_one_look(clock: Clock) -> None:
    assert len(list(poll_until(clock.now - 1))) == 1
    assert clock.pauses == []


def test_the_last_look_is_at_the_deadline(clock: Clock) -> None:
    deadline = clock.now + 1.2
    seen = [clock.now for _ in poll_until(deadline, first=0.5, most=0.5)]
    assert seen == [100.0, 100.5, 101.0, deadline]


def test_pauses_grow_to_their_limit(clock: Clock) -> None:
    list(poll_until(clock.now + 10, first=1.0, most=2.0))
    assert clock.pauses[:4] == [1.0, 1.5, 2.0, 2.0]
    assert sum(clock.pauses) == 10
