"""The switch on real servers, 16 and 18, under clients that write all the time."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

import psycopg
import pytest

from bluegreen.errors import Refused, Retry
from bluegreen.names import TOOL_DATABASE
from bluegreen.register import register
from bluegreen.switch import fence
from bluegreen.switch.step import Step
from bluegreen.switch.switchover import switch
from tests.fixtures.lost_machine import leave_decided, lose_machine
from tests.fixtures.replicated import DATABASE
from tests.fixtures.switchable import APP, Switchable, wait_until


def _quiet(text: str) -> None:
    """Take what the switch reports."""


def test_a_cutover_and_a_rollback_lose_nothing_and_double_nothing(switchable: Switchable) -> None:
    world, pair = switchable, switchable.pair
    with world.writers() as writers:
        writers.wait_for(200, pair.source.cluster)
        there = switch(world.cutover(), _quiet)
        writers.wait_for(200, pair.target.cluster)
        world.run_reverse(str(there.mark))
        pair.publish_again_after_drop(pair.source)
        back = switch(world.rollback(), _quiet)
        writers.wait_for(200, pair.source.cluster)
    numbers = writers.numbers()
    assert there.slipped == back.slipped == 0
    assert len(numbers) == len(set(numbers))
    assert set(numbers) <= set(world.rows(pair.source))
    clusters = [cluster for _, cluster, _ in sorted(writers.acknowledged)]
    changes = sum(a != b for a, b in itertools.pairwise(clusters))
    assert changes == 2


def test_sequences_are_exact_after_the_switch(switchable: Switchable) -> None:
    world, pair = switchable, switchable.pair
    with world.writers() as writers:
        writers.wait_for(100, pair.source.cluster)
    with pair.source_lab.connect(DATABASE) as conn:
        conn.execute("SELECT setval('uncalled', 90, false), setval('down', -500)")
    switch(world.cutover(), _quiet)
    assert world.sequences(pair.target) == world.sequences(pair.source)


def test_exactly_one_side_is_open_before_and_after(switchable: Switchable) -> None:
    pair = switchable.pair
    assert switchable.open_sides() == [pair.source.cluster]
    switch(switchable.cutover(), _quiet)
    assert switchable.open_sides() == [pair.target.cluster]


def test_a_session_on_the_new_side_is_ended_only_when_it_came_too_early(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One from before the opening would be read-only for ever; one from behind it may write."""
    world, target = switchable, switchable.pair.target
    sessions: list[psycopg.Connection[tuple[object, ...]]] = []
    open_environment = register.open_environment

    def between_two(*args: Any) -> datetime:
        sessions.append(world.connect(target))
        opened = open_environment(*args)
        sessions.append(world.connect(target))
        return opened

    monkeypatch.setattr(register, "open_environment", between_two)
    switch(world.cutover(), _quiet)
    early, late = sessions
    late.execute("INSERT INTO ledger VALUES (-1)")
    late.close()
    with pytest.raises(psycopg.OperationalError, match="terminating"):
        early.execute("SELECT 1")


def test_a_repeated_switch_changes_nothing(switchable: Switchable) -> None:
    first = switch(switchable.cutover(), _quiet)
    again = switch(switchable.cutover(), _quiet)
    assert again.repeated
    assert (again.mark, again.attempt) == (first.mark, first.attempt)


_LOCK = "LOCK TABLE bluegreen.heartbeat IN ACCESS EXCLUSIVE MODE"


def test_a_drain_that_takes_too_long_takes_the_fence_off_again(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = switchable.pair
    with pair.target_lab.connect(DATABASE) as locker, locker.transaction():
        put_up = fence.put_up

        def lock_and_put_up(*args: object, **kwargs: object) -> None:
            locker.execute(_LOCK)
            put_up(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(fence, "put_up", lock_and_put_up)
        with pytest.raises(Retry, match="has not caught up"):
            switch(switchable.cutover(drain_seconds=1.0), _quiet)
    assert switchable.open_sides() == [pair.source.cluster]


def test_a_lock_that_somebody_holds_is_not_waited_for_without_end(switchable: Switchable) -> None:
    """The look at what is published locks tables: an open migration held it up for ever."""
    pair = switchable.pair
    with pair.target_lab.connect(DATABASE) as locker, locker.transaction():
        locker.execute(_LOCK)
        with pytest.raises(Retry, match="somebody has held a lock for 1 s"):
            switch(switchable.cutover(lag_seconds=1.0), _quiet)
    assert switchable.open_sides() == [pair.source.cluster]


def test_the_server_fuse_opens_again_when_the_orchestrator_is_gone(
    switchable: Switchable,
) -> None:
    pair = switchable.pair
    lose_machine(switchable.cutover(drain_seconds=1.0, fuse_seconds=2.0), Step.FENCE)
    assert switchable.open_sides() == []
    wait_until(lambda: switchable.open_sides() == [pair.source.cluster], "the fuse", seconds=10)


def test_a_decided_attempt_is_finished_by_the_next_one(switchable: Switchable) -> None:
    """Between decision and opening only forward is left."""
    pair = switchable.pair
    leave_decided(switchable.cutover())
    assert switchable.open_sides() == []
    switch(switchable.cutover(), _quiet)
    assert switchable.open_sides() == [pair.target.cluster]


def test_a_second_switch_at_the_same_time_is_refused(switchable: Switchable) -> None:
    with switchable.pair.source.connect(TOOL_DATABASE) as conn:
        register.begin(conn, "somebody else's", "orders-2", seconds=60)
    with pytest.raises(Refused, match="is under way"):
        switch(switchable.cutover(), _quiet)


def test_a_prepared_transaction_is_refused_before_anything_is_touched(
    switchable: Switchable,
) -> None:
    with switchable.pair.source_lab.connect(DATABASE) as conn:
        conn.execute("BEGIN; INSERT INTO ledger DEFAULT VALUES; PREPARE TRANSACTION 'held'")
    with pytest.raises(Refused, match="prepared transactions: held"):
        switch(switchable.cutover(), _quiet)
    assert switchable.open_sides() == [switchable.pair.source.cluster]


def test_the_old_side_lets_applications_in_no_more_until_the_way_back(
    switchable: Switchable,
) -> None:
    world, pair = switchable, switchable.pair
    there = switch(world.cutover(), _quiet)
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        world.connect(pair.source)
    world.run_reverse(str(there.mark))
    pair.publish_again_after_drop(pair.source)
    switch(world.rollback(), _quiet)
    with world.connect(pair.source) as conn:
        assert conn.execute("SELECT current_user").fetchone() == (APP,)
