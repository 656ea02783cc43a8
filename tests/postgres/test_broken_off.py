"""A switch that can neither be aborted nor carried out by itself: said so, and ended by others."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.errors import Refused, Retry, StayFenced
from bluegreen.names import TOOL_DATABASE
from bluegreen.register import register
from bluegreen.switch import opening, switchover
from bluegreen.switch.step import Step
from bluegreen.switch.switchover import switch
from bluegreen.switch.watchdog import Watchdog
from tests.fixtures.steps import right_after
from tests.fixtures.switchable import Switchable, wait_until

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)


def test_an_old_writer_that_is_lost_behind_the_fence_is_left_to_the_fuse(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps the fence in its catalogs, and nobody can take it off while it is down."""
    pair = switchable.pair
    monkeypatch.setattr(switchover, "_INSIST_SECONDS", 0.5)
    with (
        right_after(Step.FENCE, lambda: pair.source_lab.stop("immediate")),
        pytest.raises(
            StayFenced,
            match=r"orders-1: attempt green-\S+ failed and can't be ended now \(Unreachable: .*"
            "run pulumi up again, or bluegreen recover",
        ),
    ):
        switch(switchable.cutover(drain_seconds=20.0, fuse_seconds=60.0))
    pair.source_lab.start()
    wait_until(lambda: switchable.open_sides() == [pair.source.cluster], "the local fuse")


def test_an_old_writer_that_is_lost_behind_the_decision_keeps_nobody_from_writing(
    switchable: Switchable,
) -> None:
    """The new writer opens all the same; what is left to do waits for the restart."""
    pair = switchable.pair
    with (
        right_after(Step.DECIDE, lambda: pair.source_lab.stop("immediate")),
        pytest.raises(Retry, match=r"orders-2: is the writer; attempt green-\S+ is not over: "),
    ):
        switch(switchable.cutover(drain_seconds=20.0, fuse_seconds=60.0))
    assert switchable.open_sides() == [pair.target.cluster]
    pair.source_lab.start()
    with pair.source.connect(TOOL_DATABASE) as conn:
        wait_until(lambda: register.find_live(conn) is None, "the local fuse")
    assert switchable.open_sides() == [pair.target.cluster]


def test_two_sides_that_are_closed_without_an_attempt_are_left_closed(
    switchable: Switchable,
) -> None:
    pair = switchable.pair
    pair.close(pair.source)
    with pytest.raises(StayFenced, match="orders-1 and orders-2: both are closed to writers"):
        switch(switchable.cutover())
    assert switchable.open_sides() == []


def test_a_standby_that_somebody_has_opened_is_no_standby(switchable: Switchable) -> None:
    pair = switchable.pair
    pair.open(pair.target)
    with pytest.raises(Refused, match="orders-2: accepts writes while orders-1 is the writer"):
        switch(switchable.cutover())
    pair.close(pair.source)
    with pytest.raises(Refused, match="orders-2: accepts writes, but no switch has opened it"):
        switch(switchable.cutover())
    with pair.source.connect(TOOL_DATABASE) as conn:
        assert register.find_live(conn) is None


def _overtake(world: Switchable) -> None:
    """Let another machine's switch begin, as it may once this one's fuse has aborted it."""
    pair = world.pair
    with pair.source.connect(TOOL_DATABASE) as old, pair.target.connect(TOOL_DATABASE) as new:
        live = register.find_live(old)
        assert live is not None
        register.abort(old, live.name)
        register.expect_opening(new, "other-1", pair.source.cluster)
        register.begin(old, "other-1", pair.target.cluster, seconds=60)
        assert register.claim_opening(new, "other-1", register.turn(old, "other-1"))
        for earlier in register.left_closed(new, "other-1"):
            register.give_up_opening(new, earlier)


@pytest.mark.parametrize(
    ("asleep_before", "words"),
    [("claim", "another switch has begun since"), ("hold", "another switch has just begun")],
)
def test_who_has_slept_while_another_switch_began_touches_nothing(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch, asleep_before: str, words: str
) -> None:
    wakes_up = getattr(opening, asleep_before)

    def sleep_and_go_on(*args: object) -> None:
        _overtake(switchable)
        wakes_up(*args)

    monkeypatch.setattr(opening, asleep_before, sleep_and_go_on)
    with pytest.raises(Refused, match=f"orders-2: {words}; wait for it"):
        switch(switchable.cutover())
    assert switchable.open_sides() == [switchable.pair.source.cluster]
    with switchable.pair.source.connect(TOOL_DATABASE) as conn:
        live = register.find_live(conn)
    assert live is not None
    assert live.name == "other-1"


def test_who_comes_to_the_decision_too_late_does_not_make_it(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that is paused when all is across: the server fuse is not due yet."""
    begun: list[Watchdog] = []

    def noted(*args: Any, **kwargs: Any) -> Watchdog:
        begun.append(Watchdog(*args, **kwargs))
        return begun[-1]

    def sleep() -> None:
        wait_until(lambda: begun[-1].left() == 0, "the deadline")

    monkeypatch.setattr(switchover, "Watchdog", noted)
    with (
        right_after(Step.SEQUENCES, sleep),
        pytest.raises(Retry, match="orders-1: the switch did not come to its decision in time"),
    ):
        switch(switchable.cutover(fuse_seconds=60.0))
    assert switchable.open_sides() == [switchable.pair.source.cluster]
