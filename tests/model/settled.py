"""What can no longer do anything is left out: worlds that differ in nothing else are the same.

Each line holds because of a rule; without the rule it is not applied.
"""

from __future__ import annotations

from functools import cache

from tests.model.rules import Rule
from tests.model.world import (
    ABORT,
    ABORTED,
    CLOSE,
    DEAD,
    DECIDE,
    DONE,
    ENDED,
    FENCE,
    GIVEN_UP,
    IDLE,
    PREPARING,
    READY,
    RECOVER,
    UNREGISTERED,
    WATCHING,
    Attempt,
    World,
)

Rules = frozenset[Rule]


def settled(world: World, rules: Rules) -> World:
    """Return the world without what has become idle."""
    first, second = world.attempts
    one, two = _settled(first, rules), _settled(second, rules)
    if one is not first or two is not second:
        world = world._replace(attempts=(one, two))
    k, step = world.recover
    if step != IDLE and _idle(world.attempts[k], RECOVER, step, rules):
        world = world._replace(recover=(0, IDLE))
    if one.register != PREPARING and two.register != PREPARING:
        # Who wrote since a barrier is asked by the decision only.
        out, back = world.flows
        if not (out.wrote and back.wrote):
            world = world._replace(flows=(out._replace(wrote=True), back._replace(wrote=True)))
    return world


@cache  # attempts are few, worlds many
def _settled(attempt: Attempt, rules: Rules) -> Attempt:
    register = attempt.register
    if register in (UNREGISTERED, PREPARING) or not attempt.flushed:
        return attempt
    sent = attempt.sent
    if sent:
        sent = tuple(command for command in sent if not _void(attempt, command, rules))
    server_fuse = attempt.server_fuse
    if server_fuse == WATCHING and Rule.ABORT_ASKS in rules:
        server_fuse = ENDED
    orchestrator, fuse = attempt.orchestrator, attempt.local_fuse
    if _idle(attempt, "orchestrator", orchestrator, rules):
        orchestrator = ENDED
        # The local fuse is told, or finds nothing to do.
        fuse = ENDED if fuse == WATCHING else fuse
    if _idle(attempt, "local fuse", fuse, rules):
        fuse = ENDED
    if fuse == WATCHING and orchestrator == DEAD and register in (ABORTED, DONE):
        fuse = ENDED
    if fuse in (ENDED, DEAD) and orchestrator in (ENDED, DEAD):
        orchestrator = fuse = ENDED
    return attempt._replace(
        sent=sent, server_fuse=server_fuse, orchestrator=orchestrator, local_fuse=fuse
    )


def _void(attempt: Attempt, command: str, rules: Rules) -> bool:
    if command == ABORT:
        return Rule.ABORT_ASKS in rules
    if command == FENCE:
        return Rule.FENCE_ASKS in rules
    if command == DECIDE:
        return Rule.DECIDE_ASKS in rules
    if command == CLOSE:
        return attempt.register in (ABORTED, DONE) and Rule.CLOSING_ASKS in rules
    return False


def _idle(attempt: Attempt, party: str, step: str, rules: Rules) -> bool:
    """Return whether `party` can only find that all is over, and end."""
    if step in (READY, IDLE, ENDED, DEAD, WATCHING) or party in attempt.holding:
        return False
    if Rule.ROW_ASKED not in rules or Rule.SAME_CONNECTION not in rules:
        return False
    if attempt.register == DONE:
        return Rule.CLOSING_ASKS in rules
    # What an abort leaves closed can still be crossed, by a stale orchestrator.
    given_up = attempt.opening == GIVEN_UP
    kept = {Rule.FENCE_ASKS, Rule.ABORT_ASKS, Rule.DECIDE_ASKS} <= rules
    return attempt.register == ABORTED and given_up and kept
