"""`recover` on real servers: what it finds, what it decides, and what it then does."""

from __future__ import annotations

import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from bluegreen.errors import Retry, StayFenced
from bluegreen.names import TOOL_DATABASE
from bluegreen.register import closing, register
from bluegreen.register.register import Opening
from bluegreen.switch import recovery
from bluegreen.switch.recovery import Recovery, Verdict
from bluegreen.switch.switchover import switch
from tests.fixtures.rds import PlacedClusters
from tests.fixtures.switchable import Switchable, wait_until

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)

ATTEMPT = "green-1"


def _left_behind(world: Switchable, *, decided: bool, seconds: float = -1) -> None:
    """Leave an attempt as a machine does that is lost together with its fuses."""
    plan = world.cutover()
    with plan.new.connect(TOOL_DATABASE) as new, plan.old.connect(TOOL_DATABASE) as old:
        register.expect_opening(new, ATTEMPT)
        register.begin(old, ATTEMPT, plan.new.cluster, seconds=seconds)
        old.execute("SELECT bluegreen.close_databases(%s)", (ATTEMPT,))
        if decided:
            old.execute("UPDATE bluegreen.register SET state = 'decided'")


def _found(world: Switchable, *, vouched: bool = False) -> Recovery:
    """Return what is found from either direction's plan, which must be the same."""
    found = recovery.find(world.cutover(), vouched=vouched)
    again = recovery.find(world.rollback(), vouched=vouched)
    assert again.decision == found.decision
    return found


def test_at_rest_there_is_nothing_to_do(switchable: Switchable) -> None:
    found = _found(switchable)
    assert found.decision.verdict is Verdict.NOTHING
    assert len(found.decision.lines()) == 3
    recovery.apply(found)
    assert switchable.open_sides() == [switchable.pair.source.cluster]


@pytest.mark.parametrize("writers", [2, 0], ids=["both-open", "both-closed"])
def test_what_no_switch_leaves_is_for_an_operator(switchable: Switchable, writers: int) -> None:
    pair = switchable.pair
    for server in (pair.source, pair.target):
        (pair.open if writers else pair.close)(server)
    found = recovery.find(switchable.cutover(), vouched=False)
    assert found.decision.verdict is Verdict.ASK
    named = f"{pair.source}, {pair.target}" if writers else "nobody"
    assert found.decision.found == f"no attempt is live; open to writers: {named}"
    recovery.apply(found)
    assert len(switchable.open_sides()) == writers


def test_a_side_that_aws_says_is_gone_is_no_writer(
    switchable: Switchable, placed: PlacedClusters
) -> None:
    pair = switchable.pair
    pair.open(pair.target)
    pair.source_lab.stop("immediate")
    placed.rds.delete_db_instance(DBInstanceIdentifier=f"{pair.source}-1")
    placed.rds.delete_db_cluster(DBClusterIdentifier=str(pair.source), SkipFinalSnapshot=True)
    found = _found(switchable)
    assert found.decision.verdict is Verdict.NOTHING
    assert found.decision.found.endswith(f"open to writers: {pair.target}")


def test_looking_touches_nothing(switchable: Switchable) -> None:
    _left_behind(switchable, decided=False)
    assert _found(switchable).decision.verdict is Verdict.ABORT
    assert switchable.open_sides() == []


def test_an_overdue_attempt_is_aborted(switchable: Switchable) -> None:
    _left_behind(switchable, decided=False)
    recovery.apply(_found(switchable))
    assert switchable.open_sides() == [switchable.pair.source.cluster]
    assert _found(switchable).decision.verdict is Verdict.NOTHING


def test_an_attempt_that_somebody_else_has_aborted_since_is_looked_at_again(
    switchable: Switchable,
) -> None:
    _left_behind(switchable, decided=False)
    found = _found(switchable)
    recovery.apply(found)
    with pytest.raises(Retry, match="attempt green-1 changed meanwhile; try again"):
        recovery.apply(found)
    assert switchable.open_sides() == [switchable.pair.source.cluster]


def test_a_server_that_crashes_amid_it_is_told_in_words_and_it_is_repeated(
    switchable: Switchable,
) -> None:
    _left_behind(switchable, decided=False)
    found, lab = _found(switchable), switchable.pair.source_lab
    waiting: list[int] = []

    def waits() -> bool:
        rows = watch.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE application_name = 'bluegreen' AND wait_event_type = 'Lock'"
        ).fetchall()
        waiting[:] = [pid for (pid,) in rows]
        return bool(waiting)

    with (
        contextlib.closing(lab.connect(TOOL_DATABASE)) as holder,
        contextlib.closing(lab.connect(TOOL_DATABASE)) as watch,
        ThreadPoolExecutor(1) as pool,
    ):
        holder.execute("BEGIN; SELECT FROM bluegreen.register FOR UPDATE")
        applying = pool.submit(recovery.apply, found)
        wait_until(waits, "it to wait for the row")
        os.kill(waiting[0], signal.SIGKILL)  # all others end by that, as in a crash
        with pytest.raises(Retry, match=r"orders-1: attempt green-1: .*connection.*; try again"):
            applying.result(timeout=60)
    wait_until(lambda: _answers(switchable), "the server to come back")
    recovery.apply(_found(switchable))
    assert switchable.open_sides() == [switchable.pair.source.cluster]


