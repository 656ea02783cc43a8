"""Several finish the same decided switch: the fuse of the dead one, `recover`, the next update."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg.pq import TransactionStatus

from bluegreen.errors import Retry
from bluegreen.names import TOOL_DATABASE
from bluegreen.postgres import queries
from bluegreen.register import register
from bluegreen.switch import completion
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.side import Connection, Side
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
