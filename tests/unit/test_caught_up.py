"""When the gate opens, when waiting is in vain, and what its progress line says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bluegreen.errors import BlueGreenError, CloneAgain, Refused, Retry
from bluegreen.postgres.slots import Status
from bluegreen.replication.backlog import Backlog, Sample, duration
from bluegreen.replication.caught_up import Health, Limits, Stability, hopeless
from tests.unit.test_subscription import LIVE

HEALTHY = Health(LIVE, "bg_app", Status.RESERVED)


@pytest.mark.parametrize(
    ("now", "errors_before", "idle", "kind", "said"),
    [
        (HEALTHY, 0, 0, None, ""),
        (replace(HEALTHY, slot_status=Status.EXTENDED), 0, 0, None, ""),
        (replace(HEALTHY, subscription=replace(LIVE, apply_errors=3)), 3, 0, None, ""),
        (HEALTHY, 0, 29, None, ""),
        (replace(HEALTHY, subscription=None), 0, 0, Refused, "subscription is gone"),
        (replace(HEALTHY, slot_name="other"), 0, 0, Refused, "reads slot 'bg_app', expected"),
        *(
            (replace(HEALTHY, slot_status=status), 0, 0, CloneAgain, f"is {status}")
            for status in (Status.MISSING, Status.LOST, Status.INVALIDATED)
        ),
        (
            replace(
                HEALTHY,
                subscription=replace(LIVE, enabled=False, apply_errors=1, disable_on_error=True),
            ),
            1,
            0,
            Refused,
            "disabled by disable_on_error; next is transaction 7",
        ),
        (
            replace(HEALTHY, subscription=replace(LIVE, apply_errors=5)),
            3,
            0,
            Refused,
            "2 new error(s)",
        ),
        (
            replace(HEALTHY, subscription=replace(LIVE, sync_errors=1)),
            0,
            0,
            Refused,
            "1 new error(s)",
        ),
        (HEALTHY, 0, 31, Retry, "no worker reads its slot for 31 s"),
    ],
)
def test_waiting_in_vain_is_told_from_waiting(
    now: Health, errors_before: int, idle: float, kind: type[BlueGreenError] | None, said: str
) -> None:
    found = hopeless(
        "app",
        now,
        errors_before=errors_before,
        without_worker_seconds=idle,
        failing="transaction 7",
    )
    assert type(found) is (kind or type(None))
    assert said in str(found)


def test_stable_only_after_the_whole_time_within_the_limit() -> None:
    stability = Stability(Limits(lag_ms=100, stable_seconds=2, timeout_seconds=9))
    assert [
        stability.note(now, lag)
        for now, lag in ((0, 50), (1, 100), (1.9, 101), (2, 50), (3.9, None), (4, 1), (6, 1))
    ] == [False, False, False, False, False, False, True]


def test_the_pace_tells_when_it_will_be_done() -> None:
    backlog = Backlog()
    backlog.note(Sample(0, written=100_000_000, applied=0))
    pace = backlog.note(Sample(2, written=102_000_000, applied=12_000_000))
    assert pace.seconds_left == pytest.approx(90 / 5)
    assert str(pace) == "90.0 MB left at 6.0 MB/s, about 18 s"


def test_falling_behind_has_no_end() -> None:
    backlog = Backlog()
    backlog.note(Sample(0, written=0, applied=0))
    pace = backlog.note(Sample(1, written=5_000_000, applied=1_000_000))
    assert pace.seconds_left is None
    assert str(pace) == "4.0 MB left at 1.0 MB/s, not getting nearer"


def test_the_first_look_knows_no_pace() -> None:
    assert str(Backlog().note(Sample(0, written=3_000_000, applied=1_000_000))) == "2.0 MB left"


def test_positions_that_go_back_start_the_pace_anew() -> None:
    """After a crash the slot's position is an older one: no rate of minus a gigabyte."""
    backlog = Backlog()
    backlog.note(Sample(0, written=10, applied=10))
    backlog.note(Sample(1, written=20, applied=20))
    assert backlog.note(Sample(2, written=21, applied=5)).applied_per_second is None


def test_only_the_last_seconds_count() -> None:
    backlog = Backlog()
    for second in range(20):
        applied = 0 if second < 9 else (second - 9) * 1_000_000
        pace = backlog.note(Sample(second, written=100_000_000, applied=applied))
    assert pace.applied_per_second == pytest.approx(1_000_000)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89, "89 s"), (600, "10 min"), (7260, "2 h 1 min")]
)
def test_durations_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words
