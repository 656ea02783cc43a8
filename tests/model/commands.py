"""What each command does on its server: the statements of register.py and fence.py, as values."""

from __future__ import annotations

from tests.model.rules import Rule
from tests.model.world import (
    ABORTED,
    APPLIED,
    BOTH,
    CLOSED,
    DECIDED,
    DONE,
    GIVEN_UP,
    LIVE,
    OPENED,
    ORCHESTRATOR,
    PREPARING,
    WRITER_ONLY,
    World,
    with_attempt,
    with_flow,
    with_server,
)

Rules = frozenset[Rule]


def begin(world: World, k: int, rules: Rules) -> World | None:
    """`begin_switch`: the register's row; None when it is refused."""
    old = world.attempts[k].old
    if any(o.old == old and o.register in LIVE for o in world.attempts) and Rule.ONE_LIVE in rules:
        return None
    side = world.servers[old]
    if (side.closed or side.barred) and Rule.BEGINNING_ASKS in rules:
        return None
    if Rule.BEGINNING_GIVES_UP in rules:
        for index, other in enumerate(world.attempts):
            if other.new == old and other.opening == CLOSED:
                if other.holding:
                    return None  # waits for the row, and not for long
                world = give_up(world, index)
    others = [other.turn for other in world.attempts if other.old == old]
    begun = with_attempt(world, k, register=PREPARING, turn=1 + max(others))
    for which in (0, 1):  # each attempt may see as many crashes as the first
        begun = with_server(begun, which, crashes=world.bound)
    return begun


def give_up(world: World, k: int) -> World:
    """`give_up_opening`, by another attempt: only what has ended may be given up."""
    if world.attempts[k].register in LIVE:
        return world._replace(broken="a live attempt is given up")
    return with_attempt(world, k, opening=GIVEN_UP)


def abort(world: World, k: int, rules: Rules) -> World:
    """`abort_switch`: take the fence off exactly as it was put on, if nothing is decided."""
    attempt = world.attempts[k]
    if attempt.register != PREPARING and Rule.ABORT_ASKS in rules:
        return world
    return _reopen_old(with_attempt(world, k, register=ABORTED), attempt.old)


def go_back(world: World, k: int) -> World:
    """`go_back`: un-decide an attempt whose new writer has been given up."""
    attempt = world.attempts[k]
    if attempt.register != DECIDED:
        return world
    return _reopen_old(with_attempt(world, k, register=ABORTED), attempt.old)


def _reopen_old(world: World, old: int) -> World:
    opened = with_server(world, old, closed=False, ended=False, barred=False, leak=False)
    return with_flow(opened, old, wrote=True)


def fence(world: World, k: int) -> World:
    """Close the databases; sessions of before are still there."""
    return with_server(world, world.attempts[k].old, closed=True, ended=False)


def end_sessions(world: World, k: int) -> World:
    """End the sessions of before the fence; on a server without a fence they come again."""
    old = world.attempts[k].old
    return with_server(world, old, ended=world.servers[old].closed)


def barrier(world: World, k: int) -> World:
    """Write the heartbeat: all that was written so far is before it."""
    return with_flow(world, world.attempts[k].old, before=WRITER_ONLY, after=BOTH, wrote=False)


def bring_sequences(world: World, k: int) -> World:
    """Set the new side's sequences to the old side's values of now."""
    attempt = world.attempts[k]
    if world.servers[attempt.new].fresh:
        return world._replace(broken="used sequence values set back")
    return with_flow(world, attempt.old, sequences=APPLIED)


def mark(world: World, k: int, rules: Rules) -> World:
    """Flush, and take the position where the replication of the other direction starts."""
    attempt = world.attempts[k]
    if world.servers[attempt.new].fresh:
        return world._replace(broken="a mark past the first new commits")
    return _flush(world, attempt.old) if Rule.FLUSHED in rules else world


def _flush(world: World, old: int) -> World:
    flow = world.flows[old]
    return with_flow(
        world,
        old,
        before=BOTH if flow.before == APPLIED else flow.before,
        after=BOTH if flow.after == APPLIED else flow.after,
        sequences=BOTH if flow.sequences == APPLIED else flow.sequences,
    )


def decide(world: World, k: int, rules: Rules) -> World | None:
    """`decide_switch`: the one commit point; None when it is refused."""
    attempt = world.attempts[k]
    if attempt.register != PREPARING and Rule.DECIDE_ASKS in rules:
        return None
    flow = world.flows[attempt.old]
    if Rule.QUIET in rules and (flow.wrote or world.servers[attempt.old].leak):
        return None
    durable = Rule.DECISION_DURABLE in rules
    decided = with_attempt(world, k, register=DECIDED, flushed=durable)
    # Were the old side lost right now, the new one would have to hold everything for good.
    if APPLIED in (flow.before, flow.after) and attempt.register == PREPARING:
        return decided._replace(broken="decided on what a crash of the new writer takes back")
    return decided


def open_environment(world: World, k: int, party: str, rules: Rules) -> World | None:
    """`open_environment`: the row and the databases in one transaction; None when refused."""
    attempt = world.attempts[k]
    holding = tuple(holder for holder in attempt.holding if holder != party)
    if attempt.opening != CLOSED and (Rule.ROW_ASKED in rules or attempt.opening == GIVEN_UP):
        return None
    if attempt.register == PREPARING and party == ORCHESTRATOR:
        early = Rule.OPEN_AFTER_DECISION not in rules
        if not early:
            return None
    opened = with_attempt(
        world,
        k,
        opening=OPENED,
        opening_flushed=Rule.OPENING_DURABLE in rules,
        holding=holding,
    )
    opened = with_server(opened, attempt.new, closed=False, ended=False, barred=False)
    opened = with_server(opened, attempt.old, fresh=False)
    return _judged(_flush(opened, attempt.old), world, k)


def _judged(opened: World, world: World, k: int) -> World:
    """Say what is wrong with an opening."""
    attempt = world.attempts[k]
    flow = world.flows[attempt.old]
    if WRITER_ONLY in (flow.before, flow.after):
        return opened._replace(broken="opened with commits missing")
    if flow.sequences == WRITER_ONLY:
        return opened._replace(broken="opened with sequences behind")
    if any(other.slipped and other.old == attempt.new for other in world.attempts):
        return opened._replace(broken="opened with rows that the other side never saw")
    return opened


def close_old_side(world: World, k: int, rules: Rules) -> World:
    """`close_roles`: nobody logs in any more on the side that was left."""
    attempt = world.attempts[k]
    if attempt.register != DECIDED and Rule.CLOSING_ASKS in rules:
        return world
    if not world.servers[attempt.old].closed:
        return world._replace(broken="the writer's roles lose LOGIN")
    return with_server(world, attempt.old, barred=True, ended=True, leak=False)


def count(world: World, k: int) -> World:
    """Count what was written on the old side after the decision."""
    return with_attempt(world, k, slipped=2 if world.attempts[k].slipped else 0)


def finish(world: World, k: int) -> World:
    """`finish`: decided becomes done."""
    if world.attempts[k].register != DECIDED:
        return world
    return with_attempt(world, k, register=DONE)