def _answers(world: Switchable) -> bool:
    try:
        world.pair.source.connect(TOOL_DATABASE).close()
    except Retry:
        return False
    return True


def test_an_attempt_whose_deadline_is_not_past_is_waited_for(switchable: Switchable) -> None:
    _left_behind(switchable, decided=False, seconds=60)
    found = _found(switchable)
    assert found.decision.verdict is Verdict.WAIT
    recovery.apply(found)
    assert switchable.open_sides() == []


def test_a_decided_attempt_is_carried_out(switchable: Switchable) -> None:
    _left_behind(switchable, decided=True)
    recovery.apply(_found(switchable))
    assert switchable.open_sides() == [switchable.pair.target.cluster]


def test_a_new_writer_out_of_reach_is_left_until_somebody_knows(switchable: Switchable) -> None:
    _left_behind(switchable, decided=True)
    switchable.pair.target_lab.stop("immediate")
    found = recovery.find(switchable.cutover(), vouched=False)
    assert found.decision.verdict is Verdict.ASK
    assert "--new-writer-never-opened" in found.decision.why
    with switchable.pair.source.connect(TOOL_DATABASE) as conn:
        live = register.find_live(conn)
        assert live is not None
        with pytest.raises(StayFenced, match="may have opened"):
            recovery.resolve_live(switchable.cutover(), conn, live, lambda _: None)


def test_a_new_writer_that_is_vouched_for_is_given_up(switchable: Switchable) -> None:
    _left_behind(switchable, decided=True)
    switchable.pair.target_lab.stop("immediate")
    recovery.apply(recovery.find(switchable.cutover(), vouched=True))
    with switchable.connect(switchable.pair.source) as conn:
        conn.execute("INSERT INTO probe VALUES (1)")


def test_a_new_writer_that_aws_says_is_gone_is_given_up(
    switchable: Switchable, placed: PlacedClusters
) -> None:
    _left_behind(switchable, decided=True)
    switchable.pair.target_lab.stop("immediate")
    target = switchable.pair.target.cluster
    placed.rds.delete_db_instance(DBInstanceIdentifier=f"{target}-1")
    placed.rds.delete_db_cluster(DBClusterIdentifier=target, SkipFinalSnapshot=True)
    found = recovery.find(switchable.cutover(), vouched=False)
    assert found.decision.verdict is Verdict.GO_BACK
    recovery.apply(found)
    with switchable.pair.source.connect(TOOL_DATABASE) as conn:
        assert not closing.is_closed(conn, ["app"])


def test_a_new_writer_that_opened_is_never_given_up(switchable: Switchable) -> None:
    """The operator was wrong: it can be reached, and it has opened."""
    _left_behind(switchable, decided=True)
    found = recovery.find(switchable.cutover(), vouched=True)
    with switchable.pair.target.connect(TOOL_DATABASE) as conn:
        conn.execute("SELECT bluegreen.open_environment(%s, '0/1', '{}')", (ATTEMPT,))
    wrong = Recovery(
        found.plan, found.attempt, recovery.Decision(Verdict.GO_BACK, "out of reach", "vouched")
    )
    with pytest.raises(StayFenced, match="it is the writer"):
        recovery.apply(wrong)


def test_what_was_given_up_can_not_open_any_more(switchable: Switchable) -> None:
    _left_behind(switchable, decided=True)
    with switchable.pair.target.connect(TOOL_DATABASE) as conn:
        assert register.give_up_opening(conn, ATTEMPT)
        assert register.find_opening(conn, ATTEMPT) is Opening.GIVEN_UP
    recovery.apply(_found(switchable))
    assert switchable.open_sides() == [switchable.pair.source.cluster]
    switch(switchable.cutover(), lambda _: None)
    assert switchable.open_sides() == [switchable.pair.target.cluster]


def test_a_register_out_of_reach_is_said_and_nothing_is_decided(switchable: Switchable) -> None:
    switchable.pair.source_lab.stop("immediate")
    with pytest.raises(Retry, match="its register may hold an attempt"):
        recovery.find(switchable.cutover(), vouched=False)


def test_an_update_says_the_same_three_lines(switchable: Switchable) -> None:
    _left_behind(switchable, decided=True)
    said: list[str] = []
    done = switch(switchable.cutover(), said.append)
    assert done.attempt == ATTEMPT
    assert [line.partition(":")[0] for line in said] == ["found", "decided", "because"]
