"""Several finish the same decided switch: the fuse of the dead one, `recover`, the next update."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from bluegreen import finish, register
from bluegreen.errors import Retry
from bluegreen.names import TOOL_DATABASE
from tests.fixtures.replicated import DATABASE
from tests.fixtures.switchable import Switchable, leave_decided

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)


def test_finishers_wait_for_each_other_and_agree(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None ends the sessions of one that is at work: they would do so to each other for ever."""
    plan = switchable.cutover()
    attempt = leave_decided(plan, monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(finish.finish, plan, attempt) for _ in range(4)]
    (mark,) = {future.result().mark for future in futures}
    with plan.new.connect(TOOL_DATABASE) as conn:
        assert register.last_opening(conn) == (attempt, mark)
    assert switchable.open_sides() == [plan.new.cluster]


def test_a_finisher_insists_for_as_long_as_it_was_told(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = switchable.cutover(finish_seconds=0.3)
    attempt = leave_decided(plan, monkeypatch)
    with switchable.pair.target_lab.connect(DATABASE) as locker, locker.transaction():
        locker.execute("LOCK TABLE bluegreen.heartbeat IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Retry, match=r"has not caught up with orders-1 within 0\.3 s"):
            finish.finish(plan, attempt)
    assert switchable.open_sides() == []
    finish.finish(plan, attempt)
    assert switchable.open_sides() == [plan.new.cluster]
