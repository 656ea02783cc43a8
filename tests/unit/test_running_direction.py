"""Whether a direction is alive, and who accepts writes, decided over what was seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bluegreen.names import Direction
from bluegreen.postgres.slots import Slot
from bluegreen.postgres.subscriptions import Listed
from bluegreen.register.writer import Writer, writer
from bluegreen.replication.running_direction import (
    RunningDirection,
    slot_problem,
    subscription_problem,
)
from tests.unit.test_slot import FIT


def applying(database: str, *, enabled: bool = True, worker_pid: int | None = 7) -> Listed:
    return Listed(
        oid=1,
        name="bg_green_forward",
        database=database,
        enabled=enabled,
        owner="admin",
        slot_name=f"bg_green_forward_{database}",
        publications=["bg_green_forward"],
        worker_pid=worker_pid,
    )


def sending(status: str) -> Slot:
    return replace(FIT, wal_status=status)


ALIVE = RunningDirection(
    deployment="green",
    direction=Direction.FORWARD,
    publisher="orders-1",
    subscriber="orders-2",
    databases=frozenset({"app"}),
    subscriptions=(applying("app"),),
    slots=(sending("reserved"),),
)


def test_an_alive_direction() -> None:
    assert slot_problem(ALIVE) is None
    assert subscription_problem(ALIVE) is None


@pytest.mark.parametrize("status", ["missing", "lost"])
def test_a_slot_that_can_not_send_any_more_is_lost(status: str) -> None:
    slots = () if status == "missing" else (sending(status),)
    assert slot_problem(replace(ALIVE, slots=slots)) == (
        f"slot bg_green_forward_app on orders-1: {status}, expected reserved or extended"
    )


def test_a_slot_that_was_invalidated_is_lost_whatever_its_wal_status() -> None:
    rested = replace(FIT, invalidated="idle_timeout")
    assert slot_problem(replace(ALIVE, slots=(rested,))) == (
        "slot bg_green_forward_app on orders-1: invalidated, expected reserved or extended"
    )


@pytest.mark.parametrize("status", ["extended", "unreserved"])
def test_a_slot_that_lags_is_not_lost(status: str) -> None:
    slots = (sending(status),)
    assert slot_problem(replace(ALIVE, slots=slots)) is None


@pytest.mark.parametrize(
    ("subscriptions", "words"),
    [
        ((), "missing"),
        ((applying("other"),), "missing"),
        ((applying("app", enabled=False, worker_pid=None),), "disabled"),
        ((applying("app", worker_pid=None),), "no worker runs"),
    ],
)
def test_a_subscription_that_does_not_run_is_named(
    subscriptions: tuple[Listed, ...], words: str
) -> None:
    found = str(subscription_problem(replace(ALIVE, subscriptions=subscriptions)))
    assert found.startswith("subscription bg_green_forward in app on orders-2: ")
    assert words in found


@pytest.mark.parametrize(
    ("source_closed", "target_closed", "expected"),
    [
        (False, True, Writer.SOURCE),
        (True, False, Writer.TARGET),
        (True, True, Writer.NEITHER),
        (False, False, Writer.BOTH),
    ],
)
def test_the_writer_is_the_one_that_is_not_closed(
    source_closed: bool, target_closed: bool, expected: Writer
) -> None:
    assert writer(source_closed=source_closed, target_closed=target_closed) is expected
