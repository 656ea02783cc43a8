"""The switch's protocol, explored to the end: what must never be, never is, and every rule counts.

The model is in tests/model; docs/switch.md says its rules in prose. What is proved is the protocol,
not the code: tests/postgres/test_register_transitions.py holds the register's functions against it,
and the chaos tests kill the real processes.
"""

from __future__ import annotations

import pytest

from bluegreen.register.register import AttemptState, Opening
from tests.model import world
from tests.model.explore import STUCK, Overlap, explore
from tests.model.rules import Rule

BOTH = "both writable"
MISSING = "opened with commits missing"
SET_BACK = "used sequence values set back"
LATE_MARK = "a mark past the first new commits"
LOCKED_OUT = "the writer's roles lose LOGIN"
GIVEN_UP_LIVE = "a live attempt is given up"
NOBODY = "no writer, and no attempt that anybody could finish"


def test_nothing_that_must_not_be_happens_in_any_interleaving() -> None:
    found = explore(crashes=0)
    together = explore(crashes=0, leaks=False, overlap=Overlap.ALL)
    crashing = explore(crashes=1, attempts=1)
    for explored in (found, together, crashing):
        assert not explored.violations, "\n".join(
            f"{wrong}:\n  " + "\n  ".join(steps) for wrong, steps in explored.violations.items()
        )
    # Fewer would mean that a party or a fault has fallen out of the exploration.
    assert found.states > 50_000
    assert together.states > 90_000
    assert found.register_changes == set(world.REGISTER_CHANGES.values())
    assert found.opening_changes == set(world.OPENING_CHANGES.values())


@pytest.mark.long
def test_nor_with_crashes_in_each_of_two_attempts() -> None:
    assert not explore(crashes=1, leaks=False).violations


@pytest.mark.slow
def test_nor_when_attempts_meet_as_they_like_and_something_leaks() -> None:
    assert not explore(crashes=0, overlap=Overlap.ALL).violations


def test_the_old_codes_order_is_found_from_the_first_step_on() -> None:
    """Looking and registering were two steps, and nothing was asked at the second one."""
    old = frozenset({Rule.BEGINNING_ASKS, Rule.EXPECTING_ASKS, Rule.REGISTERED_FIRST})
    for wrong in (BOTH, GIVEN_UP_LIVE):
        found = explore(old, crashes=0, leaks=False, overlap=Overlap.ALL, stop_at=wrong)
        assert wrong in found.violations


@pytest.mark.slow
def test_nor_with_two_crashes_of_each_server_in_an_attempt() -> None:
    assert not explore(crashes=2, attempts=1).violations


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


# What is found only where attempts meet before they are registered.
_OVERLAPS = {
    Rule.ONE_LIVE: Overlap.ALL,
    Rule.REGISTERED_FIRST: Overlap.ALL,
    Rule.IN_TURN: Overlap.ALL,
    Rule.BEGINNING_ASKS: Overlap.SLEPT,
    Rule.EXPECTING_ASKS: Overlap.SLEPT,
    Rule.BEGINNING_GIVES_UP: Overlap.SLEPT,
}

_SLOW = (Rule.EARLIER_GIVEN_UP, Rule.SLIPPED_BLOCKS, Rule.CLOSING_ASKS)
_LONG = (Rule.ONE_LIVE, Rule.EXPECTING_ASKS, Rule.BEGINNING_GIVES_UP)


def _marks(rule: Rule) -> list[pytest.MarkDecorator]:
    if rule in _LONG:
        return [pytest.mark.long]
    return [pytest.mark.slow] if rule in _SLOW else []


@pytest.mark.parametrize(
    ("rule", "violation", "attempts", "crashes"),
    [
        pytest.param(
            *case,
            id=f"{case[0].name.lower()}: {case[1]}",
            marks=_marks(case[0]),
        )
        for case in WITHOUT
    ],
)
def test_without_a_rule_there_is_a_way_to_disaster(
    rule: Rule, violation: str, attempts: int, crashes: int
) -> None:
    leaks = rule in (Rule.QUIET, Rule.CLOSED_BEFORE_COUNT, Rule.SLIPPED_BLOCKS)
    found = explore(
        frozenset({rule}),
        attempts=attempts,
        crashes=crashes,
        leaks=leaks,
        overlap=_OVERLAPS.get(rule, Overlap.NONE),
        stop_at=violation,
    )
    steps = "\n".join(f"{kind}: {len(way)} steps" for kind, way in found.violations.items())
    assert violation in found.violations, (
        f"dropping {rule.value!r} does no harm in {found.states} states: is it needed?\n{steps}"
    )


def test_the_states_are_the_codes_own() -> None:
    register = {state for change in world.REGISTER_CHANGES.values() for state in change}
    opening = {state for change in world.OPENING_CHANGES.values() for state in change}
    assert register - {world.UNREGISTERED} == set(AttemptState)
    assert opening - {world.UNKNOWN} == set(Opening)


def test_every_rule_is_dropped_once() -> None:
    assert {rule for rule, *_ in WITHOUT} == set(Rule)


def test_the_way_to_a_disaster_is_told_step_by_step() -> None:
    found = explore(frozenset({Rule.FENCE_ASKS}), attempts=1, crashes=0, stop_at=NOBODY)
    assert found.violations[NOBODY] == [
        "orchestrator 1 has looked",
        "orchestrator 1 expects the opening",
        "orchestrator 1 registers",
        "orchestrator 1 claims the opening",
        "orchestrator 1 gives earlier attempts up",
        "orchestrator 1 arms the server fuse",
        "server fuse 1 burns",
        "orchestrator 1 fences",
    ]
    assert STUCK not in found.violations
