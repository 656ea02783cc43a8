"""Several finish the same decided switch: the fuse of the dead one, `recover`, the next update."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from psycopg.pq import TransactionStatus

from bluegreen.errors import Refused, Retry, StayFenced
from bluegreen.names import TOOL_DATABASE
from bluegreen.postgres import queries
from bluegreen.register import register
from bluegreen.switch import completion, side
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.side import Connection, Side
from bluegreen.switch.switchover import switch
from tests.fixtures.lost_machine import leave_decided
from tests.fixtures.replicated import DATABASE
from tests.fixtures.switchable import Switchable, wait_until

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)


def test_finishers_wait_for_each_other_and_agree(switchable: Switchable) -> None:
    """None ends the sessions of one that is at work: they would do so to each other for ever."""
    plan = switchable.cutover()
    attempt = leave_decided(plan)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(completion.finish, plan, attempt) for _ in range(4)]
    (mark,) = {future.result().mark for future in futures}
    with plan.new.connect(TOOL_DATABASE) as conn:
        assert register.last_opening(conn) == (attempt, mark)
    assert switchable.open_sides() == [plan.new.cluster]


def test_a_finisher_insists_for_as_long_as_it_was_told(switchable: Switchable) -> None:
    plan = switchable.cutover(finish_seconds=0.3)
    attempt = leave_decided(plan)
    with switchable.pair.target_lab.connect(DATABASE) as locker, locker.transaction():
        locker.execute("LOCK TABLE bluegreen.heartbeat IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Retry, match=r"has not caught up with orders-1 within 0\.3 s"):
            completion.finish(plan, attempt)
    assert switchable.open_sides() == []
    completion.finish(plan, attempt)
    assert switchable.open_sides() == [plan.new.cluster]


def test_no_session_of_a_finisher_ends_before_its_waits_do(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds two rows and a lock, and each of its waits may take all of `finish_seconds`."""
    plan = switchable.cutover(finish_seconds=600.0, fence="read-only")
    attempt = leave_decided(plan)
    limits: dict[str, float] = {}
    holding: set[object] = set()
    set_seconds, stop = queries.set_seconds, completion.stop

    def noted(conn: Connection, setting: str, seconds: float) -> None:
        limits[setting] = seconds
        set_seconds(conn, setting, seconds)

    def look_and_stop(plan: SwitchPlan, new: Side) -> None:
        holding.add(new.tool.info.transaction_status)
        stop(plan, new)

    monkeypatch.setattr(completion, "set_seconds", noted)
    monkeypatch.setattr(completion, "stop", look_and_stop)
    completion.finish(plan, attempt)
    # Drain and early stop are waited for while the rows are held; then stop, and the last reader.
    assert holding == {TransactionStatus.INTRANS, TransactionStatus.IDLE}
    assert limits["idle_in_transaction_session_timeout"] > 2 * plan.finish_seconds
    assert limits["idle_session_timeout"] > limits["lock_timeout"] > 4 * plan.finish_seconds


def test_a_finisher_that_comes_again_ends_no_session_of_production(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left to do is done once more; who has come since the opening goes on."""
    plan = switchable.cutover()
    attempt = leave_decided(plan)

    def fail(*_: object) -> None:
        raise Retry("the machine is gone")

    with monkeypatch.context() as broken:
        broken.setattr(register, "finish", fail)
        with pytest.raises(Retry):
            completion.finish(plan, attempt)
    with plan.new.connect(TOOL_DATABASE) as conn:
        until = register.opened_at(conn, attempt)  # a second behind it, for a commit that was slow
        row = "SELECT clock_timestamp() > %s"
        wait_until(lambda: conn.execute(row, (until,)).fetchone() == (True,), "that second")
    with switchable.connect(plan.new) as production:
        production.execute("INSERT INTO ledger VALUES (-1)")
        completion.finish(plan, attempt)
        production.execute("INSERT INTO ledger VALUES (-2)")


@contextmanager
def _frozen(pid: int) -> Iterator[None]:
    """Let a server process get no further, whatever it is sent."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_finisher_that_waits_for_another_too_long_says_so(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = switchable.cutover()
    attempt = leave_decided(plan)
    with plan.old.connect(TOOL_DATABASE) as other, monkeypatch.context() as hasty:
        other.execute("SELECT pg_advisory_lock(4782, 2)")
        hasty.setattr(completion, "_BESIDES_SECONDS", 0.1)
        with pytest.raises(
            Retry, match=rf"another process has been carrying out attempt {attempt} for 0\.6 s"
        ):
            completion.finish(switchable.cutover(finish_seconds=0.1), attempt)
    assert switchable.open_sides() == []
    completion.finish(plan, attempt)
    assert switchable.open_sides() == [plan.new.cluster]


def test_what_has_gone_back_is_not_carried_out(switchable: Switchable) -> None:
    """An operator was quicker than the fuse."""
    plan = switchable.cutover()
    attempt = leave_decided(plan)
    with plan.new.connect(TOOL_DATABASE) as new, plan.old.connect(TOOL_DATABASE) as old:
        assert register.give_up_opening(new, attempt)
        with pytest.raises(StayFenced, match=f"orders-2: attempt {attempt} is given up there"):
            completion.finish(plan, attempt)
        register.go_back(old, attempt)
    with pytest.raises(Refused, match=f"orders-1: attempt {attempt} is not decided any more"):
        completion.finish(plan, attempt)
    assert switchable.open_sides() == [plan.old.cluster]


def test_a_session_of_the_dead_that_does_not_end_keeps_the_new_side_closed(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold the row, or be setting sequences: nobody opens beside it."""
    plan = switchable.cutover()
    attempt = leave_decided(plan)
    name = side.application_name(attempt)
    with plan.new.connect(DATABASE, application_name=name) as left:
        with _frozen(left.info.backend_pid), monkeypatch.context() as hasty:
            hasty.setattr(side, "_END_SECONDS", 0.2)
            with pytest.raises(Retry, match=rf"attempt {attempt}: sessions of it on .* don't end"):
                completion.finish(plan, attempt)
            assert switchable.open_sides() == []
        completion.finish(plan, attempt)
    assert switchable.open_sides() == [plan.new.cluster]


def test_a_reader_that_holds_on_to_the_old_slot_is_named_and_the_fuse_waits_for_it(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it still reads can't be counted, so the attempt is not done, though the writer moved."""
    plan = switchable.cutover(finish_seconds=0.3)
    with switchable.pair.source_lab.connect() as conn:
        (reader,) = conn.execute("SELECT active_pid FROM pg_replication_slots").fetchone() or ()
    stop = completion.stop

    def stop_beside_a_frozen_reader(plan: SwitchPlan, new: Side) -> None:
        os.kill(reader, signal.SIGSTOP)
        stop(plan, new)

    with monkeypatch.context() as patched:
        patched.setattr(completion, "stop", stop_beside_a_frozen_reader)
        try:
            with pytest.raises(
                Retry, match=r"slot bg_green_forward_app on orders-1: still read after 0\.3 s"
            ):
                switch(plan)
            assert switchable.open_sides() == [plan.new.cluster]
            with plan.old.connect(TOOL_DATABASE) as conn:
                assert register.find_live(conn) is not None
        finally:
            os.kill(reader, signal.SIGCONT)
    with plan.old.connect(TOOL_DATABASE) as conn:
        wait_until(lambda: register.find_live(conn) is None, "the fuse carries it out")
