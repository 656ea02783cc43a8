"""What `recover` decides for everything that can be found: a table, and what it never does."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from bluegreen.register.register import AttemptState, Opening
from bluegreen.switch.recovery import Snapshot, Verdict, decide

DECIDED = Snapshot(
    old="orders-1",
    new="orders-2",
    attempt="green-1",
    state=AttemptState.DECIDED,
    overdue=False,
    opening=Opening.CLOSED,
    new_reachable=True,
    new_exists=True,
    never_opened=False,
)
LOST = replace(DECIDED, opening=None, new_reachable=False)

EVERYTHING = [
    replace(
        DECIDED,
        state=state,
        attempt=None if state is None else "green-1",
        overdue=overdue,
        opening=opening if reachable else None,
        new_reachable=reachable,
        new_exists=exists,
        never_opened=vouched,
    )
    for state, overdue, opening, reachable, exists, vouched in itertools.product(
        [None, *AttemptState],
        [False, True],
        [None, *Opening],
        [False, True],
        [False, True],
        [False, True],
    )
]


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        pytest.param(replace(DECIDED, state=None, attempt=None), Verdict.NOTHING, id="none"),
        pytest.param(replace(DECIDED, state=AttemptState.DONE), Verdict.NOTHING, id="done"),
        pytest.param(replace(DECIDED, state=AttemptState.ABORTED), Verdict.NOTHING, id="aborted"),
        pytest.param(replace(DECIDED, state=AttemptState.PREPARING), Verdict.WAIT, id="preparing"),
        pytest.param(
            replace(DECIDED, state=AttemptState.PREPARING, overdue=True),
            Verdict.ABORT,
            id="overdue",
        ),
        pytest.param(DECIDED, Verdict.FINISH, id="decided"),
        pytest.param(replace(DECIDED, opening=Opening.OPENED), Verdict.FINISH, id="opened"),
        pytest.param(replace(DECIDED, opening=Opening.GIVEN_UP), Verdict.GO_BACK, id="given-up"),
        pytest.param(replace(DECIDED, opening=None), Verdict.ASK, id="another-server"),
        pytest.param(LOST, Verdict.ASK, id="unreachable"),
        pytest.param(replace(LOST, new_exists=False), Verdict.GO_BACK, id="gone"),
        pytest.param(replace(LOST, never_opened=True), Verdict.GO_BACK, id="vouched"),
    ],
)
def test_each_state_has_its_verdict(seen: Snapshot, verdict: Verdict) -> None:
    assert decide(seen).verdict is verdict


def test_nothing_takes_the_fence_off_a_decided_attempt_without_a_proof() -> None:
    """Proof: the new writer gave up, is gone as AWS says, or an operator vouches."""
    backward = {Verdict.ABORT, Verdict.GO_BACK}
    for seen in EVERYTHING:
        if decide(seen).verdict not in backward or seen.state is not AttemptState.DECIDED:
            continue
        lost = not seen.new_reachable and (seen.never_opened or not seen.new_exists)
        assert lost or seen.opening is Opening.GIVEN_UP, seen


def test_a_new_writer_that_has_opened_is_never_left_again() -> None:
    opened = [s for s in EVERYTHING if s.new_reachable and s.opening is Opening.OPENED]
    assert {decide(s).verdict for s in opened if s.state is AttemptState.DECIDED} == {
        Verdict.FINISH
    }


def test_what_an_operator_vouches_for_counts_less_than_what_is_seen() -> None:
    for seen in EVERYTHING:
        if seen.new_reachable:
            assert decide(seen) == decide(replace(seen, never_opened=not seen.never_opened))


def test_it_says_what_it_found_and_why_in_three_lines() -> None:
    for seen in EVERYTHING:
        lines = decide(seen).lines()
        assert [line.split(":")[0] for line in lines] == ["found", "decided", "because"]
        assert not any("\n" in line for line in lines)
