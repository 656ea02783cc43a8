"""Whether a direction is alive, and who accepts writes, decided over what was seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bluegreen.names import Direction
from bluegreen.register.writer import Writer, writer
from bluegreen.replication.running_direction import (
    RunningDirection,
    SlotState,
    SubscriptionState,
    idle,
    lost,
)

ALIVE = RunningDirection(
    deployment="green",
    direction=Direction.FORWARD,
    publisher="orders-1",
    subscriber="orders-2",
    databases=frozenset({"app"}),
    subscriptions=(SubscriptionState("app", enabled=True, working=True),),
    slots=(SlotState("bg_green_forward_app", "reserved"),),
)


def test_an_alive_direction() -> None:
    assert lost(ALIVE) is None
    assert idle(ALIVE) is None


@pytest.mark.parametrize("status", ["missing", "lost"])
def test_a_slot_that_can_not_send_any_more_is_lost(status: str) -> None:
    slots = () if status == "missing" else (SlotState("bg_green_forward_app", status),)
    assert lost(replace(ALIVE, slots=slots)) == (
        f"slot bg_green_forward_app on orders-1: {status}, expected reserved or extended"
    )


@pytest.mark.parametrize("status", ["extended", "unreserved"])
def test_a_slot_that_lags_is_not_lost(status: str) -> None:
    slots = (SlotState("bg_green_forward_app", status),)
    assert lost(replace(ALIVE, slots=slots)) is None


@pytest.mark.parametrize(
    ("subscriptions", "words"),
    [
        ((), "missing"),
        ((SubscriptionState("other", enabled=True, working=True),), "missing"),
        ((SubscriptionState("app", enabled=False, working=False),), "disabled"),
        ((SubscriptionState("app", enabled=True, working=False),), "no worker runs"),
    ],
)
def test_a_subscription_that_does_not_run_is_named(
    subscriptions: tuple[SubscriptionState, ...], words: str
) -> None:
    found = str(idle(replace(ALIVE, subscriptions=subscriptions)))
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
