"""The switch's protocol, explored to the end: what must never be, never is, and every rule counts.

The model is in tests/model; docs/switch.md says its rules in prose. What is proved is the protocol,
not the code: tests/postgres/test_register_transitions.py holds the register's functions against it,
and the chaos tests kill the real processes.
"""

from __future__ import annotations

import pytest

from bluegreen.register import Opening, State
from tests.model import world
from tests.model.explore import STUCK, explore
from tests.model.rules import Rule

BOTH = "both writable"
MISSING = "opened with commits missing"
SET_BACK = "used sequence values set back"
LATE_MARK = "a mark past the first new commits"
LOCKED_OUT = "the writer's roles lose LOGIN"
GIVEN_UP_LIVE = "a live attempt is given up"
NOBODY = "no writer, and no attempt that anybody could finish"


def test_nothing_that_must_not_be_happens_in_any_interleaving() -> None:
    found = explore()
    assert not found.violations, "\n".join(
        f"{wrong}:\n  " + "\n  ".join(steps) for wrong, steps in found.violations.items()
    )
    # Fewer would mean that a party or a fault has fallen out of the exploration.
    assert found.states > 100_000
    assert found.register_changes == set(world.REGISTER_CHANGES.values())
    assert found.opening_changes == set(world.OPENING_CHANGES.values())


@pytest.mark.slow
def test_nor_with_two_crashes_of_each_server_in_each_attempt() -> None:
    assert not explore(crashes=2).violations


WITHOUT = [
    # The rule, what comes of dropping it, attempts, crashes of each server in each attempt.
    (Rule.ONE_LIVE, BOTH, 2, 0),
    (Rule.BEGINNING_ASKS, BOTH, 2, 0),
    (Rule.EXPECTING_ASKS, LOCKED_OUT, 2, 0),
    (Rule.BEGINNING_GIVES_UP, LOCKED_OUT, 2, 0),
    (Rule.REGISTERED_FIRST, GIVEN_UP_LIVE, 2, 0),
    (Rule.IN_TURN, GIVEN_UP_LIVE, 2, 0),
    (Rule.EARLIER_GIVEN_UP, SET_BACK, 2, 0),
    (Rule.FENCE_ASKS, NOBODY, 1, 0),
    (Rule.SESSIONS_ENDED, BOTH, 1, 0),
    (Rule.ABORT_ASKS, BOTH, 1, 0),
    (Rule.DECIDE_ASKS, BOTH, 2, 0),
    (Rule.QUIET, MISSING, 1, 0),
    (Rule.DECISION_DURABLE, BOTH, 1, 1),
    (Rule.FLUSHED, "decided on what a crash of the new writer takes back", 1, 0),
    (Rule.OPEN_AFTER_DECISION, BOTH, 1, 0),
    (Rule.ROW_HELD, SET_BACK, 1, 0),
    (Rule.ROW_HELD, LATE_MARK, 1, 0),
    (Rule.ROW_ASKED, SET_BACK, 1, 0),
    (Rule.SAME_CONNECTION, MISSING, 1, 1),
    (Rule.DRAINED, MISSING, 1, 0),
    (Rule.SEQUENCES_EXACT, "opened with sequences behind", 1, 0),
    (Rule.SEQUENCES_WAIT, SET_BACK, 1, 0),
    (Rule.OPENING_DURABLE, NOBODY, 1, 1),
    (Rule.GIVING_UP_COMPETES, BOTH, 1, 0),
    (Rule.CLOSING_ASKS, LOCKED_OUT, 2, 0),
    (Rule.CLOSED_BEFORE_COUNT, "a write slipped in and was not counted", 1, 0),
    (Rule.SLIPPED_BLOCKS, "opened with rows that the other side never saw", 2, 0),
]


@pytest.mark.parametrize(
    ("rule", "violation", "attempts", "crashes"),
    [pytest.param(*case, id=f"{case[0].name.lower()}: {case[1]}") for case in WITHOUT],
)
def test_without_a_rule_there_is_a_way_to_disaster(
    rule: Rule, violation: str, attempts: int, crashes: int
) -> None:
    leaks = rule in (Rule.QUIET, Rule.CLOSED_BEFORE_COUNT, Rule.SLIPPED_BLOCKS)
    found = explore(
        frozenset({rule}), attempts=attempts, crashes=crashes, leaks=leaks, stop_at=violation
    )
    steps = "\n".join(f"{kind}: {len(way)} steps" for kind, way in found.violations.items())
    assert violation in found.violations, (
        f"dropping {rule.value!r} does no harm in {found.states} states: is it needed?\n{steps}"
    )


def test_the_states_are_the_codes_own() -> None:
    register = {state for change in world.REGISTER_CHANGES.values() for state in change}
    opening = {state for change in world.OPENING_CHANGES.values() for state in change}
    assert register - {world.UNREGISTERED} == set(State)
    assert opening - {world.UNKNOWN} == set(Opening)


def test_every_rule_is_dropped_once() -> None:
    assert {rule for rule, *_ in WITHOUT} == set(Rule)


def test_the_way_to_a_disaster_is_told_step_by_step() -> None:
    found = explore(frozenset({Rule.FENCE_ASKS}), attempts=1, crashes=0, stop_at=NOBODY)
    assert found.violations[NOBODY] == [
        "orchestrator 1 registers",
        "orchestrator 1 arms the server fuse",
        "server fuse 1 burns",
        "orchestrator 1 fences",
    ]
    assert STUCK not in found.violations
